package sharding

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// numbered is a file of n samples, all different.
func numbered(t testing.TB, name string, n int, weight float64) File {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"text\":\"%s %d\"}\n", name, i)
	}
	return File{Path: write(t, name, b.String()), Name: name, Weight: weight}
}

// texts are the samples of a dataset in their order, and how often each occurs.
func textsOf(t testing.TB, d *Dataset) (order []string, often map[string]int) {
	t.Helper()
	often = map[string]int{}
	for i := range d.Len() {
		raw, _, err := d.Sample(Sample(i))
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, string(raw))
		often[string(raw)]++
	}
	return order, often
}

func part(t testing.TB, p Part, files ...File) *Dataset {
	t.Helper()
	d, err := IndexPart(files, p)
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := CountPart(files, p); err != nil || n != d.Len() {
		t.Errorf("%d samples are counted and %d indexed (%v)", n, d.Len(), err)
	}
	opened, err := OpenPart(files, p, "")
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := textsOf(t, d); true {
		if b, _ := textsOf(t, opened); !reflect.DeepEqual(a, b) {
			t.Error("OpenPart has other samples than IndexPart")
		}
	}
	return d
}

func TestWeightsSayHowOftenAnEpochHasASample(t *testing.T) {
	for _, c := range []struct {
		weight      float64
		least, some int // every sample so often, so many once more
	}{{0, 1, 0}, {1, 1, 0}, {2, 2, 0}, {0.5, 0, 50}, {0.004, 0, 0}, {0.016, 0, 2}, {2.25, 2, 25}, {10, 10, 0}} {
		d := part(t, Part{Seed: 3}, numbered(t, "a", 7, 1), numbered(t, "b", 100, c.weight))
		_, often := textsOf(t, d)
		more := 0
		for i := range 100 {
			n := often[fmt.Sprintf(`{"text":"b %d"}`, i)]
			if n == c.least+1 {
				more++
			} else if n != c.least {
				t.Errorf("weight %v: sample %d occurs %d times", c.weight, i, n)
			}
		}
		if want := 7 + 100*c.least + c.some; more != c.some || d.Len() != want {
			t.Errorf("weight %v: %d samples once more than %d times, want %d; %d in all, want %d", c.weight, more, c.least, c.some, d.Len(), want)
		}
	}
}

func TestHeldOutSamplesAreThoseThatAreNotTrainedOn(t *testing.T) {
	files := []File{numbered(t, "a", 130, 3), numbered(t, "b", 70, 0.5)}
	for _, c := range []struct {
		split float64
		want  int
	}{{0.1, 20}, {0.004, 1}, {33, 33}, {199, 199}, {0.5, 100}} {
		p := Part{Split: c.split, Seed: 9}
		held := p
		held.Held = true
		_, in := textsOf(t, part(t, p, files...))
		out, once := textsOf(t, part(t, held, files...))
		if len(out) != c.want || len(once) != c.want {
			t.Errorf("split %v holds out %d samples, %d different ones, want %d", c.split, len(out), len(once), c.want)
		}
		for text := range once {
			if in[text] > 0 {
				t.Errorf("split %v: %s is trained on and held out", c.split, text)
			}
		}
		for i := range 130 {
			text := fmt.Sprintf(`{"text":"a %d"}`, i)
			if in[text] != 3*(1-once[text]) {
				t.Errorf("split %v: %s of weight 3 occurs %d times", c.split, text, in[text])
			}
		}
	}
	for _, split := range []float64{0.001, 0.999, 200, 1e9} {
		if _, err := IndexPart(files, Part{Split: split}); err == nil || !strings.Contains(err.Error(), "must leave at least one on either side") {
			t.Errorf("split %v: %v", split, err)
		}
	}
}

// Which samples are chosen is part of a run's result: the same on every machine and in every version.
func TestChoiceFollowsFromTheSeedAlone(t *testing.T) {
	files := []File{numbered(t, "a", 12, 1.25), numbered(t, "b", 8, 0.5)}
	want := `a 0, a 1, a 2, a 3, a 4, a 5, a 7, a 8, a 9, a 10, a 11, a 0, a 5, a 11, b 3, b 6, b 7`
	order, _ := textsOf(t, part(t, Part{Split: 4, Seed: 43}, files...))
	got := strings.NewReplacer(`{"text":"`, "", `"}`, "").Replace(strings.Join(order, ", "))
	if got != want {
		t.Errorf("samples are\n%s\nwant\n%s", got, want)
	}
	other, _ := textsOf(t, part(t, Part{Split: 4, Seed: 44}, files...))
	if reflect.DeepEqual(order, other) {
		t.Error("another seed chooses the same samples")
	}
}

