package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// job is one run.
type job struct {
	Method string  `json:"method"`
	Spec   string  `json:"spec"` // of the method
	Rate   float64 `json:"rate"`
	Seed   int     `json:"seed"`
	Steps  int     `json:"steps"`
	Base   string  `json:"base"`
}

// outcome is what a run came to.
type outcome struct {
	job
	Trained    int       `json:"trained"`
	Target     float64   `json:"target"`      // exact match on the task it learned
	TargetLoss float64   `json:"target_loss"` // per token of the answer
	Source     float64   `json:"source"`      // exact match on what the base knew
	SourceLoss float64   `json:"source_loss"`
	TokensPerS float64   `json:"tokens_per_second"`           // as the clock has it: what else the machine does shows
	PerCPU     float64   `json:"tokens_per_processor_second"` // of the whole run, from its launch on
	PeakBytes  int64     `json:"peak_bytes"`
	Losses     []float64 `json:"losses"` // of each step, from the first
	Digest     string    `json:"digest"`
	Seconds    float64   `json:"seconds"`
}

// lab runs jobs and keeps what they came to.
type lab struct {
	dir, binary, base string
	target, source    string // files of samples
	train             string
	perSample         float64 // tokens of a training sample, the mean

	mu   sync.Mutex // guards done and its file
	done []outcome
}

func openLab(dir, binary, base string) (*lab, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if base, err = filepath.Abs(base); err != nil {
		return nil, err
	}
	l := &lab{dir: abs, binary: binary, base: base}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(l.path("results.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var o outcome
		if err := json.Unmarshal(line, &o); err != nil {
			return nil, fmt.Errorf("read %s: %w: remove the line", l.path("results.jsonl"), err)
		}
		l.done = append(l.done, o)
	}
	return l, l.makeData()
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

const trainSamples = 4800

// makeData writes the samples: worded problems of three steps to learn, and what the base was pretrained on, drawn anew.
func (l *lab) makeData() error {
	l.train, l.target, l.source = l.path("train.jsonl"), l.path("target.jsonl"), l.path("source.jsonl")
	lessons := l.path("lessons.jsonl")
	for _, x := range []struct{ task, count, seed, out string }{
		{"train", strconv.Itoa(trainSamples), "11", l.train},
		{"test", "200", "5", l.target},
		{"pretrain", "600", "77", lessons},
	} {
		if out, err := exec.Command(l.binary, "data", "drills", "--task", x.task, "--count", x.count, "--seed", x.seed, "-o", x.out).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	text, err := os.ReadFile(lessons)
	if err != nil {
		return err
	}
	var questions bytes.Buffer
	count := 0
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte(`{"question"`)) && count < 200 {
			questions.Write(line)
			count++
		}
	}
	if l.perSample, err = l.measure(); err != nil {
		return err
	}
	return os.WriteFile(l.source, questions.Bytes(), 0o644)
}

// measure counts the tokens of the training samples.
func (l *lab) measure() (perSample float64, err error) {
	out, err := exec.Command(l.binary, "data", "check", l.train, "--model", l.base, "--show", "0", "--json").Output()
	if err != nil {
		return 0, fmt.Errorf("count the tokens of %s: %w", l.train, err)
	}
	var check struct{ Tokens float64 }
	if err := json.Unmarshal([]byte(lastLine(string(out))), &check); err != nil {
		return 0, err
	}
	return check.Tokens / trainSamples, nil
}

// find returns what a job came to, if it was done.
func (l *lab) find(j job) (outcome, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.done, func(o outcome) bool { return o.job == j })
	if i < 0 {
		return outcome{}, false
	}
	return l.done[i], true
}

// known are the jobs that were done before.
func (l *lab) known(jobs []job) []job {
	return slices.DeleteFunc(jobs, func(j job) bool { _, done := l.find(j); return !done })
}

// all makes the outcomes of jobs, on one core each.
func (l *lab) all(jobs []job, cores []int) ([]outcome, error) {
	results, errs := make([]outcome, len(jobs)), make([]error, len(jobs))
	free := make(chan int, len(cores)) // cores without a job
	for _, c := range cores {
		free <- c
	}
	var wait sync.WaitGroup
	for i, j := range jobs {
		if o, ok := l.find(j); ok {
			results[i] = o
			continue
		}
		core := <-free
		wait.Go(func() {
			results[i], errs[i] = l.run(j, core)
			free <- core
		})
	}
	wait.Wait()
	return results, errors.Join(errs...)
}

