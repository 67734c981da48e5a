package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
)

// parseNormalizer returns what is done to a text before it is cut; nil for nothing.
func parseNormalizer(raw json.RawMessage) (func(string) string, error) {
	if absent(raw) {
		return nil, nil
	}
	name, err := kind(raw)
	if err != nil {
		return nil, err
	}
	switch name {
	case "Sequence":
		var steps []func(string) string
		err := parseSequence(raw, "normalizers", func(part json.RawMessage) error {
			step, err := parseNormalizer(part)
			if step != nil {
				steps = append(steps, step)
			}
			return err
		})
		return chain(steps), err
	case "NFC":
		return newNFC(), strict(raw, new(struct{ Type string }))
	case "Prepend":
		var c struct {
			Type    string `json:"type"`
			Prepend string `json:"prepend"`
		}
		if err := strict(raw, &c); err != nil {
			return nil, fmt.Errorf("Prepend: %w", err)
		}
		return prepend(c.Prepend), nil
	case "Replace":
		old, text, err := parseReplace(raw)
		if err != nil {
			return nil, fmt.Errorf("Replace: %w", err)
		}
		return func(s string) string { return strings.ReplaceAll(s, old, text) }, nil
	}
	return nil, unknown("type", name)
}

func chain(steps []func(string) string) func(string) string {
	if len(steps) == 0 {
		return nil
	}
	return func(s string) string {
		for _, step := range steps {
			s = step(s)
		}
		return s
	}
}

func prepend(text string) func(string) string {
	return func(s string) string {
		if s == "" {
			return s
		}
		return text + s
	}
}
