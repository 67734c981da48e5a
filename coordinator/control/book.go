package control

import (
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

// kind is what a command says happened.
type kind string

const (
	founded  kind = "founded"  // the cluster got its id
	started  kind = "started"  // a coordinator began to serve: the next incarnation
	launched kind = "launched" // a run was queued
	pinned   kind = "pinned"   // the arithmetic class of a run was settled
	viewed   kind = "viewed"   // a view was decided, which makes steps from Step on
	stepped  kind = "stepped"  // the view with Number made its first step, Step
	ended    kind = "ended"    // a run ended, with Step the last one committed
	halting  kind = "halting"  // somebody asked that a run stop at its next step

	committed kind = "committed" // pieces became the checkpoint of Step, with Manifest
	resumed   kind = "resumed"   // a run that had ended goes on
	reloaded  kind = "reloaded"  // members had different States before Step, and the run goes on from its newest checkpoint
	dropped   kind = "dropped"   // a person removed the checkpoint of Step
	rebuilt   kind = "rebuilt"   // what this journal lacks of a run was learnt from its members: it, or its View
)

// command is one entry of the journal. The journal's commands, applied in order, make the book.
type command struct {
	Kind kind  `json:"kind"`
	At   int64 `json:"at"` // Unix nanoseconds

	Cluster string          `json:"cluster,omitempty"`
	Run     string          `json:"run,omitempty"`
	Spec    json.RawMessage `json:"spec,omitempty"`
	Expect  int             `json:"expect,omitempty"`
	Class   string          `json:"class,omitempty"`
	View    *view.View      `json:"view,omitempty"`
	Number  uint64          `json:"number,omitempty"` // of a view
	Why     string          `json:"why,omitempty"`
	Step    uint64          `json:"step,omitempty"`
	Lost    []string        `json:"lost,omitempty"`  // members that View does without because they were lost, by name
	Died    []view.NodeID   `json:"died,omitempty"`  // those of them that may have died of a lane
	Apart   []pair          `json:"apart,omitempty"` // pairs that View is the first to seat apart
	Info    []byte          `json:"info,omitempty"`  // pb.RunInfo

	Manifest []byte     `json:"manifest,omitempty"` // of a checkpoint
	Totals   *runTotals `json:"totals,omitempty"`   // of the run at its step
}

// book is what the journal amounts to.
type book struct {
	cluster     string
	incarnation uint64
	runs        []*entry // in the order of launch
}

// entry is one run in the book.
type entry struct {
	command // with which it was launched
	spec    *spec.Resolved
	pinned  bool // the class is the coordinator's choice
	views   []command
	steps   []command   // the first ones of views
	last    command     // with which it ended
	info    *pb.RunInfo // nil until it ended
	kept    []command   // its checkpoints
	dropped []uint64    // steps of those that a person removed
	rebuilt bool        // it was learnt from its members
	halting bool        // it is to stop at its next step
	waits   bool        // it has no view since it was resumed or reloaded
	stuck   uint64      // the step of the last reload since it was resumed
	fresh   int         // the first of views since it was resumed last: what came before does not count against members
}

func newEntry(cmd command) (*entry, error) {
	r, err := spec.FromJSON(cmd.Spec)
	if err != nil {
		return nil, err
	}
	return &entry{command: cmd, spec: r}, nil
}

// apply makes cmd part of the book. It is a function of the two alone.
func (b *book) apply(cmd command) error {
	switch cmd.Kind {
	case founded:
		b.cluster = cmd.Cluster
		return nil
	case started:
		b.incarnation++
		return nil
	case launched:
		if b.find(cmd.Run) != nil {
			return fmt.Errorf("run %s is launched twice", cmd.Run)
		}
		e, err := newEntry(cmd)
		if err != nil {
			return fmt.Errorf("launch run %s: %w", cmd.Run, err)
		}
		b.runs = append(b.runs, e)
		return nil
	case rebuilt:
		return b.rebuild(cmd)
	}
	e := b.find(cmd.Run)
	if e == nil {
		return fmt.Errorf("run %q is %s, but was never launched", cmd.Run, cmd.Kind)
	}
	switch cmd.Kind {
	case pinned:
		e.spec.Class, e.pinned = cmd.Class, true
	case viewed:
		e.views, e.waits = append(e.views, cmd), false
	case stepped:
		e.steps = append(e.steps, cmd)
	case committed:
		e.kept = append(e.kept, cmd)
	case dropped:
		e.kept = slices.DeleteFunc(e.kept, func(k command) bool { return k.Step == cmd.Step })
		e.dropped = append(e.dropped, cmd.Step)
	case resumed:
		e.last, e.info, e.halting, e.fresh = command{}, nil, false, len(e.views)
		e.waits, e.stuck = true, 0
	case reloaded:
		e.waits, e.stuck = true, cmd.Step
	case halting:
		e.halting = true
	case ended:
		e.last, e.info = cmd, &pb.RunInfo{}
		if err := proto.Unmarshal(cmd.Info, e.info); err != nil {
			return fmt.Errorf("read how run %s ended: %w", cmd.Run, err)
		}
	default:
		return fmt.Errorf("command %q is of a later version: upgrade the coordinator", cmd.Kind)
	}
	return nil
}

// rebuild makes part of the book what members said of a run. Its view was made by a coordinator that this one follows.
func (b *book) rebuild(cmd command) error {
	e := b.find(cmd.Run)
	if e == nil {
		var err error
		if e, err = newEntry(cmd); err != nil {
			return fmt.Errorf("rebuild run %s: %w", cmd.Run, err)
		}
		b.runs = append(b.runs, e)
	}
	e.rebuilt = true
	if cmd.View != nil {
		e.views, e.waits = append(e.views, cmd), false
		b.incarnation = max(b.incarnation, cmd.View.Incarnation+1)
	}
	return nil
}

func (b *book) find(run string) *entry {
	i := slices.IndexFunc(b.runs, func(e *entry) bool { return e.Run == run })
	if i < 0 {
		return nil
	}
	return b.runs[i]
}
