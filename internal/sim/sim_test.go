package sim

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/internal/pb"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "the one schedule to run, 0 for as many as -schedules says")
	schedules = flag.Int("schedules", 2000, "how many schedules to run")
	first     = flag.Uint64("first", 1, "the seed of the first of them")
	trace     = flag.Bool("trace", false, "keep what is said at level debug, and print it in any case")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if w, err := theWorld(); err == nil {
		_ = os.RemoveAll(w.dir)
	}
	os.Exit(code)
}

// outcome is how a simulation ended.
type outcome struct {
	info    *pb.RunInfo
	updates map[uint64][]uint64
	wrongs  []string
	astray  bool // a bit flipped where nobody was left who could tell
	refused int  // how often a node was not let in
	views   int  // that made steps
	pauses  map[kind][]time.Duration
	log     string
	virtual time.Duration
	faults  []kind
}

// play runs one plan in a bubble. It is called outside of any.
func play(t *testing.T, w *world, p *plan, reference map[uint64][]uint64) *outcome {
	t.Helper()
	dir, err := os.MkdirTemp(w.dir, "run-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	o := &outcome{}
	log := &journalist{}
	func() {
		defer func() {
			if r := recover(); r != nil {
				o.wrongs = append(o.wrongs, fmt.Sprintf("I7: %v", r))
			}
		}()
		synctest.Test(t, func(t *testing.T) {
			c := &simulation{
				t: t, world: w, plan: p, net: newNetwork(p.latency), dir: dir, log: log,
				check: newChecker(reference), processes: map[string]*process{},
			}
			o.info = c.run()
			o.virtual = time.Since(epoch)
			c.end()
			o.faults, o.pauses, o.astray = c.happened, c.check.pauses, c.check.astray
			o.refused, o.views = c.check.denied, c.check.views
			o.updates, o.wrongs = c.check.seen, append(o.wrongs, c.check.wrongs...)
		})
	}()
	o.log = log.String()
	return o
}

// patience is how long a run may take, in time of the bubble.
const patience = 3 * time.Minute

// run plays the plan until the run is over.
func (c *simulation) run() *pb.RunInfo {
	c.coordinate()
	resolved := *c.world.specs[c.plan.spec]
	resolved.Members.Min = max(resolved.Members.Min, c.plan.min)
	spec, err := resolved.JSON()
	if err != nil {
		c.t.Fatal(err)
	}
	reply, err := c.server.Launch(c.t.Context(), &pb.LaunchRequest{Spec: spec, ExpectMembers: int32(len(c.plan.members))})
	if err != nil || len(reply.Missing) > 0 {
		c.t.Fatalf("launch: %v, %v", reply, err)
	}
	c.mu.Lock()
	c.launched = reply.Run
	c.mu.Unlock()
	for _, name := range c.plan.members {
		c.start(name)
	}
	heal := c.plan.heal
	for time.Since(epoch) < patience {
		time.Sleep(50 * time.Millisecond)
		c.mu.Lock()
		s := c.server
		c.mu.Unlock()
		if time.Since(epoch) > heal {
			heal += c.plan.heal
			c.heal()
		}
		if s == nil {
			continue
		}
		status, err := s.Status(context.Background(), &pb.StatusRequest{Run: reply.Run})
		if err != nil {
			c.check.wrong("status: %v", err)
			return nil
		}
		switch status.Run.State {
		case pb.RunState_RUN_FINISHED, pb.RunState_RUN_STOPPED, pb.RunState_RUN_FAILED:
			if audit, err := s.Audit(context.Background(), &pb.AuditRequest{Run: reply.Run}); err != nil {
				c.check.wrong("audit: %v", err)
			} else if status.Run.State == pb.RunState_RUN_FINISHED {
				c.check.audit(audit.Views, status.Run.Step, c.plan.min)
			}
			return status.Run
		}
	}
	c.check.wrong("the run has not ended after %v", patience)
	return nil
}

// undisturbed is what a run of one member comes to, by name of its spec.
type undisturbed struct {
	digest  string
	updates map[uint64][]uint64
}

var references sync.Map

// reference makes the undisturbed run of a plan with one member, once.
func reference(t *testing.T, w *world, p *plan) undisturbed {
	t.Helper()
	type lazy = func() undisturbed
	made, _ := references.LoadOrStore(p.result(), sync.OnceValue(func() undisturbed {
		o := play(t, w, &plan{spec: p.spec, members: []string{"a"}, latency: time.Millisecond, heal: patience, bad: p.data(), at: p.at}, nil)
		if len(o.wrongs) > 0 || o.info.GetState() != pb.RunState_RUN_FINISHED || len(o.info.GetDigest()) != 32 {
			t.Errorf("undisturbed run of %s ended as %v %s, %v\n%s", p.result(), o.info.GetState(), o.info.GetWhy(), o.wrongs, o.log)
		}
		return undisturbed{fmt.Sprintf("%x", o.info.GetDigest()), o.updates}
	}))
	return made.(lazy)()
}

// judge says what is wrong with how a plan ended, or nothing.
func judge(p *plan, o *outcome, alone undisturbed) []string {
	wrongs := o.wrongs
	wrong := func(format string, args ...any) { wrongs = append(wrongs, fmt.Sprintf(format, args...)) }
	if o.info == nil {
		return append(wrongs, "the run has not ended")
	}
	state, why := o.info.State, o.info.Why
	switch {
	case isTie(o): // as documented: nobody can tell who is right
	case p.bad != "" && p.poisons() && state == pb.RunState_RUN_FAILED:
		if !strings.Contains(why, "were lost in turn") {
			wrong("a poisonous lane ended the run with %q", why)
		}
	case p.bad != "" && !p.poisons() && p.spec != "skip":
		if want := fmt.Sprintf("step %d: gradients of lanes %d are not finite", p.at.step, p.at.lane); state != pb.RunState_RUN_FAILED || !strings.Contains(why, want) {
			wrong("a gradient that is not finite ended the run as %v %q, want %q", state, why, want)
		}
	case state != pb.RunState_RUN_FINISHED:
		wrong("the run ended as %v: %s", state, why)
	case fmt.Sprintf("%x", o.info.Digest) != alone.digest && !o.astray:
		wrong("I1: the digest is %x, that of the undisturbed run %s", o.info.Digest, alone.digest)
	}
	return wrongs
}

// TestSchedules plays what the seeds decide: whatever happens, the run ends with the digest of the undisturbed run, or as
// docs/protocol.md says for what cannot be survived. I1 is looked at in every update of every member, I2 whenever a step is
// made, I3 whenever a node ends, I4 and I10 in the journal's audit, I7 at the end of the bubble; a frame added at the wrong
// place (I6), a member that sums before it is level (I8) or a decision that is not pure (I11) would show in the digest.
func TestSchedules(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	from, to := *first, *first+uint64(*schedules)
	if *seedFlag > 0 {
		from, to = *seedFlag, *seedFlag+1
	}
	var sum summary
	var g errgroup.Group
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	end, bounded := t.Deadline()
	for seed := from; seed < to; seed++ {
		if bounded && time.Until(end) < time.Minute {
			t.Logf("out of time: %d of %d schedules are left out", to-seed, to-from)
			break
		}
		g.Go(func() error {
			p := draw(seed)
			alone := reference(t, w, p)
			o := play(t, w, p, alone.updates)
			wrongs := judge(p, o, alone)
			sum.add(o, wrongs)
			if len(wrongs) > 0 || *trace {
				t.Errorf("%s\nreplay: go test ./internal/sim -run TestSchedules -seed %d -trace\n%s\n%s", p, seed, strings.Join(wrongs, "\n"), o.log)
			}
			return nil
		})
	}
	_ = g.Wait()
	fmt.Print(sum.String()) // also where all is well
}

// protocol.md I1: an undisturbed run ends with the same digest on any number of members.
func TestUndisturbed(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lift", "lora"} {
		p := &plan{spec: name, members: []string{"a", "b", "c", "d"}, latency: time.Millisecond, heal: patience}
		alone := reference(t, w, p)
		o := play(t, w, p, alone.updates)
		if *trace {
			t.Log(o.log)
		}
		if got := fmt.Sprintf("%x", o.info.GetDigest()); got != alone.digest || len(o.wrongs) > 0 {
			t.Errorf("%s: four members: digest %s, alone %s; %v\n%s", name, got, alone.digest, o.wrongs, o.log)
		}
		t.Logf("%s: digest %.12s after %v of the bubble's time", name, alone.digest, o.virtual)
	}
}
