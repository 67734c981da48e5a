"""Loads adapters that torc exported with PEFT, onto the base, and compares the logits with those of the exported model by torc.

usage, from the top of the tree after `make build`:  python bench/peft/check.py
needs torch, transformers, safetensors and peft; prints their versions, and exits 1 when a difference is more than rounding.

The base is examples/base in float32, so that exporting the merged model rounds nothing but float32 itself.
"""
import json
import os
import platform
import subprocess
import sys
import tempfile

import warnings

import peft
import safetensors
import torch
import transformers
from safetensors.torch import load_file

warnings.simplefilter("ignore")
transformers.utils.logging.disable_progress_bar()

METHODS = {
    "lora": ("{name: lora, rank: 4}", "peft"),
    "rslora": ("{name: lora, rank: 4, alpha: 6, rslora: true}", "peft"),
    "pissa": ("{name: pissa, rank: 4}", "peft"),
    "sorsa": ("{name: sorsa, rank: 4}", "peft"),
    "sorsa-base": ("{name: sorsa, rank: 4, residual: base}", "peft"),
    "lift": ("{name: lift, rank: 4, refresh: 0}", "shira"),
}
TOLERANCE = 2e-4  # of logits of about 20; sums of float32 in another order


def torc(*args, **kw):
    return subprocess.run(["bin/coordinator", *args], check=True, capture_output=True, text=True, **kw).stdout


def shira(base, directory):
    """A SHiRA model with the elements that torc trained: PEFT itself would draw them."""
    config = peft.PeftConfig.from_pretrained(directory)
    places = load_file(os.path.join(directory, "shira_indices.safetensors"))
    names = {id(module): name for name, module in base.named_modules()}

    def mask(layer, r, **_):
        m = torch.zeros_like(layer.weight)
        m[tuple(places[names[id(layer)]].long())] = 1
        return m

    config.mask_fn, config.inference_mode = mask, False
    model = peft.get_peft_model(base, config)
    found = peft.set_peft_model_state_dict(model, load_file(os.path.join(directory, "adapter_model.safetensors")))
    assert not found.unexpected_keys, found.unexpected_keys
    return model


def main():
    print(f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
          f"peft {peft.__version__}, safetensors {safetensors.__version__}, {json.loads(torc('version', '--json'))}")
    torch.manual_seed(0)
    bad = False
    with tempfile.TemporaryDirectory() as tmp:
        os.environ["TORC_HOME"] = os.path.join(tmp, "home")
        base = os.path.join(tmp, "base")
        transformers.AutoModelForCausalLM.from_pretrained("examples/base", dtype=torch.float32).save_pretrained(base)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            with open(os.path.join("examples/base", name), "rb") as src, open(os.path.join(base, name), "wb") as dst:
                dst.write(src.read())
        sequences = [torch.randint(1, 400, (n,)).tolist() for n in (40, 17, 1)]
        for name, (method, form) in METHODS.items():
            spec = os.path.join(tmp, name + ".yaml")
            with open(spec, "w") as f:
                f.write(f"""model: {base}
data: {{train: [{os.path.abspath('examples/arithmetic/train.jsonl')}], max_tokens: 128}}
method: {method}
optimizer: {{lr: 5e-3}}
batch: {{lanes: 8}}
steps: 12
""")
            run = json.loads(torc("launch", spec, "--local", "1", "--json").strip().splitlines()[-1])["run"]
            merged, adapter = os.path.join(tmp, name), os.path.join(tmp, name + "-adapter")
            torc("export", run, "-o", merged)
            torc("export", run, "--format", form, "-o", adapter)
            ours = json.loads(subprocess.run(["go", "run", "./bench/peft", "-model", merged], input=json.dumps(sequences),
                                             check=True, capture_output=True, text=True).stdout)
            plain = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
            with torch.no_grad():
                before = [plain(torch.tensor([s])).logits[0] for s in sequences]
                model = (shira(plain, adapter) if form == "shira" else peft.PeftModel.from_pretrained(plain, adapter)).eval()
                theirs = [model(torch.tensor([s])).logits[0] for s in sequences]
            off = max((torch.tensor(o) - t).abs().max().item() for o, t in zip(ours, theirs))
            moved = max((b - t).abs().max().item() for b, t in zip(before, theirs))
            ok = off < TOLERANCE < moved
            bad |= not ok
            print(f"{name:12} {form:6} logits differ by at most {off:.2g}; training moved them by up to {moved:.2g}: {'ok' if ok else 'WRONG'}")
    sys.exit(bad)


if __name__ == "__main__":
    main()
