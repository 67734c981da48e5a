package sharding

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/torctrain/torc/model/tokenizer"
)

// bytewise is a tokenizer with one id to a byte behind <|end|> (0) and <s> (1), that writes <s> before a text. It may have a
// chat template.
func bytewise(t testing.TB, eos string, chat ...string) *tokenizer.Tokenizer {
	t.Helper()
	file, err := tokenizer.Trainer{Vocab: 258, Specials: []string{"<|end|>", "<s>"}}.Train(strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(file, &parts); err != nil {
		t.Fatal(err)
	}
	parts["post_processor"] = json.RawMessage(`{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
		"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}`)
	if file, err = json.Marshal(parts); err != nil {
		t.Fatal(err)
	}
	special := map[string]string{"bos_token": "<s>"}
	if eos != "" {
		special["eos_token"] = eos
	}
	config, err := json.Marshal(special)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string][]byte{"tokenizer.json": file, "tokenizer_config.json": config}
	for _, template := range chat {
		files["chat_template.jinja"] = []byte(template)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// marked is the text of an example with the counted part between brackets.
func marked(tok *tokenizer.Tokenizer, x Example) string {
	out := ""
	for i, id := range x.Tokens {
		if x.Counted[i] && !x.Counted[i-1] {
			out += "["
		}
		out += tok.Decode([]int32{id}, false)
		if x.Counted[i] && (i+1 == len(x.Tokens) || !x.Counted[i+1]) {
			out += "]"
		}
	}
	return out
}

// docs/formats.md, Samples.
func TestSamplesBecomeTokens(t *testing.T) {
	tok := bytewise(t, "<|end|>")
	e := NewEncoder(tok, Config{})
	for _, c := range []struct{ raw, want, answer string }{
		{`{"text":"ab c"}`, "<s>[ab c]", ""},
		{`{"prompt":"2+2=","completion":"4"}`, "<s>2+2=[4<|end|>]", "4"},
		{`{"completion":" x","prompt":""}`, "<s>[ x<|end|>]", " x"},
		{`{"prompt":"p","completion":""}`, "<s>p[<|end|>]", ""},
		{`{"question":"How?","answer":"So.\n#### 7"}`, "<s>Question: How?\nAnswer: [So.\n#### 7<|end|>]", "So.\n#### 7"},
		{`{"instruction":"Do {input}.","output":"Done"}`, "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n" +
			"### Instruction:\nDo {input}.\n\n### Response:[Done<|end|>]", "Done"},
		{`{"instruction":"Do","input":"","output":"Done"}`, "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n" +
			"### Instruction:\nDo\n\n### Response:[Done<|end|>]", "Done"},
		{`{"instruction":"Add","input":"1 2","output":"3"}`, "<s>Below is an instruction that describes a task, paired with an input that provides further context. " +
			"Write a response that appropriately completes the request.\n\n### Instruction:\nAdd\n\n### Input:\n1 2\n\n### Response:[3<|end|>]", "3"},
	} {
		x, err := e.Encode([]byte(c.raw), "f:1")
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if got := marked(tok, x); got != c.want || x.Answer != c.answer || x.Where != "f:1" {
			t.Errorf("%s becomes %q with answer %q, want %q and %q", c.raw, got, x.Answer, c.want, c.answer)
		}
		if before, _, found := strings.Cut(c.want, "["); found && x.Answer != "" && tok.Decode(x.Tokens[:x.PromptTokens], false) != before {
			t.Errorf("%s: the prompt is %q, want %q", c.raw, tok.Decode(x.Tokens[:x.PromptTokens], false), before)
		}
	}
}

func TestFormatsPageHasTheTemplates(t *testing.T) {
	page, err := os.ReadFile("../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, template := range []string{alpacaBare, alpacaInput} {
		if !strings.Contains(string(page), template) {
			t.Errorf("docs/formats.md lacks the template %q", template)
		}
	}
}

func TestLongSamplesAreCutOrRefused(t *testing.T) {
	tok := bytewise(t, "<|end|>")
	raw := []byte(`{"prompt":"abc","completion":"def"}`) // 8 tokens
	for most, want := range map[int]string{9: "<s>abc[def<|end|>]", 8: "<s>abc[def<|end|>]", 7: "<s>abc[def]", 5: "<s>abc[d]", 4: "<s>abc", 2: "<s>a"} {
		x, err := NewEncoder(tok, Config{MaxTokens: most, Overflow: "truncate"}).Encode(raw, "f:1")
		if err != nil || marked(tok, x) != want {
			t.Errorf("at most %d tokens: %q, %v, want %q", most, marked(tok, x), err, want)
		}
		if x.PromptTokens > len(x.Tokens) {
			t.Errorf("at most %d tokens: the prompt has %d of %d", most, x.PromptTokens, len(x.Tokens))
		}
		if got, want := x.CountedTokens(), strings.Count(want, "[")*(len(x.Tokens)-4); got != want {
			t.Errorf("at most %d tokens: %d count, want %d", most, got, want)
		}
	}
	refuse := NewEncoder(tok, Config{MaxTokens: 7, Overflow: "refuse"})
	if _, err := refuse.Encode(raw, "f:12"); err == nil || !strings.HasPrefix(err.Error(), "f:12: sample has 8 tokens, data.max_tokens is 7") {
		t.Errorf("error %v", err)
	}
	if _, err := NewEncoder(tok, Config{MaxTokens: 8, Overflow: "refuse"}).Encode(raw, "f:12"); err != nil {
		t.Error(err)
	}
}

func TestAnswersNeedATokenThatEndsThem(t *testing.T) {
	e := NewEncoder(bytewise(t, ""), Config{})
	if _, err := e.Encode([]byte(`{"question":"q","answer":"a"}`), "f:3"); err == nil || !strings.Contains(err.Error(), "f:3: the tokenizer names no token that ends a text: set eos_token") {
		t.Errorf("error %v", err)
	}
	if x, err := e.Encode([]byte(`{"text":"a"}`), "f:4"); err != nil || len(x.Tokens) != 2 {
		t.Errorf("text needs none: %v, %v", x, err)
	}
}

func TestFinalAnswer(t *testing.T) {
	for answer, want := range map[string]string{"": "", " 7 \n": "7", "so\n#### 7": "7", "####1####  2 ": "2", "a ### b": "a ### b"} {
		if got := Final(answer); got != want {
			t.Errorf("Final(%q) = %q, want %q", answer, got, want)
		}
	}
}

func TestCheckShowsWhatCounts(t *testing.T) {
	tok := bytewise(t, "<|end|>")
	path := write(t, "d.jsonl", `{"prompt":"ab","completion":"c"}`+"\n"+`{"prompt":"abcdefgh","completion":"i"}`+"\n"+`{"text":"xyz"}`)
	d, err := Index([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	var seen []Checked
	sum, err := Check(d, NewEncoder(tok, Config{MaxTokens: 6, Overflow: "truncate"}), func(c Checked) bool {
		seen = append(seen, c)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Summary{
		Samples: 3, Tokens: 5 + 6 + 4, Counted: 2 + 0 + 3, Longest: 11, Lengths: Lengths{4, 5, 11, 11}, Cut: 1, Idle: 1,
		Places: map[string][]string{"cut": {path + ":2"}, "idle": {path + ":2"}},
	}); !reflect.DeepEqual(sum, want) {
		t.Errorf("figures %+v, want %+v", sum, want)
	}
	want := [][]Run{{{"<s>ab", false}, {"c<|end|>", true}}, {{"<s>abcde", false}}, {{"<s>", false}, {"xyz", true}}}
	for i, c := range seen {
		if !slices.Equal(c.Runs, want[i]) || c.Where != fmt.Sprintf("%s:%d", path, i+1) || len(c.IDs) != len(c.Counted) {
			t.Errorf("sample %d is %+v, want runs %v", i, c, want[i])
		}
	}
	if sum, err := Check(d, NewEncoder(tok, Config{}), func(Checked) bool { return false }); err != nil || sum.Samples != 1 {
		t.Errorf("after the first sample: %+v, %v", sum, err)
	}
}

func TestCheckFindsWhatIsOdd(t *testing.T) {
	const chat = `{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}`
	tok := bytewise(t, "<|end|>", chat)
	rows := []string{
		`{"prompt":"a","completion":"b"}`, `{"text":"a"}`, `{"prompt":"a","completion":"b"}`, `{"prompt":"a","completion":" \n"}`, `no JSON`,
		`{"messages":[{"role":"tool","content":"x"},{"role":"assistant","content":"y"}]}`, `{"text":"a"}`,
	}
	path := write(t, "d.jsonl", strings.Join(rows, "\n"))
	d, err := IndexPart([]File{{Path: path, Name: "d", Weight: 2}}, Part{SkipBad: true})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := Check(d, NewEncoder(tok, Config{BadRows: "skip"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Samples != 12 || sum.Duplicates != 4 || sum.Empty != 2 || sum.BadRows != 3 || sum.Idle != 2 {
		t.Errorf("figures %+v", sum)
	}
	if p := sum.Places; p["duplicates"][0] != "d:3 is d:1" || p["empty"][0] != "d:4" || !strings.HasPrefix(p["bad_rows"][0], "d:5: is not JSON") || !strings.HasPrefix(p["bad_rows"][1], "d:6: render 2 messages") {
		t.Errorf("places %q", p)
	}
	if _, err := Check(d, NewEncoder(tok, Config{}), nil); err == nil || !strings.Contains(err.Error(), "d:6: ") || !strings.Contains(err.Error(), "no tools here") {
		t.Errorf("a conversation that the template refuses: %v", err)
	}
}

// What the reference tokenizer takes, torc reads as the same ids; what it refuses, torc refuses by its place.
func TestEscapedSurrogatesAreReadLikeTheReference(t *testing.T) {
	const dir = "../model/tokenizer/testdata"
	tok, err := tokenizer.Load(filepath.Join(dir, "gpt2"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "surrogates.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Strings []struct {
			JSON string
			IDs  []int32
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Strings) < 10 {
		t.Fatalf("%d strings, %v", len(golden.Strings), err)
	}
	for _, g := range golden.Strings {
		x, err := NewEncoder(tok, Config{}).Encode([]byte(`{"text":`+g.JSON+`}`), "f:1")
		if g.IDs == nil {
			if err == nil || !strings.Contains(err.Error(), "f:1: has half a surrogate pair") {
				t.Errorf("%s: %v, want a refusal", g.JSON, err)
			}
		} else if err != nil || !slices.Equal(x.Tokens, g.IDs) {
			t.Errorf("%s: %v (%v), want %v", g.JSON, x.Tokens, err, g.IDs)
		}
	}
}
