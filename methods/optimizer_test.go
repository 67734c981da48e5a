package methods

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/torctrain/torc/model/cpu"
)

// The values are those of the authors' SparseAdamW on one weight with a constant gradient.
func TestAdamWMatchesTheSourceOverThreeSteps(t *testing.T) {
	o := DefaultOptimizer("lift")
	theta, m, v, g := []float32{1}, []float32{0}, []float32{0}, []float32{0.5}
	for step, want := range []float32{0.9900000894, 0.9800001535, 0.9700002065} {
		AdamW(theta, m, v, g, o.Step(uint64(step+1), 1e-2))
		if d := math.Abs(float64(theta[0] - want)); d > 1.2e-7 {
			t.Errorf("theta after step %d is %.10f, want %.10f", step+1, theta[0], want)
		}
	}
	if d := math.Abs(float64(v[0]) - 0.03565625); d > 1e-8 {
		t.Errorf("v after 3 steps is %v, want 0.03565625", v[0])
	}
	if d := math.Abs(float64(m[0]) - 0.1355); d > 1e-7 {
		t.Errorf("m after 3 steps is %v, want 0.1355", m[0])
	}
}

// A coordinate enters the set with zero moments when the bias corrections of the run are long near 1.
func TestEnteringCoordinateMovesByThePublishedMultiplesOfTheRate(t *testing.T) {
	for _, c := range []struct {
		beta2, first, most float64
		at                 int
	}{{0.95, 0.447, 1.097, 20}, {0.999, 3.162, 6.569, 12}} {
		o := DefaultOptimizer("lift")
		o.Beta2 = c.beta2
		theta, m, v := []float32{0}, []float32{0}, []float32{0}
		var updates []float64
		for i := range 60 {
			before := theta[0]
			AdamW(theta, m, v, []float32{0.3}, o.Step(uint64(1_000_000+i), 1))
			updates = append(updates, float64(before-theta[0]))
		}
		most := slices.Max(updates)
		if math.Abs(updates[0]-c.first) > 1e-3 || math.Abs(most-c.most) > 1e-3 || slices.Index(updates, most)+1 != c.at {
			t.Errorf("beta2 %v: first update %.4f, largest %.4f at %d; want %.3f, %.3f at %d",
				c.beta2, updates[0], most, slices.Index(updates, most)+1, c.first, c.most, c.at)
		}
	}
}

func TestKernelsMakeTheVeryStepOfAdamW(t *testing.T) {
	k := cpu.Ref()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 70).Draw(t, "n")
		draw := func(name string, low, high float32) []float32 {
			return rapid.SliceOfN(rapid.Float32Range(low, high), n, n).Draw(t, name)
		}
		theta, m, v, g := draw("theta", -2, 2), draw("m", -1, 1), draw("v", 0, 1), draw("g", -3, 3)
		o := DefaultOptimizer("full")
		o.WeightDecay = 0.1
		s := o.Step(rapid.Uint64Range(1, 1<<40).Draw(t, "t"), 1e-3)
		theta2, m2, v2 := slices.Clone(theta), slices.Clone(m), slices.Clone(v)
		AdamW(theta, m, v, g, s)
		k.AdamW(theta2, m2, v2, g, s)
		if !slices.Equal(theta, theta2) || !slices.Equal(m, m2) || !slices.Equal(v, v2) {
			t.Fatalf("kernel and loop differ: %v %v", theta, theta2)
		}
	})
}

// The figures are those of transformers' get_*_schedule_with_warmup, step counted from 0 there.
func TestRateFollowsHuggingFaceSchedules(t *testing.T) {
	base := Optimizer{LR: 1, Warmup: 0.03}
	for _, c := range []struct {
		schedule    string
		warmup      float64
		step, steps uint64
		want        float64
	}{
		{"linear", 0.03, 1, 1842, 0},
		{"linear", 0.03, 2, 1842, 1. / 55},
		{"linear", 0.03, 56, 1842, 1},
		{"linear", 0.03, 57, 1842, 1786. / 1787},
		{"linear", 0.03, 1842, 1842, 1. / 1787},
		{"linear", 0.03, 1843, 1842, 0},
		{"linear", 0.03, 5000, 1842, 0},
		{"linear", 0, 1, 10, 1},
		{"linear", 0.03, 1, 20, 1}, // the fraction is rounded down: 0.6 steps are none
		{"linear", 4, 3, 10, 0.5},  // from 1 on a count
		{"linear", 20, 10, 10, 0.45},
		{"cosine", 0, 1, 8, 1},
		{"cosine", 0, 5, 8, 0.5},
		{"cosine", 0, 3, 8, (1 + math.Sqrt2/2) / 2},
		{"cosine", 4, 9, 12, 0.5},
		{"constant", 4, 3, 10, 0.5},
		{"constant", 4, 9, 10, 1},
	} {
		o := base
		o.Schedule, o.Warmup = c.schedule, c.warmup
		if got := o.Rate(c.step, c.steps); math.Abs(got-c.want) > 1e-15 {
			t.Errorf("%s, warm-up %v: rate of step %d of %d is %v, want %v", c.schedule, c.warmup, c.step, c.steps, got, c.want)
		}
	}
}

