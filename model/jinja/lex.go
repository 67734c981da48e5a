package jinja

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is what a token is.
type kind int

const (
	end        kind = iota
	data            // text between tags
	blockBegin      // {%
	blockEnd        // %}
	printBegin      // {{
	printEnd        // }}
	name
	text // a string literal; token.text is its value
	integer
	decimal
	operator
)

type token struct {
	kind kind
	text string
	line int
}

func (t token) String() string {
	switch t.kind {
	case end:
		return "end of template"
	case data:
		return "text"
	case blockBegin:
		return "{%"
	case blockEnd:
		return "%}"
	case printBegin:
		return "{{"
	case printEnd:
		return "}}"
	}
	return fmt.Sprintf("%q", t.text)
}

// lexer cuts a source into tokens. White space around tags is gone behind it.
type lexer struct {
	source   string
	at       int
	line     int
	starting bool // what was read last ends a line
	tokens   []token
}

var newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func lex(source string) []token {
	l := &lexer{source: strings.TrimSuffix(newlines.Replace(source), "\n"), line: 1, starting: true}
	for l.at < len(l.source) {
		l.next()
	}
	l.emit(end, "")
	return l.tokens
}

func (l *lexer) fail(format string, args ...any) {
	panic(failure{l.line, fmt.Sprintf(format, args...)})
}

func (l *lexer) emit(k kind, text string) { l.tokens = append(l.tokens, token{k, text, l.line}) }

// skip moves behind n bytes.
func (l *lexer) skip(n int) {
	part := l.source[l.at : l.at+n]
	l.line += strings.Count(part, "\n")
	l.at += n
	if n > 0 {
		l.starting = part[n-1] == '\n'
	}
}

// next reads the text in front of a tag, and the tag.
func (l *lexer) next() {
	rest := l.source[l.at:]
	tag := -1
	for i := 0; i+1 < len(rest); i++ {
		if rest[i] == '{' && strings.IndexByte("%{#", rest[i+1]) >= 0 {
			tag = i
			break
		}
	}
	if tag < 0 {
		l.emit(data, rest)
		l.skip(len(rest))
		return
	}
	sign := byte(0)
	if tag+2 < len(rest) && (rest[tag+2] == '-' || rest[tag+2] == '+') {
		sign = rest[tag+2]
	}
	l.text(rest[:tag], rest[tag+1], sign)
	l.skip(tag)
	opened := 2
	if sign != 0 {
		opened = 3
	}
	switch rest[tag+1] {
	case '#':
		l.comment(opened)
	case '%':
		l.emit(blockBegin, "")
		l.skip(opened)
		l.inside("%}", blockEnd)
	default:
		l.emit(printBegin, "")
		l.skip(opened)
		l.inside("}}", printEnd)
	}
}

// text emits what stands in front of a tag: without white space if the tag has a minus, and without that of its last line
// if the tag is the first on it and prints nothing.
func (l *lexer) text(s string, tag, sign byte) {
	switch {
	case sign == '-':
		s = strings.TrimRightFunc(s, isSpace)
	case sign != '+' && tag != '{':
		line := strings.LastIndexByte(s, '\n') + 1
		if (line > 0 || l.starting) && strings.TrimFunc(s[line:], isSpace) == "" {
			s = s[:line]
		}
	}
	if s != "" {
		l.emit(data, s)
	}
}

func (l *lexer) comment(opened int) {
	size := strings.Index(l.source[l.at+opened:], "#}")
	if size < 0 {
		l.fail("comment does not end")
	}
	sign := l.source[l.at+opened+size-1] // at worst a byte of the opening
	l.skip(opened + size + 2)
	l.behind(size > 0 && sign == '-', size > 0 && sign == '+')
}

// behind passes over the white space behind a tag that prints nothing.
func (l *lexer) behind(strip, keep bool) {
	rest := l.source[l.at:]
	switch {
	case strip:
		l.skip(len(rest) - len(strings.TrimLeftFunc(rest, isSpace)))
	case !keep && strings.HasPrefix(rest, "\n"):
		l.skip(1)
	}
}

