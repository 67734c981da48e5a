package jinja

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

type golden struct {
	Title, File, Source string
	With                int
	Variables           string
	Text                string
	Spans               [][2]int // in characters
	Fails               bool
}

func goldens(t *testing.T) []golden {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Variables []string
		Cases     []golden
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for i := range file.Cases {
		g := &file.Cases[i]
		g.Variables = file.Variables[g.With]
		if g.File != "" {
			source, err := os.ReadFile(filepath.Join("testdata/templates", g.File))
			if err != nil {
				t.Fatal(err)
			}
			g.Source = string(source)
		}
	}
	return file.Cases
}

func render(source, variables string) (string, []Span, error) {
	t, err := Parse(source)
	if err != nil {
		return "", nil, err
	}
	v, err := Decode([]byte(variables))
	if err != nil {
		return "", nil, err
	}
	return t.Render(v.(*Dict))
}

// testdata/make_golden.py
func TestTemplatesRenderAsInTransformers(t *testing.T) {
	cases := goldens(t)
	if len(cases) < 300 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, g := range cases {
		name := g.File + " " + g.Title
		if g.File == "" {
			name = g.Source
		}
		text, spans, err := render(g.Source, g.Variables)
		if g.Fails {
			if err == nil {
				t.Errorf("%s: renders %q, want an error", name, text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v, want %q", name, err, g.Text)
			continue
		}
		if text != g.Text {
			t.Errorf("%s:\n got %q\nwant %q", name, text, g.Text)
			continue
		}
		if len(spans) != len(g.Spans) {
			t.Errorf("%s: %d spans, want %d", name, len(spans), len(g.Spans))
			continue
		}
		for i, s := range spans {
			if got := [2]int{len([]rune(text[:s.Start])), len([]rune(text[:s.End]))}; got != g.Spans[i] {
				t.Errorf("%s: span %d is %v, want %v", name, i, got, g.Spans[i])
			}
		}
	}
}
