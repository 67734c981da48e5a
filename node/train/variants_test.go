package train

import (
	"errors"
	"testing"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// variants are what methods can do besides their defaults.
func variants() map[string]methods.Config {
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
	return map[string]methods.Config{
		"s2ft":                  variant("s2ft", func(c *methods.Config) { c.O, c.V, c.Up, c.Down = 0.3, 0.5, 0.1, 0.1 }),
		"s2ft by approximation": variant("s2ft", func(c *methods.Config) { c.O, c.Down, c.Select = 0.3, 0.1, "smallest-lift" }),
		"s2ft by activation":    variant("s2ft", func(c *methods.Config) { c.O, c.V, c.Up, c.Down, c.Select = 0.3, 0.5, 0.1, 0.1, "smallest-activation" }),
		"s2ft by gradient":      variant("s2ft", func(c *methods.Config) { c.O, c.V, c.Up, c.Down, c.Select = 0.3, 0.5, 0.1, 0.1, "largest-gradient" }),
		"s2ft by weight":        variant("s2ft", func(c *methods.Config) { c.O, c.Down, c.Select = 0.3, 0.1, "largest-weight" }),
		"s2ft of a budget":      variant("s2ft", func(c *methods.Config) { c.Budget = "5%" }),
		"lift in blocks":        variant("lift", func(c *methods.Config) { c.Block = "4x4" }),
		"lift of everything":    variant("lift", func(c *methods.Config) { c.Density, c.Filter = 1, 2 }),
		"lift by ages":          variant("lift", func(c *methods.Config) { c.Age = true }),
		"lift by ages, ahead":   variant("lift", func(c *methods.Config) { c.Age, c.Lead = true, 1 }),
		"lift at random":        variant("lift", func(c *methods.Config) { c.Mode = "random" }),
		"lift by magnitude":     variant("lift", func(c *methods.Config) { c.Mode, c.Block = "magnitude", "1x8" }),
		"lift by other ends":    variant("lift", func(c *methods.Config) { c.Directions = "hybrid" }),
		"lift by chance's ends": variant("lift", func(c *methods.Config) { c.Directions = "random" }),
		"lift of the mlp":       variant("lift", func(c *methods.Config) { c.Modules, c.Budget, c.Rank = "mlp", "7%", 0 }),
		"sorsa, smoothed":       variant("sorsa", func(c *methods.Config) { c.Penalty, c.Alpha = "smoothed", 3 }),
		"sorsa, squared":        variant("sorsa", func(c *methods.Config) { c.Penalty, c.Lambda, c.Residual = "squared", "paper", "stored" }),
		"sorsa by retraction":   variant("sorsa", func(c *methods.Config) { c.Penalty = "retraction" }),
		"sorsa beside the base": variant("sorsa", func(c *methods.Config) { c.Penalty, c.Residual = "smoothed", "base" }),
		"pissa, stored":         variant("pissa", func(c *methods.Config) { c.Residual = "stored" }),
		"pissa beside the base": variant("pissa", func(c *methods.Config) { c.Residual = "base" }),
		"lora, rsLoRA":          variant("lora", func(c *methods.Config) { c.RSLoRA, c.Alpha = true, 6 }),
		"lora, all of it":       variant("lora", func(c *methods.Config) { c.RSLoRA, c.Dropout = true, 0.3 }),
	}
}

// protocol.md I1, for what else methods can do: however many members, the digest is that of one.
func TestDigestOfVariantsDoesNotDependOnMembers(t *testing.T) {
	for name, method := range variants() {
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

// methods.md §6: State written in the middle of a run and read again, by a member that begins with the base, goes on to the same end.
func TestStateOfEveryMethodGoesOn(t *testing.T) {
	all := variants()
	for _, name := range []string{"full", "lift", "s2ft", "sorsa", "pissa", "lora"} {
		c := methods.Default(name)
		if c.Rank > 0 {
			c.Rank = 2
		}
		if name == "s2ft" {
			c.O = 0.3
		}
		all[name] = c
	}
	for name, method := range all {
		t.Run(name, func(t *testing.T) {
			c := toy{method: method, dtype: model.BF16, lanes: 3, steps: 4}
			alone := c.run(t, 1, make([]int, c.lanes))[0]
			if alone.err != nil {
				t.Fatal(alone.err)
			}
			p := c.troupe(t)
			for range 2 { // at the end of a step each
				p.member("a").Yield()
				if err := p.act(make([]int, c.lanes), nil, "a")[0]; !errors.Is(err, ErrYield) {
					t.Fatal(err)
				}
			}
			p.joins("b", "a")
			if at := p.member("b").step; at != 2 {
				t.Fatalf("the State is that after step %d, want 2", at)
			}
			err := p.act(make([]int, c.lanes), nil, "b")[0]
			if got := p.digest("b"); err != nil || got != alone.digest[:12] {
				t.Errorf("goes on to %s (%v), undisturbed %.12s", got, err, alone.digest)
			}
		})
	}
}

// Every family of models, trained by every method in one process over links of memory.
func TestDigestOfEveryFamilyDoesNotDependOnMembers(t *testing.T) {
	for family, fields := range map[string]string{
		"llama 3": `"model_type":"llama","architectures":["LlamaForCausalLM"],"tie_word_embeddings":false,
			"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":32}`,
		"mistral": `"model_type":"mistral","architectures":["MistralForCausalLM"],"tie_word_embeddings":false,"sliding_window":4`,
		"qwen 2":  `"model_type":"qwen2","architectures":["Qwen2ForCausalLM"],"tie_word_embeddings":true`,
		"qwen 3":  `"model_type":"qwen3","architectures":["Qwen3ForCausalLM"],"tie_word_embeddings":true,"head_dim":16`,
	} {
		for _, name := range []string{"full", "lift", "s2ft", "sorsa", "pissa", "lora"} {
			t.Run(family+", "+name, func(t *testing.T) {
				method := methods.Default(name)
				switch name {
				case "lift":
					method.Rank, method.Refresh = 2, 2
				case "s2ft":
					method.O, method.V, method.Select = 0.3, 0.5, "smallest-activation"
				case "sorsa", "pissa", "lora":
					method.Rank = 2
				}
				c := toy{method: method, dtype: model.BF16, lanes: 3, steps: 3, fields: fields}
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
}
