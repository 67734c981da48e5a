package methods

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/torctrain/torc/model"
)

func smollm(t testing.TB) []model.ParamShape {
	t.Helper()
	c, err := model.Preset("smollm-135m", model.BF16)
	if err != nil {
		t.Fatal(err)
	}
	return c.Params()
}

func trainedOf(t testing.TB, c Config, params []model.ParamShape) int {
	t.Helper()
	counts, err := Trained(c, params)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range counts {
		sum += n.Trained
	}
	return sum
}

// One budget means equal numbers for all methods, as near as their units go.
func TestOneBudgetTrainsAsMuchByEveryMethod(t *testing.T) {
	params := smollm(t)
	for budget, want := range map[string]float64{"5%": 0.05 * 106_168_320, "2.5 %": 0.025 * 106_168_320, "4884480": 4_884_480, "1221120": 1_221_120} {
		for _, name := range []string{"lift", "s2ft", "sorsa", "pissa", "lora"} {
			c := Default(name)
			c.Budget = budget
			got := float64(trainedOf(t, c, params))
			near := 0.5 * 305_280 / want // half a rank
			if name == "lift" || name == "s2ft" {
				near = 2e-4
			}
			if math.Abs(got/want-1) > near {
				t.Errorf("%s with a budget of %s trains %.0f, want about %.0f", name, budget, got, want)
			}
			if _, err := c.Spend(params); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestBudgetOfARankIsThatRank(t *testing.T) {
	params := smollm(t)
	for _, name := range []string{"lift", "pissa", "lora"} {
		c := Default(name)
		c.Budget = "1221120" // LoRA, rank 4
		spent, err := c.Spend(params)
		if err != nil || spent.Rank != 4 || spent.Density != 0 || spent.Filter != 0 || spent.Budget != "" {
			t.Errorf("%s: %+v (%v), want rank 4", name, spent, err)
		}
	}
	c := Default("lift")
	c.Modules, c.Budget = "mlp", "5%"
	if got := trainedOf(t, c, params); math.Abs(float64(got)/(0.05*106_168_320)-1) > 1e-4 {
		t.Errorf("modules mlp: %d values", got)
	}
	spent, err := c.Spend(params)
	if err != nil || spent.Filter != 28 || math.Abs(spent.Density-0.0667) > 1e-4 {
		t.Errorf("modules mlp: %+v (%v), want a filter of 28 and a density of 0.0667", spent, err)
	}
}

// The shares that a budget becomes are the counts again, whatever the rounding.
func TestBudgetOfChannelsIsExact(t *testing.T) {
	params := smollm(t)
	for heads := 1; heads <= 270; heads += 7 {
		c := Config{Name: "s2ft", O: 0.1, Select: "random"}
		c.Budget = strconv.Itoa(heads * 64 * 576)
		if got := trainedOf(t, c, params); got != heads*64*576 {
			t.Errorf("a budget of %d heads trains %d values, want %d", heads, got, heads*64*576)
		}
	}
}

func TestBudgetsThatCannotBeSpentAreRefused(t *testing.T) {
	params := smollm(t)
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Name: "lora", Budget: "0.1%"}, "106168 values of 106168320: the least that lora can train is rank 1, 305280 values"},
		{Config{Name: "pissa", Rank: 1, Budget: "90%"}, "the most that pissa can train is rank 192, 58613760 values"},
		{Config{Name: "lift", Modules: "mlp", Budget: "90%", Rank: 1}, "lift trains at most 79626240"},
		{Config{Name: "lift", Modules: "linear", Budget: "104", Rank: 1}, "the least that lift can train is one entry or block of each weight, 210 values"},
		{Config{Name: "lift", Modules: "mlp", Budget: "719", Rank: 1, Block: "4x4"}, "one entry or block of each weight, 1440 values"},
		{Config{Name: "lift", Modules: "linear", Budget: "5%", Density: 0.1}, `method.budget is "5%" and method.density is 0.1: give one of them`},
		{Config{Name: "s2ft", O: 0.1, Select: "random", Budget: "1000"}, "method.o takes at least 36864 values for each head or channel"},
		{Config{Name: "s2ft", O: 0.1, Select: "random", Budget: "50%"}, "method.o has 9953280 values at the most"},
		{Config{Name: "lora", Rank: 1, Budget: "much"}, `method.budget is "much": use a share such as 5%, or a number of values`},
		{Config{Name: "lora", Rank: 1, Budget: "101%"}, "use more than 0% and up to 100%"},
		{Config{Name: "lora", Rank: 1, Budget: "NaN%"}, "use more than 0% and up to 100%"},
		{Config{Name: "lora", Rank: 1, Budget: "-3"}, "or a number of values"},
		{Config{Name: "full", Modules: "all", Budget: "5%"}, "method.budget is set, but full has no such field"},
	} {
		if c.config.Rank == 0 && c.config.Name == "lora" {
			c.config.Rank = 1
		}
		if _, err := Trained(c.config, params); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error is %v, want %q", c.config, err, c.want)
		}
	}
}
