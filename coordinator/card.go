package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/model"
)

// card is the README.md of an exported model: what it was made of, and how anybody can check that. It names files without
// their directories, which are nobody else's business, and is the same each time.
func (r *result) card(run string, as *model.DType) ([]byte, error) {
	var b bytes.Buffer
	s := r.spec
	fmt.Fprintf(&b, "---\nlibrary_name: transformers\npipeline_tag: text-generation\n")
	base := baseName(s)
	if hubModel.MatchString(base) {
		fmt.Fprintf(&b, "base_model: %s\n", base)
	}
	fmt.Fprintf(&b, "tags:\n- torc\n- %s\n---\n\n", s.Method.Name)
	title := s.Name
	if title == "" {
		title = run
	}
	fmt.Fprintf(&b, "# %s\n\n", inline(title))
	fmt.Fprintf(&b, "Made of %s by %d steps of %s with [torc](https://github.com/torctrain/torc). The spec below and the files it names by their\n", inline(base), r.state.Step, inline(s.Method.Name))
	b.WriteString("hashes determine every bit of it, on whatever machines it is repeated.\n\n")
	dtype := "the base's"
	if as != nil {
		dtype = as.String()
	}
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	for _, row := range [][2]string{
		{"run", run},
		{"steps", fmt.Sprintf("%d of %d", r.state.Step, s.Steps)},
		{"digest of the trained state", fmt.Sprintf("`%x`", r.state.Digest())},
		{"hash of the spec", fmt.Sprintf("`%x`", s.Hash())},
		{"arithmetic class", "`" + s.Class + "`"},
		{"trained values", fmt.Sprint(len(r.state.Theta))},
		{"type of the weights", dtype},
		{"samples in an epoch", fmt.Sprint(s.Samples)},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	b.WriteString("\n## Files\n\n| used as | file | bytes | SHA-256 |\n|---|---|---|---|\n")
	for _, f := range s.Files {
		role, _, _ := strings.Cut(f.Role, "/")
		if f.Weight != 0 && f.Weight != 1 {
			role += fmt.Sprintf(", weight %g", f.Weight)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | `%x` |\n", role, inline(fileName(f)), f.Size, f.SHA256)
	}
	text, err := publicSpec(s)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "\n## Spec\n\n```json\n%s\n```\n", text)
	return b.Bytes(), nil
}

var (
	hubModel    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	hubSnapshot = regexp.MustCompile(`(?:^|/)models--([A-Za-z0-9._-]+?)--([A-Za-z0-9._-]+)/(?:snapshots|blobs)/`)
)

// baseName is what to call the base model: its name in a hub, else that of its directory.
func baseName(s *spec.Resolved) string {
	for _, f := range s.Files {
		if m := hubSnapshot.FindStringSubmatch(filepath.ToSlash(f.Path)); m != nil && strings.HasPrefix(f.Role, "model/") {
			return m[1] + "/" + m[2]
		}
	}
	return filepath.Base(s.Model)
}

// fileName is a file's name in its directory: a model's by its role, as a path in a cache has another.
func fileName(f spec.File) string {
	if name, ok := strings.CutPrefix(f.Role, "model/"); ok {
		return name
	}
	return filepath.Base(f.Path)
}

// publicSpec is the spec as a run resolved it, without the directories of whoever launched it.
func publicSpec(s *spec.Resolved) ([]byte, error) {
	public := *s
	if filepath.IsAbs(public.Model) {
		public.Model = baseName(s)
	}
	public.Data.Sources = nil // what they say stands at the files
	public.Data.Train, public.Data.Validation = withoutDirs(s.Data.Train), withoutDirs(s.Data.Validation)
	public.Files = slices.Clone(s.Files)
	for i := range public.Files {
		public.Files[i].Path = fileName(s.Files[i])
	}
	text, err := public.JSON()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, text, "", "  ")
	return bytes.ReplaceAll(out.Bytes(), []byte("```"), []byte("`\\u0060`")), err
}

func withoutDirs(paths []string) []string {
	out := slices.Clone(paths)
	for i, path := range out {
		if filepath.IsAbs(path) {
			out[i] = filepath.Base(path)
		}
	}
	return out
}

// inline keeps a name from being anything else in Markdown than text in a line.
func inline(text string) string {
	return strings.NewReplacer("\n", " ", "\r", " ", "|", "\\|", "`", "\\`", "<", "&lt;", "[", "\\[", "*", "\\*", "_", "\\_").Replace(text)
}
