package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/sharding"
)

// Resolved is a spec in which nothing is left to find: what all members of a run work from.
type Resolved struct {
	Spec `json:"spec"` // with Steps, without Epochs
	// Files are in the order in which they are used: the model's, then the data's as Data names them.
	Files []File `json:"files"`
	// Samples is N, the number of samples in an epoch: those of data.train but the bad and the held out, times their weights.
	Samples int `json:"samples"`
	// BadRows is the number of rows of the data files that are passed over, as data.bad_rows allows.
	BadRows int `json:"bad_rows,omitempty"`
	// Bad are the first of them, for people; they do not travel.
	Bad []error `json:"-"`
	// After is the step after which the run begins, with another run's State, which is the file of role "state". 0: the run
	// begins with its model.
	After uint64 `json:"after,omitempty"`
	// Class is the arithmetic class of the members, empty until the coordinator pins that of the first.
	Class string `json:"class"`
}

// File is a file by its content.
type File struct {
	SHA256 Sum   `json:"sha256"`
	Size   int64 `json:"size"`
	// Path is where launch found it, a hint only.
	Path string `json:"path"`
	// Role is the name under which the spec knows it: "model/config.json", "train/0", "validation/3", "state".
	Role string `json:"role"`
	// Weight and Columns say how a data file is used, where that is not as usual.
	Weight  float64          `json:"weight,omitempty"`
	Columns sharding.Columns `json:"columns,omitempty"`
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

// Found are places on this machine of what a spec names by other means than a path: the directory of a model, the files of a
// data path. What is not in it is a path.
type Found map[string][]string

// Resolve finds and hashes every file that s names, relative to dir, looks whether the weights are those of the model,
// and counts samples and steps.
func Resolve(s *Spec, dir string) (*Resolved, error) { return ResolveFound(s, dir, nil) }

// ResolveFound is Resolve with places that were looked for before.
func ResolveFound(s *Spec, dir string, found Found) (*Resolved, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r := &Resolved{Spec: *s}
	base := within(dir, s.Model)
	if place := found[s.Model]; len(place) == 1 {
		base = place[0]
	}
	if err := r.addModel(base); err != nil {
		return nil, err
	}
	if err := r.addAll(dir, found); err != nil {
		return nil, err
	}
	if r.Samples, err = r.count("train"); err != nil {
		return nil, fmt.Errorf("data.train: %w", err)
	}
	if len(s.Data.Validation) > 0 { // what is held out has been read already
		if _, err := r.count("validation"); err != nil {
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

// addAll adds the data files.
func (r *Resolved) addAll(dir string, found Found) error {
	if err := r.addData("train", r.Data.Train, dir, found); err != nil {
		return err
	}
	if err := r.addData("validation", r.Data.Validation, dir, found); err != nil {
		return err
	}
	r.addHeld()
	return nil
}

// Look opens the samples of s without its model, for people to look at; valid is nil if there are none. Bad rows are passed
// over, whatever s says of them: the datasets know how many there are.
func Look(s *Spec, dir string, found Found) (train, valid *sharding.Dataset, err error) {
	r := &Resolved{Spec: *s}
	r.Data.BadRows = "skip"
	if dir, err = filepath.Abs(dir); err == nil {
		err = r.addAll(dir, found)
	}
	if err != nil {
		return nil, nil, err
	}
	if train, err = sharding.IndexPart(r.files("train"), r.Data.Part(r.Seed, false)); err != nil {
		return nil, nil, fmt.Errorf("data.train: %w", err)
	}
	if files := r.files("validation"); len(files) > 0 {
		if valid, err = sharding.IndexPart(files, r.Data.Part(r.Seed, true)); err != nil {
			return nil, nil, fmt.Errorf("data.validation: %w", err)
		}
	}
	return train, valid, nil
}

// files are the data files of a kind as they are used.
func (r *Resolved) files(kind string) []sharding.File {
	var files []sharding.File
	for _, f := range r.Files {
		if strings.HasPrefix(f.Role, kind+"/") {
			files = append(files, sharding.File{Path: f.Path, Name: f.Path, Columns: f.Columns, Weight: f.Weight})
		}
	}
	return files
}

// addHeld adds the training files once more as those of the validation, if data.split holds out some of their samples.
func (r *Resolved) addHeld() {
	if r.Data.Split == 0 {
		return
	}
	for _, f := range slices.Clone(r.Files) {
		if rest, ok := strings.CutPrefix(f.Role, "train/"); ok {
			f.Role, f.Weight = "validation/"+rest, 0
			r.Files = append(r.Files, f)
		}
	}
}

// count reads the data files of a kind and returns the number of their samples.
func (r *Resolved) count(kind string) (int, error) {
	n, bad, err := sharding.CountPart(r.files(kind), r.Data.Part(r.Seed, kind == "validation"))
	r.BadRows += bad.Count
	r.Bad = append(r.Bad, bad.First...)
	return n, err
}

// Dataset opens the samples of the run: kind is "train" or "validation", files are those of the kind in the order of Files,
// wherever they lie here. What packed files hold is kept under cacheDir. It is the same on every machine.
func (r *Resolved) Dataset(kind string, files []sharding.File, cacheDir string) (*sharding.Dataset, error) {
	files = slices.Clone(files)
	n := 0
	for _, f := range r.Files {
		if !strings.HasPrefix(f.Role, kind+"/") {
			continue
		}
		if n == len(files) {
			return nil, fmt.Errorf("open data.%s: %d files, the spec has more", kind, n)
		}
		files[n].Columns, files[n].Weight = f.Columns, f.Weight
		n++
	}
	if n != len(files) {
		return nil, fmt.Errorf("open data.%s: %d files, the spec has %d", kind, len(files), n)
	}
	return sharding.OpenPart(files, r.Data.Part(r.Seed, kind == "validation"), cacheDir)
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

// addModel adds the files of the model in dir, after a look at their headers: a damaged or foreign model, and a method that cannot
// train it, are refused here and not by the nodes.
func (r *Resolved) addModel(dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("model: %w: name a directory with config.json, safetensors and tokenizer.json", err)
	} else if !info.IsDir() {
		return fmt.Errorf("model: %s is no directory: name the one with config.json, safetensors and tokenizer.json", dir)
	}
	c, weights, err := model.Check(dir)
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if _, err := methods.Trained(r.Method, c.Params()); err != nil {
		return err
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

// addData adds the files that the patterns of data.kind match.
func (r *Resolved) addData(kind string, patterns []string, dir string, places Found) error {
	count := 0
	by := map[string]string{}
	for i, pattern := range patterns {
		name := fmt.Sprintf("data.%s[%d]", kind, i)
		source := r.Data.Source(pattern)
		found, known := places[pattern]
		if !known {
			var err error
			if found, err = expand(pattern, dir); err != nil {
				return fmt.Errorf("%s is %q: %w", name, pattern, err)
			}
		}
		if len(found) > 1 && source.SHA256 != "" {
			return fmt.Errorf("%s is %q: sha256 is given, but %d files match: name one", name, pattern, len(found))
		}
		for _, path := range found {
			if other, twice := by[path]; twice {
				return fmt.Errorf("%s is %q: matches %s, which %q names already: each file is used once", name, pattern, path, other)
			}
			by[path] = pattern
			if err := r.add(name, fmt.Sprintf("%s/%d", kind, count), path); err != nil {
				return err
			}
			count++
			f := &r.Files[len(r.Files)-1]
			if f.Columns = source.Columns; source.Weight != 1 {
				f.Weight = source.Weight
			}
			if source.SHA256 != "" && !strings.EqualFold(source.SHA256, hex.EncodeToString(f.SHA256[:])) {
				return fmt.Errorf("%s: %s has SHA-256 %x, the spec says %s: it is another file", name, path, f.SHA256, source.SHA256)
			}
		}
	}
	return nil
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
