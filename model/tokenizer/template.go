package tokenizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
)

// chats finds the chat templates: chat_template.jinja, else chat_template of tokenizer_config.json, which is one or a list
// of named ones. They are parsed when a conversation asks for one.
func (c tokenizerConfig) chats(dir string, special specialTokens) (templates, error) {
	t := templates{named: map[string]string{}, special: map[string]string{}}
	file, err := readFile(filepath.Join(dir, "chat_template.jinja"))
	switch {
	case err == nil:
		t.named["default"] = string(file)
	case !errors.Is(err, fs.ErrNotExist):
		return t, err
	case !absent(c.Chat):
		if err := t.parse(c.Chat); err != nil {
			return t, fmt.Errorf("read %s: chat_template: %w", filepath.Join(dir, "tokenizer_config.json"), err)
		}
	}
	for _, s := range []struct {
		name        string
		first, then named
	}{
		{"bos_token", c.BOS, special.BOS},
		{"eos_token", c.EOS, special.EOS},
		{"unk_token", c.UNK, special.UNK},
		{"pad_token", c.PAD, special.PAD},
		{"sep_token", c.SEP, special.SEP},
		{"cls_token", c.CLS, special.CLS},
		{"mask_token", c.Mask, special.Mask},
	} {
		if s.first == "" {
			s.first = s.then
		}
		if s.first != "" {
			t.special[s.name] = string(s.first)
		}
	}
	return t, nil
}

func (t templates) parse(raw json.RawMessage) error {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		var source string
		if err := json.Unmarshal(raw, &source); err != nil {
			return errors.New("want a string, or a list of objects with name and template")
		}
		t.named["default"] = source
		return nil
	}
	var list []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, entry := range list {
		t.named[entry.Name] = entry.Template
	}
	return nil
}

// hash extends one by the templates and what they are rendered with. Without templates it stays.
func (t templates) hash(of [32]byte) [32]byte {
	if len(t.named) == 0 {
		return of
	}
	digest := sha256.New()
	digest.Write(of[:])
	for _, m := range []map[string]string{t.named, t.special} {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(digest, "%q %q\n", name, m[name])
		}
	}
	return [32]byte(digest.Sum(nil))
}
