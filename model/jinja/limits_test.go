package jinja

import (
	"strings"
	"testing"
)

func TestUnknownPartsAreRefusedByName(t *testing.T) {
	for source, want := range map[string]string{
		"a\n{% include 'x' %}":              `line 2: tag "include" is not known`,
		"{% import 'x' as y %}":             `tag "import"`,
		"{% raw %}":                         `tag "raw"`,
		"{{ 1|random }}":                    `filter "random" is not known`,
		"{{ 'a'|format }}":                  `filter "format" is not known`,
		"{{ [1]|map('random')|list }}":      `filter "random" is not known`,
		"{{ 1 is escaped }}":                `test "escaped" is not known`,
		"{{ 2 ** 3 }}":                      "** is not known",
		"{% if a %}":                        "endif is missing",
		"{% endif %}":                       `tag "endif" is not known`,
		"{{ a":                              "tag does not end: }} is missing",
		"{{ 'a":                             "string does not end",
		"{# a":                              "comment does not end",
		"{{ a b }}":                         `"b" where }} is expected`,
		"{{ (a }}":                          `"}" closes nothing`,
		"{% break %}":                       "break outside of a loop",
		"{{ § }}":                           "'§' is not known here",
		"{{ strftime_now('%d') }}":          "a text must not depend on the clock",
		"{{ raise_exception('no tools') }}": "the chat template says: no tools",
		"{{ [].append(1) }}":                "'list' has no attribute 'append'",
		"{% set x %}{% generation %}a{% endgeneration %}{% endset %}": "inside a macro or a set block",
	} {
		if _, _, err := render(source, "{}"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", source, err, want)
		}
	}
	if text, _, err := render("{% if strftime_now is defined %}now{% else %}then{% endif %}", "{}"); text != "then" || err != nil {
		t.Errorf("a template that guards the clock renders %q, %v", text, err)
	}
}

func TestTemplatesAreBounded(t *testing.T) {
	for name, source := range map[string]string{
		"source":           strings.Repeat("a", maxSourceBytes+1),
		"parentheses":      "{{ " + strings.Repeat("(", 100000) + "1" + strings.Repeat(")", 100000) + " }}",
		"signs":            "{{ " + strings.Repeat("-", 100000) + "1 }}",
		"nots":             "{{ " + strings.Repeat("not ", 50000) + "1 }}",
		"blocks":           strings.Repeat("{% if 1 %}", 20000),
		"conditions":       "{{ 1" + strings.Repeat(" if 1 else 1", 20000) + " }}",
		"macro":            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"range":            "{{ range(10 ** 9) }}",
		"long range":       "{{ range(1000000000)|list }}",
		"loops":            "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
		"string":           "{{ 'a' * 1000000000 }}",
		"product":          "{{ 'a' * 9000000000000000000 }}",
		"list":             "{{ ([1] * 1000000000)|length }}",
		"doubling":         "{% set n = namespace(s='aaaa') %}{% for a in range(100) %}{% set n.s = n.s + n.s %}{% endfor %}",
		"concatenation":    "{% set n = namespace(s='aaaa') %}{% for a in range(100) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
		"replace":          "{% set s = 'a' * 100000 %}{{ s|replace('a', s) }}",
		"replace method":   "{% set s = 'a' * 100000 %}{{ s.replace('', s) }}",
		"join":             "{% set s = 'a' * 100000 %}{{ range(1000)|join(s) }}",
		"indent":           "{{ 'a\nb'|indent(1000000000) }}",
		"json":             "{% set n = namespace(s=[1]) %}{% for a in range(200) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s|tojson }}",
		"print":            "{% set n = namespace(s=[1]) %}{% for a in range(200) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
		"equal":            "{% set n = namespace(s=[1]) %}{% for a in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s == n.s + [] }}",
		"deep equal":       "{% set n = namespace(s=[1], t=[1]) %}{% for a in range(90000) %}{% set n.s = [n.s] %}{% set n.t = [n.t] %}{% endfor %}{{ n.s == n.t }}",
		"output":           "{% set s = 'a' * 1000000 %}{% for a in range(100) %}{{ s }}{% endfor %}",
		"number":           "{% set n = namespace(x=9) %}{% for a in range(100) %}{% set n.x = n.x * n.x %}{% endfor %}",
		"comparisons":      "{% set s = 'a' * 10000000 %}{% for a in range(100000) %}{{ s == s }}{% endfor %}",
		"json indentation": "{{ [[[1]]]|tojson(indent=100000000) }}",
	} {
		t.Run(name, func(t *testing.T) {
			if text, _, err := render(source, "{}"); err == nil {
				t.Errorf("renders %d bytes, want an error", len(text))
			}
		})
	}
}

// Whatever a template says, Parse and Render return.
func FuzzTemplate(f *testing.F) {
	f.Add("{{ a[1:].b|trim }}{%- for x in m if x %}{{ loop.index }}{% else %}{% endfor -%}", `{"m":[1,"a",{"b":null}]}`)
	f.Add("{% macro f(x=1) %}{{ x is defined }}{% endmacro %}{{ f() ~ (1 if a else 2) }}", `{"a":-1.5}`)
	f.Add("{% set ns = namespace(a=1) %}{% set ns.a = 'x' * 3 %}{# c -#} {{ ns.a|tojson(indent=2) }}", `{}`)
	f.Fuzz(func(t *testing.T, source, variables string) {
		v, err := Decode([]byte(variables))
		d, ok := v.(*Dict)
		if err != nil || !ok {
			return
		}
		template, err := Parse(source)
		if err != nil {
			return
		}
		text, spans, err := template.Render(d)
		again, _, second := template.Render(d)
		if text != again || (err == nil) != (second == nil) {
			t.Fatalf("renders %q and then %q", text, again)
		}
		for _, s := range spans {
			if s.Start < 0 || s.End < s.Start || s.End > len(text) {
				t.Fatalf("span %v of %d bytes", s, len(text))
			}
		}
	})
}
