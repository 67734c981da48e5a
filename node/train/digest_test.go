package train

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/sharding"
)

// toyData are samples drawn from (step, lane): some lanes idle, some samples without counted tokens.
type toyData struct {
	vocab int
	micro int
	idle  func(step uint64, lane int) bool
}

func (d toyData) Examples(step uint64, lane int) ([]sharding.Example, error) {
	if d.idle != nil && d.idle(step, lane) {
		return nil, nil
	}
	key := rng.New(7).Sub(step).Sub(uint64(lane))
	var out []sharding.Example
	for i := range d.micro {
		n := 5 + int(key.Uint64n(uint64(100*i), 20))
		x := sharding.Example{Tokens: make([]int32, n), Counted: make([]bool, n)}
		for j := range x.Tokens {
			x.Tokens[j] = int32(key.Uint64n(uint64(100*i+j+1), uint64(d.vocab)))
			x.Counted[j] = j > n/2
		}
		out = append(out, x)
	}
	return out, nil
}

// toy is a run small enough to make many times.
type toy struct {
	method methods.Config
	dtype  model.DType
	lanes  int
	steps  int
	edit   func(*spec.Resolved)
	data   toyData
	fields string // of the model's configuration that tell its family; empty: an early Llama's
}

func (c toy) config(t *testing.T) *model.Config {
	t.Helper()
	fields := cmp.Or(c.fields, `"architectures":["LlamaForCausalLM"],"model_type":"llama","tie_word_embeddings":true`)
	config, err := model.ParseConfig([]byte(`{"hidden_act":"silu","hidden_size":32,
		"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":61,
		"max_position_embeddings":64,"rms_norm_eps":1e-5,"rope_theta":10000.0,"initializer_range":0.1,` + fields + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func (c toy) job(t *testing.T, threads int) *Job {
	t.Helper()
	config := c.config(t)
	w := model.NewRandom(config, c.dtype, 3)
	r := &spec.Resolved{Spec: spec.Default(c.method.Name)}
	r.Method, r.Batch.Lanes, r.Steps, r.Optimizer.LR = c.method, c.lanes, c.steps, 1e-2
	if c.edit != nil {
		c.edit(r)
	}
	k, err := cpu.New(threads, cpu.Auto)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	method, err := methods.New(r.Method, w, r.Seed)
	if err != nil {
		t.Fatal(err)
	}
	one, err := cpu.New(1, cpu.Auto)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Close)
	if err := methods.Prepare(method, []model.Kernels{one, k}[:1+threads%2], w); err != nil {
		t.Fatal(err)
	}
	c.data.vocab, c.data.micro = config.Vocab, 2
	return &Job{Spec: r, SpecHash: [32]byte{1}, Steps: uint64(c.steps), Kernels: k, Workers: []model.Kernels{one}, Weights: w, Method: method, Train: c.data, Valid: c.data, Calibration: 2}
}

// heard keeps what an Observer is told.
type heard struct {
	mu        sync.Mutex
	steps     []StepReport
	refreshes []RefreshReport
	losses    []float64
}

func (h *heard) Stepped(r StepReport) { h.mu.Lock(); h.steps = append(h.steps, r); h.mu.Unlock() }
func (h *heard) Refreshed(r RefreshReport) {
	h.mu.Lock()
	h.refreshes = append(h.refreshes, r)
	h.mu.Unlock()
}

func (h *heard) Validated(v ValidationReport) {
	h.mu.Lock()
	h.losses = append(h.losses, v.Loss)
	h.mu.Unlock()
}

// outcome is what one member has at the end.
type outcome struct {
	digest string
	heard  *heard
	err    error
}

// run makes the toy's run with members that hold owner's lanes, each with its own number of threads.
func (c toy) run(t *testing.T, members int, owner []int) []outcome {
	t.Helper()
	v := &view.View{Run: "toy", Incarnation: 1, Number: 1, Owner: owner}
	for i := range members {
		v.Members = append(v.Members, view.Member{Node: view.NodeID{Name: fmt.Sprintf("n%d", i)}})
		v.Ring = append(v.Ring, i)
	}
	net, out := allreduce.MemNet(members), make([]outcome, members)
	var g errgroup.Group
	for rank := range members {
		job := c.job(t, 1+rank%3)
		g.Go(func() error {
			id := allreduce.Identity{Run: v.Run, View: v.Hash(), Rank: rank, Members: members, Order: v.Ring}
			ring := allreduce.NewRing(id, net.Mesh(id), job.Spec.Reduce)
			defer ring.Close()
			h := &heard{}
			trainer, err := NewTrainer(job, nil, h, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			err = trainer.Run(context.Background(), v, rank, ring)
			d := trainer.State().Digest()
			out[rank] = outcome{fmt.Sprintf("%x", d), h, err}
			return nil
		})
	}
	_ = g.Wait()
	return out
}

// deal gives lanes to members in unequal, interleaved shares.
func deal(members, lanes int) []int {
	owner := make([]int, lanes)
	for l := range owner {
		owner[l] = (l * l) % members
	}
	for m := range members {
		owner[m] = m // everyone has at least one
	}
	return owner
}

// protocol.md I1: the digest is the same on every member and equal to the one-member run's.
func TestDigestDoesNotDependOnMembers(t *testing.T) {
	lift := methods.Default("lift")
	lift.Rank, lift.Filter, lift.Refresh = 2, 2, 3
	sorsa, pissa, lora := methods.Default("sorsa"), methods.Default("pissa"), methods.Default("lora")
	sorsa.Rank, pissa.Rank, lora.Rank, lora.Dropout = 3, 2, 2, 0.2
	idle := toyData{idle: func(step uint64, lane int) bool { return step == 4 && lane > 2 || step == 5 }}
	for name, c := range map[string]toy{
		"lift bf16, refreshes before steps 1, 3, 6": {method: lift, dtype: model.BF16, lanes: 7, steps: 7},
		"lift fp32, idle lanes and an empty step":   {method: lift, dtype: model.F32, lanes: 7, steps: 7, data: idle},
		"full bf16":                 {method: methods.Default("full"), dtype: model.BF16, lanes: 7, steps: 4},
		"sorsa bf16":                {method: sorsa, dtype: model.BF16, lanes: 7, steps: 4},
		"pissa fp32, an empty step": {method: pissa, dtype: model.F32, lanes: 7, steps: 6, data: idle},
		"lora bf16, dropout":        {method: lora, dtype: model.BF16, lanes: 7, steps: 4},
	} {
		t.Run(name, func(t *testing.T) {
			c.edit = func(r *spec.Resolved) { r.Validate.Every = 2 }
			alone := c.run(t, 1, make([]int, c.lanes))[0]
			if alone.err != nil {
				t.Fatal(alone.err)
			}
			for _, members := range []int{2, 3, 5} {
				for rank, o := range c.run(t, members, deal(members, c.lanes)) {
					if o.err != nil {
						t.Fatalf("%d members: rank %d: %v", members, rank, o.err)
					}
					if o.digest != alone.digest {
						t.Errorf("%d members: rank %d has digest %.12s, alone %.12s", members, rank, o.digest, alone.digest)
					}
					if got, want := o.heard.losses, alone.heard.losses; fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("%d members: validation losses %v, alone %v", members, got, want)
					}
				}
			}
			if len(alone.heard.steps) != c.steps || alone.heard.steps[0].Tries != 2 {
				t.Errorf("made %d steps, the first in %d tries; want %d and 2: no scales exist before it", len(alone.heard.steps), alone.heard.steps[0].Tries, c.steps)
			}
		})
	}
}
