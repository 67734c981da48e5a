"""Opens model directories with transformers and prints, a line of JSON each, the logits of a list of tokens in float32, with the
versions.

    python logits.py "[1, 2, 3]" DIR...

TestTransformersOpensExports runs this on exports of every family and compares the logits with torc's:
TORC_PYTHON=python go test -v -run Transformers ./checkpoints
"""
import json
import sys

import torch
import transformers

torch.set_num_threads(1)
for directory in sys.argv[2:]:
    model, report = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    bad = {k: sorted(map(str, v)) for k, v in report.items() if v}
    with torch.no_grad():
        logits = model(torch.tensor([json.loads(sys.argv[1])])).logits[0]
    print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "bad": bad, "logits": logits.flatten().tolist()}))
