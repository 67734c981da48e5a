package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Byte-level vocabularies spell each byte as one printable character: itself where Latin-1 prints it, else one of the
// 68 characters from U+0100 on, in order.
var (
	runeOfByte = spellBytes()
	byteOfRune = invert(runeOfByte)
)

func spellBytes() (table [256]rune) {
	next := rune(256)
	for b := range table {
		if '!' <= b && b <= '~' || 0xa1 <= b && b <= 0xac || 0xae <= b {
			table[b] = rune(b)
			continue
		}
		table[b] = next
		next++
	}
	return table
}

func invert(table [256]rune) map[rune]byte {
	m := make(map[rune]byte, len(table))
	for b, r := range table {
		m[r] = byte(b)
	}
	return m
}

// unspell returns the bytes that a token's characters stand for, ok = false if some character stands for none.
func unspell(token string) (raw string, ok bool) {
	out := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := byteOfRune[r]
		if !ok {
			return "", false
		}
		out = append(out, b)
	}
	return string(out), true
}

// valid returns s with each maximal ill-formed sequence replaced by U+FFFD, as the Unicode standard recommends and
// Rust's from_utf8_lossy does: a truncated character is one U+FFFD, a byte that can begin none is one U+FFFD.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	for len(s) > 0 {
		r, width := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && width == 1 {
			width = illFormed(s)
		}
		out.WriteRune(r)
		s = s[width:]
	}
	return out.String()
}

// illFormed returns the length of the maximal ill-formed sequence that s begins with: the longest start of a
// well-formed sequence, at least one byte.
func illFormed(s string) int {
	need, low, high := 0, byte(0x80), byte(0xbf) // continuation bytes, and the bounds of the first of them
	switch b := s[0]; {
	case 0xc2 <= b && b <= 0xdf:
		need = 1
	case 0xe0 <= b && b <= 0xef:
		need = 2
		if b == 0xe0 {
			low = 0xa0
		} else if b == 0xed {
			high = 0x9f
		}
	case 0xf0 <= b && b <= 0xf4:
		need = 3
		if b == 0xf0 {
			low = 0x90
		} else if b == 0xf4 {
			high = 0x8f
		}
	}
	n := 1
	for n <= need && n < len(s) && low <= s[n] && s[n] <= high {
		n++
		low, high = 0x80, 0xbf
	}
	return n
}
