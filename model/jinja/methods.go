package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// stringMethods are Python's.
var stringMethods = map[string]func(*given, string) any{
	"strip":        func(in *given, s string) any { return in.strip(s, true, true) },
	"lstrip":       func(in *given, s string) any { return in.strip(s, true, false) },
	"rstrip":       func(in *given, s string) any { return in.strip(s, false, true) },
	"lower":        func(_ *given, s string) any { return strings.ToLower(s) },
	"upper":        func(_ *given, s string) any { return strings.ToUpper(s) },
	"title":        func(_ *given, s string) any { return title(s) },
	"capitalize":   func(_ *given, s string) any { return capitalize(s) },
	"startswith":   func(in *given, s string) any { return in.affix(s, strings.HasPrefix) },
	"endswith":     func(in *given, s string) any { return in.affix(s, strings.HasSuffix) },
	"removeprefix": func(in *given, s string) any { return strings.TrimPrefix(s, in.string("prefix")) },
	"removesuffix": func(in *given, s string) any { return strings.TrimSuffix(s, in.string("suffix")) },
	"replace": func(in *given, s string) any {
		old, text := in.string("old"), in.string("new")
		return in.replace(s, old, text, in.int("count", -1))
	},
	"split":      func(in *given, s string) any { return in.split(s, false) },
	"rsplit":     func(in *given, s string) any { return in.split(s, true) },
	"splitlines": splitLines,
	"join": func(in *given, s string) any {
		var parts []string
		for _, v := range in.iterate(in.any("items")) {
			part, ok := v.(string)
			if !ok {
				in.fail("join is for strings, not for a %s", typeName(v))
			}
			parts = append(parts, part)
		}
		return in.join(s, parts...)
	},
	"find":    func(in *given, s string) any { return place(s, strings.Index(s, in.string("part"))) },
	"rfind":   func(in *given, s string) any { return place(s, strings.LastIndex(s, in.string("part"))) },
	"count":   func(in *given, s string) any { return strings.Count(s, in.string("part")) },
	"isdigit": func(_ *given, s string) any { return all(s, unicode.IsDigit) },
	"isalpha": func(_ *given, s string) any { return all(s, unicode.IsLetter) },
	"isspace": func(_ *given, s string) any { return all(s, isSpace) },
	"islower": func(_ *given, s string) any { return cased(s, strings.ToLower) },
	"isupper": func(_ *given, s string) any { return cased(s, strings.ToUpper) },
}

// place counts characters for bytes.
func place(s string, at int) int {
	if at < 0 {
		return -1
	}
	return utf8.RuneCountInString(s[:at])
}

func all(s string, is func(rune) bool) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool { return !is(c) }) < 0
}

func (g *given) strip(s string, left, right bool) string {
	is := isSpace
	if chars, ok := g.optional("chars"); ok {
		is = func(c rune) bool { return strings.ContainsRune(chars, c) }
	}
	if left {
		s = strings.TrimLeftFunc(s, is)
	}
	if right {
		s = strings.TrimRightFunc(s, is)
	}
	return s
}

// affix takes a string or a tuple of them.
func (g *given) affix(s string, has func(s, affix string) bool) bool {
	v := g.any("affix")
	if several, ok := v.(tuples); ok {
		for _, x := range several {
			if affix, ok := x.(string); ok && has(s, affix) {
				return true
			}
		}
		return false
	}
	affix, ok := v.(string)
	if !ok {
		g.fail("%s needs a string, not a %s", g.to, typeName(v))
	}
	return has(s, affix)
}

// split is Python's str.split or str.rsplit.
func (g *given) split(s string, fromRight bool) any {
	between, given := g.optional("sep")
	most := g.int("maxsplit", -1)
	var parts []string
	switch {
	case given && between == "":
		g.fail("%s needs a separator that is not empty", g.to)
	case !given && most < 0:
		parts = strings.FieldsFunc(s, isSpace)
	case !given:
		g.fail("%s with maxsplit needs a separator", g.to)
	case most < 0 || strings.Count(s, between) <= most:
		parts = strings.Split(s, between)
	case fromRight:
		for range most {
			at := strings.LastIndex(s, between)
			parts = append([]string{s[at+len(between):]}, parts...)
			s = s[:at]
		}
		parts = append([]string{s}, parts...)
	default:
		parts = strings.SplitN(s, between, most+1)
	}
	return listOf(g.run, parts)
}

func listOf(r *run, parts []string) List {
	r.listed(len(parts))
	l := make(List, len(parts))
	for i, p := range parts {
		l[i] = p
	}
	return l
}

func splitLines(in *given, s string) any {
	keep := truth(in.take("keepends", false))
	var lines []string
	for len(s) > 0 {
		at := strings.IndexFunc(s, func(c rune) bool {
			return c == '\n' || c == '\r' || c == '\v' || c == '\f' || c >= 0x1c && c <= 0x1e || c == 0x85 || c == 0x2028 || c == 0x2029
		})
		if at < 0 {
			lines = append(lines, s)
			break
		}
		_, width := utf8.DecodeRuneInString(s[at:])
		if strings.HasPrefix(s[at:], "\r\n") {
			width = 2
		}
		line := s[:at]
		if keep {
			line = s[:at+width]
		}
		lines = append(lines, line)
		s = s[at+width:]
	}
	return listOf(in.run, lines)
}

// title makes the first letter of each word large and the others small.
func title(s string) string {
	inside := false
	return strings.Map(func(c rune) rune {
		letter := unicode.IsLetter(c)
		defer func() { inside = letter }()
		if inside {
			return unicode.ToLower(c)
		}
		return unicode.ToTitle(c)
	}, s)
}

func capitalize(s string) string {
	first, width := utf8.DecodeRuneInString(s)
	if width == 0 {
		return ""
	}
	return string(unicode.ToTitle(first)) + strings.ToLower(s[width:])
}

// dictMethods are Python's, but for those that change the dict: the sandbox has none.
var dictMethods = map[string]func(*given, *Dict) any{
	"get": func(in *given, d *Dict) any {
		v := in.any("key")
		otherwise := in.take("default", nil)
		if key, ok := v.(string); ok {
			if value, ok := d.values[key]; ok {
				return value
			}
		}
		return otherwise
	},
	"items": func(in *given, d *Dict) any { return itemsOf(in.run, d) },
	"keys":  func(in *given, d *Dict) any { return append(List{}, in.iterate(d)...) },
	"values": func(in *given, d *Dict) any {
		in.listed(len(d.keys))
		values := List{}
		for _, key := range d.keys {
			values = append(values, d.values[key])
		}
		return values
	},
	"copy": func(_ *given, d *Dict) any { return d },
}

// listMethods are Python's, but for those that change the list.
var listMethods = map[string]func(*given, List) any{
	"copy": func(_ *given, l List) any { return l },
	"count": func(in *given, l List) any {
		v, n := in.any("value"), 0
		for _, x := range l {
			if in.equal(x, v) {
				n++
			}
		}
		return n
	},
	"index": func(in *given, l List) any {
		v := in.any("value")
		for i, x := range l {
			if in.equal(x, v) {
				return i
			}
		}
		in.fail("index: the value is not in the list")
		return nil
	},
}
