package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// changedFile is tokenizer.json of testdata/kind with the part at path, separated by dots, set to value.
func changedFile(t testing.TB, kind, path, value string) []byte {
	t.Helper()
	var root map[string]any
	readJSON(t, filepath.Join("testdata", kind, "tokenizer.json"), &root)
	var v any
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		t.Fatalf("value %s: %v", value, err)
	}
	keys := strings.Split(path, ".")
	at := root
	for _, key := range keys[:len(keys)-1] {
		at = at[key].(map[string]any)
	}
	at[keys[len(keys)-1]] = v
	data, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWhatIsNotKnownIsRefusedByName(t *testing.T) {
	for _, c := range []struct{ path, value, want string }{
		{"version", `"2.0"`, `version "2.0"`},
		{"surprise", `1`, `unknown field "surprise"`},
		{"normalizer", `{"type":"NFKC"}`, `normalizer: type "NFKC"`},
		{"normalizer", `{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Lowercase"}]}`, `part 2: type "Lowercase"`},
		{"normalizer", `{"type":"Replace","pattern":{"Regex":"a+"},"content":"b"}`, `pattern "a+"`},
		{"normalizer", `{"type":"NFC","form":"D"}`, `unknown field "form"`},
		{"pre_tokenizer", `{"type":"Whitespace"}`, `pre_tokenizer: type "Whitespace"`},
		{"pre_tokenizer", `{"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Isolated","invert":false}`, `pattern "\\w+"`},
		{"pre_tokenizer", `{"type":"Split","pattern":{"String":" "},"behavior":"Isolated","invert":false}`, `not a Regex`},
		{"pre_tokenizer", `{"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},{"type":"Digits","individual_digits":true}]}`, `behind ByteLevel`},
		{"pre_tokenizer", `{"type":"Metaspace","replacement":"▁","prepend_scheme":"last"}`, `prepend_scheme "last"`},
		{"pre_tokenizer", `{"type":"Metaspace","replacement":"ab"}`, `one character`},
		{"post_processor", `{"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",0]}`, `post_processor: type "RobertaProcessing"`},
		{"post_processor", `{"type":"TemplateProcessing","single":[{"Sequence":{"id":"B","type_id":0}}],"pair":[],"special_tokens":{}}`, `sequence A`},
		{"post_processor", `{"type":"TemplateProcessing","single":[],"pair":[],"special_tokens":{}}`, `0 times`},
		{"post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<x>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{}}`, `"<x>" is not listed`},
		{"post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<x>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<x>":{"id":"<x>","ids":[99999],"tokens":["<x>"]}}}`, `id 99999`},
		{"decoder", `{"type":"WordPiece","prefix":"##","cleanup":true}`, `decoder: WordPiece`},
		{"decoder", `{"type":"Strip","content":"xy","start":1,"stop":0}`, `one character`},
		{"model.type", `"Unigram"`, `model: type "Unigram"`},
		{"model.dropout", `0.1`, `dropout 0.1`},
		{"model.continuing_subword_prefix", `"##"`, `continuing_subword_prefix "##"`},
		{"model.end_of_word_suffix", `"</w>"`, `end_of_word_suffix "</w>"`},
		{"model.merges", `["a b c"]`, `merge 1 is "a b c"`},
		{"model.merges", `[["a","b","c"]]`, `merge 1 has 3 parts`},
		{"model.merges", `["q $$$"]`, `token "$$$" is not in the vocabulary`},
		{"model.merges", `null`, `merges: missing`},
		{"model.vocab", `{"a":0,"b":0}`, `id 0 belongs to two tokens`},
		{"model.vocab", `{"a":-1}`, `token "a" has id -1`},
		{"model.vocab", `{"a":4194304}`, `has id 4194304`},
		{"model", `null`, `model: missing`},
		{"added_tokens", `[{"id":5,"content":"<new>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]`, `"<new>": the file gives it id 5`},
		{"added_tokens", `[{"content":"<new>"}]`, `gives it id none`},
		{"added_tokens", `[{"id":0,"content":"<|end|>","single_word":true,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]`, `single_word`},
	} {
		_, err := Parse(changedFile(t, "gpt2", c.path, c.value))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %s: error %v, want one with %s", c.path, c.value, err, c.want)
		}
	}
}

func TestUnknownPartsAreToldFromBrokenFiles(t *testing.T) {
	_, err := Parse(changedFile(t, "gpt2", "pre_tokenizer", `{"type":"Whitespace"}`))
	if !errors.Is(err, ErrUnknown) {
		t.Errorf("error %v of an unknown part is not ErrUnknown", err)
	}
	for _, broken := range []string{"", "{", "[]", `{"version":"1.0"} {}`, "\xff"} {
		if _, err := Parse([]byte(broken)); err == nil || errors.Is(err, ErrUnknown) {
			t.Errorf("error of the broken file %q is %v", broken, err)
		}
	}
}

// directory is a copy of testdata/kind with more files.
func directory(t testing.TB, kind string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join("testdata", kind, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := files["tokenizer.json"]; !ok {
		files["tokenizer.json"] = string(data)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// In testdata/llama3: <s> 702, </s> 703, <|end|> 704, <|user|> 705, <|assistant|> 706.
func TestBeginAndEndComeFromTheFirstFileThatNamesThem(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string
		bos, eos int32
		stops    []int32
	}{
		"no file":            {map[string]string{}, none, none, nil},
		"tokenizer config":   {map[string]string{"tokenizer_config.json": `{"bos_token":"<s>","eos_token":{"content":"</s>","lstrip":false}}`}, 702, 703, []int32{703}},
		"null in the config": {map[string]string{"tokenizer_config.json": `{"bos_token":null,"eos_token":"</s>"}`}, none, 703, []int32{703}},
		"special tokens map": {map[string]string{"tokenizer_config.json": `{}`, "special_tokens_map.json": `{"eos_token":"<|end|>"}`}, none, 704, []int32{704}},
		"config before map":  {map[string]string{"tokenizer_config.json": `{"bos_token":"<s>","eos_token":"</s>"}`, "special_tokens_map.json": `{"bos_token":"<|end|>","eos_token":"<|end|>"}`}, 702, 703, []int32{703}},
		"generation config":  {map[string]string{"generation_config.json": `{"bos_token_id":702,"eos_token_id":[706,704]}`}, 702, 706, []int32{704, 706}},
		"more stops":         {map[string]string{"tokenizer_config.json": `{"eos_token":"</s>"}`, "generation_config.json": `{"eos_token_id":704}`, "config.json": `{"eos_token_id":706}`}, none, 703, []int32{703, 704}},
		"model config":       {map[string]string{"config.json": `{"bos_token_id":null,"eos_token_id":703}`}, none, 703, []int32{703}},
	} {
		t.Run(name, func(t *testing.T) {
			tok := load(t, directory(t, "llama3", c.files))
			bos, hasBOS := tok.BOS()
			eos, hasEOS := tok.EOS()
			if bos != c.bos || hasBOS != (c.bos != none) || eos != c.eos || hasEOS != (c.eos != none) || !slices.Equal(tok.Stops(), c.stops) {
				t.Errorf("bos %d %t, eos %d %t, stops %v, want %d, %d, %v", bos, hasBOS, eos, hasEOS, tok.Stops(), c.bos, c.eos, c.stops)
			}
		})
	}
}

func TestContradictingFilesAreRefused(t *testing.T) {
	for want, files := range map[string]map[string]string{
		`"<nope>" is not in the vocabulary`: {"tokenizer_config.json": `{"eos_token":"<nope>"}`},
		`add_bos_token is false`:            {"tokenizer_config.json": `{"bos_token":"<s>","add_bos_token":false}`},
		`add_eos_token is true`:             {"tokenizer_config.json": `{"eos_token":"</s>","add_eos_token":true}`},
		`split_special_tokens`:              {"tokenizer_config.json": `{"split_special_tokens":true}`},
		`key "x" is not an id`:              {"tokenizer_config.json": `{"added_tokens_decoder":{"x":{"content":"<s>"}}}`},
		`gives it id 9`:                     {"tokenizer_config.json": `{"added_tokens_decoder":{"9":{"content":"<s>"}}}`},
		`want a string or an object`:        {"tokenizer_config.json": `{"eos_token":7}`},
		`want an id or a list of ids`:       {"generation_config.json": `{"eos_token_id":"x"}`},
		`special_tokens_map.json`:           {"special_tokens_map.json": `[`},
		`tokenizer.json: normalizer`:        {"tokenizer.json": string(changedFile(t, "llama3", "normalizer", `{"type":"Nmt"}`))},
	} {
		if _, err := Load(directory(t, "llama3", files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want one with %q", files, err, want)
		}
	}
	if _, err := Load(t.TempDir()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "needs the tokenizer.json") {
		t.Errorf("a directory without tokenizer: error %v", err)
	}
}

func TestTokenizerConfigChangesAddedTokens(t *testing.T) {
	plain := load(t, "testdata/llama3")
	files := map[string]string{"tokenizer_config.json": `{"added_tokens_decoder":{"704":{"content":"<|end|>","lstrip":true,"rstrip":false,"normalized":false,"single_word":false,"special":true}}}`}
	changed := load(t, directory(t, "llama3", files))
	if a, b := plain.Encode("a  <|end|>", false), changed.Encode("a  <|end|>", false); len(a) != len(b)+1 {
		t.Errorf("lstrip in the config: %v becomes %v, want the spaces gone", a, b)
	}
	if plain.Hash() == changed.Hash() {
		t.Error("two tokenizers that answer differently have one hash")
	}
	if again := load(t, "testdata/llama3"); plain.Hash() != again.Hash() {
		t.Error("one tokenizer has two hashes")
	}
}

func TestTokensAndIdsBelongTogether(t *testing.T) {
	tok := load(t, "testdata/llama3")
	if tok.VocabSize() != 707 {
		t.Errorf("%d ids, want 707", tok.VocabSize())
	}
	for id := range int32(707) {
		token, ok := tok.Token(id)
		if back, found := tok.ID(token); !ok || !found || back != id {
			t.Errorf("id %d is token %q, which has id %d", id, token, back)
		}
	}
	for _, id := range []int32{-1, 707, 1 << 30} {
		if token, ok := tok.Token(id); ok {
			t.Errorf("id %d is token %q, want none", id, token)
		}
	}
	if tok.Special(0) || !tok.Special(702) {
		t.Error("special tokens are told from others wrongly")
	}
}

func TestManyGoroutinesMayEncode(t *testing.T) {
	tok := load(t, "testdata/llama3")
	text := textOf(t)
	want := tok.Encode(text, true)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				if !slices.Equal(tok.Encode(text, true), want) {
					t.Error("another goroutine changes the ids")
				}
			}
		})
	}
	group.Wait()
}

