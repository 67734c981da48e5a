"""Writes hostile/: data files that are damaged, of another kind, or made to harm. What torc says of each stands in hostile/expect.txt,
which go test -run Hostile -update writes; look at the difference before you keep it.

Run in this directory: python make_hostile.py. Made with zstandard and pyarrow; the same bytes each time.
"""
import gzip
import io
import json
import pathlib
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

out = pathlib.Path(__file__).parent / "hostile"
out.mkdir(exist_ok=True)
GOOD = b'{"text":"fine"}\n'


def write(name, data):
    (out / name).write_bytes(data)


def zipped(data):
    return gzip.compress(data, mtime=0)


def table(columns, **kw):
    b = io.BytesIO()
    pq.write_table(pa.table(columns), b, store_schema=False, **kw)
    return b.getvalue()


write("empty.jsonl", b"")
write("blank.jsonl", b"\n \t\r\n\n")
write("array.jsonl", b'[{"text":"a"}]')
write("scalar.jsonl", GOOD + b"42\n")
write("null.jsonl", GOOD + b"null\n")
write("cut.jsonl", GOOD + b'{"text":"cut')
write("two-objects.jsonl", b'{"text":"a"}{"text":"b"}\n')
write("pretty.jsonl", b'{\n  "text": "a"\n}\n')
write("csv.jsonl", b"question,answer\n1+1,2\n")
write("bom.jsonl", b"\xef\xbb\xbf" + GOOD)
write("utf16.jsonl", '{"text":"a"}\n'.encode("utf-16"))
write("latin1.jsonl", GOOD + '{"text":"é"}\n'.encode("latin-1"))
write("overlong.jsonl", b'{"text":"\xc0\x80"}\n')
write("surrogate-bytes.jsonl", b'{"text":"\xed\xa0\xbd"}\n')
write("half-pair.jsonl", GOOD + b'{"text":"\\ud83d"}\n')
write("control.jsonl", b'{"text":"a\x00b"}\n')
write("deep.jsonl", b'{"text":' + b"[" * 20000 + b"]" * 20000 + b"}\n")
write("deep-tools.jsonl", b'{"messages":[{"role":"assistant","content":"a"}],"tools":' + b"[" * 9000 + b"]" * 9000 + b',"x":1}\n')
write("number-text.jsonl", b'{"text":1e999}\n')
write("empty-text.jsonl", b'{"text":""}\n')
write("typo.jsonl", b'{"promt":"a","completion":"b"}\n')
write("many-keys.jsonl", json.dumps({f"k{i:04}": "" for i in range(2000)}).encode() + b"\n")
write("long-key.jsonl", json.dumps({"k" * 5000: ""}).encode() + b"\n")
write("no-assistant.jsonl", b'{"messages":[{"role":"user","content":"a"}]}\n')
write("message-key.jsonl", b'{"messages":[{"role":"assistant","content":"a","weight":0}]}\n')
write("from.jsonl", b'{"conversations":[{"from":"robot","value":"a"}]}\n')
write("both.jsonl", b'{"messages":[],"conversations":[]}\n')
write("git-lfs.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n")
write("html.jsonl", b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n")
write("pickle.jsonl", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.")
write("zip.jsonl", b"PK\x03\x04\x14\x00\x00\x00")
write("cut.jsonl.gz", zipped(GOOD * 1000)[:40])
write("crc.jsonl.gz", zipped(GOOD * 50)[:-8] + b"\x00" * 8)
write("header.jsonl.gz", b"\x1f\x8b")
write("bad-line.jsonl.gz", zipped(GOOD * 3 + b"{"))
write("cut.jsonl.zst", zstandard.ZstdCompressor().compress(GOOD * 1000)[:20])
write("header.jsonl.zst", b"\x28\xb5\x2f\xfd")
write("window.jsonl.zst", b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x01\x00\x00")  # asks for a window of 3.75 TiB
good = table({"question": ["q"] * 4, "answer": ["a"] * 4})
write("cut.parquet", good[: len(good) // 2])
write("magic.parquet", b"PAR1")
write("footer-length.parquet", good[:-8] + struct.pack("<I", 0x7FFFFFFF) + b"PAR1")
write("footer-zero.parquet", good[:-8] + struct.pack("<I", 0) + b"PAR1")
write("footer-garbage.parquet", good[:4] + b"\xff" * 64 + struct.pack("<I", 64) + b"PAR1")
length = struct.unpack("<I", good[-8:-4])[0]
start = len(good) - 8 - length
footer = bytearray(good[start:-8])
i = footer.index(b"question")
write("footer-name.parquet", good[:start] + bytes(footer[: i - 1]) + b"\x7f" + bytes(footer[i:]) + good[-8:])  # a name longer than the file
write("page.parquet", good[:4] + b"\xee" * (start - 4) + good[start:])
write("list-footer.parquet", good[:start] + b"\x19\xfc\xff\xff\xff\xff\x0f" + bytes(footer[7:]) + good[-8:])  # a list of 4 billion items
write("encrypted.parquet", b"PAR1" + good[4:-4] + b"PARE")
write("integers.parquet", table({"question": ["q"], "answer": [4]}))
write("binary.parquet", table({"text": pa.array([b"\xff\xfe"], pa.binary())}))
write("dates.parquet", table({"text": ["a"], "day": pa.array([0], pa.date32())}))
write("decimal.parquet", table({"text": ["a"], "x": pa.array([1], pa.decimal128(5, 2))}))
write("map.parquet", table({"text": pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string()))}))
write("null.parquet", table({"text": pa.array([None], pa.string())}))
write("nan.parquet", table({"text": ["a"], "x": [float("nan")]}))
write("no-rows.parquet", table({"text": pa.array([], pa.string())}))
