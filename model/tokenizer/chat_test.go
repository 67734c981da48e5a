package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// chatCase is a conversation of testdata/make_chat.py, with the answer of transformers.
type chatCase struct {
	Kind, Template, Messages, Tools string
	IDs                             []int32
	Apart                           []int32 // ids when each answer is encoded apart, where those are others
	Says                            []int   // places of ids that the assistant says
}

type chatGolden struct {
	Sources, Configs map[string]string
	Cases            []chatCase
}

func chatGoldens(t *testing.T) chatGolden {
	t.Helper()
	var g chatGolden
	readJSON(t, "testdata/chats.json", &g)
	if len(g.Cases) < 300 {
		t.Fatalf("%d cases", len(g.Cases))
	}
	paths, err := filepath.Glob("../jinja/testdata/templates/*.jinja")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		g.Sources[strings.TrimSuffix(filepath.Base(path), ".jinja")] = string(source)
	}
	return g
}

// chatter loads a tokenizer of a kind with a template in chat_template.jinja.
func chatter(t *testing.T, kind, config, template string) *Tokenizer {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", kind, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"tokenizer.json": string(data), "tokenizer_config.json": config, "chat_template.jinja": template} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return load(t, dir)
}

func messagesOf(t *testing.T, text string) []json.RawMessage {
	t.Helper()
	var messages []json.RawMessage
	if err := json.Unmarshal([]byte(text), &messages); err != nil {
		t.Fatal(err)
	}
	return messages
}

func places(counted []bool) []int {
	out := []int{}
	for i, c := range counted {
		if c {
			out = append(out, i)
		}
	}
	return out
}

func TestConversationsHaveTheTokensOfTransformers(t *testing.T) {
	g := chatGoldens(t)
	toks := map[string]*Tokenizer{}
	masks, tooled := 0, 0
	for _, c := range g.Cases {
		key := c.Kind + "/" + c.Template
		if toks[key] == nil {
			toks[key] = chatter(t, c.Kind, g.Configs[c.Kind], g.Sources[c.Template])
		}
		got, err := toks[key].Chat(messagesOf(t, c.Messages), json.RawMessage(c.Tools))
		if c.Tools != "" {
			tooled++
		}
		if c.Apart != nil {
			c.IDs = c.Apart
		}
		if err != nil {
			t.Errorf("%s %s: %v", key, c.Messages, err)
			continue
		}
		if !slices.Equal(got.Tokens, c.IDs) {
			t.Errorf("%s %s:\n got %q\nwant %q", key, c.Messages, toks[key].spell(got.Tokens), toks[key].spell(c.IDs))
			continue
		}
		if len(c.Says) == 0 {
			continue
		}
		masks++
		if !slices.Equal(places(got.Counted), c.Says) {
			t.Errorf("%s %s: the assistant says %v, want %v, of %q", key, c.Messages, places(got.Counted), c.Says, toks[key].spell(c.IDs))
		}
	}
	if masks < 100 || tooled < 50 {
		t.Errorf("%d masks and %d conversations with tools compared", masks, tooled)
	}
}

func (t *Tokenizer) spell(ids []int32) []string {
	var out []string
	for _, id := range ids {
		s, _ := t.Token(id)
		out = append(out, s)
	}
	return out
}

const small = `{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`

// byIndex is small without a loop over the messages.
var byIndex = strings.NewReplacer("{% for m in messages %}", "{% for i in range(messages|length) %}", "m.", "messages[i].").Replace(small)

const smallConfig = `{"bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": {"500": {"content": "</s>", "special": true}, "501": {"content": "<s>", "special": true}}`

