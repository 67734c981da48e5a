package model

import (
	"fmt"
	"slices"
)

// ParamShape is a parameter without its value.
type ParamShape struct {
	Name       string // in the file
	Layer      int    // −1 outside the layers
	Module     Module
	Rows, Cols int // a vector has one row
	HeadDim    int // how many neighbouring rows of Q, K and V, or columns of O, make a head; 0 elsewhere
}

// Len is the number of elements.
func (p ParamShape) Len() int { return p.Rows * p.Cols }

// Vector says whether the file has the parameter with one dimension.
func (p ParamShape) Vector() bool {
	switch p.Module {
	case AttnNorm, MLPNorm, FinalNorm, QNorm, KNorm, QBias, KBias, VBias, OBias, GateBias, UpBias, DownBias:
		return true
	}
	return false
}

// Params are the parameters of the model in the order of the forward pass: the index is the WeightID. A tied head has none.
func (c *Config) Params() []ParamShape {
	params := []ParamShape{c.param(-1, Embed)}
	for l := range c.Layers {
		for _, m := range layerModules {
			if c.present(m) {
				params = append(params, c.param(l, m))
			}
		}
	}
	params = append(params, c.param(-1, FinalNorm))
	if !c.Tied {
		params = append(params, c.param(-1, Head))
	}
	return params
}

// layerModules are the modules of a layer in the order of the forward pass.
var layerModules = [...]Module{
	AttnNorm, Q, K, V, QBias, KBias, VBias, QNorm, KNorm, O, OBias, MLPNorm, Gate, Up, GateBias, UpBias, Down, DownBias,
}

// present says whether layers of this model have the module.
func (c *Config) present(m Module) bool {
	switch m {
	case QBias, KBias, VBias:
		return c.QKVBias
	case OBias:
		return c.OBias
	case QNorm, KNorm:
		return c.QKNorm
	case GateBias, UpBias, DownBias:
		return c.MLPBias
	}
	return true
}

func (c *Config) param(layer int, m Module) ParamShape {
	rows, cols := c.shape(m)
	name := m.file()
	if layer >= 0 {
		name = fmt.Sprintf("model.layers.%d.%s", layer, name)
	}
	p := ParamShape{Name: name, Layer: layer, Module: m, Rows: rows, Cols: cols}
	switch m {
	case Q, K, V, O:
		p.HeadDim = c.HeadDim
	}
	return p
}

func (c *Config) shape(m Module) (rows, cols int) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	switch m {
	case Embed, Head:
		return c.Vocab, c.Hidden
	case AttnNorm, MLPNorm, FinalNorm, OBias, DownBias:
		return 1, c.Hidden
	case Q:
		return q, c.Hidden
	case K, V:
		return kv, c.Hidden
	case QBias:
		return 1, q
	case KBias, VBias:
		return 1, kv
	case GateBias, UpBias:
		return 1, c.FFN
	case QNorm, KNorm:
		return 1, c.HeadDim
	case O:
		return c.Hidden, q
	case Gate, Up:
		return c.FFN, c.Hidden
	case Down:
		return c.Hidden, c.FFN
	}
	panic(fmt.Sprintf("model: shape: unknown module %d", m))
}

// file is the module's name in the file, below its layer where it has one.
func (m Module) file() string {
	return [...]string{
		Embed:     "model.embed_tokens.weight",
		AttnNorm:  "input_layernorm.weight",
		Q:         "self_attn.q_proj.weight",
		K:         "self_attn.k_proj.weight",
		V:         "self_attn.v_proj.weight",
		QBias:     "self_attn.q_proj.bias",
		KBias:     "self_attn.k_proj.bias",
		VBias:     "self_attn.v_proj.bias",
		QNorm:     "self_attn.q_norm.weight",
		KNorm:     "self_attn.k_norm.weight",
		O:         "self_attn.o_proj.weight",
		OBias:     "self_attn.o_proj.bias",
		MLPNorm:   "post_attention_layernorm.weight",
		Gate:      "mlp.gate_proj.weight",
		Up:        "mlp.up_proj.weight",
		Down:      "mlp.down_proj.weight",
		FinalNorm: "model.norm.weight",
		Head:      "lm_head.weight",
		GateBias:  "mlp.gate_proj.bias",
		UpBias:    "mlp.up_proj.bias",
		DownBias:  "mlp.down_proj.bias",
	}[m]
}

// BackwardOrder is the order in which a GradSink receives gradients, of all parameters as if all were wanted:
// the head unless it is tied, the final norm, the layers from the last to the first, the embeddings. In a layer: down,
// gate and up, each with its bias, norm of the MLP, o, its bias, norms of q and k, q, k and v, each with its bias, norm of
// the attention.
// The gradient of a tied head is part of that of the embeddings, which therefore come last.
func (c *Config) BackwardOrder() []WeightID {
	params := c.Params()
	order := make([]WeightID, len(params))
	for i := range order {
		order[i] = WeightID(i)
	}
	slices.SortFunc(order, func(a, b WeightID) int {
		return c.place(params[a].Layer, params[a].Module) - c.place(params[b].Layer, params[b].Module)
	})
	return order
}

// layerPlaces is the number of places that a layer takes in the backward order, whether it has all modules or not.
const layerPlaces = placeAttnNorm + 1

// The order inside a layer.
const (
	placeDown = iota
	placeDownBias
	placeGate
	placeGateBias
	placeUp
	placeUpBias
	placeMLPNorm
	placeO
	placeOBias
	placeQNorm
	placeKNorm
	placeQ
	placeQBias
	placeK
	placeKBias
	placeV
	placeVBias
	placeAttnNorm
)

// place numbers parameters in backward order. Layer l = Layers−1−i takes the places from i·layerPlaces on.
func (c *Config) place(layer int, m Module) int {
	switch m {
	case Head:
		return -2
	case FinalNorm:
		return -1
	case Embed:
		return c.Layers * layerPlaces
	}
	inside := [...]int{
		AttnNorm: placeAttnNorm, Q: placeQ, K: placeK, V: placeV, QBias: placeQBias, KBias: placeKBias, VBias: placeVBias,
		QNorm: placeQNorm, KNorm: placeKNorm, O: placeO, OBias: placeOBias, MLPNorm: placeMLPNorm, Gate: placeGate, Up: placeUp,
		Down: placeDown, GateBias: placeGateBias, UpBias: placeUpBias, DownBias: placeDownBias,
	}[m]
	return (c.Layers-1-layer)*layerPlaces + inside
}
