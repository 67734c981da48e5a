package safetensors

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sort"

	"github.com/torctrain/torc/internal/durable"
)

// align is what the start of the data is a multiple of, so that a map of the file has aligned elements.
const align = 64

// Tensor is one tensor to write.
type Tensor struct {
	Name string
	Info
	// Fill, used when Data is nil, writes the tensor's bytes to dst when its turn has come; a writer then needs memory
	// for one tensor at a time only.
	Fill func(dst []byte)
}

// Write writes tensors to path: to a temporary file beside it first, which takes its name when it is safely on disk.
// The data are laid out by element size, largest first, then in the order given, so that every tensor is aligned to its
// elements. The same arguments give the same bytes.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	sort.SliceStable(tensors, func(i, j int) bool { return elementSize(tensors[i].DType) > elementSize(tensors[j].DType) })
	header, err := formatHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		return writeData(w, tensors)
	})
}

// WriteModel writes the weights of a model directory: model.safetensors when the tensors have at most maxBytes together,
// else files of at most maxBytes (or one tensor) each, in the order given, and then their index. It returns the names of
// the files.
func WriteModel(dir string, tensors []Tensor, maxBytes int64, metadata map[string]string) ([]string, error) {
	shards, total, err := cut(tensors, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", dir, err)
	}
	if len(shards) <= 1 {
		return []string{SingleName}, Write(filepath.Join(dir, SingleName), tensors, metadata)
	}
	var names []string
	weightMap := map[string]string{}
	for i, shard := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := Write(filepath.Join(dir, name), shard, metadata); err != nil {
			return nil, err
		}
		names = append(names, name)
		for _, t := range shard {
			weightMap[t.Name] = name
		}
	}
	index, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": weightMap}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", dir, err)
	}
	path := filepath.Join(dir, IndexName)
	if err := durable.WriteFile(path, append(index, '\n'), 0o644); err != nil {
		return nil, err
	}
	return append(names, IndexName), nil
}

// cut deals tensors to shards of at most maxBytes and returns the number of bytes of all.
func cut(tensors []Tensor, maxBytes int64) (shards [][]Tensor, total int64, err error) {
	var size int64
	for _, t := range tensors {
		n, err := t.byteLen()
		if err != nil {
			return nil, 0, err
		}
		if len(shards) == 0 || size > 0 && size+n > maxBytes {
			shards, size = append(shards, nil), 0
		}
		last := len(shards) - 1
		shards[last] = append(shards[last], t)
		size += n
		total += n
	}
	return shards, total, nil
}

// byteLen is the length of the tensor's data by its shape; an error when type, shape and data do not fit.
func (t Tensor) byteLen() (int64, error) {
	size := elementSize(t.DType)
	if size == 0 {
		return 0, fmt.Errorf("tensor %q: unknown dtype %q", t.Name, t.DType)
	}
	n, ok := byteLen(t.Shape, size)
	if !ok || t.Fill == nil && uint64(len(t.Data)) != n {
		return 0, fmt.Errorf("tensor %q: %d bytes for %s %v, want %d", t.Name, len(t.Data), t.DType, t.Shape, n)
	}
	return int64(n), nil
}

// formatHeader returns everything that comes before the data.
func formatHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, prefix))
	b.WriteByte('{')
	if len(metadata) > 0 {
		fmt.Fprintf(&b, "%s:{", quote(metadataKey))
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%s:%s", quote(key), quote(metadata[key]))
		}
		b.WriteByte('}')
	}
	at, seen := int64(0), map[string]bool{metadataKey: true}
	for _, t := range tensors {
		n, err := t.byteLen()
		if err != nil {
			return nil, err
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q: the name is reserved or comes twice", t.Name)
		}
		seen[t.Name] = true
		if b.Len() > prefix+1 {
			b.WriteByte(',')
		}
		shape, _ := json.Marshal(append([]int{}, t.Shape...)) // never null
		fmt.Fprintf(&b, `%s:{"dtype":%s,"shape":%s,"data_offsets":[%d,%d]}`, quote(t.Name), quote(t.DType), shape, at, at+n)
		at += n
	}
	b.WriteByte('}')
	for b.Len()%align != 0 {
		b.WriteByte(' ')
	}
	if b.Len()-prefix > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes is longer than the format allows", b.Len()-prefix)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(b.Len()-prefix))
	return b.Bytes(), nil
}

func quote(s string) []byte {
	q, _ := json.Marshal(s) // a string always marshals
	return q
}

func writeData(w io.Writer, tensors []Tensor) error {
	var scratch []byte
	for _, t := range tensors {
		data := t.Data
		if data == nil && t.Fill != nil {
			n, err := t.byteLen()
			if err != nil {
				return err
			}
			if int64(cap(scratch)) < n {
				scratch = make([]byte, n)
			}
			data = scratch[:n]
			t.Fill(data)
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

// writeFile is durable.Write through a buffer.
func writeFile(path string, write func(io.Writer) error) error {
	return durable.Write(path, 0o644, func(f io.Writer) error {
		w := bufio.NewWriterSize(f, 1<<20)
		if err := write(w); err != nil {
			return err
		}
		return w.Flush()
	})
}
