package train

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
)

// Positions of what members say to each other when a ring starts; no step has them.
const (
	helloTry = 1<<31 + 2
	levelTry = 1<<31 + 3
)

// StrayError says that members cannot go on with the others as they are: they lack steps that nobody has any more, or their
// State is not that of the majority.
type StrayError struct {
	Behind, Diverged []int // ranks
}

func (e *StrayError) Error() string {
	return fmt.Sprintf("ranks %v are behind all that is kept, ranks %v have another State than the majority", e.Behind, e.Diverged)
}

// has says whether rank strayed.
func (e *StrayError) has(rank int) bool {
	return slices.Contains(e.Behind, rank) || slices.Contains(e.Diverged, rank)
}

// greet brings the members of a new ring level: they tell each other how far they have come, who is behind learns how the
// missing steps ended, and all know which lanes are still to be computed, and by whom.
func (t *Trainer) greet(ctx context.Context) error {
	me := hello{place: t.place(), State: t.State().Fence(), Oldest: t.keep.oldest(), NonFinite: t.nonFinite, Copied: t.copied, Lanes: t.side.Lanes}
	parts, err := t.ring.Gather(ctx, view.Position{View: t.viewHash, Try: helloTry}, allreduce.Fence{}, me.encode())
	if err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	hellos := make([]hello, len(parts))
	for rank, b := range parts {
		if hellos[rank], err = decodeHello(b, t.lanes); err != nil {
			return fmt.Errorf("greet rank %d: %w", rank, err)
		}
	}
	a, err := agree(hellos, t.view.Owner)
	switch {
	case err != nil:
		return err
	case len(a.behind)+len(a.diverged) > 0:
		return &StrayError{Behind: a.behind, Diverged: a.diverged}
	}
	if a.alike {
		t.copied = false
	}
	if a.giver >= 0 {
		if err := t.level(ctx, a, hellos[a.giver].NonFinite); err != nil {
			return fmt.Errorf("come level with rank %d: %w", a.giver, err)
		}
	}
	if !a.keeps[t.rank] {
		t.forget()
	}
	t.todo = a.lanes(t.rank)
	return nil
}

// level lets the giver tell how the steps ended that others missed, and what is known of the step being made.
func (t *Trainer) level(ctx context.Context, a *agreement, nonFinite bool) error {
	var own []byte
	if t.rank == a.giver {
		c, err := t.catchUp(a.from)
		if err != nil {
			return err
		}
		if own, err = proto.Marshal(c); err != nil {
			return err
		}
	}
	told, err := t.share(ctx, a.giver, own, levelParts(a.front.Step+1-a.from, len(t.theta)))
	if err != nil || t.place() == a.front {
		return err
	}
	c := &pb.CatchUp{}
	if err := proto.Unmarshal(told, c); err != nil {
		return err
	}
	return t.learn(c, a.front, nonFinite)
}

// gatherBytes is just below what a member may contribute to one gather.
const gatherBytes = 1<<30 - 1<<24

// levelParts is in how many gathers so many records of runs with so many values are told: as many as all members conclude from
// the greeting. A record has four bytes for each value, and the sets, once among few records, less than two.
func levelParts(records uint64, values int) int {
	return 1 + int((4*records+2)*uint64(values)/gatherBytes)
}

// share gives what the giver has to all, in so many gathers.
func (t *Trainer) share(ctx context.Context, giver int, own []byte, parts int) ([]byte, error) {
	var told []byte
	for i := range parts {
		part := own[i*len(own)/parts : (i+1)*len(own)/parts]
		blobs, err := t.ring.Gather(ctx, view.Position{View: t.viewHash, Step: uint64(i), Try: levelTry}, allreduce.Fence{}, part)
		if err != nil {
			return nil, err
		}
		if parts == 1 {
			return blobs[giver], nil
		}
		told = append(told, blobs[giver]...)
	}
	return told, nil
}

// catchUp is what others need who have made the steps before from.
func (t *Trainer) catchUp(from uint64) (*pb.CatchUp, error) {
	c := &pb.CatchUp{Scales: encodeScales(t.scales), Totals: totalsToPB(t.totals), Validation: validationToPB(t.validated)}
	for s := from; s <= t.step; s++ {
		r, _, err := t.keep.record(s, t.began)
		if err != nil {
			return nil, err
		}
		c.Records = append(c.Records, r.toPB())
		t.keep.done(r)
	}
	if t.stage == computing && t.selectionDue() {
		c.Sets = encodeSets(t.selector.Sets())
	}
	return c, nil
}

// learn goes from this member's place to front by what c says.
func (t *Trainer) learn(c *pb.CatchUp, front place, nonFinite bool) error {
	for _, p := range c.Records {
		if p.Step <= t.step {
			continue
		}
		r, err := t.record(p)
		if err != nil {
			return err
		}
		if err := t.apply(r); err != nil {
			return err
		}
	}
	if t.step != front.Step {
		return fmt.Errorf("the records end with step %d, the others have made step %d", t.step, front.Step)
	}
	t.totals = totalsFromPB(c.Totals)
	if t.stage == validating && front.Stage > validating {
		t.measured(validationFromPB(c.Validation))
	}
	if t.stage == selecting && front.Stage > selecting {
		sets, err := t.decodeSets(c.Sets)
		if err != nil {
			return err
		}
		if err := t.adopt(sets); err != nil {
			return err
		}
		t.settle(computing)
	}
	scales, err := decodeScales(c.Scales, len(t.scales))
	if err != nil {
		return err
	}
	t.scales, t.try, t.nonFinite = scales, front.Try, nonFinite
	t.forget()
	return nil
}

// record reads a record as it came from another member.
func (t *Trainer) record(p *pb.Record) (*record, error) {
	r := &record{step: p.Step, side: p.Side, skipped: p.Skipped, tries: p.Tries, view: p.View, seconds: p.Seconds}
	var err error
	if r.scales, err = decodeScales(p.Scales, len(t.scales)); err != nil {
		return nil, fmt.Errorf("record of step %d: %w", p.Step, err)
	}
	if len(p.Sum) != 4*len(t.own) {
		return nil, fmt.Errorf("record of step %d: sum of %d bytes for %d values", p.Step, len(p.Sum), len(t.own))
	}
	if len(p.Sets) > 0 {
		if r.sets, err = t.decodeSets(p.Sets); err != nil {
			return nil, fmt.Errorf("record of step %d: %w", p.Step, err)
		}
	}
	r.sum = decodeInts(p.Sum)
	return r, nil
}

// decodeSets reads all sets in the order of the method.
func (t *Trainer) decodeSets(encoded [][]byte) ([][]uint32, error) {
	if t.selector == nil {
		return nil, fmt.Errorf("%d sets came for a method that has none", len(encoded))
	}
	selected := t.selector.Selected()
	if len(encoded) != len(selected) {
		return nil, fmt.Errorf("%d sets came, the method has %d", len(encoded), len(selected))
	}
	sets := make([][]uint32, len(selected))
	for i, s := range selected {
		w := &t.job.Weights.Params[s.Weight]
		set, rest, err := methods.DecodeSet(encoded[i], s.Count, uint64(w.Len()))
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%d bytes follow it", len(rest))
		}
		if err != nil {
			return nil, fmt.Errorf("set of %s: %w", w.Name, err)
		}
		sets[i] = set
	}
	return sets, nil
}
