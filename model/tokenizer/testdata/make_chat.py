"""Asks transformers for the ids of conversations and for what the assistant says in them: writes chats.json.

Run in this directory, behind make_golden.py: python make_chat.py. The tokenizers are those of KIND/tokenizer.json with the special
tokens of chats added by a tokenizer_config.json, which stands in the golden file; the templates are those of ../../jinja.
"""

import json
import os
import shutil
import tempfile

import jinja2
import tokenizers
import transformers
from transformers.utils.chat_template_utils import render_jinja_template

here = os.path.dirname(os.path.abspath(__file__))
source = os.path.join(here, "..", "..", "jinja", "testdata", "templates")
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"]


def m(*turns):
    return [{"role": r, "content": c} for r, c in zip(["user", "assistant"] * len(turns), turns)]


conversations = [
    m("Hi", "Hello!"),
    [{"role": "system", "content": "Be brief."}] + m("2+2?", "4", "3 + 3?", "It is\n6."),
    m("Grüße 👋🏽 世界", "naïve e\u0301 日本", "  spaces  ", "x  y"),
    m("a", "", "b", "c"),
    m("Write <|im_end|> or </s>.", "No <|im_start|>."),
    [{"role": "system", "content": "Add."}, {"role": "user", "content": "124 + 37?", "name": None}, {"role": "assistant", "content": "161"}, {"role": "user", "content": "Thanks"}],
]
tool = {"type": "function", "function": {"name": "weather", "description": "Says the weather of a \"town\" – now", "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}}}
call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "abc123XYZ", "function": {"name": "weather", "arguments": {"town": "Köln"}}}]}
tooled = [
    m("Weather?") + [call, {"role": "tool", "content": "rain & <wind>", "tool_call_id": "abc123XYZ"}, {"role": "assistant", "content": "It rains."}],
    m("Hi", "Hello!"),
]
marked = """{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content ~ eos_token }}{% endgeneration %}{% else %}{{ '<|' ~ m.role ~ '|>\\n' ~ m.content ~ '\\n<|assistant|>\\n' }}{% endif %}{% endfor %}"""
headed = """{% for m in messages %}{{ '### ' ~ m.role|title ~ ':\\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content|trim ~ '\\n' }}{% endgeneration %}{% else %}{{ m.content }}{{ '\\n\\n' }}{% endif %}{% endfor %}"""

LEADING = ["llama2", "mistral", "metaspace"]  # a text begins with a mark there


def spans(tok, template, messages, tools):
    """What the assistant says, where the template does not mark it, in characters; None if it cannot be told."""
    render = lambda ms, prompt: tok.apply_chat_template(ms, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=prompt)
    text, out = render(messages, False), []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, whole = render(messages[:i], True), render(messages[: i + 1], False)
        if not (text.startswith(whole) and whole.startswith(prompt)):
            return None
        said = whole.rstrip(" \t\r\n")
        out.append((len(prompt), len(said if said.endswith(tuple(SPECIAL + ["<s>", "</s>"])) else whole)))
    return out


def marked_twin(name, template):
    """The template with {% generation %} where it has none, for those that render messages otherwise when others follow."""
    if name == "mistral":
        said = """{{- " " + message["content"]|trim + eos_token}}"""
        assert template.count(said) == 1
        return template.replace(said, "{% generation %}" + said + "{% endgeneration %}")
    if name == "qwen":
        head, branch = template.split("""{%- elif message.role == "assistant" %}""")
        branch, tail = branch.split("""{%- elif message.role == "tool" %}""")
        for old, new in [
            ("{%- if loop.index0 > ns.last_query_index %}", """{{- '<|im_start|>' + message.role + '\\n' }}{% generation %}{%- if loop.index0 > ns.last_query_index %}"""),
            ("""{{- '<|im_start|>' + message.role + '\\n<think>""", """{{- '<think>"""),
            ("""{{- '<|im_start|>' + message.role + '\\n' + content }}""", "{{- content }}"),
            ("""{{- '<|im_end|>\\n' }}""", """{{- '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}"""),
        ]:
            assert old in branch, old
            branch = branch.replace(old, new)
        return head + """{%- elif message.role == "assistant" %}""" + branch + """{%- elif message.role == "tool" %}""" + tail
    return None


