package control

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/pb"
)

func TestLogIsBoundedAndKeepsTheNewest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	const lines = 700
	for i := range lines {
		text := fmt.Sprintf("%d %s", i, strings.Repeat("x\n\"", 2*maxLineBytes/3*(i%2)))
		if err := appendLog(dir, &pb.LogLine{UnixNano: int64(i), Node: "a", Level: "INFO", Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(0)
	for _, name := range []string{logFile, olderLogFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			size += info.Size()
		}
	}
	if size > 2*(maxLogBytes+6*maxLineBytes) {
		t.Errorf("log takes %d bytes", size)
	}
	got, err := readLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || len(got) >= lines {
		t.Fatalf("%d lines are left of %d", len(got), lines)
	}
	for i, l := range got {
		if want := int64(lines - len(got) + i); l.UnixNano != want || !strings.HasPrefix(l.Text, fmt.Sprint(want)) {
			t.Fatalf("line %d is number %d, want %d", i, l.UnixNano, want)
		}
	}
}

func TestLogSurvivesALineCutOff(t *testing.T) {
	dir := t.TempDir()
	if err := appendLog(dir, &pb.LogLine{Text: "whole"}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, logFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"t":1,"n":"a`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, err := readLog(dir); err != nil || len(got) != 1 || got[0].Text != "whole" {
		t.Errorf("readLog = %v, %v, want the whole line", got, err)
	}
	if got, err := readLog(t.TempDir()); err != nil || len(got) != 0 {
		t.Errorf("readLog of nothing = %v, %v", got, err)
	}
}

func TestTailKeepsTheLastAndItsNumbers(t *testing.T) {
	x := tail[int]{max: 10}
	for i := range 1000 {
		x.add(i)
		if n := len(x.kept); n > 20 || n < min(i+1, 10) {
			t.Fatalf("%d are kept of %d", n, i+1)
		}
		if x.end() != i+1 || x.from(i)[0] != i || len(x.from(i+1)) != 0 || len(x.from(0)) != len(x.kept) {
			t.Fatalf("after %d: end %d, from the last %v, from the next %v", i, x.end(), x.from(i), x.from(i+1))
		}
	}
}
