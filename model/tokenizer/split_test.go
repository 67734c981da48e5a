package tokenizer

import (
	"slices"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"pgregory.net/rapid"
)

// awkward is what patterns treat differently, drawn often; runes newer than regexp2's Unicode are left to the goldens.
var awkward = []string{
	" ", " ", "  ", "\n", "\r", "\r\n", "\t", "\v", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "'", "'", "s", "t", "re", "ve", "m", "ll", "d",
	"S", "RE", "vE", "Ll", "ſ", "a", "bc", "é", "ß", "e\u0301", "\u0301", "中", "文字", "й", "ع", "अ", "\u093f", "1", "23", "½", "٣", "Ⅷ", "²",
	".", ",", "!?", "(", "_", "-", "$", "€", "😀", "👍🏽", "\u200d", "\x00", "\ufffd", "\U0010ffff",
}

func texts() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(rapid.SampledFrom(awkward), 0, 30).Draw(t, "parts")
		return strings.Join(parts, "")
	})
}

// oracle cuts text with a regular expression engine.
func oracle(t testing.TB, pattern string) func(text string) []string {
	t.Helper()
	re := regexp2.MustCompile(pattern, regexp2.None)
	return func(text string) []string {
		var pieces []string
		for m, err := re.FindStringMatch(text); m != nil || err != nil; m, err = re.FindNextMatch(m) {
			if err != nil {
				t.Fatal(err)
			}
			pieces = append(pieces, m.String())
		}
		return pieces
	}
}

func TestScannersCutLikeTheirPatterns(t *testing.T) {
	// regexp2 folds case one rune at a time without 'ſ, so the folded group is spelled out for it.
	const folded, spelled = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`, `(?:'[sSſ]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])`
	for _, pattern := range []string{patternGPT2, patternLlama, patternQwen} {
		cut := oracle(t, strings.ReplaceAll(pattern, folded, spelled))
		scan := scannerOf(pattern)
		rapid.Check(t, func(t *rapid.T) {
			text := texts().Draw(t, "text")
			if got, want := scan.cut(nil, text), cut(text); !slices.Equal(got, want) {
				t.Fatalf("pattern %s cuts %q into %q, want %q", pattern, text, got, want)
			}
		})
	}
}

func TestDigitsAreCutLikeTheirPattern(t *testing.T) {
	for individual, pattern := range map[bool]string{true: `\p{N}|\P{N}+`, false: `\p{N}+|\P{N}+`} {
		cut := oracle(t, pattern)
		rapid.Check(t, func(t *rapid.T) {
			text := texts().Filter(func(s string) bool { return s != "" }).Draw(t, "text")
			if got, want := cutDigits(nil, text, individual), cut(text); !slices.Equal(got, want) {
				t.Fatalf("%q is cut into %q, want %q", text, got, want)
			}
		})
	}
}

func TestUnknownPatternsHaveNoScanner(t *testing.T) {
	for _, pattern := range []string{"", `\s+`, patternGPT2 + " ", `\w+|[^\w\s]+`} {
		if scannerOf(pattern) != nil {
			t.Errorf("pattern %q has a scanner", pattern)
		}
	}
}
