"""Makes small tokenizers of each kind that torc reads, and what the Hugging Face library answers for awkward strings.

Run in this directory: python make_golden.py. Versions and seed stand in each golden file. Written are
  strings.json            the strings
  surrogates.json         JSON texts of strings with escaped surrogates, and their ids with gpt2/tokenizer.json or null
  nfc.json                pairs of a string and its normal form C
  KIND/tokenizer.json     a tokenizer of the kind, trained here on the text below
  KIND/golden.json        per string its ids without and with special tokens, and what they decode to where that is not
                          the string; and decoded lists of random ids
"""
import json
import os
import random
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SEED = 43
GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

TEXT = """The quick brown fox doesn't jump over the lazy dog; it's too lazy for that, isn't it? We've seen they're quick.
A baker sells 124 loaves on Monday and 37 more on Tuesday. How many loaves does she sell? She sells 124 + 37 = 161.
def add(a, b):\n    # returns the sum\n    return a + b\n\nfor i in range(10):\n\tprint(i, add(i, 2 * i))\n
    if (x >= 0 && y != NULL) { x += y[i++]; /* comment */ }\n\n\n
In the year 2024 the price rose by 3.5% to $1,299.99, or 1.200 €.
Der schnelle braune Fuchs springt über den faulen Hund. Ça va très bien, merci beaucoup, naïve façade.
Быстрая коричневая лиса прыгает через ленивую собаку. Το γρήγορο καφέ αλεπού πηδάει.
敏捷的棕色狐狸跳过了懒狗。今日は良い天気ですね。빠른 갈색 여우가 게으른 개를 뛰어넘는다.
الثعلب البني السريع يقفز فوق الكلب الكسول. השועל החום המהיר. तेज़ भूरी लोमड़ी आलसी कुत्ते पर कूदती है
😀 😃 👍🏽 👨‍👩‍👧‍👦 🇩🇪 e\u0301 a\u0308 o\u0302\u0323 \u00e9 \u00e4
Question: what is 7 times 8?\nAnswer: 7 times 8 is 56.\n#### 56
""" * 3


