package sharding

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// conversation is a sample that the model's chat template renders.
type conversation struct {
	messages []json.RawMessage // objects with role and content
	tools    json.RawMessage   // as in the sample; empty or null for none
	answer   string            // what the assistant says last, if that is text alone
	calls    bool              // or it calls a tool, or is not text alone
}

// conversationKeys name what holds the messages.
var conversationKeys = []string{"messages", "conversations"}

// message is the part of a message that is looked into; a chat template reads all of it.
type message struct {
	Role    *string         `json:"role"`
	Content json.RawMessage `json:"content"`
	Calls   json.RawMessage `json:"tool_calls"`
}

// messageKeys are the keys of a message that chat templates know.
var messageKeys = []string{"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "thinking", "reasoning"}

// speakers are the roles that "from" stands for.
var speakers = map[string]string{
	"system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
	"tool": "tool", "observation": "tool",
}

// parseConversation reads a sample that has messages or conversations, or returns nil if it has neither.
func parseConversation(object map[string]json.RawMessage) (*conversation, error) {
	key := ""
	for _, k := range conversationKeys {
		if value, ok := object[k]; ok && (key == "" || !isNull(value)) {
			if key != "" && !isNull(object[key]) {
				return nil, fmt.Errorf("%q and %q are both there: remove one", key, k)
			}
			key = k
		}
	}
	if key == "" {
		return nil, nil
	}
	for _, other := range slices.Sorted(maps.Keys(object)) {
		if other != key && other != "tools" && other != "system" && !isNull(object[other]) {
			return nil, fmt.Errorf("key %q is not known beside %q; \"tools\" and \"system\" are: rename or remove it", other, key)
		}
	}
	var list []json.RawMessage
	if err := json.Unmarshal(object[key], &list); err != nil || len(list) == 0 {
		return nil, fmt.Errorf("%q is not a list of messages: write [{\"role\": …, \"content\": …}, …]", key)
	}
	c := &conversation{tools: object["tools"]}
	if isNull(c.tools) {
		c.tools = nil
	} else if c.tools[0] != '[' {
		return nil, errors.New("\"tools\" is not a list")
	}
	if err := c.open(object["system"]); err != nil {
		return nil, err
	}
	said := false
	for i, raw := range list {
		role, err := c.add(raw)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		said = said || role == "assistant"
	}
	if !said {
		return nil, errors.New("no message is the assistant's: there is nothing to learn, remove the line")
	}
	return c, nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// open begins with what "system" says, if anything.
func (c *conversation) open(raw json.RawMessage) error {
	if isNull(raw) || string(raw) == `""` {
		return nil
	}
	if raw[0] != '"' {
		return errors.New(`"system" is not a string`)
	}
	c.messages = append(c.messages, json.RawMessage(fmt.Sprintf(`{"role":"system","content":%s}`, raw)))
	return nil
}

// add reads a message in either form and returns whose it is.
func (c *conversation) add(raw json.RawMessage) (role string, err error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil || keys == nil {
		return "", errors.New("is not an object")
	}
	from := !isNull(keys["from"])
	maps.DeleteFunc(keys, func(key string, value json.RawMessage) bool { // a table has every key in every row
		return isNull(value) && !(from && key == "value")
	})
	if from {
		if raw, err = renamed(keys); err != nil {
			return "", err
		}
	} else {
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if !slices.Contains(messageKeys, key) {
				return "", fmt.Errorf("key %q is not known: chat templates read %s", key, quoted(messageKeys))
			}
		}
	}
	var m message
	if err := json.Unmarshal(raw, &m); err != nil || m.Role == nil {
		return "", errors.New(`"role" is not a string`)
	}
	text := ""
	switch {
	case isNull(m.Content) && isNull(m.Calls):
		return "", errors.New(`has no "content"`)
	case isNull(m.Content) || m.Content[0] == '[':
	case json.Unmarshal(m.Content, &text) != nil:
		return "", errors.New(`"content" is not a string`)
	}
	if *m.Role == "assistant" {
		c.answer, c.calls = text, !isNull(m.Calls) || !isNull(m.Content) && m.Content[0] == '['
	}
	c.messages = append(c.messages, raw)
	return *m.Role, nil
}

// renamed writes {"from", "value"} as {"role", "content"}.
func renamed(keys map[string]json.RawMessage) (json.RawMessage, error) {
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if key != "from" && key != "value" {
			return nil, fmt.Errorf(`key %q is not known beside "from" and "value"`, key)
		}
	}
	var from string
	if err := json.Unmarshal(keys["from"], &from); err != nil {
		return nil, errors.New(`"from" is not a string`)
	}
	role, ok := speakers[from]
	if !ok {
		return nil, fmt.Errorf("\"from\" is %q: known are %s", from, quoted(slices.Sorted(maps.Keys(speakers))))
	}
	if isNull(keys["value"]) {
		return nil, errors.New(`has no "value"`)
	}
	return json.RawMessage(fmt.Sprintf(`{"role":%q,"content":%s}`, role, keys["value"])), nil
}
