package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// A scanner returns the length in bytes of the first match of a splitting pattern in s, which is not empty.
// The known patterns match at every position, so a text is cut by scanning again behind each match.
type scanner func(s string) int

// The splitting patterns of tokenizer.json that have a scanner. A pattern that is not here is refused.
const (
	patternGPT2  = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scannerOf returns the scanner of a splitting pattern, nil if it is not known.
func scannerOf(pattern string) scanner {
	switch pattern {
	case patternGPT2:
		return scanGPT2
	case patternLlama:
		return func(s string) int { return scanLlama(s, 3) }
	case patternQwen:
		return func(s string) int { return scanLlama(s, 1) }
	}
	return nil
}

// cut appends the pieces of s to dst.
func (scan scanner) cut(dst []string, s string) []string {
	for len(s) > 0 {
		n := scan(s)
		dst, s = append(dst, s[:n]), s[n:]
	}
	return dst
}

// scanGPT2 is patternGPT2.
func scanGPT2(s string) int {
	if n := contraction(s); n > 0 {
		return n
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	if c, _, width := first(s[start:]); width > 0 && c != space {
		return start + width + run(s[start+width:], c)
	}
	return scanSpace(s, run(s, space))
}

// scanLlama is patternLlama, with digits many digits to a piece.
func scanLlama(s string, digits int) int {
	if n := contractionFold(s); n > 0 {
		return n
	}
	c, r, width := first(s)
	if c == letter {
		return width + run(s[width:], letter)
	}
	if c == number {
		return scanNumber(s, digits)
	}
	next, _, nextWidth := first(s[width:])
	if r != '\r' && r != '\n' && next == letter && nextWidth > 0 {
		return width + run(s[width:], letter)
	}
	start := 0
	if r == ' ' && next == other && nextWidth > 0 {
		start = width
	}
	if start > 0 || c == other {
		n := start + run(s[start:], other)
		return n + newlines(s[n:])
	}
	spaces := run(s, space)
	if last := strings.LastIndexAny(s[:spaces], "\r\n"); last >= 0 {
		return last + 1
	}
	return scanSpace(s, spaces)
}

// scanNumber returns the length of the first at most most numbers of s.
func scanNumber(s string, most int) int {
	n := 0
	for range most {
		c, _, width := first(s[n:])
		if c != number || width == 0 {
			break
		}
		n += width
	}
	return n
}

// scanSpace is \s+(?!\S)|\s+ for a text that begins with n bytes of white space, n > 0: all of it at the end of the
// text, otherwise all but the last rune, which goes to the next piece; a single rune stands alone.
func scanSpace(s string, n int) int {
	if n == len(s) {
		return n
	}
	if _, last := utf8.DecodeLastRuneInString(s[:n]); last < n {
		return n - last
	}
	return n
}

func newlines(s string) int {
	return len(s) - len(strings.TrimLeft(s, "\r\n"))
}

// contraction is the length of 's, 't, 're, 've, 'm, 'll or 'd at the start of s, 0 if there is none.
func contraction(s string) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	switch s[1] {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && s[2] == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && s[2] == 'l' {
			return 3
		}
	}
	return 0
}

// contractionFold is contraction in any case, under Unicode's simple folding: 'ſ (U+017F) is 's too.
func contractionFold(s string) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	switch s[1] | 0x20 {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && s[2]|0x20 == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && s[2]|0x20 == 'l' {
			return 3
		}
	}
	if strings.HasPrefix(s[1:], "ſ") {
		return 1 + len("ſ")
	}
	return 0
}

// cutDigits appends the pieces of s to dst: numbers one by one, or in runs, and what stands between them.
func cutDigits(dst []string, s string, individual bool) []string {
	start, wasDigit := 0, false
	for i, r := range s {
		digit := classOf(r) == number || within(moreDigits[:], r)
		if i > 0 && (digit != wasDigit || digit && individual) {
			dst = append(dst, s[start:i])
			start = i
		}
		wasDigit = digit
	}
	return append(dst, s[start:])
}