def strings():
    s = ["", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\t", "\t\t", " \n", "\n ", " \n ", "  \n  ", "\n\n  x", "x\n\n  y"]
    s += ["a", " a", "  a", "   a", "a ", "a  ", "a   ", " a b  c   d    e ", "a\nb", "a\r\nb", "a \n b", "a\t b", "a \t\n\r\v\f b"]
    s += ["x\u00a0y", "x\u00a0\u00a0y", "x \u00a0 y", "\u3000x\u3000\u3000y", "x\u2003y\u2009z", "x\u200by", "x\u2028y\u2029z\u0085w", "\u1680x\u202f\u205fy"]
    s += ["don't", "DON'T", "it's IT'S It'S", "we'll we'LL WE'll", "'s", " 's", "''s", "'S'T'RE'VE'M'LL'D", "'s't're've'm'll'd", "' s", "'sx", "x'", "'", "''", "'\u017f", "a'\u017fb", "'\u212a", "rock'n'roll", "\u2019s don\u2019t"]
    s += ["'r", "'re", "'l", "'lx", "'v", "'vE", "'Re'rE", "o'clock 'tis"]
    s += ["1", "12", "123", "1234", "12345", "1234567890", "1,234.5678", " 1", "  12", "a1b22c333d4444", "x 123 456", "3.14159", "1e-10", "0x1F", "½ ¾ ²³ ① Ⅷ", "١٢٣٤", "१२३४", "１２３４", "\U00011de0\U00011de3 \U00016ff4", "\U0001ccf0\U0001ccf5"]
    s += ["Hello, world!", "Hello,world!", "...", "... ...", "!?!?", "a.b.c", "(a)[b]{c}<d>", "a@b.c", "#hash $money %per ^caret &and *star", "--- ===", "\\n \\t", '"quoted" \u201cquoted\u201d', "a/b//c", "x...y", "x ... y", "!\n!", "!\n\n\n!", "!!!\r\n", " !\n", "a!\nb", "…\u2014\u2013-"]
    s += ["def f(x):\n    return x  # comment\n", "if (a && b) {\n\t\tc[i++] += 1;\n}\n", "SELECT * FROM t WHERE a='b';", "<html>\n  <body class=\"x\">\n", "for(;;){}", "x = {'a': [1, 2, 3]}", "#include <stdio.h>\r\nint main(){}\r\n", "a_b __init__ camelCase HTTPServer", "    indent\n        more\n    less", "$\\frac{1}{2} \\times x^2$"]
    s += ["ä ö ü ß", "naïve façade", "é", "e\u0301", "e\u0301\u0301", "o\u0323\u0302", "o\u0302\u0323", "\u0301", " \u0301", "a\u0308b", "Å \u212b A\u030a", "ﬁ ﬂ ﬃ", "\u1e9b\u0323", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab", "Z" + "\u0300\u0301\u0302\u0303" * 5, "Z" + "\u0316\u0301" * 20, "Z\u0301" + "\u0316" * 40 + "x", "가각힣 \u1100\u1161 \u1100\u1161\u11a8 \uac00\u11a8", "\u0958 \u0915\u093c", "\u2126 \u03a9", "\U0001d15e", "\u0f43\u0f4d", "\u0340\u0341\u0343\u0344"]
    s += ["привет мир", "Γειά σου Κόσμε", "你好，世界！", "今日は良い天気ですね。", "안녕하세요 세계", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "Xin chào thế giới", "ⲁⲃⲅ ᚠᚢᚦ 𐌰𐌱𐌲", "ⅷ ℃ ™ ©", "\u0660\u0661abc", "\u05d0\u05b0\u05d1"]
    s += ["😀", "😀😃😄", " 😀 ", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "a😀b", "1️⃣", "❤️ ❤", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☺︎☺️", "\U0001f9d1\u200d\U0001f4bb codes"]
    s += ["\x00", "a\x00b", "\x01\x02\x1f\x7f", "\ufeffbom", "\ufffd", "\uffff\ufffe", "\U0010ffff", "\u200d\u200c\u200e\u200f", "\u202etext\u202c", "\u00ad soft", "\U000e0001"]
    s += ["\U00010d4a\U00010d50", "\U0001e5d0\U0001e5f1", "\u1c89\ua7cb", "\U00013460 \U00016100", "\u0897x", "\U00011935\U00011930 \U00011938"]
    s += ["a" * 47, "a" * 48, "a" * 49, "ab" * 100, "x" * 300, " " * 100, "\n" * 60 + "x", "1" * 100, "é" * 60, "=" * 120, "the quick brown fox " * 20, "loavesloavesloaves" * 8]
    s += ["<s>", "</s>", "<s>Hello</s>", "x<s>", " <s> ", "<s><s>", "<|end|>", "a <|end|> b", "a<|end|>b", "<|end", "<|endx|>", "<|user|>hi<|assistant|>", "<|user|> hi", "hi <|user|>", "  <mask>  x", "x <mask> <mask>", "<mask>", "\n<mask>\n<strip>\n", " <strip> <strip>  <mask>y", "<strip>\u3000\u00a0<mask>", "  <left>  x", "a <left><left> b", "added token", "addedtoken", "an added token here", "added tokenhere", "x added tokenhere", "<left>  <left>", "no added toke", "Ünïted", "U\u0308ni\u0308ted", "<pad>▁<pad>", "<unk>", "a<unk>b", "<|end|><|end|>x", "éx", "xéx"]
    s += ["▁", "▁▁", "a▁b", "▁ a", " ▁", "<0x41>", "<0x0A>", "a  ▁  b", "\u2581x\u2581\u2581y "]
    s += ["Question: What is 12 + 30?\nAnswer: ", "12 + 30 = <<12+30=42>>42\n#### 42", "Tom has 3 apples.  He buys 5 more.\n\nHow many?"]
    # clusters: marks on marks, joiners, selectors, flags, keycaps, skin tones, tags, emoji between words and digits
    s += ["x\u0301\u0323\u0307", "\u0915\u094d\u0937\u093f", "\u0e01\u0e33\u0e49", "\u1019\u103c\u1014\u103a\u1019\u102c", "\u0b95\u0bcd\u0bb7\u0bcc", "\u17a0\u17d2\u1793\u17c6", "\u0f56\u0f62\u0f92\u0fb1\u0f51", "i\u0307 \u0130 \u0131", "\ua995\u034f\u0301"]
    s += ["👩🏿\u200d🚀👩\u200d❤\ufe0f\u200d💋\u200d👨", "🏳️\u200d🌈 🏴\u200d☠️", "🇦🇧🇨", "🇺", "3️⃣#️⃣*️⃣", "👍🏻👍🏿", "x😀1😀y", "😀\n😀", "😀  😀", "\u200d😀\u200d", "🫠🫱🏽\u200d🫲🏻", "\U0001fae8\U0001fa77", "\U0001f1e9\U0001f1ea1", "™️ ©️ ℹ️"]
    # scripts in a row, words without spaces, both directions, old and new letters
    s += ["日本語とEnglishとрусский", "漢字かな交じり文、句読点。「引用」", "㐀㐁\U00020000\U0002a6d6", "ｱｲｳ ｶﾞ ＡＢＣ　１２３", "\u3007\u3021 \u4e00\u4e8c", "한국어 띄어쓰기가 없는문장", "\u1100\u1100\u1161\u11a8\u11a8", "العربية 123 ١٢٣ English", "لا إله \u0640\u0640 مـــد", "\u064b\u064c\u064d", "א\u05bc\u05c1 ש\u05c2", "\u202babc\u202c \u2067x\u2069", "ქართული Հայերեն አማርኛ", "ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ ꦧꦱꦗꦮ", "𝒳𝓎𝔷 𝟙𝟚𝟛 ℝℤ", "ſtraße ẞ ß ŉ ǆ", "\u03a9 \u2126 \u03bc \u00b5 K \u212a", "Σίσυφος ΣΊΣΥΦΟΣ"]
    # white space of every kind, in runs and at ends
    s += [" " * n for n in (4, 7, 8, 9, 16, 17, 33)] + ["\n" * n for n in (3, 4, 5)]
    s += ["\t" * 5, "\r", "\r\r", "\n\r", "\r\n\n", "a\r", "a\r\n\r\nb", " \r\n ", "\t\n\t", "a \n", "a  \n\n  b", "\u00a0\n", "\n\u00a0", "x \u2028 y", "\u2029\n", "\v\f", "a\x1cb\x1db\x1eb\x1f", "x\u180ey", "x\u2060y\ufeffz", "\u2000\u2001\u2002 a", "a\u0085\n", " \t \t x"]
    # digits and signs
    s += ["0", "00", "007", "1 2 3", "1  23   456", "12:34:56", "2024-01-31T23:59Z", "+1 (555) 010-9999", "1/2 3÷4 5×6", "10^6 10⁶ H₂O", "-1 --2 −3", "€5 5€ $5.00 5¢", "99.9% ±0.1‰", "٣٫١٤ ۱۲۳ ௧௨௩", "1️2️", "Ⅻ ⅻ ㊿ ⒈ 🄁", "1a2b3c", "v1.2.3-rc.4+build5", "0b1010 0o17 0xDEADBEEF", "1_000_000"]
    # code and markup
    s += ["a=b+c*d-e/f%g", "i++ ++i i-- --i", "x->y.z::w<T>&r", "!@#$%^&*()_+-=[]{}|;':,./<>?`~", "```py\nprint('x')\n```", "- [ ] item\n- [x] done", "| a | b |\n|---|---|\n", "<!-- c --><a href='x'>y</a>&nbsp;&#39;", "// c\n/* d */ # e", r'"\u0041\n\t\"', 's = f"{x!r:>10}"', "λx.x ∀x∃y ¬p∧q→r", "rm -rf ./*.tmp && echo $?", r"C:\Users\x\y.txt", "user@host:~$ ls -la", "key: [1, 2]\n  sub: {a: b}\n", "\x1b[31mred\x1b[0m", "x'y\"z`w", "''' \"\"\"", "don''t 'd've", "I'D'VE I'd've y'all'd", "'T 't' 'LL'", "…'s—'re", "'\u2019s", "\u2018'tis\u2019"]
    return s


# JSON texts of strings, with escapes that are half a surrogate pair or a whole one
ESCAPED = [r'"\ud83d\ude00"', r'"a\uD83D\uDE00b"', r'"\\ud83d"', r'"\u00e9\ud7ff\ue000"', r'"\ud83d"', r'"\ude00"', r'"x\ud83dy"', r'"\ude00\ud83d"', r'"\ud83d\ud83d\ude00"', r'"\ud83d\\ude00"', r'"\udbff\udfff"', r'"\ud83d\u0041"']


def surrogates(tok):
    """What the library says of each of ESCAPED: ids, or null where it takes no such string."""
    out = []
    for text in ESCAPED:
        try:
            out.append({"json": text, "ids": tok.encode(json.loads(text), add_special_tokens=False).ids})
        except TypeError:
            out.append({"json": text, "ids": None})
    return out


def common(n):  # the library breaks ties between rare characters by chance, so the alphabet is chosen here
    return sorted(sorted(set(TEXT), key=lambda c: (-TEXT.count(c), c))[:n])


def train(tok, alphabet, vocab=700, specials=(), **kw):
    tok.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=sorted(alphabet), special_tokens=list(specials), show_progress=False, **kw))
    return tok


def byte_level(split, vocab=700, alphabet=None, normalizer=None, specials=("<|end|>", "<unk>"), **model):
    tok = Tokenizer(models.BPE(**model))
    tok.normalizer = normalizer
    tok.pre_tokenizer = split
    tok.decoder = decoders.ByteLevel()
    return train(tok, pre_tokenizers.ByteLevel.alphabet() if alphabet is None else alphabet, vocab, specials)


def split_of(regex, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), behavior, invert), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def template(tok, single, names):
    return processors.TemplateProcessing(single=single, pair=single + " $B", special_tokens=[(n, tok.token_to_id(n)) for n in names])


