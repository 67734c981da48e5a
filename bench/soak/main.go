// Command soak disturbs a cluster of processes on this machine for some minutes, and shows that nothing of it can be seen
// in the result.
//
// It starts a coordinator and nodes, launches the demo's spec with more steps than will be made, and every few seconds
// kills a node (kill -9), freezes one for a while (SIGSTOP), lets one leave (SIGTERM) or starts one, at random by -seed.
// At the end it stops the run, repeats it with one undisturbed node up to the same step, and compares the hash of State
// every 10 steps. It prints how many faults there were and how long after each the next step was committed.
//
//	go run ./bench/soak -minutes 10 -method lift
//
// With -every 0 nothing is done to any node; with -busy N so many goroutines take the processors from them meanwhile. Either
// way a member that the coordinator calls lost and to which nothing was done is a false positive, and the soak fails.
//
// It needs bin/coordinator and bin/node (make build).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	minutes := flag.Float64("minutes", 10, "how long to disturb")
	method := flag.String("method", "lift", "lift, or another that examples/methods has a spec of")
	nodes := flag.Int("nodes", 4, "nodes at most")
	every := flag.Duration("every", 3*time.Second, "mean time between faults; 0: none")
	busy := flag.Int("busy", 0, "goroutines that do nothing but take processor time")
	seed := flag.Uint64("seed", 1, "of the faults")
	out := flag.String("out", "build/soak", "directory for logs")
	flag.Parse()
	if *nodes < 2 || *every != 0 && *every < 100*time.Millisecond || *minutes <= 0 || *busy < 0 {
		return errors.New("use at least 2 nodes, 100ms between faults or 0, and a positive number of minutes")
	}
	fmt.Printf("soak: %s, %v minutes, %d nodes, a fault every %v, seed %d, %d busy goroutines\n", *method, *minutes, *nodes, *every, *seed, *busy)
	if _, err := os.Stat(demo(*method)); err != nil {
		return fmt.Errorf("-method %s: %w", *method, err)
	}
	dir, err := filepath.Abs(*out)
	if err != nil {
		return err
	}
	idle := keepBusy(*busy)
	disturbed, err := disturb(ctx, filepath.Join(dir, "disturbed"), *method, *nodes, *every, *seed, time.Duration(*minutes*float64(time.Minute)))
	idle()
	if err != nil {
		return err
	}
	last := disturbed.last()
	fmt.Printf("undisturbed: one node makes the same %d steps\n", last)
	quiet, err := undisturbed(ctx, filepath.Join(dir, "undisturbed"), *method, last)
	if err != nil {
		return err
	}
	return report(disturbed, quiet)
}

// steps is the number of steps that the spec names: more than a soak makes.
const steps = 100_000

// demo is the demo's spec for a method.
func demo(method string) string {
	if method == "lift" {
		return "examples/arithmetic.yaml"
	}
	return filepath.Join("examples/methods", method+".yaml")
}

// disturb runs the cluster that is disturbed.
func disturb(ctx context.Context, dir, method string, nodes int, every time.Duration, seed uint64, span time.Duration) (*history, error) {
	c, err := newCluster(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer c.end()
	for range nodes {
		if err := c.join(); err != nil {
			return nil, err
		}
	}
	h, err := c.launch(ctx, demo(method))
	if err != nil {
		return nil, err
	}
	if err := h.await(ctx, 3); err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for end := time.Now().Add(span); time.Now().Before(end); {
		if every == 0 {
			if err := h.pause(ctx, time.Second); err != nil {
				c.dump()
				return nil, fmt.Errorf("%w: see what the nodes did in %s", err, dir)
			}
			continue
		}
		pause := time.Duration((0.5 + r.Float64()) * float64(every))
		if err := h.pause(ctx, pause); err != nil {
			c.dump()
			return nil, fmt.Errorf("%w: see what the nodes did in %s", err, dir)
		}
		kind, err := c.fault(ctx, h.run, r, nodes)
		if err != nil {
			return nil, err
		}
		if kind != "" {
			h.fault(kind)
		}
	}
	c.thaw()
	settled := h.last() + 5
	if err := h.await(ctx, settled); err != nil {
		c.dump()
		return nil, fmt.Errorf("%w: see what the nodes did in %s", err, dir)
	}
	if err := c.stop(ctx, h); err != nil {
		return nil, err
	}
	if wronged := h.wronged(c.hurt); len(wronged) > 0 {
		return nil, fmt.Errorf("%v seemed lost though nothing was done to them: see %s", wronged, dir)
	}
	fmt.Printf("%d members were lost, none of them by mistake\n", len(h.accused))
	return h, nil
}

// keepBusy takes the processors with n goroutines until the function it returns is called.
func keepBusy(n int) (end func()) {
	var over atomic.Bool
	for range n {
		go func() {
			for !over.Load() {
			}
		}()
	}
	return func() { over.Store(true) }
}

// undisturbed makes the same steps with one node.
func undisturbed(ctx context.Context, dir, method string, last uint64) (*history, error) {
	c, err := newCluster(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if err := c.join(); err != nil {
		return nil, err
	}
	h, err := c.launch(ctx, demo(method))
	if err != nil {
		return nil, err
	}
	if err := h.await(ctx, last); err != nil {
		return nil, err
	}
	return h, c.stop(ctx, h)
}

// report compares the two runs and prints what the disturbed one went through.
func report(a, b *history) error {
	compared, differ := 0, uint64(0)
	for step, state := range a.states {
		other, ok := b.states[step]
		if !ok {
			continue
		}
		compared++
		if state != other && (differ == 0 || step < differ) {
			differ = step
		}
	}
	fmt.Printf("\n%-10s %6s %14s %14s %14s\n", "fault", "count", "median", "p99", "longest")
	for _, kind := range kinds {
		times := a.recoveries[kind]
		if len(times) == 0 {
			continue
		}
		slices.Sort(times)
		at := func(q float64) time.Duration {
			return times[min(len(times)-1, int(q*float64(len(times))))].Round(time.Millisecond)
		}
		fmt.Printf("%-10s %6d %14v %14v %14v\n", kind, len(times), at(0.5), at(0.99), at(1))
	}
	fmt.Printf("steps made %d, %d told twice or out of order, median step %v; State compared at %d steps\n",
		a.last(), a.lost, a.median().Round(time.Millisecond), compared)
	switch {
	case differ != 0:
		return fmt.Errorf("State differs from the undisturbed run's at step %d", differ)
	case compared == 0:
		return errors.New("no step was compared: let it run for longer")
	case a.lost != 0:
		return fmt.Errorf("%d committed steps were lost", a.lost)
	}
	fmt.Println("every one of them equals the undisturbed run's")
	return nil
}

// stop ends a run at its next step.
func (c *cluster) stop(ctx context.Context, h *history) error {
	if _, err := c.client.Stop(ctx, &pb.StopRequest{Run: h.run}); err != nil {
		return err
	}
	return h.over(ctx)
}