func TestChatTemplatesAreFoundWhereTransformersFindsThem(t *testing.T) {
	one, err := json.Marshal(small)
	if err != nil {
		t.Fatal(err)
	}
	file := "file {% generation %}" + `{{ messages[-1].content }}{% endgeneration %}`
	listed := `[{"name":"default","template":"usual {% generation %}x{% endgeneration %}"},{"name":"tool_use","template":"tools {{ tools|length }} {% generation %}x{% endgeneration %}"}]`
	for name, c := range map[string]struct{ config, file, tools, want string }{
		"string":          {smallConfig + `,"chat_template":` + string(one) + `}`, "", "", "<s>[user]2+2?[assistant]4</s>"},
		"file first":      {smallConfig + `,"chat_template":` + string(one) + `}`, file, "", "file 4"},
		"list":            {smallConfig + `,"chat_template":` + listed + `}`, "", "", "usual x"},
		"list with tools": {smallConfig + `,"chat_template":` + listed + `}`, "", `[{"name":"f"}]`, "tools 1 x"},
		"null tools":      {smallConfig + `,"chat_template":` + listed + `}`, "", `null`, "usual x"},
	} {
		tok := chatterIn(t, c.config, c.file)
		got, err := tok.Chat(messagesOf(t, `[{"role":"user","content":"2+2?"},{"role":"assistant","content":"4"}]`), json.RawMessage(c.tools))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if text := tok.Decode(got.Tokens, false); text != c.want {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}

// chatterIn loads a tokenizer with a tokenizer_config.json and, if it is not empty, a chat_template.jinja.
func chatterIn(t *testing.T, config, template string) *Tokenizer {
	t.Helper()
	data, err := os.ReadFile("testdata/smollm/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"tokenizer.json": string(data), "tokenizer_config.json": renumbered(t, string(data), config)}
	if template != "" {
		files["chat_template.jinja"] = template
	}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return load(t, dir)
}

// renumbered gives the added tokens of config the ids behind those of a tokenizer.json.
func renumbered(t *testing.T, file, config string) string {
	t.Helper()
	tok, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("500", strconv.Itoa(tok.VocabSize()), "501", strconv.Itoa(tok.VocabSize()+1)).Replace(config)
}

func TestWhatTheAssistantSaysCounts(t *testing.T) {
	tok := chatterIn(t, smallConfig+`}`, small)
	got, err := tok.Chat(messagesOf(t, `[{"role":"system","content":"Add."},{"role":"user","content":"2+2?"},{"role":"assistant","content":"4"},{"role":"user","content":"And?"},{"role":"assistant","content":"no"}]`), nil)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for i, id := range got.Tokens {
		if got.Counted[i] {
			said += tok.Decode([]int32{id}, false)
		}
	}
	if said != "4</s>no</s>" {
		t.Errorf("counted is %q", said)
	}
	if prompt := tok.Decode(got.Tokens[:got.Prompt], false); prompt != "<s>[system]Add.[user]2+2?[assistant]4</s>[user]And?[assistant]" {
		t.Errorf("the prompt is %q", prompt)
	}
}

// Templates like Qwen3's write less of an answer when others follow; what they write for each answer counts all the same.
func TestAnAnswerMayBeWrittenOtherwiseWhenOthersFollow(t *testing.T) {
	tok := chatterIn(t, smallConfig+`}`, `{{ messages|length }}{% for m in messages %}{% if m.role == 'assistant' %}[assistant]{% if loop.last %}<think>{% endif %}{% else %}[user]{% endif %}{{ m.content }}{% if m.role == 'assistant' %}</s>{{ '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`)
	got, err := tok.Chat(messagesOf(t, `[{"role":"user","content":"2+2?"},{"role":"assistant","content":"4"},{"role":"user","content":"And?"},{"role":"assistant","content":"no"}]`), nil)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for i, id := range got.Tokens {
		if got.Counted[i] {
			said += tok.Decode([]int32{id}, false)
		}
	}
	if whole := tok.Decode(got.Tokens, false); said != "4</s><think>no</s>" || whole != "4[user]2+2?[assistant]4</s>\n[user]And?[assistant]<think>no</s>\n" {
		t.Errorf("of %q %q counts", whole, said)
	}
}

func TestConversationsThatCannotBeReadSayWhy(t *testing.T) {
	exchange := `[{"role":"user","content":"2+2?"},{"role":"assistant","content":"4"}]`
	for _, c := range []struct{ template, messages, want string }{
		{"", exchange, "the model has no chat template"},
		{"{{ x|random }}", exchange, `the model's chat template: line 1: filter "random" is not known`},
		{"{{ raise_exception('no system') }}", exchange, "render 2 messages with the model's chat template: line 1: the chat template says: no system"},
		{small, `[{"role":"user","content":"2+2?"}]`, "writes nothing that the assistant says"},
		{small, `[1]`, "message 1 is no object"},
		{"{{ messages|length }}" + byIndex, exchange, "renders the first 1 messages otherwise"},
		{"{{ messages|length }}{% macro all() %}" + small + "{% endmacro %}{{ all() }}", exchange, "renders the first 1 messages otherwise"},
		{"{{ messages|length }}" + small + small, exchange, "renders the first 1 messages otherwise"},
		{"{{ messages|length }}" + strings.Replace(small, "[{{ m.role }}]", "<{{ m.role }}>", 1), exchange, "renders the first 1 messages otherwise"},
		{"{% generation %}{% endgeneration %}", exchange, "writes nothing that the assistant says"},
	} {
		_, err := chatterIn(t, smallConfig+`}`, c.template).Chat(messagesOf(t, c.messages), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %s: %v, want %q", c.template, c.messages, err, c.want)
		}
	}
}

func TestTheHashOfATokenizerCoversItsChatTemplate(t *testing.T) {
	plain, one, other := chatterIn(t, smallConfig+`}`, "").Hash(), chatterIn(t, smallConfig+`}`, small).Hash(), chatterIn(t, smallConfig+`}`, small+" ").Hash()
	if plain == one || one == other || plain == other {
		t.Error("equal hashes for different templates")
	}
}