func TestPowerIsExactEnough(t *testing.T) {
	for _, x := range []float64{0, 0.5, 0.9, 0.95, 0.999, 0.99999} {
		for _, n := range []uint64{1, 2, 3, 10, 400, 1842, 100_000} {
			if got, want := power(x, n), math.Pow(x, float64(n)); math.Abs(got-want) > 1e-11*want {
				t.Errorf("%v^%d is %v, want %v", x, n, got, want)
			}
		}
	}
}

func TestOptimizerNamesTheFieldItRefuses(t *testing.T) {
	for _, method := range []string{"lift", "s2ft", "full"} {
		if err := DefaultOptimizer(method).Validate(); err != nil {
			t.Errorf("default of %s: %v", method, err)
		}
	}
	for field, set := range map[string]func(*Optimizer){
		"lr is 0": func(o *Optimizer) { o.LR = 0 },
		"lr is 1e+30: use a rate above 0 and below 1e+30": func(o *Optimizer) { o.LR = 1e30 },
		"lr is NaN":         func(o *Optimizer) { o.LR = math.NaN() },
		"schedule is \"x\"": func(o *Optimizer) { o.Schedule = "x" },
		"warmup is -1":      func(o *Optimizer) { o.Warmup = -1 },
		"beta1 is 1":        func(o *Optimizer) { o.Beta1 = 1 },
		"beta2 is -0.1":     func(o *Optimizer) { o.Beta2 = -0.1 },
		"eps is 0":          func(o *Optimizer) { o.Eps = 0 },
		"clip is -1":        func(o *Optimizer) { o.Clip = -1 },
		"weight_decay is":   func(o *Optimizer) { o.WeightDecay = math.Inf(1) },
	} {
		o := DefaultOptimizer("lift")
		set(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "optimizer."+field) {
			t.Errorf("error is %v, want one with optimizer.%s", err, field)
		}
	}
}

func TestNormDoesNotDependOnHowTheVectorIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := make([]float32, rapid.IntRange(0, 3*normBlock+7).Draw(t, "len"))
		for i := range g {
			g[i] = float32((i*2654435761)%1000-500) / 300
		}
		var whole, parts Norm
		whole.Add(g)
		for rest := g; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			parts.Add(rest[:n])
			rest = rest[n:]
		}
		if whole.Value() != parts.Value() {
			t.Fatalf("norm of %d elements is %v whole and %v in parts", len(g), whole.Value(), parts.Value())
		}
		exact := 0.0
		for _, x := range g {
			exact += float64(x) * float64(x)
		}
		if d := math.Abs(whole.Value() - math.Sqrt(exact)); d > 1e-12*(1+math.Sqrt(exact)) {
			t.Fatalf("norm is %v, want %v", whole.Value(), math.Sqrt(exact))
		}
	})
}

func TestClipFactorShortensLongGradientsOnly(t *testing.T) {
	for _, c := range []struct{ norm, limit, want float64 }{
		{5, 0, 1}, {5, 5, 1}, {4, 5, 1}, {0, 1, 1}, {5, 1, 0.2}, {math.NaN(), 1, 1},
	} {
		if got := float64(ClipFactor(c.norm, c.limit)); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("norm %v, limit %v: factor %v, want %v", c.norm, c.limit, got, c.want)
		}
	}
}

func TestRateZeroMovesNothingButTheMoments(t *testing.T) {
	o := DefaultOptimizer("lift")
	theta, m, v := []float32{1}, []float32{0}, []float32{0}
	AdamW(theta, m, v, []float32{2}, o.Step(1, o.Rate(1, 100)))
	if theta[0] != 1 || m[0] == 0 || v[0] == 0 {
		t.Errorf("after a step of rate 0: theta %v, m %v, v %v", theta, m, v)
	}
}
