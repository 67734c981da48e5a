package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// kinds of faults, in the order of the report.
var kinds = []string{"kill", "freeze", "leave", "join"}

// history is what was heard of a run.
type history struct {
	run string

	mu         sync.Mutex // guards what follows
	step       uint64
	at         time.Time         // of the last commit
	states     map[uint64]uint64 // hash of State by step
	seconds    []float64
	pending    []string // faults since which no step was committed
	since      []time.Time
	recoveries map[string][]time.Duration
	lost       int
	accused    []string // members that a view was made without because they seemed lost
	err        error
	more       chan struct{} // closed and replaced with every event
	ended      chan struct{}
}

func newHistory(run string) *history {
	return &history{run: run, states: map[uint64]uint64{}, recoveries: map[string][]time.Duration{}, more: make(chan struct{}), ended: make(chan struct{})}
}

// follow takes events until the run ends.
func (h *history) follow(stream pb.Control_FollowClient) {
	defer close(h.ended)
	for {
		e, err := stream.Recv()
		h.mu.Lock()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				h.err = err
			}
			h.tell()
			h.mu.Unlock()
			return
		}
		for _, s := range e.Steps {
			h.add(s)
		}
		for _, l := range e.Logs {
			for _, m := range lostMember.FindAllStringSubmatch(l.Text, -1) {
				h.accused = append(h.accused, m[1])
			}
		}
		if s := e.Info.State; s == pb.RunState_RUN_FAILED {
			h.err = fmt.Errorf("the run failed: %s", e.Info.Why)
		}
		h.tell()
		h.mu.Unlock()
	}
}

// lostMember is how the coordinator names a member that a view is made without.
var lostMember = regexp.MustCompile(`lost member (\S+):`)

// wronged are the members that seemed lost though nothing had been done to them.
func (h *history) wronged(hurt map[string]bool) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.accused), func(name string) bool { return hurt[name] })
}

func (h *history) tell() {
	close(h.more)
	h.more = make(chan struct{})
}

func (h *history) add(s *pb.StepReport) {
	if s.Step <= h.step {
		h.lost++
		return
	}
	at := time.Unix(0, s.UnixNano)
	if s.State != 0 {
		h.states[s.Step] = s.State
	}
	h.step, h.at = s.Step, at
	h.seconds = append(h.seconds, s.Seconds)
	for i, since := range h.since {
		if at.After(since) {
			h.recoveries[h.pending[i]] = append(h.recoveries[h.pending[i]], at.Sub(since))
			h.pending[i] = ""
		}
	}
	h.since = slices.DeleteFunc(h.since, func(t time.Time) bool { return at.After(t) })
	h.pending = slices.DeleteFunc(h.pending, func(k string) bool { return k == "" })
}

// fault notes that a fault happened now.
func (h *history) fault(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending, h.since = append(h.pending, kind), append(h.since, time.Now())
}

func (h *history) last() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.step
}

func (h *history) median() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := slices.Sorted(slices.Values(h.seconds))
	if len(s) == 0 {
		return 0
	}
	return time.Duration(s[len(s)/2] * float64(time.Second))
}

// stall is how long a run may make no step before a soak gives up.
const stall = time.Minute

// await waits until a step is made.
func (h *history) await(ctx context.Context, step uint64) error {
	timer := time.NewTimer(stall)
	defer timer.Stop()
	for {
		h.mu.Lock()
		made, err, more := h.step, h.err, h.more
		h.mu.Unlock()
		if err != nil {
			return err
		}
		if made >= step {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.ended:
			return fmt.Errorf("the run ended at step %d", made)
		case <-timer.C:
			if h.last() == made {
				return fmt.Errorf("no step in %v after step %d", stall, made)
			}
		case <-more:
			if h.last() > made {
				timer.Reset(stall)
			}
		}
	}
}

// pause lets time pass, unless the run ends.
func (h *history) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-h.ended:
		return errors.Join(errors.New("the run ended"), h.err)
	case <-time.After(d):
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.at.IsZero() && time.Since(h.at) > stall {
		return fmt.Errorf("no step in %v after step %d", stall, h.step)
	}
	return nil
}

// over waits for the end of the run.
func (h *history) over(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-h.ended:
		return h.err
	}
}
