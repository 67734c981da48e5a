package main

import (
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
)

func TestARunHasNoLossBeforeAStepOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		run  *pb.RunInfo
		want string
	}{
		{&pb.RunInfo{}, "-"},
		{&pb.RunInfo{Step: 40}, "-"}, // begun with the State of another
		{&pb.RunInfo{Step: 41, LossLast: 0.25, TokensPerSecond: 9}, "0.2500"},
		{&pb.RunInfo{Step: 41, TokensPerSecond: 9}, "0.0000"}, // every token was certain
	} {
		if got := lossText(c.run); got != c.want {
			t.Errorf("after step %d: %q, want %q", c.run.Step, got, c.want)
		}
	}
}

func TestWhatNodesSayCannotSteerATerminal(t *testing.T) {
	for _, text := range []string{
		logText(&pb.LogLine{Node: "a\x1b[2J", Text: "no\x1b]0;title\a"}),
		because("node a: \x1b[31mred"),
	} {
		if strings.ContainsAny(text, "\x1b\a") {
			t.Errorf("%q has control characters", text)
		}
	}
}

// Nothing is read and no coordinator asked before it is known that the result can be written.
func TestExportLooksFirstWhereItWrites(t *testing.T) {
	const taken = "control" // a directory that is not empty
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"r", "-o", taken}, config.ExitFailed},
		{[]string{"r", "-o", taken, "--format", "peft"}, config.ExitFailed},
		{[]string{"r", "-o", taken, "--format", "delta"}, config.ExitFailed},
		{[]string{"r", "-o", t.TempDir(), "--format", "gguf"}, config.ExitUsage},
		{[]string{"r", "-o", t.TempDir(), "--format", "peft", "--dtype", "bf16"}, config.ExitUsage},
		{[]string{"r", "-o", t.TempDir(), "--max-file", "0"}, config.ExitUsage},
	} {
		_, err := call(t, newExportCmd(), c.args...)
		if config.ExitCode(err) != c.code || strings.Contains(err.Error(), "no run") {
			t.Errorf("export %q: exit code %d, %v", c.args, config.ExitCode(err), err)
		}
	}
}
