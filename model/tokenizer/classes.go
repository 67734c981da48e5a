package tokenizer

import "unicode/utf8"

// class is what the splitting patterns tell apart.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}]
	letter              // \p{L}
	number              // \p{N}
	space               // \s
)

// first returns the class and the width in bytes of the first rune of s; width is 0 if s is empty.
func first(s string) (c class, r rune, width int) {
	if len(s) == 0 {
		return other, 0, 0
	}
	if b := s[0]; b < utf8.RuneSelf {
		return ascii(b), rune(b), 1
	}
	r, width = utf8.DecodeRuneInString(s)
	return classOf(r), r, width
}

func ascii(b byte) class {
	switch {
	case 'a' <= b|0x20 && b|0x20 <= 'z':
		return letter
	case '0' <= b && b <= '9':
		return number
	case b == ' ' || '\t' <= b && b <= '\r':
		return space
	}
	return other
}

func classOf(r rune) class {
	switch {
	case r < utf8.RuneSelf:
		return ascii(byte(r))
	case within(letters[:], r):
		return letter
	case within(numbers[:], r):
		return number
	case isSpace(r):
		return space
	}
	return other
}

// isSpace reports whether r has the Unicode property White_Space.
func isSpace(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return 0x2000 <= r && r <= 0x200a
}

// within reports whether r lies in one of the sorted ranges.
func within(ranges [][2]rune, r rune) bool {
	low, high := 0, len(ranges)
	for low < high {
		if mid := int(uint(low+high) >> 1); ranges[mid][1] < r {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low < len(ranges) && ranges[low][0] <= r
}

// run returns the length in bytes of the longest prefix of s whose runes are all of class want.
func run(s string, want class) int {
	n := 0
	for n < len(s) {
		c, _, width := first(s[n:])
		if c != want {
			break
		}
		n += width
	}
	return n
}
