package e2e

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/safetensors"
)

// TestScripts runs each script of testdata/script in a directory of its own with a fresh $TORC_HOME and the programs in
// PATH.
func TestScripts(t *testing.T) {
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("TORC_HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("REPO", repo)
			return nil
		},
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":  code,
			"spoil": spoil,
		},
	})
}

// code runs a program and fails unless it exits with the given code: code 2 coordinator launch …
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program [args]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d", args[1:], got, want)
	}
}

// spoil makes one weight of a model zero, or one element of it something else: spoil DIR WEIGHT zero|NaN|Inf.
func spoil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: spoil DIR WEIGHT zero|NaN|Inf")
	}
	dir := ts.MkAbs(args[0])
	w, err := model.Load(dir)
	ts.Check(err)
	id, ok := w.ID(args[1])
	if !ok {
		ts.Fatalf("no weight %s", args[1])
	}
	p := w.Params[id]
	if args[2] == "zero" {
		for i := range p.Len() {
			p.Set(i, 0)
		}
	} else {
		v, err := strconv.ParseFloat(args[2], 32)
		ts.Check(err)
		p.Set(p.Cols+2, float32(v))
	}
	_, err = safetensors.WriteModel(dir, w.Tensors(), math.MaxInt64, nil)
	ts.Check(err)
}
