package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// goldenFile is what testdata/make_golden.py wrote: the answers of the Hugging Face library.
type goldenFile struct {
	Strings []struct {
		IDs     []int32  `json:"ids"`
		Full    *[]int32 `json:"full"`    // with special tokens; absent: the same
		Text    *string  `json:"text"`    // what ids decode to; absent: the string
		Skipped *string  `json:"skipped"` // what full decodes to without special tokens; absent: text
	} `json:"strings"`
	Random []struct {
		IDs     []int32 `json:"ids"`
		Text    string  `json:"text"`
		Skipped string  `json:"skipped"`
	} `json:"random"`
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func goldenKinds(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*/golden.json")
	if err != nil || len(paths) < 10 {
		t.Fatalf("found %d golden files: %v", len(paths), err)
	}
	for i, path := range paths {
		paths[i] = filepath.Dir(path)
	}
	return paths
}

func load(t testing.TB, dir string) *Tokenizer {
	t.Helper()
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestIdsAndTextAreThoseOfTheLibrary(t *testing.T) {
	var texts []string
	readJSON(t, "testdata/strings.json", &texts)
	if len(texts) < 300 {
		t.Fatalf("%d strings, want at least 300", len(texts))
	}
	for _, dir := range goldenKinds(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			tok := load(t, dir)
			var golden goldenFile
			readJSON(t, filepath.Join(dir, "golden.json"), &golden)
			if len(golden.Strings) != len(texts) {
				t.Fatalf("%d answers for %d strings", len(golden.Strings), len(texts))
			}
			for i, want := range golden.Strings {
				full, text := want.IDs, texts[i]
				if want.Full != nil {
					full = *want.Full
				}
				if want.Text != nil {
					text = *want.Text
				}
				skipped := text
				if want.Skipped != nil {
					skipped = *want.Skipped
				}
				if got := tok.Encode(texts[i], false); !slices.Equal(got, want.IDs) {
					t.Errorf("Encode(%q) = %v, want %v", texts[i], got, want.IDs)
				}
				if got := tok.Encode(texts[i], true); !slices.Equal(got, full) {
					t.Errorf("Encode(%q) with special tokens = %v, want %v", texts[i], got, full)
				}
				if got := tok.Decode(want.IDs, false); got != text {
					t.Errorf("Decode(%v) = %q, want %q", want.IDs, got, text)
				}
				if got := tok.Decode(full, true); got != skipped {
					t.Errorf("Decode(%v) without special tokens = %q, want %q", full, got, skipped)
				}
			}
			for _, want := range golden.Random {
				if got := tok.Decode(want.IDs, false); got != want.Text {
					t.Errorf("Decode(%v) = %q, want %q", want.IDs, got, want.Text)
				}
				if got := tok.Decode(want.IDs, true); got != want.Skipped {
					t.Errorf("Decode(%v) without special tokens = %q, want %q", want.IDs, got, want.Skipped)
				}
			}
		})
	}
}

func TestNormalFormCIsThatOfTheLibrary(t *testing.T) {
	var pairs [][2]string
	readJSON(t, "testdata/nfc.json", &pairs)
	nfc := newNFC()
	for _, p := range pairs {
		if got := nfc(p[0]); got != p[1] {
			t.Errorf("NFC of %+q = %+q, want %+q", p[0], got, p[1])
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	text, err := os.ReadFile("testdata/trained/text.txt")
	if err != nil {
		b.Fatal(err)
	}
	for _, kind := range []string{"trained", "llama3", "llama2"} {
		b.Run(kind, func(b *testing.B) {
			tok := load(b, "testdata/"+kind)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				tok.Encode(string(text), true)
			}
		})
	}
}
