package tokenizer

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write testdata/trained/tokenizer.json; then run testdata/make_trained.py")

// textOf is a small text with everything in it: the strings of the goldens, and this package's documentation.
func textOf(t testing.TB) string {
	t.Helper()
	var parts []string
	readJSON(t, "testdata/strings.json", &parts)
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(parts, "\n") + string(doc)
}

// testdata/trained/golden.json holds what the Hugging Face library makes of the file compared here.
func TestTrainedTokenizerIsTheOneTheLibraryWasAskedAbout(t *testing.T) {
	text, err := os.ReadFile("testdata/trained/text.txt")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Trainer{Vocab: 600, Specials: []string{"<|end|>", "<s>"}}.Train(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	const path = "testdata/trained/tokenizer.json"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("Train gives another file than %s; if it is meant to, run the test with -update and then testdata/make_trained.py", path)
	}
}

// spell returns s with each byte spelled as its character.
func spell(s string) string {
	var out strings.Builder
	for i := range len(s) {
		out.WriteRune(runeOfByte[s[i]])
	}
	return out.String()
}

// slowTrain is the definition: count all pairs anew before each merge.
func slowTrain(text string, vocab int) [][2]string {
	counts := map[string]int{}
	for _, piece := range scanner(scanGPT2).cut(nil, text) {
		counts[piece]++
	}
	pieces := map[string][]string{}
	for piece := range counts {
		for i := range len(piece) {
			pieces[piece] = append(pieces[piece], piece[i:i+1])
		}
	}
	known := map[string]bool{}
	listed := map[[2]string]bool{}
	var merges [][2]string
	for ids := 256; ids < vocab; {
		pairs := map[[2]string]int{}
		for piece, symbols := range pieces {
			for i := range len(symbols) - 1 {
				pairs[[2]string{symbols[i], symbols[i+1]}] += counts[piece]
			}
		}
		best, most := [2]string{}, 1
		for p, count := range pairs {
			if count > most || count == most && most > 1 && slices.Compare(p[:], best[:]) < 0 {
				best, most = p, count
			}
		}
		if most < 2 {
			break
		}
		if !listed[best] {
			listed[best] = true
			merges = append(merges, [2]string{spell(best[0]), spell(best[1])})
		}
		if !known[best[0]+best[1]] {
			known[best[0]+best[1]] = true
			ids++
		}
		for piece, symbols := range pieces {
			var out []string
			for i := 0; i < len(symbols); i++ {
				if i+1 < len(symbols) && [2]string(symbols[i:i+2]) == best {
					out = append(out, symbols[i]+symbols[i+1])
					i++
				} else {
					out = append(out, symbols[i])
				}
			}
			pieces[piece] = out
		}
	}
	return merges
}

func TestTrainingFollowsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[abc]{1,8}|aé{1,3}| |\n|12+`), 0, 60).Draw(t, "words")
		text := strings.Join(words, rapid.SampledFrom([]string{"", " "}).Draw(t, "between"))
		vocab := rapid.IntRange(256, 300).Draw(t, "vocab")
		l := newLearner(Trainer{Vocab: vocab}, text)
		l.learn(vocab)
		if want := slowTrain(text, vocab); !slices.Equal(l.merges, want) {
			t.Fatalf("merges of %q are %q, want %q", text, l.merges, want)
		}
	})
}

func TestTrainedTokenizerGivesTextBack(t *testing.T) {
	text := textOf(t)
	for _, trainer := range []Trainer{{Vocab: 256}, {Vocab: 400, Specials: []string{"<|end|>"}}, {Vocab: 500, Digits: true}} {
		data, err := trainer.Train(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		tok, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if tok.VocabSize() != trainer.Vocab {
			t.Errorf("%d ids, want %d", tok.VocabSize(), trainer.Vocab)
		}
		ids := tok.Encode(text, true)
		if got := tok.Decode(ids, false); got != text {
			t.Errorf("%+v: the text comes back as another", trainer)
		}
		if trainer.Digits && len(tok.Encode("12345", false)) != 5 {
			t.Error("digits are merged")
		}
	}
}

func TestTrainingRefusesWhatItCannotDo(t *testing.T) {
	for want, trainer := range map[string]Trainer{
		"vocab is 257":       {Vocab: 257, Specials: []string{"<a>", "<b>"}},
		"listed twice":       {Vocab: 300, Specials: []string{"<a>", "<a>"}},
		"is empty":           {Vocab: 300, Specials: []string{""}},
		"spelling of a byte": {Vocab: 300, Specials: []string{"Ġ"}},
	} {
		if _, err := trainer.Train(strings.NewReader("text")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", trainer, err, want)
		}
	}
}

func TestSpecialTokensAreNotLearned(t *testing.T) {
	data, err := Trainer{Vocab: 270, Specials: []string{"ab"}}.Train(strings.NewReader(strings.Repeat("abab ", 50)))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.ID("ab"); !ok || id != 0 || !tok.Special(0) {
		t.Errorf("special token ab has id %d, want 0", id)
	}
}
