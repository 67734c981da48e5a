package sharding

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/torctrain/torc/model/tokenizer"
)

// Real data in three forms has the same tokens three times: as JSONL, as Parquet, and as messages under a chat template that
// writes what the form of question and answer does. TORC_GSM8K names the directory of the dataset's train.jsonl and test.jsonl.
func TestGSM8KHasTheSameTokensInEveryForm(t *testing.T) {
	dir := os.Getenv("TORC_GSM8K")
	if dir == "" {
		t.Skip("TORC_GSM8K names no directory with GSM8K's train.jsonl and test.jsonl: real data is not compared")
	}
	const chat = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ 'Question: ' ~ m.content ~ '\nAnswer: ' }}{% else %}{{ m.content ~ eos_token }}{% endif %}{% endfor %}"
	tok := chatty(t, filepath.Join("..", "model", "tokenizer", "testdata", "llama3"), chat)
	for _, name := range []string{"train.jsonl", "test.jsonl"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var rows []exchange
		for d := json.NewDecoder(bytes.NewReader(text)); d.More(); {
			var x exchange
			if err := d.Decode(&x); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, x)
		}
		forms := []string{
			filepath.Join(dir, name), write(t, "data.parquet", string(rowsOf(t, rows))),
			write(t, "chat.jsonl", string(jsonl(t, conversationsOf(rows)))), write(t, "chat.parquet", string(rowsOf(t, conversationsOf(rows)))),
		}
		var want []Example
		tokens := 0
		for k, path := range forms {
			d, err := Index([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			if d.Len() != len(rows) || len(rows) < 1000 {
				t.Fatalf("%s: %d samples of %d rows", path, d.Len(), len(rows))
			}
			e := NewEncoder(tok, Config{})
			for i := range d.Len() {
				raw, where, err := d.Sample(Sample(i))
				if err != nil {
					t.Fatal(err)
				}
				x, err := e.Encode(raw, where)
				if err != nil {
					t.Fatal(err)
				}
				if k == 0 {
					want = append(want, x)
					tokens += len(x.Tokens)
				} else if w := want[i]; !slices.Equal(x.Tokens, w.Tokens) || !slices.Equal(x.Counted, w.Counted) || x.PromptTokens != w.PromptTokens || x.Answer != w.Answer {
					t.Fatalf("%s: sample %d has tokens %v, as JSONL it has %v", path, i, x.Tokens, w.Tokens)
				}
			}
		}
		t.Logf("%s: %d samples, %d tokens, the same in %d forms", name, len(rows), tokens, len(forms))
	}
}

// chatty is the tokenizer of a directory with another chat template.
func chatty(t *testing.T, from, chat string) *tokenizer.Tokenizer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(from, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"tokenizer.json": string(text), "chat_template.jinja": chat, "tokenizer_config.json": `{"bos_token": "<s>", "eos_token": "</s>"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
