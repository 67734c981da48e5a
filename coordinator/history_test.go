package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/torctrain/torc/internal/config"
)

// endedRun makes a home with the history of a run that has ended.
func endedRun(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	dir := filepath.Join(home, "runs", "one-abcde")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"result.json": "{}",
		"steps.jsonl": `{"step":1,"loss":1.5,"answer_tokens":50,"tokens":100,"rate":0.001,"grad_norm":2,"seconds":0.5,"tries":2,"view":1,"t":1000000000}
{"step":2,"loss":0,"answer_tokens":40,"tokens":80,"rate":0.002,"grad_norm":1,"seconds":0.25,"tries":1,"view":1,"t":2000000000}
{"step":2,"validation_loss":0.25,"answer_tokens":7}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func TestHistoryOfAnEndedRunIsReadFromItsHome(t *testing.T) {
	t.Setenv("TORC_HOME", endedRun(t))
	for flag, want := range map[string]string{
		"--json=false": `   STEP     LOSS  VALIDATION       RATE  GRAD NORM   TOKENS  SECONDS  TRIES  VIEW
      1   1.5000                  0.001     2.0000      100    0.500      2     1
      2   0.0000                  0.002     1.0000       80    0.250      1     1
      2               0.2500
`,
		"--csv": `step,loss,validation_loss,rate,grad_norm,tokens,answer_tokens,seconds,tries,view,time
1,1.5,,0.001,2,100,50,0.5,2,1,1970-01-01T00:00:01Z
2,0,,0.002,1,80,40,0.25,1,1,1970-01-01T00:00:02Z
2,,0.25,,,,7,,,,
`,
		"--json": `{"run":"one-abcde","steps":[{"step":1,"loss":1.5,"rate":0.001,"grad_norm":2,"tokens":100,"answer_tokens":50,"seconds":0.5,"tries":2,"view":1,"time":"1970-01-01T00:00:01Z"},` +
			`{"step":2,"loss":0,"rate":0.002,"grad_norm":1,"tokens":80,"answer_tokens":40,"seconds":0.25,"tries":1,"view":1,"time":"1970-01-01T00:00:02Z"}],` +
			`"validations":[{"step":2,"loss":0.25,"answer_tokens":7}]}
`,
	} {
		if got, err := call(t, newHistoryCmd(), "one-abcde", flag); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", flag, err, got, want)
		}
	}
}

func TestHistoryOfNoRunIsNoPath(t *testing.T) {
	t.Setenv("TORC_HOME", t.TempDir())
	if _, err := call(t, newHistoryCmd(), "../x"); config.ExitCode(err) != config.ExitUsage {
		t.Errorf("exit code %d, %v", config.ExitCode(err), err)
	}
}

// The records of an event file are whole, and their messages have what TensorBoard looks for.
func TestEventsAreRecordsWithChecksums(t *testing.T) {
	board := t.TempDir()
	t.Setenv("TORC_HOME", endedRun(t))
	if _, err := call(t, newHistoryCmd(), "one-abcde", "--tensorboard", board); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(board, "one-abcde", "events.out.tfevents.0.torc"))
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for len(text) > 0 {
		n := binary.LittleEndian.Uint64(text)
		event := text[12:][:n]
		if masked(text[:8]) != binary.LittleEndian.Uint32(text[8:]) || masked(event) != binary.LittleEndian.Uint32(text[12+n:]) {
			t.Fatal("a checksum is wrong")
		}
		if field, _, size := protowire.ConsumeField(event); field != 1 || size != 9 {
			t.Errorf("an event begins with field %d of %d bytes, want its time", field, size)
		}
		events = append(events, string(event))
		text = text[12+n+4:]
	}
	if len(events) != 4 {
		t.Fatalf("%d events, want the version and three", len(events))
	}
	for i, tags := range [][]string{{"brain.Event:2"}, {"loss/train", "optimizer/rate", "optimizer/grad_norm", "speed/tokens_per_second"}, {"loss/train"}, {"loss/validation"}} {
		for _, tag := range tags {
			if !strings.Contains(events[i], tag) {
				t.Errorf("event %d lacks %s", i, tag)
			}
		}
	}
}
