"""Renders templates with transformers: writes golden.json beside itself.

Each case has a template (a file of templates/, or its source), variables (the place of a JSON text in a list), and what transformers makes of them: the
text and the spans of {% generation %} in characters, or that it fails. Run with transformers and jinja2 installed.
"""

import json
import os

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template, _render_with_assistant_indices

here = os.path.dirname(os.path.abspath(__file__))
BOS, EOS = "<s>", "</s>"

tool = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says the weather of a \"town\" – now",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}, "days": {"type": "integer", "default": 1}}, "required": ["town"]},
        "return": {"type": "number"},
    },
}
call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"town": "Köln", "days": 2, "deep": [1.0, None, True, 1e-7]}}}]}


def m(*turns):
    return [{"role": r, "content": c} for r, c in zip(["user", "assistant"] * len(turns), turns)]


S = [{"role": "system", "content": " Be brief.\n"}]
conversations = {
    "one turn": m("Hi", "Hello!"),
    "prompt only": m("Hi"),
    "with system": S + m("Hi", "Hello!"),
    "two turns": m("2+2?", " 4 ", "3+3?", "\n6\n"),
    "system, three turns": S + m("a", "b", "c", "d", "e", "f"),
    "not ASCII": m("Grüße 👋🏽 世界 مرحبا", "e\u0301 \u00a0x\u3000"),
    "thinking": m("1+1?", "<think>\nsum\n</think>\n\n2", "2+2?", "<think>\nagain\n</think>\n\n4"),
    "reasoning apart": m("1+1?") + [{"role": "assistant", "content": "2", "reasoning_content": "sum"}],
    "tool call": m("Weather?") + [call, {"role": "tool", "content": "rain & <wind>"}, {"role": "assistant", "content": "It rains."}],
    "two tools": m("Weather?") + [call, {"role": "tool", "content": "rain"}, {"role": "tool", "content": "sun"}, {"role": "assistant", "content": "Both."}],
    "two of one role": m("a") + m("b"),
    "parts": [{"role": "user", "content": [{"type": "text", "text": " look "}, {"type": "image"}]}, {"role": "assistant", "content": [{"type": "text", "text": "seen"}]}],
    "tags in text": m("{{ 1 }} {% if %} {# #}", "<|im_end|>"),
}

