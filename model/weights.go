package model

// WeightID names one parameter tensor of a model: an index into Weights.Params.
type WeightID int

// Module is the role of a parameter inside its layer.
type Module uint8

// The parameters of the Llama family. Embed, FinalNorm and Head belong to no layer.
const (
	Embed Module = iota
	AttnNorm
	Q
	K
	V
	QBias
	KBias
	VBias
	QNorm
	KNorm
	O
	OBias
	MLPNorm
	Gate
	Up
	Down
	FinalNorm
	Head
	GateBias // behind the others because random numbers are named by these
	UpBias
	DownBias
)

// Linear says whether the parameter is one of the seven projections that LIFT, S²FT and SORSA train.
func (m Module) Linear() bool {
	switch m {
	case Q, K, V, O, Gate, Up, Down:
		return true
	}
	return false
}

// Param is one parameter: its name in the file, where it sits, its value, and what stands beside it.
type Param struct {
	Name   string
	Layer  int // −1 outside the layers
	Module Module
	*Matrix
	Side *Side // of a linear weight; nil for none. A model takes notice of it when it is made.
}

// Weights are a model's parameters in the order of the forward pass. A tied head has no Param of its own.
// The memory belongs to the Weights: a later change of the file cannot change a run.
type Weights struct {
	Config *Config
	Params []Param
}

// Want says what of a weight's gradient a method asks for; the backward pass stops below the lowest wanted weight.
type Want uint8

// Nothing is the zero Want: the weight is frozen.
const (
	Nothing Want = iota
	Dense        // Outer.DY and Outer.X
	Sampled      // Outer.DYT and Outer.XT as well, the transposes that Kernels.GradAt reads
	LowRank      // of a weight with a Side: Outer.P, Q, H and DP as well, and X is what the side path saw
)

// Outer is the gradient of a linear weight in factored form: dW = DYᵀ·X. Its buffers are scratch of the backward pass
// and must not be kept or changed.
type Outer struct {
	Kernels Kernels
	T       int       // tokens
	DY      []float32 // (T, m)
	X       []float32 // (T, n)
	DYT     []float32 // (m, Pad(T)), nil unless the weight is wanted Sampled
	XT      []float32 // (n, Pad(T)), likewise

	// Of a Side of rank r, nil unless the weight is wanted LowRank: dA = DPᵀ·X, dB = Qᵀ·DY (r, m), dS[j] = Σ_t P[t, j]·H[t, j].
	P, Q  []float32 // (T, r) X·Aᵀ, and P ⊙ S
	H, DP []float32 // (T, r) DY·Bᵀ, and H ⊙ S
}

// GradSink receives the gradient of one micro-batch, from the top of the model to the lowest wanted weight.
// Each wanted weight arrives exactly once: a linear weight as Outer, any other (norms, biases, embeddings, head) as Whole.
type GradSink interface {
	Outer(id WeightID, o *Outer)
	Whole(id WeightID, dw []float32)
}