def gpt2():
    tok = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), specials=["<|end|>"])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


def gpt2_prefix():  # a prefix space, and bytes that no token stands for
    tok = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), alphabet=[], vocab=400)
    tok.add_tokens([AddedToken("added token"), AddedToken("é")])
    return tok


def gpt2_unknown():  # unk_token for bytes that no token stands for
    tok = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), alphabet=[], vocab=300, unk_token="<unk>", fuse_unk=True)
    return tok


def llama3():
    tok = byte_level(split_of(LLAMA3), specials=[], ignore_merges=True)
    tok.add_special_tokens([AddedToken(t, normalized=False) for t in ["<s>", "</s>", "<|end|>", "<|user|>", "<|assistant|>"]])
    # a token that no merges lead to: ignore_merges finds it as a whole piece
    data = json.loads(tok.to_str())
    data["model"]["vocab"]["ĠHelloX"] = None
    data["model"]["vocab"]["lovesloaves"] = None
    base = len(data["model"]["vocab"]) - 2
    shift = 2
    data["model"]["vocab"]["ĠHelloX"], data["model"]["vocab"]["lovesloaves"] = base, base + 1
    for t in data["added_tokens"]:
        t["id"] += shift
    tok = Tokenizer.from_str(json.dumps(data))
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template(tok, "<s> $A", ["<s>"])])
    return tok