expressions = r"""
{{ m[-1] }} {{ m[0] }} {{ m[5] is defined }} {{ 'abc'.split('x')[-1] }} {{ 'abc'[-1] }} {{ 'äöü'[1] }} {{ 'äöü'[::-1] }} {{ 'äöü'[1:] }}
Hello {% if true %}x{% endif %} y
{{ a }} {% if true %}x{% endif %}
{{ none }} {{ true }} {{ 1.0 }} {{ 1e20 }} {{ 1e-7 }} {{ 0.1 + 0.2 }} {{ 100000.0 }} {{ 1e16 }} {{ 123456789012345.0 }}
{% for c in 'é世' %}[{{ c }}]{% endfor %}
{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 // -2 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 * 3 + 1 }} {{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 1 - 2 - 3 }} {{ -2|abs }} {{ 1 ~ 2 + 3 }}
{{ {'b': 1, 'a': [1, 'x', none], 'c': {}} | tojson }} {{ {'b': 1, 'a': []} | tojson(indent=2) }} {{ ['ä', '<&>', '\u2028'] | tojson }} {{ 'ä😀' | tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}
{{ u is none }} {{ u is defined }} {{ u is undefined }} {{ none is defined }} [{{ u }}] {{ u is iterable }} {{ u|length }} {{ u == v }} {% for x in u %}x{% else %}empty{% endfor %}
{{ ['a'] + [1] }} {{ ('a', 1) }} {{ ('a',) }} {{ ["it's", 'q"', "both'\""] }} {{ {'a': 'b', 'n': none, 't': true} }} {{ ['\n\t\\', 'ä\x00'] }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ u + 'a' }}
{{ u.x }}
{{ u.x.y }}
{{ a.x }}[{{ none.x }}]
{{ a.x.y }}
{{ a ~ none ~ 1 ~ u }}
{{ ('b' if a else 'c') ~ 'd' }} {{ 'x' if u }} {{ 'x' if u else 'y' if a else 'z' }}
{% for a, b in [['x', 1], ('y', 2)] %}{{ a }}{{ b }}{{ loop.index }}{{ loop.revindex0 }}{% if not loop.last %},{% endif %}{% endfor %} {{ a }}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {% for k in d %}{{ k }}{% endfor %} {{ d.items()|list }} {{ d|items|list }} {{ d.keys()|list }} {{ d.get('a') }} {{ d.get('zz', 3) }} {{ d['b'] }} {{ 'a' in d }} {{ 'zz' not in d }} {{ d|dictsort }}
{% for x in m if x != 'one' %}{{ x }}{{ loop.length }}{% else %}none{% endfor %} {% for x in range(5) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %} {{ range(3)|list }} {{ range(5, 1, -2)|list }}
{% set x = 1 %}{% for i in range(2) %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }} {% set ns = namespace(x=1) %}{% for i in range(2) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }} {% if true %}{% set y = 5 %}{% endif %}{{ y }} {% set a, b = 1, 2 %}{{ b }} {% set t %}in {{ b }}{% endset %}{{ t|upper }}
{% macro f(x, y=2) %}{{ x }}-{{ y }}{% endmacro %}{{ f(1) }} {{ f(1, y=3) }} {{ f(1, 4)|length }} [{{ f() }}]
{% macro f() %}{% endmacro %}{{ f(1) }}
{{ 'it\'s\n\x41\u00e4' }}|{{ "a" 'b' }}
{{ [3, 1, 2]|sort }} {{ ['b', 'A', 'c']|sort }} {{ [1, 2]|reverse|list }} {{ 'abc'|reverse }} {{ [1, 2, 1]|unique|list }} {{ [1, 2]|sum }} {{ [1, 5]|max }} {{ m|join('-') }} {{ [1, 2]|join }} {{ 'abc'|first }} {{ [1, 2]|last }} {{ []|first }}
{{ ' x '|trim }}| {{ 'xxaxx'|trim('x') }} {{ ' x '.strip() }}| {{ 'xxa'.lstrip('x') }} {{ '\x1f\u00a0a\u200b'.strip()|length }} {{ 'A b'.lower() }} {{ 'hello wORLD'|title }} {{ 'hELLO'|capitalize }} {{ 'a-b_c d'.title() }}
{{ 'a,b,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a  b '.split() }} {{ 'a\nb\r\nc\n'.splitlines() }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'abc'.find('c') }} {{ 'a-a'.replace('-', '+') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'a1'|replace('1', '2') }} {{ ', '.join(m) }} {{ 'äxä'.find('x') }} {{ 'aXa'.count('a') }} {{ '12'.isdigit() }} {{ 'abc'.removeprefix('a') }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ not 1 == 2 }} {{ 1 in [1] and 2 not in [1] }} {{ 'b' in 'abc' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ '1' == 1 }} {{ [1, [2]] == [1, [2]] }} {{ 'a' < 'b' }} {{ none == none }} {{ a and none }} {{ '' or 'x' }} {{ 0 or false }}
{{ 'a' < 1 }}
{{ 5 is odd }} {{ 4 is divisibleby 2 }} {{ 'a' is string }} {{ d is mapping }} {{ m is sequence }} {{ m is iterable }} {{ 1 is number }} {{ true is number }} {{ true is boolean }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ a is not none }} {{ a is eq 'A' }} {{ a is in ['A'] }} {{ false is false }} {{ true is sameas true }} {{ a is sameas none }}
{{ m|map('upper')|list }} {{ l|map(attribute='x')|list }} {{ l|map(attribute='y', default=0)|list }} {{ l|selectattr('x')|list|length }} {{ l|selectattr('x', 'equalto', 2)|list }} {{ l|rejectattr('y', 'defined')|list }} {{ [0, 1, 2]|select|list }} {{ [1, 2, 3]|select('odd')|list }} {{ [1, 2, 3]|reject('gt', 1)|list }} {{ l|map(attribute='x')|join('+') }}
{{ u|default('d') }} {{ ''|default('d') }}| {{ ''|default('d', true) }} {{ none|d('x') }} {{ '3'|int + 1 }} {{ 'x'|int }} {{ '2.5'|float }} {{ 2.7|int }} {{ 12|string + '!' }} {{ m|length }} {{ d|count }} {{ 'a\nb\n\nc'|indent }} {{ 'a\nb'|indent(2, true) }}
{%- if a -%}   x   {%- endif -%}   y
  {% if a %}  
    x
  {% endif %}
  {{ a }}  
  {# c #}
z {# c #}
y
  {%+ if a %} x {% endif +%}
y
{# c -#}   x {#- c #} y
line{% if a %}

two{% endif %}
{{ a }}

{% if a %}\n{% endif %}   
tab	{% if a %}x{% endif %}
{{ 'a' 'b' }}{{- ' c' -}}   d
{{ namespace(a=1).a }} {{ dict(a=1) }} {{ namespace(_a=1) }}
{{ raise_exception('no') }}
{{ loop }}{{ m.append }}
{{ [1, 2][0:1] }} {{ [1, 2, 3][-2:] }} {{ [1, 2, 3][::2] }} {{ [1, 2, 3][5:] }} {{ [1, 2, 3][:-1] }} {{ (1, 2, 3)[::-1] }} {{ [1, 2, 3][2:0:-1] }} {{ m[:1][0] }} {{ l[0].x }} {{ l.0.x }} {{ l[1]['x'] }}
{{ 'x' * 3 }} {{ [1] * 2 }} {{ 3 * 'a' }} {{ '%' ~ 5 }}
{{ 1 if m is defined and m is not none else 2 }} {{ (m | length) - 1 }} {{ m|length - 1 }} {{ m | length == 1 }} {{ not m|length == 1 }} {{ 'a' ~ m|length }}
{% generation %}a{% endgeneration %}ä{% for x in m %}{% generation %}{{ x }}ö{% set q = 1 %}{% endgeneration %}{% endfor %}[{{ q }}]{% generation %}{% endgeneration %}
{{ loop.index }}
{{ '}}' }} {{ {'a': {'b': 1}}['a']['b'] }} {{ "%}" }}
{% set x = [1, 2] %}{{ x.pop() }}
{{ d.update({'a': 1}) }}
{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{{ loop.nextitem is defined }}{% endfor %}
{% for i in [1, 2] %}{% for j in [1, 2] %}{{ i }}{{ j }}{{ loop.index }} {% endfor %}{{ loop.index }};{% endfor %}
{{ true and 'yes' or 'no' }} {{ none or [] }} {{ [] and 1 }} {{ 2 > 1 and 1 }}
{{ 'a'.upper() ~ 'B'.lower() }} {{ 'a' | upper ~ 'b' }} {{ ('a' ~ 'b') | upper }} {{ -1 }} {{ - 1 + 2 }} {{ +1 }} {{ 1_000 }} {{ 7.0 // 2 if false else 1 }}
"""

