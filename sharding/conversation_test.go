package sharding

import (
	"strings"
	"testing"
)

// chatml is a template without {% generation %}.
const chatml = `{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls|tojson }}{% endif %}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}`

// docs/formats.md, Samples.
func TestConversationsBecomeTokens(t *testing.T) {
	tok := bytewise(t, "<|end|>", chatml)
	for _, c := range []struct{ raw, want, answer string }{
		{
			`{"messages":[{"role":"user","content":"2+2?"},{"role":"assistant","content":"4"}]}`,
			"<|user|>2+2?<|end|>\n<|assistant|>[4<|end|>]\n", "4",
		},
		{
			`{"messages":[{"role":"system","content":"Add."},{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":""}],"tools":null}`,
			"<|system|>Add.<|end|>\n<|user|>a<|end|>\n<|assistant|>[b<|end|>]\n<|user|>c<|end|>\n<|assistant|>[<|end|>]\n", "",
		},
		{
			`{"conversations":[{"from":"human","value":"<a>"},{"from":"gpt","value":"b\u0026"}],"system":"S"}`,
			"<|system|>S<|end|>\n<|user|><a><|end|>\n<|assistant|>[b&<|end|>]\n", "b&",
		},
		{
			`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"z":1,"a":2}]}]}`,
			"<|user|>a<|end|>\n<|assistant|>[[{\"z\": 1, \"a\": 2}]<|end|>]\n", "",
		},
		{
			`{"conversations":[{"from":"human","value":"a","weight":null,"role":null},{"from":null,"role":"assistant","content":"b","value":null}],"system":null,"messages":null,"id":null}`,
			"<|user|>a<|end|>\n<|assistant|>[b<|end|>]\n", "b",
		},
		{
			`{"messages":[{"role":"user","content":"a","name":null},{"role":"assistant","content":"b"},{"role":"user","content":"thanks"}]}`,
			"<|user|>a<|end|>\n<|assistant|>[b<|end|>]\n<|user|>thanks<|end|>\n", "b",
		},
	} {
		x, err := NewEncoder(tok, Config{}).Encode([]byte(c.raw), "f:1")
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if got := marked(tok, x); got != c.want || x.Answer != c.answer {
			t.Errorf("%s becomes %q with answer %q, want %q and %q", c.raw, got, x.Answer, c.want, c.answer)
		}
		if prompt := tok.Decode(x.Tokens[:x.PromptTokens], false); !strings.HasSuffix(prompt, "<|assistant|>") || strings.Count(prompt, "<|assistant|>") != strings.Count(c.want, "<|assistant|>") {
			t.Errorf("%s: the prompt is %q", c.raw, prompt)
		}
	}
}

func TestConversationsAreCutLikeOthers(t *testing.T) {
	tok := bytewise(t, "<|end|>", chatml)
	raw := []byte(`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"bcd"}]}`)
	whole, err := NewEncoder(tok, Config{}).Encode(raw, "f:1")
	if err != nil {
		t.Fatal(err)
	}
	most := whole.PromptTokens + 2
	x, err := NewEncoder(tok, Config{MaxTokens: most, Overflow: "truncate"}).Encode(raw, "f:1")
	if err != nil || len(x.Tokens) != most || len(x.Counted) != most || x.CountedTokens() != 2 {
		t.Errorf("%q, %v", marked(tok, x), err)
	}
	if _, err := NewEncoder(tok, Config{MaxTokens: most, Overflow: "refuse"}).Encode(raw, "f:1"); err == nil || !strings.HasPrefix(err.Error(), "f:1: sample has") {
		t.Errorf("error %v", err)
	}
}

func TestBadConversationsAreNamed(t *testing.T) {
	for want, text := range map[string]string{
		`:1: "messages" is not a list of messages`:                      `{"messages":"hi"}`,
		`:1: "conversations" is not a list of messages`:                 `{"conversations":[]}`,
		`:1: "messages" and "conversations" are both there`:             `{"messages":[],"conversations":[]}`,
		`:1: key "id" is not known beside "messages"`:                   `{"messages":[],"id":3}`,
		`:1: message 1: is not an object`:                               `{"messages":["hi"]}`,
		`:1: message 2: "role" is not a string`:                         `{"messages":[{"role":"user","content":"a"},{"content":"b"}]}`,
		`:1: message 1: has no "content"`:                               `{"messages":[{"role":"user"}]}`,
		`:1: message 1: "content" is not a string`:                      `{"messages":[{"role":"user","content":3}]}`,
		`:1: message 1: key "weight" is not known: chat templates read`: `{"messages":[{"role":"user","content":"a","weight":0}]}`,
		`:1: message 1: "from" is "bing": known are`:                    `{"conversations":[{"from":"bing","value":"a"}]}`,
		`:1: message 1: key "weight" is not known beside "from"`:        `{"conversations":[{"from":"gpt","value":"a","weight":1}]}`,
		`:1: message 1: has no "value"`:                                 `{"conversations":[{"from":"gpt"}]}`,
		`:1: no message is the assistant's: there is nothing to learn`:  `{"messages":[{"role":"user","content":"a"}]}`,
		`:1: "tools" is not a list`:                                     `{"messages":[{"role":"assistant","content":"a"}],"tools":{}}`,
		`:1: "system" is not a string`:                                  `{"messages":[{"role":"assistant","content":"a"}],"system":1}`,
	} {
		path := write(t, "data.jsonl", text)
		_, err := Index([]string{path})
		if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %s", text, err, want)
		}
	}
	_, err := NewEncoder(bytewise(t, "<|end|>"), Config{}).Encode([]byte(`{"messages":[{"role":"assistant","content":"a"}]}`), "f:3")
	if err == nil || !strings.HasPrefix(err.Error(), "f:3: the model has no chat template: put a chat_template.jinja") {
		t.Errorf("without a template: %v", err)
	}
}
