package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/torctrain/torc/model/safetensors"
)

// Load reads a Hugging Face model directory: config.json and the weights, single or sharded, each in the type it is stored
// in. Everything is copied into memory of its own. A tensor that is missing, has another shape or type, or is not part of
// the model is an error that names file and tensor.
func Load(dir string) (*Weights, error) {
	c, files, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	w := &Weights{Config: c}
	for _, p := range c.Params() {
		info, err := files.Tensor(p.Name)
		if err != nil {
			return nil, fmt.Errorf("load model: %w%s", err, missingHint(p))
		}
		m, err := p.matrix(info)
		if err != nil {
			return nil, fmt.Errorf("load %s: tensor %q: %w", files.Path(p.Name), p.Name, err)
		}
		w.Params = append(w.Params, Param{Name: p.Name, Layer: p.Layer, Module: p.Module, Matrix: m})
	}
	return w, nil
}

// Check finds what Load would find wrong with a directory, from the headers of its files: it reads none of the weights but a
// head that should be the embedding. It returns the names of the files that hold weights, an index first where there is one.
func Check(dir string) (*Config, []string, error) {
	c, files, err := open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer files.Close()
	for _, p := range c.Params() {
		info, err := files.Tensor(p.Name)
		if err != nil {
			return nil, nil, fmt.Errorf("load model: %w%s", err, missingHint(p))
		}
		if err := p.check(info); err != nil {
			return nil, nil, fmt.Errorf("load %s: tensor %q: %w", files.Path(p.Name), p.Name, err)
		}
	}
	return c, files.Files(), nil
}

// open reads the configuration and opens the weights, whose names fit it.
func open(dir string) (*Config, *safetensors.Model, error) {
	c, err := ReadConfig(dir)
	if err != nil {
		return nil, nil, err
	}
	files, err := safetensors.OpenModel(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := checkNames(c, files); err != nil {
		return nil, nil, errors.Join(err, files.Close())
	}
	return c, files, nil
}

func missingHint(p ParamShape) string {
	if p.Module == Head {
		return ": if the head is the embedding, config.json must say \"tie_word_embeddings\": true"
	}
	return ": config.json and weights do not belong together"
}

// checkNames refuses tensors that the model would not use.
func checkNames(c *Config, files *safetensors.Model) error {
	known := map[string]bool{}
	for _, p := range c.Params() {
		known[p.Name] = true
	}
	for _, name := range files.Names() {
		if known[name] || strings.HasSuffix(name, ".rotary_emb.inv_freq") { // old files keep what follows from the config
			continue
		}
		if c.Tied && name == Head.file() {
			if err := checkTied(files); err != nil {
				return err
			}
			continue
		}
		return fmt.Errorf("load %s: tensor %q is not part of a %s model as config.json describes it: quantised and adapted models are not supported",
			files.Path(name), name, c.ModelType)
	}
	return nil
}

// checkTied compares a head that is stored although it is tied with the embeddings.
func checkTied(files *safetensors.Model) error {
	head, err := files.Tensor(Head.file())
	if err != nil {
		return err
	}
	embed, err := files.Tensor(Embed.file())
	if err != nil {
		return fmt.Errorf("load model: %w", err)
	}
	if head.DType != embed.DType || !bytes.Equal(head.Data, embed.Data) {
		return fmt.Errorf("load %s: tensor %q differs from the embeddings, but config.json says \"tie_word_embeddings\": true: set it to false",
			files.Path(Head.file()), Head.file())
	}
	return nil
}

// check says whether a tensor of a file can be this parameter.
func (p ParamShape) check(info safetensors.Info) error {
	want := []int{p.Rows, p.Cols}
	if p.Vector() {
		want = want[1:]
	}
	if !slices.Equal(info.Shape, want) {
		return fmt.Errorf("shape %v, config.json makes it %v", info.Shape, want)
	}
	switch info.DType {
	case "F32", "F16", "BF16":
		return nil
	}
	return fmt.Errorf("dtype %s is not supported: convert the weights to F32, F16 or BF16", info.DType)
}

// matrix copies a tensor of a file.
func (p ParamShape) matrix(info safetensors.Info) (*Matrix, error) {
	if err := p.check(info); err != nil {
		return nil, err
	}
	switch info.DType {
	case "F32":
		v := make([]float32, p.Len())
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(info.Data[4*i:]))
		}
		return MatrixOver32(v, p.Rows, p.Cols), nil
	default:
		v := make([]uint16, p.Len())
		for i := range v {
			v[i] = binary.LittleEndian.Uint16(info.Data[2*i:])
		}
		d := F16
		if info.DType == "BF16" {
			d = BF16
		}
		return MatrixOver16(d, v, p.Rows, p.Cols), nil
	}
}

// ID finds a parameter by its name in the file.
func (w *Weights) ID(name string) (WeightID, bool) {
	i := slices.IndexFunc(w.Params, func(p Param) bool { return p.Name == name })
	return WeightID(i), i >= 0
}

// Tensors are the parameters to write to a file, in the types they are stored in. They read the weights when written.
func (w *Weights) Tensors() []safetensors.Tensor {
	return w.tensors(func(p Param) DType { return p.DType })
}

// TensorsAs is Tensors with every value rounded to d, to nearest even.
func (w *Weights) TensorsAs(d DType) []safetensors.Tensor {
	return w.tensors(func(Param) DType { return d })
}

func (w *Weights) tensors(as func(Param) DType) []safetensors.Tensor {
	var tensors []safetensors.Tensor
	for i, shape := range w.Config.Params() {
		p := w.Params[i]
		d := as(p)
		info := safetensors.Info{DType: d.String(), Shape: []int{p.Rows, p.Cols}}
		if shape.Vector() {
			info.Shape = info.Shape[1:]
		}
		tensors = append(tensors, safetensors.Tensor{Name: p.Name, Info: info, Fill: func(dst []byte) { p.encode(dst, d) }})
	}
	return tensors
}

// encode writes the elements as d, little endian.
func (m *Matrix) encode(dst []byte, d DType) {
	if d == m.DType && d != F32 { // also keeps the bits of a NaN
		for i, b := range m.U16 {
			binary.LittleEndian.PutUint16(dst[2*i:], b)
		}
		return
	}
	for i := range m.Len() {
		switch v := m.At(i); d {
		case F32:
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		case F16:
			binary.LittleEndian.PutUint16(dst[2*i:], ToF16(v))
		case BF16:
			binary.LittleEndian.PutUint16(dst[2*i:], ToBF16(v))
		}
	}
}
