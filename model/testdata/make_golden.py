"""Writes the golden models of this directory: what transformers computes in float32 for tiny random models.

    python make_golden.py        # writes a directory for each of MODELS beside itself

Each directory is a model as save_pretrained writes it (config.json, model.safetensors in the stored type) plus
golden.safetensors: tokens and targets (-1: does not count) of two sequences laid end to end with their starts, the logits of
each, the sum of the counted losses, the gradient of that sum by every parameter, and what generate makes greedily of the
first tokens, with the smallest distance by which a token won. The weights are rounded to the stored
type first, then everything is computed in float32 with eager attention, one sequence at a time.
Made with the versions and the seed that stand in the metadata of golden.safetensors.
"""
import pathlib, shutil

import torch, transformers
from safetensors.torch import save_file

SEED = 43
GREEDY = 30  # tokens to generate
torch.set_num_threads(1)
HERE = pathlib.Path(__file__).parent
SHAPE = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=48, max_position_embeddings=64, initializer_range=0.2, rms_norm_eps=1e-5, attn_implementation="eager")
LLAMA3 = dict(rope_type="llama3", rope_theta=20.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
MODELS = {
    "llama": (transformers.LlamaConfig(**SHAPE, tie_word_embeddings=True), torch.bfloat16),
    "llama31": (transformers.LlamaConfig(**SHAPE, rope_parameters=LLAMA3), torch.float32),
    "mistral": (transformers.MistralConfig(**SHAPE, sliding_window=5), torch.float16),
    "qwen2": (transformers.Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1, tie_word_embeddings=True), torch.bfloat16),
    "llama_bias": (transformers.LlamaConfig(**SHAPE, head_dim=10, attention_bias=True, mlp_bias=True), torch.float16),
    "llama_linear": (transformers.LlamaConfig(**SHAPE | dict(num_key_value_heads=1), rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=4.0)), torch.bfloat16),
    "qwen3_bias": (transformers.Qwen3Config(**SHAPE, head_dim=14, attention_bias=True, use_sliding_window=True, sliding_window=4, max_window_layers=1), torch.float32),
    "qwen3": (transformers.Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=True), torch.bfloat16),
}


def golden(name, config, dtype):
    torch.manual_seed(SEED)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms are 1 and biases 0 in a fresh model
                parameter += 0.2 * torch.randn_like(parameter)
    out = HERE / name
    shutil.rmtree(out, ignore_errors=True)
    model.to(dtype).save_pretrained(out)
    (out / "generation_config.json").unlink()
    # read back, not converted back: the frequencies of rope must not be rounded
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager").train()

    lengths = [13, 6]
    tokens, targets, logits, starts = [], [], [], [0]
    total = torch.zeros(())
    for n in lengths:
        ids = torch.randint(0, config.vocab_size, (1, n))
        y = model(ids).logits[0]
        target = torch.cat([ids[0, 1:], torch.tensor([-1])])
        target[: n // 3] = -1
        total = total + torch.nn.functional.cross_entropy(y, target, ignore_index=-1, reduction="sum")
        tokens.append(ids[0]), targets.append(target), logits.append(y.detach()), starts.append(starts[-1] + n)
    total.backward()
    prompt, ids, margin = tokens[0][None, :5], tokens[0][None, :5], float("inf")
    with torch.no_grad():
        for _ in range(GREEDY):
            top = model(ids).logits[0, -1].topk(2)
            margin = min(margin, float(top.values[0] - top.values[1]))
            ids = torch.cat([ids, top.indices[None, :1]], 1)
        made = model.eval().generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=GREEDY, eos_token_id=None, pad_token_id=0)
    assert torch.equal(ids, made) and margin > 2e-4, (name, margin)
    tensors = {"grad." + k: p.grad for k, p in model.named_parameters()}
    tensors |= {"tokens": torch.cat(tokens).int(), "targets": torch.cat(targets).int(), "starts": torch.tensor(starts).int(),
                "logits": torch.cat(logits), "loss": total.detach(), "greedy": made[0, 5:].int(), "margin": torch.tensor(margin)}
    made = f"torch {torch.__version__}, transformers {transformers.__version__}, seed {SEED}"
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "golden.safetensors", {"made_with": made})


if __name__ == "__main__":
    for name, (config, dtype) in MODELS.items():
        golden(name, config, dtype)
