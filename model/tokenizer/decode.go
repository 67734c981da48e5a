package tokenizer

import (
	"strconv"
	"strings"
)

// decoder is one step from tokens to text.
type decoder func(tokens []string) []string

// decodeBytes undoes the byte-level spelling. A token with a character that spells no byte stands for its own bytes.
func decodeBytes(tokens []string) []string {
	var out strings.Builder
	for _, token := range tokens {
		raw, ok := unspell(token)
		if !ok {
			raw = token
		}
		out.WriteString(raw)
	}
	return []string{valid(out.String())}
}

// decodeFallback joins neighbouring byte tokens <0xNN>: to the text they spell, or to one U+FFFD each.
func decodeFallback(tokens []string) []string {
	var out []string
	var raw []byte
	flush := func() {
		if s := string(raw); valid(s) == s {
			if s != "" {
				out = append(out, s)
			}
		} else {
			for range raw {
				out = append(out, "\uFFFD")
			}
		}
		raw = raw[:0]
	}
	for _, token := range tokens {
		if b, ok := fallbackByte(token); ok {
			raw = append(raw, b)
			continue
		}
		flush()
		out = append(out, token)
	}
	flush()
	return out
}

func fallbackByte(token string) (b byte, ok bool) {
	if len(token) != 6 || !strings.HasPrefix(token, "<0x") || token[5] != '>' {
		return 0, false
	}
	digits := token[3:5]
	if digits[0] == '+' { // Rust's number parser takes a sign
		digits = digits[1:]
	}
	v, err := strconv.ParseUint(digits, 16, 8)
	return byte(v), err == nil
}

func decodeFuse(tokens []string) []string { return []string{strings.Join(tokens, "")} }

func decodeReplace(old, text string) decoder {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, token := range tokens {
			out[i] = strings.ReplaceAll(token, old, text)
		}
		return out
	}
}

// decodeStrip takes up to left contents from the start and up to right from the end of each token.
func decodeStrip(content string, left, right uint) decoder {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, token := range tokens {
			for n := uint(0); n < left && strings.HasPrefix(token, content); n++ {
				token = token[len(content):]
			}
			for n := uint(0); n < right && strings.HasSuffix(token, content); n++ {
				token = token[:len(token)-len(content)]
			}
			out[i] = token
		}
		return out
	}
}

// decodeMetaspace writes a space for mark, and nothing in the first token unless prepend is "never".
func decodeMetaspace(mark, prepend string) decoder {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, token := range tokens {
			space := " "
			if i == 0 && prepend != "never" {
				space = ""
			}
			out[i] = strings.ReplaceAll(token, mark, space)
		}
		return out
	}
}
