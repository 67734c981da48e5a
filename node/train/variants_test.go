package train

import (
	"testing"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// protocol.md I1, for what else methods can do: however many members, the digest is that of one.
func TestDigestOfVariantsDoesNotDependOnMembers(t *testing.T) {
	variant := func(name string, edit func(*methods.Config)) methods.Config {
		c := methods.Default(name)
		if c.Rank > 0 {
			c.Rank = 2
		}
		if name == "lift" {
			c.Refresh = 3
		}
		edit(&c)
		return c
	}
	for name, method := range map[string]methods.Config{
		"s2ft":                  variant("s2ft", func(c *methods.Config) { c.O, c.V, c.Up, c.Down = 0.3, 0.5, 0.1, 0.1 }),
		"s2ft by approximation": variant("s2ft", func(c *methods.Config) { c.O, c.Down, c.Select = 0.3, 0.1, "smallest-lift" }),
		"s2ft by activation":    variant("s2ft", func(c *methods.Config) { c.O, c.V, c.Up, c.Down, c.Select = 0.3, 0.5, 0.1, 0.1, "smallest-activation" }),
		"s2ft by gradient":      variant("s2ft", func(c *methods.Config) { c.O, c.V, c.Up, c.Down, c.Select = 0.3, 0.5, 0.1, 0.1, "largest-gradient" }),
		"s2ft of a budget":      variant("s2ft", func(c *methods.Config) { c.Budget = "5%" }),
		"lift in blocks":        variant("lift", func(c *methods.Config) { c.Block = "4x4" }),
		"lift of everything":    variant("lift", func(c *methods.Config) { c.Density, c.Filter = 1, 2 }),
		"lift by ages":          variant("lift", func(c *methods.Config) { c.Age = true }),
		"lift by ages, ahead":   variant("lift", func(c *methods.Config) { c.Age, c.Lead = true, 1 }),
		"lift at random":        variant("lift", func(c *methods.Config) { c.Mode = "random" }),
		"lift by magnitude":     variant("lift", func(c *methods.Config) { c.Mode, c.Block = "magnitude", "1x8" }),
		"lift by other ends":    variant("lift", func(c *methods.Config) { c.Directions = "hybrid" }),
		"sorsa by retraction":   variant("sorsa", func(c *methods.Config) { c.Penalty = "retraction" }),
		"sorsa beside the base": variant("sorsa", func(c *methods.Config) { c.Penalty, c.Residual = "smoothed", "base" }),
		"pissa, stored":         variant("pissa", func(c *methods.Config) { c.Residual = "stored" }),
	} {
		t.Run(name, func(t *testing.T) {
			c := toy{method: method, dtype: model.BF16, lanes: 5, steps: 4}
			alone := c.run(t, 1, make([]int, c.lanes))[0]
			if alone.err != nil {
				t.Fatal(alone.err)
			}
			for _, members := range []int{2, 3} {
				for rank, o := range c.run(t, members, deal(members, c.lanes)) {
					if o.err != nil || o.digest != alone.digest {
						t.Errorf("%d members: rank %d has digest %.12s (%v), alone %.12s", members, rank, o.digest, o.err, alone.digest)
					}
				}
			}
		})
	}
}
