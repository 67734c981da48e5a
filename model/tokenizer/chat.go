package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/torctrain/torc/model/jinja"
)

// Chat is a conversation as a model reads it.
type Chat struct {
	Tokens  []int32
	Counted []bool // Counted[i]: the assistant says Tokens[i]
	Prompt  int    // how many tokens stand before what the assistant says last
}

// Chat renders messages with the model's chat template and returns the ids of the text, without the special tokens that
// Encode adds: the template writes them. Messages are JSON objects with at least a role; keys that are null count as
// missing. tools is a JSON list of function schemas, or empty.
//
// What the assistant says is what the template has inside {% generation %}. Where it has no such tag, it is what an
// assistant's message adds to the prompt in front of it, up to its last special token. A template that renders the first
// messages otherwise when others follow has a loop over the messages, or is refused: then it is what the loop writes for the
// message, less what add_generation_prompt adds.
//
// The assistant's text is encoded apart from what is in front of it, as a model meets it that is given the prompt.
// A tokenizer that writes a mark in front of any text (Metaspace) takes the whole at once instead, and a token across the border
// counts as the assistant's.
//
// An error is a *ChatError if another conversation could do better with the same template.
func (t *Tokenizer) Chat(messages []json.RawMessage, tools json.RawMessage) (*Chat, error) {
	c, err := t.conversation(messages, tools)
	if err != nil {
		return nil, err
	}
	text, spans, err := c.said()
	if err != nil {
		return nil, &ChatError{err}
	}
	return t.cut(text, spans), nil
}

// ChatError says why a chat template does not take a conversation.
type ChatError struct{ err error }

func (e *ChatError) Error() string { return e.err.Error() }

// Unwrap is the cause.
func (e *ChatError) Unwrap() error { return e.err }

// said renders the conversation and finds what the assistant says.
func (c *conversation) said() (string, []jinja.Span, error) {
	text, spans, err := c.render(len(c.messages), false)
	if err != nil {
		return "", nil, err
	}
	if !c.template.Marks() {
		if spans, err = c.answers(text); errors.Is(err, errUnstable) {
			if turns, ok := c.turns(text); ok {
				spans, err = turns, nil
			}
		}
		if err != nil {
			return "", nil, err
		}
	}
	spans = merged(spans)
	if len(spans) == 0 {
		return "", nil, errors.New("the chat template writes nothing that the assistant says")
	}
	return text, spans, nil
}

// templates are a model's chat templates.
type templates struct {
	named   map[string]string // by name, "default" for the usual one
	special map[string]string // bos_token and its like, as the templates may use them
}

// conversation is a template with what it is rendered with.
type conversation struct {
	tok      *Tokenizer
	template *jinja.Template
	messages jinja.List
	tools    any
}

// conversation parses the template and the messages.
func (t *Tokenizer) conversation(messages []json.RawMessage, tools json.RawMessage) (*conversation, error) {
	c := &conversation{tok: t}
	for i, raw := range messages {
		v, err := jinja.Decode(raw)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		m, ok := v.(*jinja.Dict)
		if !ok {
			return nil, fmt.Errorf("message %d is no object", i+1)
		}
		c.messages = append(c.messages, given(m))
	}
	name := "default"
	if len(tools) > 0 {
		v, err := jinja.Decode(tools)
		if err != nil {
			return nil, fmt.Errorf("tools: %w", err)
		}
		if c.tools = v; v != nil && t.chats.named["tool_use"] != "" {
			name = "tool_use"
		}
	}
	var err error
	c.template, err = t.chatTemplate(name)
	return c, err
}

// given are the keys of a message that are not null. What a reasoning model thought goes by three names.
func given(m *jinja.Dict) *jinja.Dict {
	out := new(jinja.Dict)
	for _, key := range []string{"reasoning_content", "thinking", "reasoning"} {
		if v, _ := m.Get(key); v != nil {
			out.Set("thinking", v)
			for _, key := range m.Keys() {
				if v, _ := m.Get(key); v != nil {
					out.Set(key, v)
				}
			}
			out.Set("reasoning_content", v)
			return out
		}
	}
	for _, key := range m.Keys() {
		if v, _ := m.Get(key); v != nil {
			out.Set(key, v)
		}
	}
	return out
}

// chatTemplate returns a template, parsed the first time it is asked for.
func (t *Tokenizer) chatTemplate(name string) (*jinja.Template, error) {
	if parsed, ok := t.parsed.Load(name); ok {
		return parsed.(*jinja.Template), nil
	}
	source, ok := t.chats.named[name]
	if !ok {
		return nil, errors.New("the model has no chat template: put a chat_template.jinja into its directory, or write each exchange as \"prompt\" and \"completion\"")
	}
	parsed, err := jinja.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("the model's chat template: %w", err)
	}
	t.parsed.Store(name, parsed)
	return parsed, nil
}

// variables are what the template renders the first n messages with.
func (c *conversation) variables(n int, prompt bool) *jinja.Dict {
	v := new(jinja.Dict)
	v.Set("messages", c.messages[:n:n])
	v.Set("tools", c.tools)
	v.Set("documents", nil)
	v.Set("add_generation_prompt", prompt)
	for name, token := range c.tok.chats.special {
		v.Set(name, token)
	}
	return v
}