func TestColumnsTakeTheKeysOfTheFile(t *testing.T) {
	path := write(t, "data.jsonl", `{"id":7,"problem":"1+1?","solution":"2","note":null}`+"\n"+`{"solution":"4","problem":"2+2?"}`+"\n")
	d := part(t, Part{}, File{Path: path, Name: "data", Columns: Columns{"question": "problem", "answer": "solution"}})
	if got, _ := textsOf(t, d); !reflect.DeepEqual(got, []string{`{"answer":"2","question":"1+1?"}`, `{"answer":"4","question":"2+2?"}`}) {
		t.Errorf("samples are %q", got)
	}
	path = write(t, "data.jsonl", `{"task":"t","more":null,"text":"out"}`+"\n"+`{"task":"t","text":"out"}`+"\n"+`{"task":"t","more":"m","text":"out"}`)
	d = part(t, Part{}, File{Path: path, Name: "data", Columns: Columns{"instruction": "task", "input": "more", "output": "text"}})
	if got, _ := textsOf(t, d); got[0] != `{"instruction":"t","output":"out"}` || got[1] != got[0] || got[2] != `{"input":"m","instruction":"t","output":"out"}` {
		t.Errorf("samples are %q", got)
	}
	deep := write(t, "deep.jsonl", `{"translation":{"de":"Hund","en":"dog"},"a.b":"literal","a":{"b":"path"},"x":[1]}`)
	d = part(t, Part{}, File{Path: deep, Name: "deep", Columns: Columns{"prompt": "translation.de", "completion": "translation.en"}})
	if got, _ := textsOf(t, d); got[0] != `{"completion":"dog","prompt":"Hund"}` {
		t.Errorf("samples are %q", got)
	}
	d = part(t, Part{}, File{Path: deep, Name: "deep", Columns: Columns{"text": "a.b"}})
	if got, _ := textsOf(t, d); got[0] != `{"text":"literal"}` {
		t.Errorf("samples are %q", got)
	}
	for _, none := range []string{"translation.fr", "x.y", "a.b.c", ".", "translation."} {
		if _, err := IndexFiles([]File{{Path: deep, Name: "deep", Columns: Columns{"text": none}}}); err == nil || !strings.Contains(err.Error(), "deep:1: has no") {
			t.Errorf("%s: %v", none, err)
		}
	}
	for want, columns := range map[string]Columns{
		`data:1: has no "problem", which data.columns names for "question"; it has "more", "task", "text"`: {"question": "problem", "answer": "text"},
		`data:1: has none of the keys that data.columns names`:                                             {"input": "x"},
		`data:1: keys "prompt" make no known sample; nearest is prompt/completion`:                         {"prompt": "task"},
		`data:1: "text" is not a string`:                                                                   {"text": "more"},
	} {
		if _, err := IndexFiles([]File{{Path: path, Name: "data", Columns: columns}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", columns, err, want)
		}
	}
}

func TestBadRowsAreCountedAndPassedOver(t *testing.T) {
	path := write(t, "data.jsonl", `{"text":"a"}`+"\nno JSON\n"+`{"txt":"b"}`+"\n\n"+`{"text":"c"}`+"\n"+strings.Repeat("[]\n", 20))
	d := part(t, Part{SkipBad: true}, File{Path: path, Name: "data"})
	if got, _ := textsOf(t, d); !reflect.DeepEqual(got, []string{`{"text":"a"}`, `{"text":"c"}`}) {
		t.Errorf("samples are %q", got)
	}
	bad := d.Bad()
	if bad.Count != 22 || len(bad.First) != maxBadShown || !strings.HasPrefix(bad.First[0].Error(), "data:2: is not JSON") || !strings.HasPrefix(bad.First[1].Error(), "data:3: keys") {
		t.Errorf("%d bad rows, first %v", bad.Count, bad.First)
	}
	if _, where, _ := d.Sample(1); where != "data:5" {
		t.Errorf("the second sample is at %s", where)
	}
	none := File{Path: write(t, "none.jsonl", "x\n"), Name: "none"}
	if _, err := IndexPart([]File{none}, Part{SkipBad: true}); err == nil || !strings.Contains(err.Error(), "no row is a sample: correct them, or leave the file out; the first: none:1: is not JSON") {
		t.Errorf("a file of bad rows alone: %v", err)
	}
	huge := File{Path: write(t, "huge.jsonl", strings.Repeat("x", maxLineBytes+1)), Name: "huge"}
	if _, err := IndexPart([]File{huge}, Part{SkipBad: true}); err == nil || !strings.Contains(err.Error(), "huge:1: line is longer") {
		t.Errorf("a file of another kind: %v", err)
	}
}

func TestHalfSurrogatePairsAreRefused(t *testing.T) {
	for text, want := range map[string]int{
		`{"text":"a\ud83d\ude00b"}`: -1, `{"text":"\\ud83d"}`: -1, `{"text":"\\\ud83d"}`: 11, `{"text":"a\ud83d"}`: 10, `{"text":"\uDE00x"}`: 9,
		`{"text":"\ud83dx\ude00"}`: 9, `{"text":"\ud83d\ud83d\ude00"}`: 9, `{"text":"\u00e9\uD7FF\uE000"}`: -1, `{"text":"\ud83d\ude00\ude00"}`: 21,
		`{"\udc00":"x"}`: 2,
	} {
		if got := halfPair([]byte(text)); got != want {
			t.Errorf("%s: half a pair at %d, want %d", text, got, want)
		}
		_, err := Index([]string{write(t, "data.jsonl", text)})
		if refused := err != nil && strings.Contains(err.Error(), fmt.Sprintf(`at byte %d, which is no text`, want+1)); refused != (want >= 0) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
