"""Writes hostile/: a directory for each model that is damaged, of another kind, or made to harm. What torc says of each stands in
hostile/expect.txt, which go test -run Hostile -update writes; look at the difference before you keep it.

Run in this directory: python make_hostile.py. It needs the golden model llama/; the same bytes each time.
"""
import json
import pathlib
import shutil
import struct

here = pathlib.Path(__file__).parent
out = here / "hostile"
shutil.rmtree(out, ignore_errors=True)
config = json.loads((here / "llama" / "config.json").read_text())
weights = (here / "llama" / "model.safetensors").read_bytes()
length = struct.unpack("<Q", weights[:8])[0]
header, data = json.loads(weights[8 : 8 + length]), weights[8 + length :]
del header["__metadata__"]
last = max(header, key=lambda k: header[k]["data_offsets"])


def write(name, c=config, w=weights, **more):
    (out / name).mkdir(parents=True)
    if name.startswith(("config-", "empty-", "no-config", "generation-")) and name not in ("config-other-width", "config-untied", "config-huge-layers"):
        w = None  # nobody gets that far
    if c is not None:
        (out / name / "config.json").write_bytes(c if isinstance(c, bytes) else json.dumps(c).encode())
    if w is not None:
        (out / name / "model.safetensors").write_bytes(w)
    for file, text in more.items():
        (out / name / file.replace("__", ".")).write_bytes(text)


def file(h, d=data):
    text = h if isinstance(h, bytes) else json.dumps(h).encode()
    return struct.pack("<Q", len(text)) + text + d


def entry(**changes):
    return {**header, "model.norm.weight": {**header["model.norm.weight"], **changes}}


without = {k: v for k, v in config.items() if k != "hidden_size"}
write("no-config", None, tokenizer__json=b"{}")
write("empty-config", b"")
write("config-array", b"[]")
write("config-deep", b'{"model_type":' + b"[" * 20000 + b"]" * 20000 + b"}")
write("config-no-size", without)
write("config-huge-size", {**config, "hidden_size": 10**18})
write("config-huge-layers", {**config, "num_hidden_layers": 4000})
write("config-negative", {**config, "num_attention_heads": -4})
write("config-fraction", {**config, "head_dim": 6.5})
write("config-odd-head", {**config, "head_dim": 7})
write("config-nan", json.dumps(config).replace('"rms_norm_eps": 1e-05', '"rms_norm_eps": NaN').encode())
write("config-code", {**config, "model_type": "custom", "auto_map": {"AutoModelForCausalLM": "evil.Model"}})
write("config-quantised", {**config, "quantization_config": {"quant_method": "gptq", "bits": 4}})
write("config-moe", {**config, "num_local_experts": 8})
write("config-yarn", {**config, "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}})
write("config-dynamic", {**config, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}})
write("config-partial-rotary", {**config, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}})
write("config-gelu", {**config, "hidden_act": "gelu"})
write("config-other-width", {**config, "intermediate_size": 41})
write("config-untied", {**config, "tie_word_embeddings": False})
write("generation-eos", generation_config__json=b'{"eos_token_id": "two"}')
write("no-weights", w=None)
write("pytorch-only", w=None, **{"pytorch_model__bin": b"PK\x03\x04"})
write("weights-empty", w=b"")
write("weights-lfs", w=b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n")
write("weights-cut-header", w=weights[:500])
write("weights-cut-data", w=weights[:-1])
write("weights-tail", w=weights + b"\0")
write("weights-huge-header", w=struct.pack("<Q", 1 << 62) + weights[8:])
write("weights-duplicate", w=file(json.dumps(header)[:-1].encode() + b', "model.norm.weight": ' + json.dumps(header["model.norm.weight"]).encode() + b"}"))
write("weights-overlap", w=file(entry(data_offsets=[0, 48])))
write("weights-overflow", w=file(entry(shape=[4294967295, 4294967295, 4294967295], data_offsets=[0, 2])))
write("weights-backwards", w=file(entry(data_offsets=[48, 0])))
write("weights-dtype", w=file(entry(dtype="F8_E4M3")))
write("weights-unknown-dtype", w=file(entry(dtype="F4")))
write("weights-extra", w=file({**header, "model.layers.0.self_attn.q_proj.lora_A.weight": {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}}))
write("weights-missing", w=file({k: v for k, v in header.items() if k != last}, data[: header[last]["data_offsets"][0]]))
write("weights-deep", w=file(b'{"a":' + b"[" * 20000 + b"]" * 20000 + b"}"))
INDEX = "model__safetensors__index__json"
write("index-no-json", w=None, **{INDEX: b"{"})
write("index-empty", w=None, **{INDEX: b'{"weight_map": {}}'})
write("index-outside", w=None, **{INDEX: b'{"weight_map": {"model.norm.weight": "../../../etc/passwd"}}'})
write("index-missing-shard", w=None, **{INDEX: b'{"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}'})
write("index-itself", w=None, **{INDEX: b'{"weight_map": {"model.norm.weight": "model.safetensors.index.json"}}'})