func TestRememberedPiecesAreBounded(t *testing.T) {
	tok := load(t, "testdata/gpt2")
	var w worker
	for i := range seenPieces + 10 {
		tok.model.encode(nil, fmt.Sprint("p", i), &w)
	}
	if len(w.seen) > seenPieces || len(w.seen) == 0 {
		t.Errorf("%d pieces are remembered, want at most %d", len(w.seen), seenPieces)
	}
}

func FuzzParse(f *testing.F) {
	// Small files of each kind: whole ones leave the fuzzer no time.
	for _, parts := range []string{
		`"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true},"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true}`,
		`"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Prepend","prepend":"b"},{"type":"Replace","pattern":{"String":" "},"content":"b"}]}`,
		`"pre_tokenizer":{"type":"Metaspace","replacement":"a","prepend_scheme":"first","split":true},"decoder":{"type":"Metaspace","replacement":"a"}`,
		`"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"Split","pattern":{"Regex":"` + strings.ReplaceAll(patternLlama, `\`, `\\`) + `"},"behavior":"Isolated","invert":false}]}`,
		`"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}`,
		`"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[5],"tokens":["<s>"]}}}`,
	} {
		f.Add([]byte(`{"version":"1.0","added_tokens":[{"id":5,"content":"<s>","lstrip":true,"rstrip":true,"normalized":false,"special":true}],` + parts +
			`,"model":{"type":"BPE","unk_token":"a","byte_fallback":` + fmt.Sprint(!strings.Contains(parts, "ByteLevel")) + `,"ignore_merges":true,"vocab":{"a":0,"b":1,"ab":2,"<0x0A>":3,"1":4},"merges":["a b"]}}`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := Parse(data)
		if err != nil {
			return
		}
		tok.Decode(tok.Encode("a b\n12 é <s>", true), true)
	})
}

// Byte-level tokenizers without normalizer and prefix space lose nothing.
func FuzzTextComesBack(f *testing.F) {
	var texts []string
	readJSON(f, "testdata/strings.json", &texts)
	for _, text := range texts {
		f.Add(text)
	}
	var toks []*Tokenizer
	for _, kind := range []string{"gpt2", "llama3", "smollm", "trained"} {
		toks = append(toks, load(f, "testdata/"+kind))
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := text
		if !utf8.ValidString(text) {
			want = valid(text)
		}
		for _, tok := range toks {
			if got := tok.Decode(tok.Encode(text, false), false); got != want {
				t.Errorf("%q comes back as %q", text, got)
			}
		}
	})
}

func ExampleTrainer() {
	text := strings.Repeat("one two three two one\n", 20)
	file, err := Trainer{Vocab: 280, Specials: []string{"<|end|>"}}.Train(strings.NewReader(text))
	if err != nil {
		fmt.Println(err)
		return
	}
	t, err := Parse(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	ids := t.Encode("one two", true)
	for _, id := range ids {
		token, _ := t.Token(id)
		fmt.Printf("%s ", token)
	}
	fmt.Println(t.Decode(ids, true))
	// Output: one Ġtwo one two
}