def cl100k():  # the same pattern with the behavior of converted tiktoken files, and every kind of added token
    tok = byte_level(split_of(LLAMA3, "removed", True), specials=["<s>", "</s>", "<pad>"])
    tok.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False), AddedToken("<strip>", rstrip=True, normalized=True), AddedToken("<left>", lstrip=True, rstrip=True)])
    tok.add_tokens([AddedToken("added token", normalized=True), AddedToken("added", normalized=False), AddedToken("  ", normalized=False, rstrip=True), AddedToken("é", normalized=True)])
    tok.post_processor = template(tok, "<s> $A </s> </s>", ["<s>", "</s>"])
    return tok


def smollm():
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))


def digit_runs():
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(False), pre_tokenizers.ByteLevel(add_prefix_space=True)]))


def split_gpt2():  # the GPT-2 pattern as a Split
    return byte_level(split_of(GPT2))


def qwen2():
    tok = byte_level(split_of(QWEN2), normalizer=normalizers.NFC(), specials=[])
    tok.add_special_tokens([AddedToken(t, normalized=False) for t in ["<|end|>", "<|user|>", "<|assistant|>"]])
    tok.add_tokens([AddedToken("Ünïted", normalized=True), AddedToken("added token", normalized=False)])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


BYTES = [f"<0x{b:02X}>" for b in range(256)]
SENTENCE = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def llama2():
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = SENTENCE
    train(tok, common(110), 900, ["<unk>", "<s>", "</s>", *BYTES], limit_alphabet=110, max_token_length=16)
    data = json.loads(tok.to_str())  # byte tokens belong to the vocabulary, not to the added tokens
    data["added_tokens"] = data["added_tokens"][:3]
    tok = Tokenizer.from_str(json.dumps(data))
    tok.add_special_tokens(["<pad>"])
    tok.add_tokens([AddedToken("added token", normalized=True), AddedToken("<left>", lstrip=True, normalized=False)])
    tok.post_processor = template(tok, "<s> $A", ["<s>"])
    return tok


