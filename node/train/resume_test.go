package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

// keepers give each of a troupe's members a saver with a disk of its own, which keeps what is due.
type keepers struct {
	savers map[string]*saver
	dials  *atomic.Int32 // connections that were asked for
}

func (p *troupe) keep(names ...string) keepers {
	k := keepers{map[string]*saver{}, new(atomic.Int32)}
	ctx, cancel := context.WithCancel(p.t.Context())
	var serving sync.WaitGroup
	p.t.Cleanup(func() { cancel(); serving.Wait() })
	for _, name := range names {
		t := p.member(name)
		c := &Config{
			Home: p.t.TempDir(), Disk: checkpoints.Disk{}, Node: view.NodeID{Name: name},
			Dial: func(string) (*grpc.ClientConn, error) { k.dials.Add(1); return nil, errors.New("no network") },
			DialRing: func(context.Context, string) (*grpc.ClientConn, error) {
				k.dials.Add(1)
				return nil, errors.New("no network")
			},
		}
		s := newSaver(c, "toy", t.job.SpecHash, t.job.Spec.Checkpoint, slog.New(slog.DiscardHandler), func() {})
		k.savers[name] = s
		serving.Go(func() { s.serve(ctx) })
		t.save = func() {
			indices, err := s.place(t.view, t.rank)
			if err != nil {
				p.t.Error(err)
			}
			s.take(ctx, t.State(), t.totals, indices)
			s.settle(ctx)
		}
	}
	return k
}

// checkpoint is that of a step, as a coordinator commits it, and the stores of some of its holders.
func (k keepers) checkpoint(t *testing.T, step uint64, left ...string) (*checkpoints.Manifest, checkpoints.PieceSource) {
	t.Helper()
	var saved []checkpoints.Saved
	for name, s := range k.savers {
		b := &pb.Beat{}
		s.again()
		s.report(b)
		for _, p := range b.Saved {
			if p.Step == step {
				saved = append(saved, reported(name, p))
			}
		}
	}
	m, err := checkpoints.Commit("toy", 1, nil, saved)
	if err != nil {
		t.Fatal(err)
	}
	var all checkpoints.Sources
	for _, name := range left {
		all = append(all, checkpoints.Dir(checkpoints.Disk{}, k.savers[name].dir))
	}
	return m, all
}

// What three members saved goes on at one, two and five, with one of the three disks lost, and ends with the digest of the
// run that nobody stopped. Saving sends nothing: it makes no connection, and links carry
// no more with it than without.
func TestACheckpointOfThreeGoesOnAtAnySize(t *testing.T) {
	c := liftToy()
	c.steps = 9
	edit := c.edit
	c.edit = func(r *spec.Resolved) { edit(r); r.Checkpoint.Every = 4 }
	names := []string{"a", "b", "c", "d", "e"}

	quiet, p := c.troupe(t), c.troupe(t)
	quiet.act(deal(3, c.lanes), nil, names[:3]...)
	k := p.keep(names[:3]...)
	for i, err := range p.act(deal(3, c.lanes), nil, names[:3]...) {
		if err != nil {
			t.Fatalf("%s: %v", names[i], err)
		}
	}
	want := quiet.digest("a")
	if n := k.dials.Load(); n != 0 {
		t.Errorf("saving made %d connections", n)
	}
	sent := func(q *troupe) (sum int64) { // signs of life of busy members come and go, a State would be seen
		for _, n := range q.sent {
			sum += n
		}
		return sum
	}
	if m, _ := k.checkpoint(t, 8); sent(quiet) == 0 || sent(p) > sent(quiet)+m.Size {
		t.Errorf("the members sent %d bytes, without checkpoints %d; a State has %d", sent(p), sent(quiet), m.Size)
	}
	for _, step := range []uint64{4, 8} {
		m, src := k.checkpoint(t, step, "a", "c")
		for _, members := range []int{1, 2, 5} {
			again := c.troupe(t)
			for _, name := range names[:members] {
				s, err := checkpoints.Load(t.Context(), m, src)
				if err != nil {
					t.Fatal(err)
				}
				again.heard[name] = &heard{}
				if again.members[name], err = NewTrainer(c.job(t, 1), s, again.heard[name], slog.New(slog.DiscardHandler)); err != nil {
					t.Fatal(err)
				}
			}
			for i, err := range again.act(deal(members, c.lanes), nil, names[:members]...) {
				if got := again.digest(names[i]); err != nil || got != want {
					t.Errorf("%d members from step %d: %s ends with %s (%v), want %s", members, step, names[i], got, err, want)
				}
			}
		}
	}
}

