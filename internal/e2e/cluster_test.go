package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// deadline bounds one command; reached only when something hangs.
const deadline = 2 * time.Minute

// coordinator runs the program with a $TORC_HOME and decodes the JSON object of its last line.
func coordinator(t *testing.T, home string, result any, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "coordinator"), append(args, "--json")...)
	cmd.Env = append(os.Environ(), "TORC_HOME="+home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("coordinator %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), result); err != nil {
		t.Fatalf("coordinator %s: last line of stdout: %v\n%s", strings.Join(args, " "), err, stdout.String())
	}
}

// workplace is a directory with a tiny random model, data and a spec.
func workplace(t *testing.T, home string) string {
	t.Helper()
	dir := t.TempDir()
	var made map[string]any
	coordinator(t, home, &made, "model", "new", "--preset", "tiny", "-o", filepath.Join(dir, "base"))
	var data bytes.Buffer
	for i := range 40 {
		line, err := json.Marshal(map[string]string{
			"question": strings.Repeat("One and one and ", i%5) + "one?",
			"answer":   "#### " + strings.Repeat("1", 1+i%4),
		})
		if err != nil {
			t.Fatal(err)
		}
		data.Write(append(line, '\n'))
	}
	write(t, filepath.Join(dir, "train.jsonl"), data.String())
	write(t, filepath.Join(dir, "val.jsonl"), strings.Join(strings.SplitAfter(data.String(), "\n")[:5], ""))
	write(t, filepath.Join(dir, "spec.yaml"), `
model: base
data: {train: [train.jsonl], validation: [val.jsonl]}
method: {name: lift, rank: 4, refresh: 5}
optimizer: {lr: 3e-3}
batch: {lanes: 6}
steps: 12
validate: {every: 6}
`)
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// launched is what launch --json promises.
type launched struct {
	Run                string  `json:"run"`
	Steps              int     `json:"steps"`
	Digest             string  `json:"digest"`
	LossFirst          float64 `json:"loss_first"`
	LossLast           float64 `json:"loss_last"`
	TokensPerSecond    float64 `json:"tokens_per_second"`
	BytesSentPerMember int64   `json:"bytes_sent_per_member"`
	Trained            int64   `json:"trained"`
	Members            int     `json:"members"`
}

// protocol.md I1, over processes, for the methods that the next test has not: factors prepared by each node, channels chosen by data.
func TestEveryMethodGivesTheSameModelOnAnyNumberOfNodes(t *testing.T) {
	home := t.TempDir()
	spec := filepath.Join(workplace(t, home), "method.yaml")
	for _, method := range []string{
		"{name: full}",
		"{name: s2ft, v: 0.1, select: smallest-activation}",
		"{name: sorsa, rank: 3}",
		"{name: pissa, rank: 3}",
		"{name: lora, rank: 3, dropout: 0.1, rslora: true}",
	} {
		write(t, spec, "model: base\ndata: {train: [train.jsonl]}\nmethod: "+method+"\nbatch: {lanes: 5}\nsteps: 3\n")
		var one, three launched
		coordinator(t, home, &one, "launch", spec, "--local", "1")
		coordinator(t, home, &three, "launch", spec, "--local", "3")
		if one.Digest != three.Digest || len(one.Digest) != 64 || one.Members != 1 || three.Members != 3 {
			t.Errorf("%s: digests %q of %d members and %q of %d", method, one.Digest, one.Members, three.Digest, three.Members)
		}
	}
}

// protocol.md I1, over processes: gossip, gRPC rings, uneven lanes, two refreshes.
func TestRunGivesTheSameModelOnAnyNumberOfNodes(t *testing.T) {
	home := t.TempDir()
	dir := workplace(t, home)
	spec := filepath.Join(dir, "spec.yaml")
	var one, three launched
	coordinator(t, home, &one, "launch", spec, "--local", "1")
	coordinator(t, home, &three, "launch", spec, "--local", "3")
	if one.Digest != three.Digest || len(one.Digest) != 64 {
		t.Errorf("digests %q of one member and %q of three", one.Digest, three.Digest)
	}
	if one.Steps != 12 || three.Members != 3 || one.Members != 1 || one.BytesSentPerMember != 0 || three.BytesSentPerMember == 0 {
		t.Errorf("launch printed %+v and %+v", one, three)
	}
	if !(one.LossLast < one.LossFirst) {
		t.Errorf("loss went from %.4f to %.4f", one.LossFirst, one.LossLast)
	}

	var verified struct {
		Equal bool `json:"equal"`
	}
	coordinator(t, home, &verified, "verify", three.Run)
	if !verified.Equal {
		t.Error("verify found another digest")
	}

	tuned := filepath.Join(dir, "tuned")
	var exported map[string]any
	coordinator(t, home, &exported, "export", three.Run, "-o", tuned)
	var base, dirEval, runEval struct {
		Loss       float64  `json:"loss"`
		Tokens     int      `json:"tokens"`
		ExactMatch *float64 `json:"exact_match"`
	}
	data := filepath.Join(dir, "train.jsonl")
	coordinator(t, home, &base, "eval", "--model", filepath.Join(dir, "base"), "--data", data)
	coordinator(t, home, &dirEval, "eval", "--model", tuned, "--data", data, "--generate", "--max-new", "8")
	coordinator(t, home, &runEval, "eval", three.Run, "--data", data)
	if dirEval.Loss != runEval.Loss || !(dirEval.Loss < base.Loss) || dirEval.ExactMatch == nil || base.ExactMatch != nil {
		t.Errorf("losses: base %v, exported %v, run %v; want the last two equal and lower", base, dirEval, runEval)
	}
	var generated struct {
		IDs  []int  `json:"ids"`
		Text string `json:"text"`
	}
	coordinator(t, home, &generated, "generate", "--model", tuned, "--prompt", "Question: one?\nAnswer: ", "--max-new", "6")
	if len(generated.IDs) == 0 || len(generated.IDs) > 6 {
		t.Errorf("generate gave %+v", generated)
	}
}
