"""Writes hostile/: tokenizer.json files and chat templates that are damaged, of another kind, or made to harm. What torc says of each
stands in hostile/expect.txt, which go test -run Hostile -update writes; look at the difference before you keep it.

Run in this directory, behind make_golden.py: python make_hostile.py. The same bytes each time.
"""
import copy
import json
import pathlib
import shutil

here = pathlib.Path(__file__).parent
out = here / "hostile"
shutil.rmtree(out, ignore_errors=True)
out.mkdir()
small = json.loads((here / "gpt2_unknown" / "tokenizer.json").read_text())


def write(name, **changes):
    data = copy.deepcopy(small)
    for path, value in changes.items():
        at = data
        *keys, last = path.split("__")
        for key in keys:
            at = at[key]
        at[last] = value
    (out / f"{name}.json").write_text(json.dumps(data, separators=(",", ":")))


def raw(name, text):
    (out / name).write_bytes(text if isinstance(text, bytes) else text.encode())


raw("empty.json", "")
raw("array.json", "[]")
raw("null.json", "null")
raw("cut.json", json.dumps(small)[:2000])
raw("deep.json", '{"model":' + "[" * 20000 + "]" * 20000 + "}")
raw("latin1.json", '{"version":"é"}'.encode("latin-1"))
raw("sentencepiece.json", b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
raw("lfs.json", "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n")
write("version", version="3.0")
write("no-model", model=None)
write("unigram", model__type="Unigram")
write("wordpiece", model__type="WordPiece")
write("dropout", model__dropout=0.1)
write("huge-id", model__vocab={"a": 2**40})
write("negative-id", model__vocab={"a": -1})
write("fraction-id", model__vocab={"a": 0.5})
write("text-id", model__vocab={"a": "0"})
write("id-twice", model__vocab={"a": 0, "b": 0})
write("empty-token", model__vocab={"": 0})
write("no-merges", model__merges=None)
write("merge-of-one", model__merges=["a"])
write("merge-unknown", model__merges=["\u4e00 \u4e01"])
write("merge-loop", model__merges=[["a", ""]])
write("unknown-missing", model__unk_token="<nowhere>")
write("regex-backtracking", pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False})
write("whitespace-split", pre_tokenizer={"type": "WhitespaceSplit"})
write("lowercase", normalizer={"type": "Lowercase"})
write("nfkc", normalizer={"type": "NFKC"})
write("precompiled", normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
write("replace-regex", normalizer={"type": "Replace", "pattern": {"Regex": "(x+x+)+y"}, "content": ""})
write("roberta", post_processor={"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True})
write("template-unknown", post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}], "pair": [], "special_tokens": {}})
write("decoder-ctc", decoder={"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True})
write("added-single-word", added_tokens=[{"id": 300, "content": "x", "single_word": True, "lstrip": False, "rstrip": False, "normalized": False, "special": True}])
write("added-id", added_tokens=[{"id": 7, "content": "<other>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}])

raw("loop.jinja", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}")
raw("memory.jinja", "{% set n = namespace(s='aaaa') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}")
raw("multiply.jinja", "{{ 'a' * 10000000000 }}")
raw("recursion.jinja", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")
raw("range.jinja", "{{ range(10 ** 12)|list }}")
raw("parentheses.jinja", "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}")
raw("size.jinja", "{# " + "x" * (300 << 10) + " #}")
raw("open-tag.jinja", "{% if messages %}{{ messages[0].content")
raw("unknown-tag.jinja", "{% include '/etc/passwd' %}")
raw("unknown-filter.jinja", "{{ messages|attr('__class__') }}")
raw("class.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}")
raw("globals.jinja", "{{ cycler.__init__.__globals__.os.popen('id').read() }}")
raw("clock.jinja", "{{ strftime_now('%Y') }}")
raw("chance.jinja", "{{ [1, 2, 3]|random }}")
raw("raises.jinja", "{{ raise_exception('this model does not chat') }}")
raw("says-nothing.jinja", "{% for m in messages %}{% endfor %}")
raw("unstable.jinja", "{{ messages|length }}{% for i in range(messages|length) %}{{ messages[i].content }}{% endfor %}")