variables = {"m": ["one"], "a": "A", "d": {"b": 1, "a": 2, "C": None}, "l": [{"x": 1}, {"x": 2, "y": 3}]}


def render(source, values):
    try:
        template = _compile_jinja_template(source)
        text, spans = _render_with_assistant_indices(template, values["messages"], values["tools"], None, values["add_generation_prompt"], **{k: v for k, v in values.items() if k not in ("messages", "tools", "add_generation_prompt", "documents")})
        return {"text": text, "spans": spans}
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        return {"fails": True}


cases, known = [], {}


def kept(values):
    return known.setdefault(json.dumps(values, ensure_ascii=False), len(known))


for file in sorted(os.listdir(os.path.join(here, "templates"))):
    source = open(os.path.join(here, "templates", file), encoding="utf-8").read()
    for title, messages in conversations.items():
        for prompt in (False, True):
            for tools in (None, [tool, tool]):
                values = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt, "bos_token": BOS, "eos_token": EOS}
                cases.append({"title": title, "file": file, "with": kept(values), **render(source, values)})
lines = expressions.strip("\n").split("\n")
for source in lines + ["\n".join(lines[i : i + 9]) for i in range(len(lines)) if lines[i].startswith("  {% if a")] + ["a\r\nb\n", "a\n\n", "\n  {% if a %}\n\tx\n  {%- endif %}  \n"]:
    values = {"messages": [], "tools": None, "add_generation_prompt": False, **variables}
    cases.append({"source": source, "with": kept(values), **render(source, values)})

with open(os.path.join(here, "golden.json"), "w", encoding="utf-8") as f:
    json.dump({"transformers": transformers.__version__, "jinja2": jinja2.__version__, "variables": list(known), "cases": cases}, f, ensure_ascii=False, indent=0)