def by_marks(tok, name, template, messages, tools):
    """What the assistant says by the template's marked twin, which writes the same text; None if it has none."""
    twin = marked_twin(name, template)
    if twin is None:
        return None
    text, marks = render_jinja_template([messages], tools=tools, chat_template=twin, return_assistant_tokens_mask=True, bos_token="<s>", eos_token="</s>")
    assert text[0] == tok.apply_chat_template(messages, tools=tools, chat_template=template, tokenize=False), (text[0], name)
    return [p for p in marks[0] if p[0] < p[1]]


def apart(tok, text, parts):
    """The ids of a text whose parts are encoded apart, and which of them are in the parts."""
    ids, says, at = [], [], 0
    for start, end in parts + [(len(text), len(text))]:
        ids += tok(text[at:start], add_special_tokens=False)["input_ids"]
        said = tok(text[start:end], add_special_tokens=False)["input_ids"]
        says += range(len(ids), len(ids) + len(said))
        ids += said
        at = end
    return ids, says


sources = {name[: -len(".jinja")]: open(os.path.join(source, name), encoding="utf-8").read() for name in sorted(os.listdir(source))}
sources |= {"marked": marked, "headed": headed}
kinds, cases = {}, []
for kind in ["gpt2", "smollm", "llama3", "qwen2", "cl100k", "llama2", "mistral", "metaspace"]:
    with tempfile.TemporaryDirectory() as d:
        shutil.copy(os.path.join(here, kind, "tokenizer.json"), d)
        size = tokenizers.Tokenizer.from_file(os.path.join(d, "tokenizer.json")).get_vocab_size()
        plain = dict(lstrip=False, rstrip=False, normalized=False, single_word=False, special=True)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": {}}
        known = tokenizers.Tokenizer.from_file(os.path.join(d, "tokenizer.json"))
        for token in SPECIAL + [t for t in ("<s>", "</s>") if known.token_to_id(t) is None]:
            config["added_tokens_decoder"][str(size)] = dict(content=token, **plain)
            size += 1
        with open(os.path.join(d, "tokenizer_config.json"), "w") as f:
            json.dump(config, f)
        tok = transformers.PreTrainedTokenizerFast.from_pretrained(d)
        kinds[kind] = json.dumps(config)
        for name, template in sources.items():
            for messages, tools in [(c, None) for c in conversations] + [(c, [tool]) for c in tooled]:
                try:
                    out = tok.apply_chat_template(messages, tools=tools, chat_template=template, return_dict=True, return_assistant_tokens_mask=True)
                except (jinja2.exceptions.TemplateError, TypeError) as e:  # the template refuses the conversation, or cannot add what it has
                    print(kind, name, e)
                    continue
                case = {"kind": kind, "template": name, "messages": json.dumps(messages, ensure_ascii=False), **({"tools": json.dumps(tools, ensure_ascii=False)} if tools else {}), "ids": out["input_ids"], "says": [i for i, x in enumerate(out["assistant_masks"]) if x]}
                if "generation %}" in template:  # the masks are those of transformers unless a token crosses a border
                    text, marks = render_jinja_template([messages], tools=tools, chat_template=template, return_assistant_tokens_mask=True, bos_token="<s>", eos_token="</s>")
                    ids, says = apart(tok, text[0], [p for p in marks[0] if p[0] < p[1]])
                    if ids != case["ids"] and kind not in LEADING:
                        case |= {"apart": ids, "says": says}
                else:
                    parts = spans(tok, template, messages, tools)
                    if parts is None:
                        parts = by_marks(tok, name, template, messages, tools)
                    if parts is None:
                        case = {**case, "unstable": True}
                    elif kind not in LEADING:
                        text = tok.apply_chat_template(messages, tools=tools, chat_template=template, tokenize=False)
                        ids, case["says"] = apart(tok, text, parts)
                        if ids != case["ids"]:
                            case["apart"] = ids
                cases.append(case)

with open(os.path.join(here, "chats.json"), "w", encoding="utf-8") as f:
    json.dump({"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "sources": {"marked": marked, "headed": headed}, "configs": kinds, "cases": cases}, f, ensure_ascii=False, separators=(",", ":"))
