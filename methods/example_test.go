package methods_test

import (
	"fmt"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// One step of LIFT on a model of one weight, without the model: whoever trains supplies the gradient.
func Example() {
	base := model.MatrixOver32([]float32{-4, 0, 2, 5, 6, 2, 8, 0, 4, 3, -1, 2, -3, 1, 0, 2, 0, 3, 2, 7}, 5, 4)
	w := &model.Weights{Params: []model.Param{{Name: "down", Module: model.Down, Matrix: base}}}
	c := methods.Config{Name: "lift", Modules: "mlp", Rank: 1, Filter: 2}
	m, err := methods.New(c, w, 43)
	if err != nil {
		fmt.Println(err)
		return
	}
	theta, mean, square := m.Start(w), make([]float32, m.Len()), make([]float32, m.Len())

	lift := m.(methods.Refresher)
	if lift.Due(1) {
		set, err := lift.Select(cpu.Ref(), 0, base)
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := lift.Adopt([][]uint32{set}, w, theta, mean, square); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("trained:", set)
	}

	o := methods.DefaultOptimizer("lift")
	o.LR, o.Warmup = 0.5, 0
	dtheta := []float32{1, 1, 1, 1, 1, 1, 1, 1, -1} // from Pull, summed over lanes and divided by the tokens
	cpu.Ref().AdamW(theta, mean, square, dtheta, o.Step(1, o.Rate(1, 10)))
	m.Push(theta, w)
	fmt.Println("before: [0 3 2 7], after:", base.F32[16:])
	// Output:
	// trained: [0 3 4 5 6 15 17 18 19]
	// before: [0 3 2 7], after: [0 2.5000021 1.5000021 7.4999976]
}
