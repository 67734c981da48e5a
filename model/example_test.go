package model_test

import (
	"fmt"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// norms receives gradients as a method does, and only looks at their size.
type norms struct {
	w      *model.Weights
	values int
}

func (n *norms) Outer(id model.WeightID, o *model.Outer)     { n.values += n.w.Params[id].Len() }
func (n *norms) Whole(id model.WeightID, gradient []float32) { n.values += len(gradient) }

func Example() {
	config, err := model.Preset("tiny", model.BF16)
	if err != nil {
		fmt.Println(err)
		return
	}
	weights := model.NewRandom(config, model.BF16, 43)
	llama := model.New(weights, cpu.Ref())

	var batch model.Batch
	batch.Add([]int32{7, 1, 4, 2}, []bool{false, false, true, true}) // the answer is the last two tokens

	shapes := config.Params()
	llama.Train(func(id model.WeightID) model.Want {
		if shapes[id].Module == model.Down {
			return model.Dense
		}
		return model.Nothing
	})
	trained := &norms{w: weights}
	loss, counted := llama.Gradient(batch, trained)
	fmt.Printf("%d predictions, %.1f nats each, gradients of %d values\n", counted, loss/float64(counted), trained.values)
	fmt.Println(len(model.Greedy(llama.Decoder(8), []int32{7, 1}, 3, nil)), "tokens more")
	// Output:
	// 2 predictions, 6.3 nats each, gradients of 294912 values
	// 3 tokens more
}
