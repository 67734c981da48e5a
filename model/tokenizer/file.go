package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrUnknown is wrapped by errors about a part or a setting of tokenizer.json that this package does not know.
var ErrUnknown = errors.New("not known to this tokenizer")

// maxID bounds ids, and with them the tables made for them. The largest vocabularies have 2^18 tokens.
const maxID = 1 << 22

// file is tokenizer.json. Truncation and padding are left to the caller.
type file struct {
	Version       string          `json:"version"`
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// parse builds a Tokenizer from the bytes of tokenizer.json and the added tokens that tokenizer_config.json changes.
func parse(data []byte, changed []addedToken) (*Tokenizer, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8: download the file again")
	}
	var f file
	if err := strict(data, &f); err != nil {
		return nil, err
	}
	if f.Version != "" && f.Version != "1.0" {
		return nil, fmt.Errorf("version %q: %w; known is 1.0", f.Version, ErrUnknown)
	}
	t := &Tokenizer{names: names{bos: none, eos: none}}
	var err error
	if t.normalize, err = parseNormalizer(f.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if err := parsePreTokenizer(f.PreTokenizer, &t.pieces); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if t.decode, err = parseDecoder(f.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if err := t.parseModel(f.Model); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := t.addTokens(append(f.AddedTokens, changed...)); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	if err := t.parsePostProcessor(f.PostProcessor); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	return t, nil
}

// strict decodes one JSON value and refuses fields that v does not have: they may change what the others mean.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("data behind the JSON value")
	}
	return nil
}

// absent reports whether a part is missing or null.
func absent(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

// kind returns the "type" of a part.
func kind(raw json.RawMessage) (string, error) {
	var t struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return "", err
	}
	return t.Type, nil
}

func unknown(what, name string) error { return fmt.Errorf("%s %q: %w", what, name, ErrUnknown) }

// pattern is what Split and Replace look for: exactly one of the two.
type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

