package tokenizer

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// maxFileBytes bounds the files read. The largest tokenizer.json in use has 34 MB.
const maxFileBytes = 256 << 20

// names are the tokens that begin and end texts.
type names struct {
	bos, eos int32 // none if no file names one
	stops    []int32
}

// Load reads the tokenizer of a Hugging Face model directory: tokenizer.json, and where they exist tokenizer_config.json,
// special_tokens_map.json, generation_config.json and config.json for the tokens that begin and end a text, and the chat
// template of chat_template.jinja or tokenizer_config.json.
// Errors name the file and the part; those about a part this package does not know wrap ErrUnknown.
func Load(dir string) (*Tokenizer, error) {
	data, err := readFile(filepath.Join(dir, "tokenizer.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the model directory needs the tokenizer.json of the Hugging Face hub; a tokenizer.model alone is not read", err)
	}
	if err != nil {
		return nil, err
	}
	var config tokenizerConfig
	var special specialTokens
	var generation, model generationConfig
	for _, f := range []struct {
		name string
		into any
	}{
		{"tokenizer_config.json", &config},
		{"special_tokens_map.json", &special},
		{"generation_config.json", &generation},
		{"config.json", &model},
	} {
		data, err := readFile(filepath.Join(dir, f.name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(data, f.into)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, f.name), err)
		}
	}
	changed, err := config.changed()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "tokenizer_config.json"), err)
	}
	t, err := parse(data, changed)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "tokenizer.json"), err)
	}
	if err := t.name(config, special, generation, model); err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	if err := t.agree(config); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "tokenizer_config.json"), err)
	}
	if t.chats, err = config.chats(dir, special); err != nil {
		return nil, err
	}
	t.hash = hash(data, changed, t.names)
	t.hash = t.chats.hash(t.hash)
	return t, nil
}

// Parse reads a tokenizer from the bytes of tokenizer.json alone; it has no BOS and EOS.
func Parse(data []byte) (*Tokenizer, error) {
	t, err := parse(data, nil)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer.json: %w", err)
	}
	t.hash = hash(data, nil, t.names)
	return t, nil
}

// hash covers tokenizer.json and what the other files change of it.
func hash(data []byte, changed []addedToken, n names) [32]byte {
	digest := sha256.New()
	fmt.Fprintf(digest, "tokenizer.json %d\n", len(data))
	digest.Write(data)
	for _, token := range changed {
		fmt.Fprintf(digest, "added %d %q %t %t %t %t\n", *token.ID, token.Content, token.LStrip, token.RStrip, token.Normalized, token.Special)
	}
	fmt.Fprintf(digest, "names %d %d %d\n", n.bos, n.eos, n.stops)
	return [32]byte(digest.Sum(nil))
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("read %s: %d bytes, want at most %d: this is not a tokenizer's file", path, info.Size(), maxFileBytes)
	}
	return os.ReadFile(path)
}

// tokenizerConfig is what matters of tokenizer_config.json.
type tokenizerConfig struct {
	specialTokens
	AddBOS       *bool                 `json:"add_bos_token"`
	AddEOS       *bool                 `json:"add_eos_token"`
	SplitSpecial bool                  `json:"split_special_tokens"`
	Added        map[string]addedToken `json:"added_tokens_decoder"`
	Chat         json.RawMessage       `json:"chat_template"`
}

type specialTokens struct {
	BOS  named `json:"bos_token"`
	EOS  named `json:"eos_token"`
	UNK  named `json:"unk_token"`
	PAD  named `json:"pad_token"`
	SEP  named `json:"sep_token"`
	CLS  named `json:"cls_token"`
	Mask named `json:"mask_token"`
}

type generationConfig struct {
	BOS idList `json:"bos_token_id"`
	EOS idList `json:"eos_token_id"`
}

// named is a special token given by its text, or by an object with its content; "" when null or absent.
type named string

// UnmarshalJSON reads either form.
func (n *named) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*n = named(text)
		return nil
	}
	var object struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return errors.New("a special token: want a string or an object with its content")
	}
	*n = named(object.Content)
	return nil
}

// idList is one id, a list of ids, or null.
type idList []int32

// UnmarshalJSON reads either form.
func (l *idList) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return json.Unmarshal(data, (*[]int32)(l))
	}
	var id *int32
	if err := json.Unmarshal(data, &id); err != nil {
		return errors.New("bos_token_id or eos_token_id: want an id or a list of ids")
	}
	*l = nil
	if id != nil {
		*l = idList{*id}
	}
	return nil
}

// changed returns the added tokens as tokenizer_config.json has them, by id: where they differ from those of
// tokenizer.json, transformers takes these.
func (c tokenizerConfig) changed() ([]addedToken, error) {
	tokens := make([]addedToken, 0, len(c.Added))
	for key, token := range c.Added {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("added_tokens_decoder: key %q is not an id", key)
		}
		id32 := int32(id)
		token.ID = &id32
		tokens = append(tokens, token)
	}
	slices.SortFunc(tokens, func(a, b addedToken) int { return cmp.Compare(*a.ID, *b.ID) })
	return tokens, nil
}

// name finds the tokens that begin and end texts: by text in the first file that has them, else by id.
func (t *Tokenizer) name(config tokenizerConfig, special specialTokens, generation, model generationConfig) error {
	pick := func(field string, texts []named, lists []idList) (int32, error) {
		for _, text := range texts {
			if text == "" {
				continue
			}
			if id, ok := t.ids[string(text)]; ok {
				return id, nil
			}
			return none, fmt.Errorf("%s %q is not in the vocabulary", field, text)
		}
		for _, list := range lists {
			for _, id := range list {
				if _, ok := t.Token(id); ok {
					return id, nil
				}
			}
		}
		return none, nil
	}
	var err error
	if t.names.bos, err = pick("bos_token", []named{config.BOS, special.BOS}, []idList{generation.BOS, model.BOS}); err != nil {
		return err
	}
	if t.names.eos, err = pick("eos_token", []named{config.EOS, special.EOS}, []idList{generation.EOS, model.EOS}); err != nil {
		return err
	}
	stops := generation.EOS
	if len(stops) == 0 {
		stops = model.EOS
	}
	stops = append(idList(nil), stops...)
	if t.names.eos != none {
		stops = append(stops, t.names.eos)
	}
	slices.Sort(stops)
	t.names.stops = slices.Compact(stops)
	return nil
}

// agree refuses settings of tokenizer_config.json that contradict tokenizer.json: programs differ in which they follow.
func (t *Tokenizer) agree(config tokenizerConfig) error {
	if config.SplitSpecial {
		return fmt.Errorf("split_special_tokens true: %w", ErrUnknown)
	}
	has := func(ids []int32, id int32) bool { return id != none && slices.Contains(ids, id) }
	if want := config.AddBOS; want != nil && *want != has(t.prefix, t.names.bos) {
		return fmt.Errorf("add_bos_token is %t, but the post_processor of tokenizer.json does otherwise: make the two agree", *want)
	}
	if want := config.AddEOS; want != nil && *want != has(t.suffix, t.names.eos) {
		return fmt.Errorf("add_eos_token is %t, but the post_processor of tokenizer.json does otherwise: make the two agree", *want)
	}
	return nil
}
