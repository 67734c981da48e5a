package tokenizer

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// decomposition is a code point's full canonical decomposition; whole tells that NFC composes it again.
type decomposition struct {
	code  rune
	to    string
	whole bool
}

// combiningRange is a range of code points with one combining class.
type combiningRange struct {
	first, last rune
	class       uint8
}

// Hangul syllables are composed by arithmetic (Unicode, chapter 3.12).
const (
	hangulS, hangulL, hangulV, hangulT = 0xac00, 0x1100, 0x1161, 0x11a7
	countL, countV, countT             = 19, 21, 28
)

// newNFC returns Unicode normalization form C, with the tables of the library and for runs of marks of any length.
func newNFC() func(string) string {
	pairs := compositions()
	return func(s string) string {
		if below(s, 0x300) { // no mark, and nothing that changes
			return s
		}
		runes := decompose(s)
		order(runes)
		return string(compose(runes, pairs))
	}
}

func below(s string, limit rune) bool {
	for _, r := range s {
		if r >= limit {
			return false
		}
	}
	return true
}

// compositions maps a pair of runes to the one that stands for both: a composed rune's decomposition without its last
// rune is, composed, the first of the pair.
func compositions() map[[2]rune]rune {
	pairs := map[[2]rune]rune{}
	whole := map[string]rune{}
	for _, d := range decompositions {
		if d.whole {
			whole[d.to] = d.code
		}
	}
	for to, code := range whole {
		last, width := utf8.DecodeLastRuneInString(to)
		head := to[:len(to)-width]
		first, headWidth := utf8.DecodeRuneInString(head)
		if headWidth < len(head) {
			first = whole[head]
		}
		pairs[[2]rune{first, last}] = code
	}
	return pairs
}

// decompose returns the runes of s, each in its full decomposition.
func decompose(s string) []rune {
	runes := make([]rune, 0, len(s))
	for _, r := range s {
		if index := r - hangulS; index >= 0 && index < countL*countV*countT {
			runes = append(runes, hangulL+index/(countV*countT), hangulV+index%(countV*countT)/countT)
			if t := index % countT; t != 0 {
				runes = append(runes, hangulT+t)
			}
			continue
		}
		i, found := slices.BinarySearchFunc(decompositions[:], r, func(d decomposition, r rune) int { return cmp.Compare(d.code, r) })
		if !found {
			runes = append(runes, r)
			continue
		}
		for _, r := range decompositions[i].to {
			runes = append(runes, r)
		}
	}
	return runes
}

// combiningClass is 0 for runes that marks do not move past.
func combiningClass(r rune) uint8 {
	if r < 0x300 {
		return 0
	}
	i, _ := slices.BinarySearchFunc(combiningClasses[:], r, func(c combiningRange, r rune) int { return cmp.Compare(c.last, r) })
	if i < len(combiningClasses) && combiningClasses[i].first <= r {
		return combiningClasses[i].class
	}
	return 0
}

// order sorts the marks of each run by combining class, keeping the order of equals.
func order(runes []rune) {
	for start := 0; start < len(runes); {
		if combiningClass(runes[start]) == 0 {
			start++
			continue
		}
		end := start + 1
		for end < len(runes) && combiningClass(runes[end]) != 0 {
			end++
		}
		slices.SortStableFunc(runes[start:end], func(a, b rune) int {
			return cmp.Compare(combiningClass(a), combiningClass(b))
		})
		start = end
	}
}

// compose joins, in place, each mark with the last rune of class 0 before it where nothing between them has a class as
// high, and each rune of class 0 with one right before it.
func compose(runes []rune, pairs map[[2]rune]rune) []rune {
	out := runes[:0]
	starter := -1 // index in out of the last rune of class 0
	for _, r := range runes {
		class := combiningClass(r)
		if starter >= 0 {
			adjacent := starter == len(out)-1
			if adjacent || class != 0 && combiningClass(out[len(out)-1]) < class {
				if whole, ok := composePair(out[starter], r, pairs); ok {
					out[starter] = whole
					continue
				}
			}
		}
		if class == 0 {
			starter = len(out)
		}
		out = append(out, r)
	}
	return out
}

func composePair(a, b rune, pairs map[[2]rune]rune) (rune, bool) {
	if l, v := a-hangulL, b-hangulV; l >= 0 && l < countL && v >= 0 && v < countV {
		return hangulS + (l*countV+v)*countT, true
	}
	if s, t := a-hangulS, b-hangulT; s >= 0 && s < countL*countV*countT && s%countT == 0 && t > 0 && t < countT {
		return a + t, true
	}
	whole, ok := pairs[[2]rune{a, b}]
	return whole, ok
}