def mistral():
    tok = llama2()
    data = json.loads(tok.to_str())
    data["normalizer"] = None
    data["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    return Tokenizer.from_str(json.dumps(data))


def metaspace():  # pieces at every mark, unknowns neither fused nor spelled as bytes
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    tok.decoder = decoders.Metaspace()
    train(tok, common(90), 500, ["<unk>", "<s>"], limit_alphabet=90)
    tok.post_processor = template(tok, "<s> $A <s>", ["<s>"])
    return tok


def characters():  # no pre-tokenizer, no decoder, no unknown token: what is not in the vocabulary is dropped
    tok = Tokenizer(models.BPE())
    return train(tok, common(60), 300, ["<s>"], limit_alphabet=60, max_token_length=8)


KINDS = [gpt2, gpt2_prefix, gpt2_unknown, llama3, cl100k, smollm, digit_runs, split_gpt2, qwen2, llama2, mistral, metaspace, characters]


def golden(tok, texts, rng):
    entries = []
    for text in texts:
        bare = tok.encode(text, add_special_tokens=False).ids
        full = tok.encode(text, add_special_tokens=True).ids
        entry = {"ids": bare}
        if full != bare:
            entry["full"] = full
        back = tok.decode(bare, skip_special_tokens=False)
        if back != text:
            entry["text"] = back
        skipped = tok.decode(full, skip_special_tokens=True)
        if skipped != back:
            entry["skipped"] = skipped
        entries.append(entry)
    random_ids = []
    for _ in range(40):
        ids = [rng.randrange(tok.get_vocab_size() + 3) for _ in range(rng.randrange(1, 12))]
        random_ids.append({"ids": ids, "text": tok.decode(ids, skip_special_tokens=False), "skipped": tok.decode(ids, skip_special_tokens=True)})
    return {"tokenizers": tokenizers.__version__, "seed": SEED, "strings": entries, "random": random_ids}


def write(path, value):
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def nfc(rng):
    """Random runs of letters, marks and Hangul, and their normal form C."""
    form = normalizers.NFC().normalize_str
    pool = "aeoZ\u1100\u1161\u11a8\uac00\uac01\u0915\u093c\u09c7\u09be\u0dd9\u0dca\u0ddc" + "\u0300\u0301\u0302\u0308\u031b\u0323\u0327\u0328\u0334\u0345\u035c\u0f71\u0f72\u3099"
    pool += "\u00e4\u01d5\u1ea5\u1e69\u212b\u2126\u0958\uf900\U0002f800\U0001d15e\U00011935\U00011930\U00011938\u0897\U00011131\U00011127\ufb1d"
    out = []
    for _ in range(400):
        s = "".join(rng.choice(pool) for _ in range(rng.randrange(1, 14)))
        out.append([s, form(s)])
    s = "a" + "".join(rng.choice("\u0300\u0301\u0302\u0316\u0323\u0334\u0345") for _ in range(200))
    return out + [[s, form(s)]]


def main(wanted):
    texts = strings()
    write("strings.json", texts)
    write("nfc.json", nfc(random.Random(SEED)))
    write("surrogates.json", {"tokenizers": tokenizers.__version__, "strings": surrogates(Tokenizer.from_file("gpt2/tokenizer.json"))})
    for kind in KINDS:
        name = kind.__name__
        if wanted and name not in wanted:
            continue
        os.makedirs(name, exist_ok=True)
        tok = kind()
        data = json.loads(tok.to_str())
        if name in ("gpt2", "metaspace"):  # the older spelling of merges
            data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        write(f"{name}/tokenizer.json", data)
        tok = Tokenizer.from_file(f"{name}/tokenizer.json")
        write(f"{name}/golden.json", golden(tok, texts, random.Random(SEED)))
        print(name, tok.get_vocab_size(), len(texts))


if __name__ == "__main__":
    main(sys.argv[1:])