var (
	decimals  = regexp.MustCompile(`^[0-9](_?[0-9])*((\.[0-9](_?[0-9])*)?[eE][+-]?[0-9](_?[0-9])*|\.[0-9](_?[0-9])*)`)
	integers  = regexp.MustCompile(`^[0-9](_?[0-9])*`)
	names     = regexp.MustCompile(`^[\pL_][\pL\pN_]*`)
	operators = []string{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}
)

// inside reads the tokens of a tag up to its closing.
func (l *lexer) inside(closing string, closed kind) {
	var open []string
	for {
		rest := strings.TrimLeftFunc(l.source[l.at:], isSpace)
		l.skip(len(l.source) - l.at - len(rest))
		if rest == "" {
			l.fail("tag does not end: %s is missing", closing)
		}
		if len(open) == 0 && l.close(rest, closing, closed) {
			return
		}
		switch {
		case rest[0] == '"' || rest[0] == '\'':
			l.literal(rest)
		case decimals.MatchString(rest):
			l.take(decimal, decimals.FindString(rest))
		case integers.MatchString(rest):
			l.take(integer, integers.FindString(rest))
		case names.MatchString(rest):
			l.take(name, names.FindString(rest))
		default:
			l.operator(rest, &open)
		}
	}
}

func (l *lexer) take(k kind, s string) {
	l.emit(k, s)
	l.skip(len(s))
}

// close reads the end of a tag, if rest begins with it.
func (l *lexer) close(rest, closing string, closed kind) bool {
	sign := byte(0)
	if rest[0] == '-' || rest[0] == '+' && closed == blockEnd {
		sign = rest[0]
		rest = rest[1:]
	}
	if !strings.HasPrefix(rest, closing) {
		return false
	}
	l.emit(closed, "")
	l.skip(len(closing))
	if sign != 0 {
		l.skip(1)
	}
	l.behind(sign == '-', sign == '+' || closed == printEnd)
	return true
}

func (l *lexer) operator(rest string, open *[]string) {
	for _, op := range operators {
		if !strings.HasPrefix(rest, op) {
			continue
		}
		switch op {
		case "(", "[", "{":
			*open = append(*open, map[string]string{"(": ")", "[": "]", "{": "}"}[op])
		case ")", "]", "}":
			if len(*open) == 0 || (*open)[len(*open)-1] != op {
				l.fail("%q closes nothing", op)
			}
			*open = (*open)[:len(*open)-1]
		}
		l.take(operator, op)
		return
	}
	r, _ := utf8.DecodeRuneInString(rest)
	l.fail("%q is not known here", r)
}

// literal reads a string.
func (l *lexer) literal(rest string) {
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case rest[0]:
			l.emit(text, l.unescape(rest[1:i]))
			l.skip(i + 1)
			return
		}
	}
	l.fail("string does not end")
}

var simpleEscapes = map[byte]string{
	'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '\n': "",
}

// unescape reads Python's escapes; an unknown one stays as it is.
func (l *lexer) unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out.WriteByte(s[i])
			continue
		}
		i++
		if plain, ok := simpleEscapes[s[i]]; ok {
			out.WriteString(plain)
			continue
		}
		digits, base := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]], 16
		from := i + 1
		if '0' <= s[i] && s[i] <= '7' {
			from, base = i, 8
			for digits = 1; digits < 3 && i+digits < len(s) && '0' <= s[i+digits] && s[i+digits] <= '7'; digits++ {
			}
		}
		if digits == 0 {
			out.WriteByte('\\')
			out.WriteByte(s[i])
			continue
		}
		if from+digits > len(s) {
			l.fail("escape \\%s is cut off", s[i:])
		}
		code, err := strconv.ParseUint(s[from:from+digits], base, 32)
		if err != nil || !utf8.ValidRune(rune(code)) {
			l.fail("escape \\%s is no character", s[i:from+digits])
		}
		out.WriteRune(rune(code))
		i = from + digits - 1
	}
	return out.String()
}

// isSpace is Python's str.isspace.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
