package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/model/tokenizer"
	"github.com/torctrain/torc/sharding"
)

// The run that every simulation makes: so small that a lane takes a fraction of a millisecond, with all that a run can have.
const (
	lanes = 6
	steps = 7
)

const config = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu","hidden_size":16,
	"intermediate_size":16,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":257,
	"max_position_embeddings":64,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true,"initializer_range":0.1}`

// world is what all simulations share and none changes.
type world struct {
	dir string
	// specs are the runs, by name.
	specs map[string]*spec.Resolved
	// lanes tells lanes by what they are to predict.
	lanes map[uint64]place
	// rates tells steps by the rate of their update.
	rates map[string]map[float32]uint64

	mu    sync.Mutex // guards kernels
	spare []*cpu.Kernels
}

// place is a lane of a step.
type place struct {
	step uint64
	lane int
}

// theWorld is made once and outlives the tests, like the directory it lies in.
var theWorld = sync.OnceValues(makeWorld)

func makeWorld() (*world, error) {
	dir, err := os.MkdirTemp(scratch(), "torc-sim-*")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, specs: map[string]*spec.Resolved{}, lanes: map[uint64]place{}, rates: map[string]map[float32]uint64{}}
	if err := w.model(); err != nil {
		return nil, fmt.Errorf("make the model: %w", err)
	}
	var train, valid strings.Builder
	for i := range lanes * steps { // one epoch: each sample once
		fmt.Fprintf(&train, "{\"text\": \"x%02d%s\"}\n", i, strings.Repeat("ab", i%5))
	}
	for i := range 4 {
		fmt.Fprintf(&valid, "{\"text\": \"valid %d\"}\n", i)
	}
	for name, text := range map[string]string{"train.jsonl": train.String(), "valid.jsonl": valid.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for name, m := range map[string]string{"lift": "lift", "lora": "lora", "skip": "lift", "kept": "lift"} {
		if w.specs[name], err = w.resolve(name, m); err != nil {
			return nil, fmt.Errorf("resolve %s: %w", name, err)
		}
		w.rates[name] = map[float32]uint64{}
		o := w.specs[name].Optimizer
		for s := uint64(1); s <= steps; s++ {
			w.rates[name][o.Step(s, o.Rate(s, steps)).Rate] = s
		}
		if len(w.rates[name]) != steps {
			return nil, fmt.Errorf("rates of %s do not tell steps apart", name)
		}
	}
	return w, w.index()
}

// scratch is a directory in memory where there is one: a simulation writes many small files.
func scratch() string {
	if i, err := os.Stat("/dev/shm"); err == nil && i.IsDir() && os.Getenv("TMPDIR") == "" {
		return "/dev/shm"
	}
	return ""
}

func (w *world) model() error {
	c, err := model.ParseConfig([]byte(config))
	if err != nil {
		return err
	}
	bpe, err := tokenizer.Trainer{Vocab: c.Vocab, Specials: []string{"<|endoftext|>"}, Digits: true}.Train(strings.NewReader("ab"))
	if err != nil {
		return err
	}
	base := filepath.Join(w.dir, "raw")
	if err := os.Mkdir(base, 0o755); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"config.json": []byte(config), "tokenizer.json": bpe, "tokenizer_config.json": []byte(`{"eos_token": "<|endoftext|>"}`)} {
		if err := os.WriteFile(filepath.Join(base, name), content, 0o644); err != nil {
			return err
		}
	}
	return checkpoints.ExportHF(filepath.Join(w.dir, "base"), base, model.NewRandom(c, model.BF16, 3), checkpoints.ExportOptions{})
}

// class is the arithmetic class of all members.
const class = "simulated"

func (w *world) resolve(name, method string) (*spec.Resolved, error) {
	s := spec.Default(method)
	s.Name, s.Model, s.Steps = name, "base", steps
	s.Data.Train, s.Data.Validation = []string{"train.jsonl"}, []string{"valid.jsonl"}
	s.Batch.Lanes, s.Batch.Micro = lanes, 1
	s.Validate.Every = 3
	s.Method.Rank = 1
	if method == "lift" {
		s.Method.Refresh, s.Method.Filter = 3, 1
	}
	switch name {
	case "skip":
		s.Reduce.OnNonFinite = "skip"
	case "kept":
		s.Checkpoint.Every = 2
	}
	s.Optimizer = methods.Optimizer{}
	s.Optimizer = spec.Default(method).Optimizer
	s.Optimizer.LR, s.Optimizer.Schedule = 1e-2, "linear"
	return spec.Resolve(&s, w.dir)
}

// index finds out what each lane is to predict.
func (w *world) index() error {
	r := w.specs["lift"]
	tok, err := tokenizer.Load(filepath.Join(w.dir, "base"))
	if err != nil {
		return err
	}
	ds, err := r.Dataset("train", []sharding.File{{Path: filepath.Join(w.dir, "train.jsonl"), Name: "train.jsonl"}}, w.dir)
	if err != nil {
		return err
	}
	reader := sharding.NewReader(ds, r.Plan(), sharding.NewEncoder(tok, r.Data), w.dir)
	for s := uint64(1); s <= steps; s++ {
		for l := range lanes {
			list, err := reader.Examples(s, l)
			if err != nil {
				return err
			}
			var b model.Batch
			for _, e := range list {
				b.Add(e.Tokens, e.Counted)
			}
			var counted []int32
			for _, t := range b.Targets {
				if t >= 0 {
					counted = append(counted, t)
				}
			}
			w.lanes[hashTargets(counted)] = place{s, l}
		}
	}
	if len(w.lanes) != lanes*steps {
		return fmt.Errorf("%d samples can be told apart, want %d", len(w.lanes), lanes*steps)
	}
	return nil
}

func hashTargets(targets []int32) uint64 {
	h := xxh3.New()
	for _, t := range targets {
		_, _ = h.Write([]byte{byte(t), byte(t >> 8)})
	}
	return h.Sum64()
}

// kernels lends kernels with one thread, which have no goroutine.
func (w *world) kernels(t testing.TB) *cpu.Kernels {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.spare); n > 0 {
		k := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return k
	}
	k, err := cpu.New(1, cpu.Auto)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) giveBack(list ...*cpu.Kernels) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spare = append(w.spare, list...)
}
