package train

import (
	"context"
	"fmt"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/model"
)

// validateTry marks the position of the validation after a step.
const validateTry = 1<<31 + 1

// validate measures the mean loss over the validation data: forward-only, cut by lane and summed exactly like a step, so
// that every member has the same bits and may decide by them.
func (t *Trainer) validate(ctx context.Context) error {
	side := allreduce.NewSide(0, t.lanes)
	var batch model.Batch
	for _, l := range t.view.Lanes(t.rank) {
		side.Add(t.step, l)
		examples, err := t.job.Valid.Examples(1, l)
		if err != nil {
			return fmt.Errorf("read validation samples of lane %d: %w", l, err)
		}
		for i := range examples {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			side.Tokens += int64(fill(&batch, examples[i:i+1]))
			loss, counted := t.lane.model.Loss(batch, nil)
			side.Loss += allreduce.FixedLoss(loss)
			side.Counted += int64(counted)
		}
	}
	at := view.Position{View: t.viewHash, Step: t.step, Try: validateTry}
	if err := t.ring.Sum(ctx, at, t.fence(), nil, nil, side, nil); err != nil {
		return err
	}
	if side.Counted > 0 {
		t.observer.Validated(t.step, meanLoss(side), side.Counted)
	}
	return nil
}
