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
	var batch model.Batch
	done := t.works()
	defer done()
	for len(t.todo) > 0 {
		l := t.todo[0]
		examples, err := t.job.Valid.Examples(1, l)
		if err != nil {
			return fmt.Errorf("validate after step %d: read samples of lane %d: %w", t.step, l, err)
		}
		var tokens, sum, answers int64
		for i := range examples {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			tokens += int64(fill(&batch, examples[i:i+1]))
			loss, counted := t.lane.model.Loss(batch, nil)
			sum += allreduce.FixedLoss(loss)
			answers += int64(counted)
		}
		t.side.Add(t.step, l)
		t.side.Tokens += tokens
		t.side.Loss += sum
		t.side.Counted += answers
		t.todo = t.todo[1:]
	}
	done()
	at := view.Position{View: t.viewHash, Step: t.step, Try: validateTry}
	if err := t.ring.Sum(ctx, at, t.fence(), nil, nil, t.side, nil); err != nil {
		return fmt.Errorf("validate after step %d: %w", t.step, err)
	}
	if err := t.side.Prove(t.step, t.lanes); err != nil {
		return fmt.Errorf("validate after step %d: %w", t.step, err)
	}
	t.measured(ValidationReport{Step: t.step, Loss: t.side.MeanLoss(), Counted: t.side.Counted})
	return nil
}

// measured ends the stage of validation.
func (t *Trainer) measured(v ValidationReport) {
	t.validated = v
	if v.Counted > 0 {
		t.observer.Validated(v)
	}
	t.settle(selecting)
}