func parsePreTokenizer(raw json.RawMessage, p *preTokenizer) error {
	if absent(raw) {
		return nil
	}
	if p.bytes {
		return fmt.Errorf("a step behind ByteLevel: %w", ErrUnknown)
	}
	name, err := kind(raw)
	if err != nil {
		return err
	}
	switch name {
	case "Sequence":
		return parseSequence(raw, "pretokenizers", func(part json.RawMessage) error { return parsePreTokenizer(part, p) })
	case "ByteLevel":
		err = p.parseByteLevel(raw)
	case "Digits":
		err = p.parseDigits(raw)
	case "Split":
		err = p.parseSplit(raw)
	case "Metaspace":
		err = p.parseMetaspace(raw)
	default:
		return unknown("type", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// parseSequence calls each for the parts listed under key.
func parseSequence(raw json.RawMessage, key string, each func(json.RawMessage) error) error {
	var s map[string]json.RawMessage
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	for field := range s {
		if field != "type" && field != key {
			return unknown("field", field)
		}
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(s[key], &parts); err != nil {
		return fmt.Errorf("Sequence: %s: %w", key, err)
	}
	for i, part := range parts {
		if err := each(part); err != nil {
			return fmt.Errorf("Sequence: part %d: %w", i+1, err)
		}
	}
	return nil
}

// byteLevel is the ByteLevel part, wherever it stands.
type byteLevel struct {
	Type           string `json:"type"`
	AddPrefixSpace bool   `json:"add_prefix_space"`
	TrimOffsets    bool   `json:"trim_offsets"`
	UseRegex       *bool  `json:"use_regex"` // absent means true
}

func (p *preTokenizer) parseByteLevel(raw json.RawMessage) error {
	var c byteLevel
	if err := strict(raw, &c); err != nil {
		return err
	}
	if c.AddPrefixSpace {
		p.steps = append(p.steps, stepSpace)
	}
	if c.UseRegex == nil || *c.UseRegex {
		p.steps = append(p.steps, stepScan(scanGPT2))
	}
	p.bytes = true
	return nil
}

func (p *preTokenizer) parseDigits(raw json.RawMessage) error {
	var c struct {
		Type             string `json:"type"`
		IndividualDigits bool   `json:"individual_digits"`
	}
	if err := strict(raw, &c); err != nil {
		return err
	}
	p.steps = append(p.steps, stepDigits(c.IndividualDigits))
	return nil
}

func (p *preTokenizer) parseSplit(raw json.RawMessage) error {
	var c struct {
		Type     string  `json:"type"`
		Pattern  pattern `json:"pattern"`
		Behavior string  `json:"behavior"`
		Invert   bool    `json:"invert"`
	}
	if err := strict(raw, &c); err != nil {
		return err
	}
	if c.Pattern.Regex == nil {
		return fmt.Errorf("a pattern that is not a Regex: %w", ErrUnknown)
	}
	scan := scannerOf(*c.Pattern.Regex)
	if scan == nil {
		return unknown("pattern", *c.Pattern.Regex)
	}
	// The known patterns leave nothing between their matches, so keeping the matches and cutting there are the same.
	if !(c.Behavior == "Isolated" || c.Behavior == "Removed" && c.Invert) {
		return fmt.Errorf("behavior %q with invert %t: %w", c.Behavior, c.Invert, ErrUnknown)
	}
	p.steps = append(p.steps, stepScan(scan))
	return nil
}

// metaspace is the Metaspace part, as pre-tokenizer and as decoder.
type metaspace struct {
	Type           string  `json:"type"`
	Replacement    string  `json:"replacement"`
	AddPrefixSpace *bool   `json:"add_prefix_space"`
	PrependScheme  string  `json:"prepend_scheme"`
	Split          *bool   `json:"split"` // absent means true
	StrRep         *string `json:"str_rep"`
}

func parseMetaspace(raw json.RawMessage) (metaspace, error) {
	c := metaspace{PrependScheme: "always"}
	if err := strict(raw, &c); err != nil {
		return c, err
	}
	if utf8.RuneCountInString(c.Replacement) != 1 {
		return c, fmt.Errorf("replacement %q: want one character", c.Replacement)
	}
	switch c.PrependScheme {
	case "always", "first", "never":
	default:
		return c, unknown("prepend_scheme", c.PrependScheme)
	}
	if c.AddPrefixSpace != nil && !*c.AddPrefixSpace && c.PrependScheme != "never" {
		return c, fmt.Errorf("add_prefix_space false contradicts prepend_scheme %q", c.PrependScheme)
	}
	return c, nil
}

func (p *preTokenizer) parseMetaspace(raw json.RawMessage) error {
	c, err := parseMetaspace(raw)
	if err != nil {
		return err
	}
	p.steps = append(p.steps, stepMetaspace(c.Replacement, c.PrependScheme, c.Split == nil || *c.Split))
	return nil
}

// parseDecoder returns the steps from tokens to text; nil when there is no decoder.
func parseDecoder(raw json.RawMessage) ([]decoder, error) {
	if absent(raw) {
		return nil, nil
	}
	name, err := kind(raw)
	if err != nil {
		return nil, err
	}
	if name == "Sequence" {
		steps := []decoder{}
		err := parseSequence(raw, "decoders", func(part json.RawMessage) error {
			more, err := parseDecoder(part)
			steps = append(steps, more...)
			return err
		})
		return steps, err
	}
	step, err := parseDecoderStep(name, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return []decoder{step}, nil
}

func parseDecoderStep(name string, raw json.RawMessage) (decoder, error) {
	switch name {
	case "ByteLevel":
		return decodeBytes, strict(raw, new(byteLevel))
	case "ByteFallback":
		return decodeFallback, strict(raw, new(struct{ Type string }))
	case "Fuse":
		return decodeFuse, strict(raw, new(struct{ Type string }))
	case "Metaspace":
		c, err := parseMetaspace(raw)
		return decodeMetaspace(c.Replacement, c.PrependScheme), err
	case "Replace":
		old, text, err := parseReplace(raw)
		return decodeReplace(old, text), err
	case "Strip":
		var c struct {
			Type    string `json:"type"`
			Content string `json:"content"`
			Start   uint   `json:"start"`
			Stop    uint   `json:"stop"`
		}
		if err := strict(raw, &c); err != nil {
			return nil, err
		}
		if utf8.RuneCountInString(c.Content) != 1 {
			return nil, fmt.Errorf("content %q: want one character", c.Content)
		}
		return decodeStrip(c.Content, c.Start, c.Stop), nil
	}
	return nil, fmt.Errorf("type: %w", ErrUnknown)
}

// parseReplace reads a Replace part, normalizer or decoder; only plain strings are known.
func parseReplace(raw json.RawMessage) (old, text string, err error) {
	var c struct {
		Type    string  `json:"type"`
		Pattern pattern `json:"pattern"`
		Content string  `json:"content"`
	}
	if err := strict(raw, &c); err != nil {
		return "", "", err
	}
	if c.Pattern.Regex != nil {
		return "", "", unknown("pattern", *c.Pattern.Regex)
	}
	if c.Pattern.String == nil || *c.Pattern.String == "" {
		return "", "", errors.New("pattern: want a string that is not empty")
	}
	return *c.Pattern.String, c.Content, nil
}

// parsePostProcessor reads the special tokens that Encode puts around a text.
func (t *Tokenizer) parsePostProcessor(raw json.RawMessage) error {
	if absent(raw) {
		return nil
	}
	name, err := kind(raw)
	if err != nil {
		return err
	}
	switch name {
	case "Sequence":
		return parseSequence(raw, "processors", t.parsePostProcessor)
	case "ByteLevel": // moves offsets only
		return strict(raw, new(byteLevel))
	case "TemplateProcessing":
		if err := t.parseTemplate(raw); err != nil {
			return fmt.Errorf("TemplateProcessing: %w", err)
		}
		return nil
	}
	return unknown("type", name)
}

// templatePiece is one entry of a template: the text (Sequence A) or a special token.
type templatePiece struct {
	Sequence     *templateID `json:"Sequence"`
	SpecialToken *templateID `json:"SpecialToken"`
}

type templateID struct {
	ID     string `json:"id"`
	TypeID int    `json:"type_id"`
}

func (t *Tokenizer) parseTemplate(raw json.RawMessage) error {
	var c struct {
		Type          string          `json:"type"`
		Single        []templatePiece `json:"single"`
		Pair          json.RawMessage `json:"pair"`
		SpecialTokens map[string]struct {
			ID     string   `json:"id"`
			IDs    []int32  `json:"ids"`
			Tokens []string `json:"tokens"`
		} `json:"special_tokens"`
	}
	if err := strict(raw, &c); err != nil {
		return err
	}
	var before, behind []int32
	texts := 0
	for _, p := range c.Single {
		switch {
		case p.Sequence != nil && p.Sequence.ID == "A":
			texts++
		case p.SpecialToken != nil:
			token, ok := c.SpecialTokens[p.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("special token %q is not listed under special_tokens", p.SpecialToken.ID)
			}
			for _, id := range token.IDs {
				if _, ok := t.Token(id); !ok {
					return fmt.Errorf("special token %q: id %d is not in the vocabulary", token.ID, id)
				}
			}
			if texts == 0 {
				before = append(before, token.IDs...)
			} else {
				behind = append(behind, token.IDs...)
			}
		default:
			return errors.New("single: want the sequence A and special tokens only")
		}
	}
	if texts != 1 {
		return fmt.Errorf("single: the sequence A stands there %d times, want once", texts)
	}
	// A later template of a Sequence goes around what an earlier one has made.
	t.prefix, t.suffix = append(before, t.prefix...), append(t.suffix, behind...)
	return nil
}
