package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/torctrain/torc/sharding"
)

// Resolved is a spec in which nothing is left to find: what all members of a run work from.
type Resolved struct {
	Spec `json:"spec"` // with Steps, without Epochs
	// Files are in the order in which they are used: the model's, then the data's as Data names them.
	Files []File `json:"files"`
	// Samples is N, the number of samples in data.train.
	Samples int `json:"samples"`
	// Class is the arithmetic class of the members, empty until the coordinator pins that of the first.
	Class string `json:"class"`
}

// File is a file by its content.
type File struct {
	SHA256 Sum   `json:"sha256"`
	Size   int64 `json:"size"`
	// Path is where launch found it, a hint only.
	Path string `json:"path"`
	// Role is the name under which the spec knows it: "model/config.json", "train/0", "validation/3".
	Role string `json:"role"`
}

// Sum is a SHA-256, in hex where it is text.
type Sum [sha256.Size]byte

// MarshalText makes s hex.
func (s Sum) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

// UnmarshalText reads hex.
func (s *Sum) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(s) {
		return fmt.Errorf("SHA-256 %q has %d digits, want %d", text, len(text), hex.EncodedLen(len(s)))
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// Resolve finds and hashes every file that s names, relative to dir, and counts samples and steps.
func Resolve(s *Spec, dir string) (*Resolved, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r := &Resolved{Spec: *s}
	if err := r.addModel(within(dir, s.Model)); err != nil {
		return nil, err
	}
	train, err := r.addData("train", s.Data.Train, dir)
	if err != nil {
		return nil, err
	}
	validation, err := r.addData("validation", s.Data.Validation, dir)
	if err != nil {
		return nil, err
	}
	if r.Samples, err = sharding.Count(train); err != nil {
		return nil, fmt.Errorf("data.train: %w", err)
	}
	if len(validation) > 0 {
		if _, err := sharding.Count(validation); err != nil {
			return nil, fmt.Errorf("data.validation: %w", err)
		}
	}
	if r.Epochs > 0 {
		steps := math.Ceil(r.Epochs*float64(r.Plan().Steps()) - 1e-9) // 0.1 of 30 steps are 3
		if steps > maxSteps {
			return nil, fmt.Errorf("epochs is %v: makes %.0f steps, more than %d", r.Epochs, steps, maxSteps)
		}
		r.Steps, r.Epochs = max(1, int(steps)), 0
	}
	return r, nil
}

// Plan is the data order of the run.
func (r *Resolved) Plan() sharding.Plan {
	return sharding.NewPlan(r.Samples, r.Batch.Micro, r.Batch.Lanes, r.Seed)
}

// optional are files of a model directory that shape tokens or go with an exported model, where they exist.
var optional = []string{
	"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
	"generation_config.json",
}

const (
	single  = "model.safetensors"
	indexed = "model.safetensors.index.json"
)

// addModel adds the files of the model in dir.
func (r *Resolved) addModel(dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("model: %w: name a directory with config.json, safetensors and tokenizer.json", err)
	} else if !info.IsDir() {
		return fmt.Errorf("model: %s is no directory: name the one with config.json, safetensors and tokenizer.json", dir)
	}
	weights, err := weightFiles(dir)
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tokenizer.json")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("model: %w: download the model's tokenizer.json, or save its tokenizer as a fast one", err)
	}
	names := slices.Concat([]string{"config.json"}, weights, []string{"tokenizer.json"})
	for _, name := range optional {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := r.add("model", "model/"+name, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// weightFiles are the names of the safetensors files in dir, the index first where there is one.
func weightFiles(dir string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, single)); err == nil {
		return []string{single}, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, indexed))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has neither %s nor %s: download the model's weights as safetensors", dir, single, indexed)
	}
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, indexed), err)
	}
	files := map[string]bool{}
	for tensor, file := range index.WeightMap {
		if file != filepath.Base(file) || !strings.HasSuffix(file, ".safetensors") {
			return nil, fmt.Errorf("%s puts tensor %q into %q, which is no safetensors file beside it", filepath.Join(dir, indexed), tensor, file)
		}
		files[file] = true
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s names no tensor", filepath.Join(dir, indexed))
	}
	names := []string{indexed}
	for file := range files {
		names = append(names, file)
	}
	slices.Sort(names[1:])
	return names, nil
}

// addData adds the files that the patterns of data.kind match, and returns their paths.
func (r *Resolved) addData(kind string, patterns []string, dir string) ([]string, error) {
	var paths []string
	by := map[string]string{}
	for i, pattern := range patterns {
		name := fmt.Sprintf("data.%s[%d]", kind, i)
		found, err := expand(pattern, dir)
		if err != nil {
			return nil, fmt.Errorf("%s is %q: %w", name, pattern, err)
		}
		for _, path := range found {
			if other, twice := by[path]; twice {
				return nil, fmt.Errorf("%s is %q: matches %s, which %q names already: each file is used once", name, pattern, path, other)
			}
			by[path] = pattern
			if err := r.add(name, fmt.Sprintf("%s/%d", kind, len(paths)), path); err != nil {
				return nil, err
			}
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// expand returns the files that pattern matches, by name; relative patterns start in dir.
func expand(pattern, dir string) ([]string, error) {
	if pattern == "" {
		return nil, errors.New("name a file or a pattern")
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{within(dir, pattern)}, nil
	}
	if !filepath.IsAbs(pattern) {
		// The directory is no pattern, whatever letters its name has.
		pattern = filepath.Join(strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir), pattern)
	}
	found, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("matches no file in %s", filepath.Dir(pattern))
	}
	slices.Sort(found)
	return found, nil
}

// within is path as seen from dir.
func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// add hashes the file at path, which field of the spec names.
func (r *Resolved) add(field, role, path string) error {
	f := File{Path: path, Role: role}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %s is no regular file", field, path)
	}
	h := sha256.New()
	if f.Size, err = io.Copy(h, file); err != nil {
		return fmt.Errorf("%s: read %s: %w", field, path, err)
	}
	h.Sum(f.SHA256[:0])
	r.Files = append(r.Files, f)
	return nil
}
