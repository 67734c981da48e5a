package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
)

func TestUnreachableCoordinatorIsNamedByItsPlainAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	for _, c := range []struct {
		cmd  *cobra.Command
		args []string
	}{
		{newRunsCmd(), nil},
		{newLogsCmd(), []string{"r"}},
		{newLogsCmd(), []string{"r", "--json"}},
		{newCheckpointsCmd(), []string{"ls", "r"}},
		{newCheckpointsCmd(), []string{"verify", "r"}},
		{newLaunchCmd(), []string{"--resume", "r"}},
		{newTokenCmd(), []string{"list"}},
	} {
		_, err := call(t, c.cmd, append(c.args, "--coordinator", addr)...)
		if config.ExitCode(err) != config.ExitUnreachable || !strings.Contains(fmt.Sprint(err), "no coordinator answers at "+addr+": start one") {
			t.Errorf("%s %v: exit code %d, %v", c.cmd.Name(), c.args, config.ExitCode(err), err)
		}
	}
}

func TestDrillsSayAsJSONWhatTheyWrote(t *testing.T) {
	file := filepath.Join(t.TempDir(), "d.jsonl")
	out, err := call(t, newDataCmd(), "drills", "--task", "train", "--count", "3", "-o", file, "--json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Task, File string
		Count      int
		Bytes      int
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Task != "train" || got.File != file || got.Count != 3 || got.Bytes != len(text) {
		t.Errorf("got %q, %v, want it to describe %d bytes", out, err, len(text))
	}
	if _, err := call(t, newDataCmd(), "drills", "--task", "train", "--count", "3", "--json"); config.ExitCode(err) != config.ExitUsage {
		t.Errorf("without a file: %v", err)
	}
}