// run makes one run on one core and measures what it learned.
func (l *lab) run(j job, core int) (outcome, error) {
	o, start := outcome{job: j}, time.Now()
	name := fmt.Sprintf("%s-%g-%d", j.Method, j.Rate, j.Seed)
	spec := l.path(name + ".yaml")
	text := fmt.Sprintf(`name: %s
model: %s
data: {train: [%s], max_tokens: 128, overflow: refuse}
method: {%s}
optimizer: {lr: %g, schedule: linear, warmup: 0.03}
batch: {lanes: 32, micro: 1}
steps: %d
seed: %d
`, name, l.base, l.train, j.Spec, j.Rate, j.Steps, j.Seed)
	if err := os.WriteFile(spec, []byte(text), 0o644); err != nil {
		return o, err
	}
	home := l.path(fmt.Sprintf("home-%d", core))
	ran, err := l.torc(core, home, "launch", spec, "--local", "1")
	if err != nil {
		return o, fmt.Errorf("%s: %w", name, err)
	}
	var launched struct {
		Run, Digest string
		Trained     int
		TokensPerS  float64 `json:"tokens_per_second"`
	}
	if err := json.Unmarshal(ran.last, &launched); err != nil {
		return o, fmt.Errorf("%s: %w", name, err)
	}
	o.Trained, o.TokensPerS, o.Digest, o.PeakBytes = launched.Trained, launched.TokensPerS, launched.Digest, ran.peak
	o.PerCPU = float64(32*j.Steps) * l.perSample / ran.processor.Seconds()
	if o.Losses, err = l.losses(core, home, launched.Run); err != nil {
		return o, fmt.Errorf("%s: %w", name, err)
	}
	for _, x := range []struct {
		file        string
		match, loss *float64
	}{{l.target, &o.Target, &o.TargetLoss}, {l.source, &o.Source, &o.SourceLoss}} {
		if *x.match, *x.loss, err = l.eval(core, home, []string{launched.Run}, x.file); err != nil {
			return o, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(home, "runs", launched.Run)); err != nil {
		return o, err
	}
	o.Seconds = time.Since(start).Seconds()
	fmt.Printf("%-32s target %5.1f %%  source %5.1f %%  loss %.4f  %.0f s\n", name, 100*o.Target, 100*o.Source, o.TargetLoss, o.Seconds)
	return o, l.keep(o)
}

// baseline is what the base itself can do.
func (l *lab) baseline(core int) (target, source float64, err error) {
	if target, _, err = l.eval(core, l.path("home"), []string{"--model", l.base}, l.target); err != nil {
		return 0, 0, err
	}
	source, _, err = l.eval(core, l.path("home"), []string{"--model", l.base}, l.source)
	return target, source, err
}

func (l *lab) eval(core int, home string, model []string, file string) (match, loss float64, err error) {
	ran, err := l.torc(core, home, append([]string{"eval", "--data", file, "--generate", "--max-new", "120"}, model...)...)
	if err != nil {
		return 0, 0, err
	}
	var e struct {
		ExactMatch float64 `json:"exact_match"`
		Loss       float64
	}
	err = json.Unmarshal(ran.last, &e)
	return e.ExactMatch, e.Loss, err
}

// finished is what a command of the coordinator left.
type finished struct {
	last      []byte        // the JSON that it printed last
	peak      int64         // bytes: the largest memory of it and its nodes
	processor time.Duration // of it and its nodes
}

// torc runs a command of the coordinator on one core.
func (l *lab) torc(core int, home string, args ...string) (f finished, err error) {
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(core), l.binary}, append(args, "--json")...)...)
	cmd.Env = append(os.Environ(), "TORC_HOME="+home)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		return f, fmt.Errorf("coordinator %s: %w: %s", args[0], err, lastLine(progress.String()))
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		f.peak = usage.Maxrss * 1024 // in KiB, as Linux counts
	}
	f.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	f.last = []byte(lastLine(out.String()))
	return f, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// losses are those of each step of a run.
func (l *lab) losses(core int, home, run string) (all []float64, err error) {
	ran, err := l.torc(core, home, "history", run)
	if err != nil {
		return nil, err
	}
	var history struct{ Steps []struct{ Loss float64 } }
	if err := json.Unmarshal(ran.last, &history); err != nil {
		return nil, err
	}
	for _, s := range history.Steps {
		all = append(all, s.Loss)
	}
	return all, nil
}

// keep appends an outcome to the file.
func (l *lab) keep(o outcome) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(l.path("results.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	l.done = append(l.done, o)
	return errors.Join(err, f.Close())
}