// Every hour a member reads what it keeps, and mends a rotten and a lost piece with the others.
func TestPiecesAreMendedByTheHour(t *testing.T) {
	home := t.TempDir()
	play(home, checkpoints.Disk{})
	dir := piecesDir(home, "r", "ada")
	pieces, err := filepath.Glob(filepath.Join(dir, "000000000002-*.piece"))
	if err != nil || len(pieces) != 3 {
		t.Fatalf("there are %v, %v", pieces, err)
	}
	spoil := map[string]func(path string, was []byte) error{
		"rotten": func(path string, was []byte) error {
			bad := append([]byte(nil), was...)
			bad[len(bad)/2] ^= 1
			return os.WriteFile(path, bad, 0o644)
		},
		"lost": func(path string, _ []byte) error { return os.Remove(path) },
	}
	for name, harm := range spoil {
		for _, path := range pieces {
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				m := NewMember(Config{Home: home, Node: view.NodeID{Name: "ada"}, Log: slog.New(slog.DiscardHandler)})
				cfg := checkpoints.Default()
				cfg.Data = 2
				w := &work{member: m, log: m.cfg.Log, saver: newSaver(&m.cfg, "r", [32]byte{1}, cfg, m.cfg.Log, func() {})}
				ctx, cancel := context.WithCancel(t.Context())
				var tending sync.WaitGroup
				tending.Go(func() { w.tend(ctx) })
				if err := harm(path, was); err != nil {
					t.Fatal(err)
				}
				time.Sleep(scrubEvery - time.Second)
				if now, err := os.ReadFile(path); err == nil && string(now) == string(was) {
					t.Errorf("a %s piece is whole before the hour is over", name)
				}
				time.Sleep(time.Minute)
				if now, err := os.ReadFile(path); err != nil || string(now) != string(was) {
					t.Errorf("a %s piece is not as it was after the hour: %v", name, err)
				}
				cancel()
				tending.Wait()
			})
		}
	}
}

// A directory with the checkpoints of another run of this name is left alone, and it is said what is different in that run.
func TestTwoRunsOfOneNameAreToldApart(t *testing.T) {
	home, others := t.TempDir(), &vault{}
	saverOf := func(rank int) *saver {
		r := &spec.Resolved{Spec: spec.Default("lift"), Samples: 9, Files: []spec.File{{Role: "model/config.json"}}}
		r.Model, r.Data.Train, r.Steps, r.Method.Rank = "base", []string{"train.jsonl"}, 5, rank
		text, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		c := &Config{Home: home, Disk: checkpoints.Disk{}, Node: view.NodeID{Name: "ada"}}
		s := newSaver(c, "r", r.Hash(), r.Checkpoint, slog.New(slog.DiscardHandler), func() {})
		s.text = text
		return s
	}
	one, two := saverOf(8), saverOf(16)
	for range 2 {
		if _, err := others.at(one); err != nil {
			t.Fatal(err)
		}
		others = &vault{} // as after a restart
	}
	_, err := others.at(two)
	want := fmt.Sprintf("it has the spec %x, this run %x; method.rank is 16, there 8", one.spec[:6], two.spec[:6])
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, want that %s", err, want)
	}
	if text, err := checkpoints.ReadSpec(checkpoints.Disk{}, one.dir); err != nil || string(text) != string(one.text) {
		t.Errorf("the other run's spec is %q, %v", text, err)
	}
}
