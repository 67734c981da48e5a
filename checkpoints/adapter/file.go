package adapter

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/safetensors"
)

// A delta file is a safetensors file whose metadata say what it is; see docs/formats.md.
const (
	deltaFormat = "torc-delta 1"
	undoFormat  = "torc-undo 1"
)

// Write writes d to a new file at path, which appears whole.
func (d *Delta) Write(path string) error {
	meta := map[string]string{"format": deltaFormat, "base": hex.EncodeToString(d.Base[:]), "method": d.Method, "weights": strconv.Itoa(len(d.Changes))}
	var tensors []safetensors.Tensor
	for i := range d.Changes {
		c := &d.Changes[i]
		if err := c.check(); err != nil {
			return fmt.Errorf("write delta of %s: %w", c.Name, err)
		}
		meta[c.Name] = fmt.Sprintf("%d %d %s", c.Rows, c.Cols, c.Form)
		tensors = append(tensors, c.tensors()...)
	}
	return safetensors.Write(path, tensors, meta)
}

func (c *Change) tensors() []safetensors.Tensor {
	if c.Form == Factors {
		return []safetensors.Tensor{
			floats(c.Name+".A", c.A, c.Rank, c.Cols),
			floats(c.Name+".B", c.B, c.Rank, c.Rows),
		}
	}
	shape := map[Form][]int{Sparse: {len(c.At)}, Columns: {c.Rows, len(c.At)}, Rows: {len(c.At), c.Cols}}[c.Form]
	return []safetensors.Tensor{
		words(c.Name+"."+string(c.Form), c.At),
		floats(c.Name+".now", c.Now, shape...),
		stored(c.Name+".was", c.DType, c.Was, shape...),
	}
}

// Read reads what Write wrote, and believes none of it unchecked.
func Read(path string) (*Delta, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &Delta{Method: f.Metadata()["method"], path: path}
	if d.Base, err = readHash(f, deltaFormat, "base"); err != nil {
		return nil, err
	}
	for _, name := range described(f) {
		c, err := readChange(f, name)
		if err != nil {
			return nil, fmt.Errorf("read %s: change of %s: %w", path, name, err)
		}
		d.Changes = append(d.Changes, c)
	}
	if want := f.Metadata()["weights"]; want != strconv.Itoa(len(d.Changes)) {
		return nil, fmt.Errorf("read %s: it describes %d weights, and says they are %s: it is damaged, export it again", path, len(d.Changes), want)
	}
	return d, nil
}

// described are the weights that the metadata of a file name, sorted.
func described(f *safetensors.File) []string {
	var names []string
	for name := range f.Metadata() {
		switch name {
		case "format", "base", "method", "weights", "result":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func readHash(f *safetensors.File, format, key string) (hash [32]byte, err error) {
	switch got := f.Metadata()["format"]; {
	case got == format:
	case strings.HasPrefix(got, "torc-"):
		return hash, fmt.Errorf("%s has the format %q, this command reads %q: upgrade torc, or name another file", f.Path(), got, format)
	default:
		return hash, fmt.Errorf("%s is no file of the format %q: coordinator export --format delta writes one", f.Path(), format)
	}
	b, err := hex.DecodeString(f.Metadata()[key])
	if err != nil || len(b) != len(hash) {
		return hash, fmt.Errorf("%s has no hash of its %s: it is damaged, export it again", f.Path(), key)
	}
	return [32]byte(b), nil
}

func readChange(f *safetensors.File, name string) (Change, error) {
	c := Change{Name: name}
	if _, err := fmt.Sscanf(f.Metadata()[name], "%d %d %s", &c.Rows, &c.Cols, &c.Form); err != nil {
		return c, fmt.Errorf("it is described as %q", f.Metadata()[name])
	}
	switch c.Form {
	case Factors:
		a, err := f.Tensor(name + ".A")
		if err != nil {
			return c, err
		}
		b, err := f.Tensor(name + ".B")
		if err != nil {
			return c, err
		}
		if len(a.Shape) != 2 || a.DType != "F32" || b.DType != "F32" {
			return c, fmt.Errorf("its factors are %s %v and %s %v", a.DType, a.Shape, b.DType, b.Shape)
		}
		c.Rank, c.A, c.B = a.Shape[0], readFloats(a.Data), readFloats(b.Data)
	case Sparse, Columns, Rows:
		at, err := f.Tensor(name + "." + string(c.Form))
		if err != nil {
			return c, err
		}
		now, err := f.Tensor(name + ".now")
		if err != nil {
			return c, err
		}
		was, err := f.Tensor(name + ".was")
		if err != nil {
			return c, err
		}
		if c.DType, err = parseDType(was.DType); err != nil || at.DType != "U32" || now.DType != "F32" {
			return c, fmt.Errorf("its values are %s, %s and %s", at.DType, now.DType, was.DType)
		}
		c.At, c.Now, c.Was = readWords(at.Data), readFloats(now.Data), readStored(was.Data, c.DType)
	default:
		return c, fmt.Errorf("its form is %q", c.Form)
	}
	return c, c.check()
}

func parseDType(name string) (model.DType, error) {
	for _, d := range []model.DType{model.F32, model.F16, model.BF16} {
		if d.String() == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("type %q", name)
}

func words(name string, v []uint32) safetensors.Tensor {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return safetensors.Tensor{Name: name, Info: safetensors.Info{DType: "U32", Shape: []int{len(v)}, Data: b}}
}

func floats(name string, v []float32, shape ...int) safetensors.Tensor {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return safetensors.Tensor{Name: name, Info: safetensors.Info{DType: "F32", Shape: shape, Data: b}}
}

// stored writes bits in the width of their type.
func stored(name string, d model.DType, v []uint32, shape ...int) safetensors.Tensor {
	var b []byte
	for _, x := range v {
		if d == model.F32 {
			b = binary.LittleEndian.AppendUint32(b, x)
		} else {
			b = binary.LittleEndian.AppendUint16(b, uint16(x))
		}
	}
	if b == nil {
		b = []byte{}
	}
	return safetensors.Tensor{Name: name, Info: safetensors.Info{DType: d.String(), Shape: shape, Data: b}}
}

func readWords(b []byte) []uint32 {
	v := make([]uint32, len(b)/4)
	for i := range v {
		v[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return v
}

func readFloats(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

func readStored(b []byte, d model.DType) []uint32 {
	if d == model.F32 {
		return readWords(b)
	}
	v := make([]uint32, len(b)/2)
	for i := range v {
		v[i] = uint32(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return v
}
