package methods

// Config chooses a method and its budget. Fields of other methods than the named one must be zero.
type Config struct {
	// Name is the method: "lift", "s2ft", "sorsa", "pissa", "lora" or "full".
	Name string `yaml:"name" json:"name"`
	// Modules says which weights are trained. full: "all" (the default: with embeddings, norms, biases and head) or
	// "linear" (the seven projections). lift: "linear" (the default) or "mlp" (gate, up and down). The others train the projections
	// and have no such field.
	Modules string `yaml:"modules" json:"modules,omitempty"`
	// Budget says how much is trained instead of rank, density or the shares of s2ft, so that methods can be compared: "5%", of
	// the elements of the seven projections, or a number of values. Each method comes as near as its own unit allows; see
	// Config.Spend. Default: none.
	Budget string `yaml:"budget" json:"budget,omitempty"`

	// Rank is the budget of lift: an (m, n) weight trains min((m+n)·Rank, m·n) values, as many as low-rank factors of
	// that rank would have. For sorsa, pissa and lora it is that rank, at most the smaller side of every projection.
	// Default 16, which is 4.6 % of a 135M model and 0.6 % of an 8B one.
	Rank int `yaml:"rank" json:"rank,omitempty"`
	// Density, in (0, 1], is the budget of lift as a share of each weight. 0, the default, leaves the budget to Rank.
	Density float64 `yaml:"density" json:"density,omitempty"`
	// Filter is the rank of the approximation W′ whose largest entries lift trains. Default 0: Rank.
	Filter int `yaml:"filter" json:"filter,omitempty"`
	// Mode is what lift chooses by: "principal", the approximation W′ (the default); or, as controls, "magnitude", the weight
	// itself, and "random", drawn once by the run's seed. They have no Filter.
	Mode string `yaml:"mode" json:"mode,omitempty"`
	// Directions are the singular directions that make up W′, as many as Filter: "largest" (the default), "smallest", "random"
	// (drawn once for each weight) or "hybrid" (half of each end). All but the first take a whole decomposition in float64, for
	// experiments: seconds for each weight of a 135M model.
	Directions string `yaml:"directions" json:"directions,omitempty"`
	// Block is the shape in which lift chooses: "1x1" (the default), "1x8" or "4x4", by the sum of |W′| over a block. Both sides
	// of each weight must be multiples of it.
	Block string `yaml:"block" json:"block,omitempty"`
	// Refresh is the number of steps between two selections. Default 400; a fifth of the run is a good value, since the
	// set then follows the weights. 0 keeps the first selection.
	Refresh int `yaml:"refresh" json:"refresh,omitempty"`
	// Lead is how many steps before a refresh its selection starts, in the background, on the weights of that moment.
	// Default 0: the refresh waits for it. Less than Refresh.
	Lead int `yaml:"lead" json:"lead,omitempty"`

	// Age makes AdamW correct the bias of lift's moments by the age of each coordinate, the number of steps since it entered the
	// set, in place of the number of steps of the run. Default false. It matters where Beta2 is near 1.
	Age bool `yaml:"age" json:"age,omitempty"`

	// O, Down, V and Up are the budget of s2ft, as shares of what the whole model has, rounded down: heads whose columns of O
	// are trained, channels of the MLP whose columns of Down are, key-value heads whose rows of V are, channels whose rows of
	// Up are. Defaults 0.052, 0.02, 0 and 0, 1 % of a 135M model.
	O    float64 `yaml:"o" json:"o,omitempty"`
	Down float64 `yaml:"down" json:"down,omitempty"`
	V    float64 `yaml:"v" json:"v,omitempty"`
	Up   float64 `yaml:"up" json:"up,omitempty"`
	// Select is how s2ft chooses heads and channels inside each layer: "random" (the default), by the run's seed;
	// "smallest-weight" or "largest-weight", by the length of what would be trained; "smallest-lift" or "largest-lift", by the sum
	// of |W′| there, an approximation of rank 16; or before step 1 by a hundredth of the data: "smallest-activation" or
	// "largest-activation", by the squares of what flows through them, "smallest-gradient" or "largest-gradient", by those of the
	// gradients of what would be trained.
	Select string `yaml:"select" json:"select,omitempty"`

	// Lambda is the weight of sorsa's penalty, which is a mean over all factors: a number from 0 up, "published" (0.2083, the
	// default: what the authors' runs had) or "paper" (13.33: what the paper's formula gives with their settings). 0 is no penalty.
	Lambda string `yaml:"lambda" json:"lambda,omitempty"`
	// Penalty is how sorsa measures the distance of a factor from orthonormality: "frobenius" (the default, as published),
	// "smoothed" (differentiable at 0) or "squared"; or "retraction", which has no weight: each step brings the factors back.
	Penalty string `yaml:"penalty" json:"penalty,omitempty"`
	// Residual is how sorsa and pissa keep what their start leaves of a 16-bit weight: "fp32" (the default); "stored", rounded to
	// the type of the weight, which is half the memory and 1.4e-3 off before the first step; or "base": the weight itself, whose
	// initial factors are subtracted in the path, which is half the memory, exact, and doubles the work of the path.
	Residual string `yaml:"residual" json:"residual,omitempty"`
	// Alpha scales the low-rank path by Alpha/Rank. Default 0: sorsa does not scale it, lora takes twice the rank.
	Alpha float64 `yaml:"alpha" json:"alpha,omitempty"`
	// RSLoRA makes that Alpha/√Rank (lora).
	RSLoRA bool `yaml:"rslora" json:"rslora,omitempty"`
	// Dropout, in [0, 1), is the share of a weight's input that lora's path does not see in training, drawn anew for each
	// weight, token, lane and step by the run's seed. Default 0.
	Dropout float64 `yaml:"dropout" json:"dropout,omitempty"`
}

// Default returns the configuration of the named method before anything is said about it.
// An unknown name comes back with nothing else set, for Validate to refuse.
func Default(name string) Config {
	switch name {
	case "full":
		return Config{Name: name, Modules: "all"}
	case "lift":
		return Config{Name: name, Modules: "linear", Rank: 16, Refresh: 400}
	case "s2ft":
		return Config{Name: name, O: 0.052, Down: 0.02, Select: "random"}
	case "sorsa":
		return Config{Name: name, Rank: 16, Lambda: "published", Penalty: "frobenius"}
	case "pissa", "lora":
		return Config{Name: name, Rank: 16}
	}
	return Config{Name: name}
}
