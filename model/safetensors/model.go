package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	// SingleName is the file of a model that is in one piece.
	SingleName = "model.safetensors"
	// IndexName is the file that says which tensor of a sharded model is in which file.
	IndexName = "model.safetensors.index.json"
	// maxIndex is the largest index that is read, in bytes.
	maxIndex = 100_000_000
)

// Model is the open weights of a model directory, in one file or several.
type Model struct {
	files []*File
	where map[string]*File
	names []string
}

// OpenModel opens the weights of a Hugging Face model directory: model.safetensors, or else the files that
// model.safetensors.index.json names.
func OpenModel(dir string) (*Model, error) {
	file, err := Open(filepath.Join(dir, SingleName))
	if err == nil {
		m := &Model{files: []*File{file}, names: file.Names(), where: map[string]*File{}}
		for _, name := range m.names {
			m.where[name] = file
		}
		return m, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	weightMap, err := readIndex(filepath.Join(dir, IndexName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open model %s: it has neither %s nor %s: name a Hugging Face directory with safetensors weights", dir, SingleName, IndexName)
	}
	if err != nil {
		return nil, err
	}
	return openShards(dir, weightMap)
}

// readIndex returns which tensor is in which file.
func readIndex(path string) (map[string]string, error) {
	if stat, err := os.Stat(path); err == nil && stat.Size() > maxIndex {
		return nil, fmt.Errorf("read index %s: it has %d bytes, at most %d are allowed", path, stat.Size(), maxIndex)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("read index %s: %w", path, err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("read index %s: its weight_map is missing or empty", path)
	}
	for name, file := range index.WeightMap {
		if file != filepath.Base(file) || file == "." || file == ".." || file == string(filepath.Separator) {
			return nil, fmt.Errorf("read index %s: tensor %q is in %q: only names of files beside the index are allowed", path, name, file)
		}
	}
	return index.WeightMap, nil
}

func openShards(dir string, weightMap map[string]string) (_ *Model, err error) {
	m := &Model{where: make(map[string]*File, len(weightMap))}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	open := map[string]*File{}
	for name := range weightMap {
		m.names = append(m.names, name)
	}
	slices.Sort(m.names)
	for _, name := range m.names {
		shard := weightMap[name]
		if open[shard] == nil {
			file, err := Open(filepath.Join(dir, shard))
			if errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("open model %s: shard %s is missing, %s wants tensor %q from it: fetch the file", dir, shard, IndexName, name)
			}
			if err != nil {
				return nil, err
			}
			open[shard] = file
			m.files = append(m.files, file)
		}
		if _, err := open[shard].Tensor(name); err != nil {
			return nil, fmt.Errorf("open model %s: %s wants tensor %q from shard %s, which does not have it: fetch index and shards again", dir, IndexName, name, shard)
		}
		m.where[name] = open[shard]
	}
	return m, nil
}

// Names are the names of all tensors, sorted. Not to be changed.
func (m *Model) Names() []string { return m.names }

// Files are the names of the files in the model's directory, sorted but for the index, which comes first if there is one.
func (m *Model) Files() []string {
	var names []string
	for _, f := range m.files {
		names = append(names, filepath.Base(f.path))
	}
	slices.Sort(names)
	if len(names) == 1 && names[0] == SingleName {
		return names
	}
	return append([]string{IndexName}, names...)
}

// Path is the file that holds the tensor of that name, "" if none does.
func (m *Model) Path(name string) string {
	if f := m.where[name]; f != nil {
		return f.path
	}
	return ""
}

// Tensor returns the tensor of that name.
func (m *Model) Tensor(name string) (Info, error) {
	f := m.where[name]
	if f != nil {
		return f.Tensor(name)
	}
	if len(m.files) == 1 {
		return m.files[0].Tensor(name)
	}
	return Info{}, fmt.Errorf("read %s: none of the %d files has tensor %q", filepath.Dir(m.files[0].path), len(m.files), name)
}

// Close releases all files. A second call does nothing.
func (m *Model) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