// render returns the text of the first n messages.
func (c *conversation) render(n int, prompt bool) (string, []jinja.Span, error) {
	text, spans, err := c.template.Render(c.variables(n, prompt))
	if err != nil {
		return "", nil, fmt.Errorf("render %d messages with the model's chat template: %w", n, err)
	}
	return text, spans, nil
}

// answers finds what the assistant says in text, which all messages render to.
func (c *conversation) answers(text string) ([]jinja.Span, error) {
	var spans []jinja.Span
	for i, m := range c.messages {
		if role, _ := m.(*jinja.Dict).Get("role"); role != "assistant" {
			continue
		}
		prompt, err := c.prefix(text, i, true)
		if err != nil {
			return nil, err
		}
		whole, err := c.prefix(text, i+1, false)
		if err != nil {
			return nil, err
		}
		if prompt > whole {
			return nil, c.unstable(i)
		}
		spans = append(spans, jinja.Span{Start: prompt, End: prompt + len(c.tok.trimmed(text[prompt:whole]))})
	}
	return spans, nil
}

// prefix returns how much of text the first n messages make.
func (c *conversation) prefix(text string, n int, prompt bool) (int, error) {
	if n == len(c.messages) {
		return len(text), nil
	}
	part, _, err := c.render(n, prompt)
	if err != nil {
		return 0, err
	}
	if !strings.HasPrefix(text, part) {
		return 0, c.unstable(n)
	}
	return len(part), nil
}

// turns finds what the assistant says as what a loop over the messages writes for each, less what a prompt begins with.
func (c *conversation) turns(text string) ([]jinja.Span, bool) {
	prompted, _, err := c.render(len(c.messages), true)
	if err != nil || !strings.HasPrefix(prompted, text) {
		return nil, false
	}
	head := prompted[len(text):]
	var items []*jinja.Dict
	for _, m := range c.messages {
		if role, _ := m.(*jinja.Dict).Get("role"); role == "assistant" {
			items = append(items, m.(*jinja.Dict))
		}
	}
	again, spans, err := c.template.Turns(c.variables(len(c.messages), false), items)
	if err != nil || again != text {
		return nil, false
	}
	for i, s := range spans {
		if s.End == 0 || !strings.HasPrefix(text[s.Start:s.End], head) {
			return nil, false
		}
		spans[i].Start += len(head)
		spans[i].End = spans[i].Start + len(c.tok.trimmed(text[spans[i].Start:s.End]))
	}
	return spans, true
}

// errUnstable is why what the assistant says is looked for otherwise.
var errUnstable = errors.New("what the assistant says cannot be told apart")

func (c *conversation) unstable(n int) error {
	return fmt.Errorf("the model's chat template renders the first %d messages otherwise when others follow, so %w: mark it with {%% generation %%} and {%% endgeneration %%} in a chat_template.jinja, or give one answer to a sample", n, errUnstable)
}

// trimmed is an answer without the white space behind its last special token: the model stops there.
func (t *Tokenizer) trimmed(answer string) string {
	short := strings.TrimRight(answer, " \t\r\n")
	for token := range t.added.special {
		if token != "" && strings.HasSuffix(short, token) {
			return short
		}
	}
	for _, id := range t.names.stops {
		if token, ok := t.Token(id); ok && strings.HasSuffix(short, token) {
			return short
		}
	}
	return answer
}

// merged orders spans and joins those that overlap; empty ones go.
func merged(spans []jinja.Span) []jinja.Span {
	spans = slices.DeleteFunc(slices.Clone(spans), func(s jinja.Span) bool { return s.Start == s.End })
	slices.SortFunc(spans, func(a, b jinja.Span) int { return a.Start - b.Start })
	var out []jinja.Span
	for _, s := range spans {
		if n := len(out); n > 0 && s.Start <= out[n-1].End {
			out[n-1].End = max(out[n-1].End, s.End)
			continue
		}
		out = append(out, s)
	}
	return out
}

// cut encodes text, whose spans count.
func (t *Tokenizer) cut(text string, spans []jinja.Span) *Chat {
	c, whole := new(Chat), t.marksStart()
	if whole {
		c.Tokens = t.Encode(text, false)
	}
	at := 0
	add := func(to int, counted bool) {
		if whole {
			for n := t.border(c.Tokens, text, to); len(c.Counted) < n; {
				c.Counted = append(c.Counted, counted)
			}
		} else {
			c.Tokens = append(c.Tokens, t.Encode(text[at:to], false)...)
			for len(c.Counted) < len(c.Tokens) {
				c.Counted = append(c.Counted, counted)
			}
		}
		at = to
	}
	for _, s := range spans {
		add(s.Start, false)
		c.Prompt = len(c.Counted)
		add(s.End, true)
	}
	add(len(text), false)
	return c
}

// border returns how many of the ids of text are in front of a byte of it, with none across.
func (t *Tokenizer) border(ids []int32, text string, at int) int {
	if at == len(text) {
		return len(ids)
	}
	before := t.Encode(text[:at], false)
	n := 0
	for n < min(len(before), len(ids)) && before[n] == ids[n] {
		n++
	}
	return n
}

// marksStart tells whether a text begins with a mark that it has not inside another.
func (t *Tokenizer) marksStart() bool {
	inside, alone := t.Encode("\na", false), t.Encode("a", false)
	return len(alone) == 0 || len(inside) <= len(alone) || !slices.Equal(inside[len(inside)-len(alone):], alone)
}
