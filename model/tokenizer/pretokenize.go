package tokenizer

import "strings"

// preTokenizer cuts a text into the pieces that the model merges within. Each step cuts every piece of the step before.
type preTokenizer struct {
	steps []step
	bytes bool // ended by a ByteLevel step, so the model's symbols are bytes
}

// step appends the pieces of s, which is not empty, to dst. first tells whether s begins where the text does.
type step func(dst []string, s string, first bool) []string

// buffers are the two lists of pieces that the steps take turns in.
type buffers struct{ from, to []string }

// cut returns the pieces of text; they are valid until the next cut with the same buffers.
func (p *preTokenizer) cut(text string, first bool, b *buffers) []string {
	b.from = append(b.from[:0], text)
	for _, step := range p.steps {
		b.to = b.to[:0]
		for i, s := range b.from {
			if s != "" {
				b.to = step(b.to, s, first && i == 0)
			}
		}
		b.from, b.to = b.to, b.from
	}
	return b.from
}

func stepScan(scan scanner) step {
	return func(dst []string, s string, _ bool) []string { return scan.cut(dst, s) }
}

func stepDigits(individual bool) step {
	return func(dst []string, s string, _ bool) []string { return cutDigits(dst, s, individual) }
}

// stepSpace puts a space before a piece that begins without one.
func stepSpace(dst []string, s string, _ bool) []string {
	if s[0] != ' ' {
		s = " " + s
	}
	return append(dst, s)
}

// stepMetaspace writes mark for spaces, puts one before a piece without (before each, before the text's first, or
// never), and, if cut, begins a new piece at every mark.
func stepMetaspace(mark, prepend string, cut bool) step {
	return func(dst []string, s string, first bool) []string {
		s = strings.ReplaceAll(s, " ", mark)
		if !strings.HasPrefix(s, mark) && (prepend == "always" || prepend == "first" && first) {
			s = mark + s
		}
		for cut && s != "" {
			// A mark goes with what follows it: marks in a row stand alone but for the last.
			next := strings.Index(s[1:], mark) // a mark is longer than a byte, so s[0] begins none but the first
			if next < 0 {
				break
			}
			dst, s = append(dst, s[:next+1]), s[next+1:]
		}
		return append(dst, s)
	}
}
