"""Makes lowrank/: a tiny Llama, and what SORSA, PiSSA and LoRA make of it in PyTorch.

    python make_lowrank.py

Forward passes are transformers' own Llama in float32 with the dense W = R + c·B·diag(s)·A of torch.func.functional_call,
gradients come from autograd, decompositions from a full float64 SVD, the optimizer is torch.optim.AdamW behind
clip_grad_norm_; SORSA's penalty is differentiated apart and joins the clipped gradient, as in the authors' trainer. LoRA's A
is drawn by torch and stored. Weights have decaying spectra, so that vectors do not hang on rounding.
"""
import json, pathlib, torch, transformers
from safetensors.torch import save_file

SEED, STEPS, RANK, LR, WARMUP, LAMBDA, ALPHA, CLIP = 11, 6, 3, 4e-3, 2, 13.33, 6.0, 1.0
out = pathlib.Path(__file__).parent / "lowrank"
torch.manual_seed(SEED)
shape = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, head_dim=8,
             vocab_size=31, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True)
model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, attn_implementation="eager", torch_dtype="float32"))
linear = {n: p for n, p in model.named_parameters() if n.endswith("proj.weight")}
with torch.no_grad():
    for p in linear.values():
        u, s, v = torch.linalg.svd(torch.randn(p.shape))
        k = min(p.shape)
        p.copy_((u[:, :k] * (0.9 * torch.arange(1, k + 1) ** -0.8)) @ v[:k])
    model.model.embed_tokens.weight.normal_(0, 0.5)
texts = [torch.randint(0, 31, (n,)) for n in (9, 6, 12)]
base = {n: p.detach().clone() for n, p in model.named_parameters()}
save_file(base, out / "model.safetensors", {"format": "pt"})
(out / "config.json").write_text(json.dumps(shape | {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False,
    "mlp_bias": False, "torch_dtype": "float32"}, indent=1) + "\n")


def decompose(w):
    u, s, v = torch.linalg.svd(w.double(), full_matrices=False)
    u, s, v = u[:, :RANK], s[:RANK], v[:RANK]
    sign = v.gather(1, v.abs().argmax(1, keepdim=True)).sign()
    return (u * sign.T).float(), s.float(), (v * sign).float()


def start(method, n, w):
    if method == "lora":
        a = (torch.rand(RANK, w.shape[1]) * 2 - 1) / w.shape[1] ** 0.5
        starts[n] = a.clone()
        return dict(B=torch.zeros(w.shape[0], RANK), s=torch.ones(RANK), A=a), w
    b, s, a = decompose(w)
    if method == "pissa":
        b, s, a = b * s.sqrt(), torch.ones(RANK), s.sqrt()[:, None] * a
    rest = w - (b * s) @ a
    if method == "sorsa":  # away from orthonormality, where the penalty's direction is rounding noise
        b, a = 0.97 * b, 1.05 * a
    return dict(B=b, s=s, A=a), rest


def penalty(factors):
    eye = torch.eye(RANK)
    parts = [torch.linalg.norm(f["A"] @ f["A"].T - eye) + torch.linalg.norm(f["B"].T @ f["B"] - eye) for f in factors.values()]
    return sum(parts) / (2 * len(parts))


def run(method):
    torch.manual_seed(SEED)
    c = ALPHA / RANK if method == "lora" else 1.0
    factors, rest = {}, {}
    for n in linear:
        factors[n], rest[n] = start(method, n, base[n])
    trained = [t.requires_grad_() for f in factors.values() for k, t in f.items() if k != "s" or method == "sorsa"]
    weights = lambda: base | {n: rest[n] + c * (f["B"] * f["s"]) @ f["A"] for n, f in factors.items()}

    def loss():
        w, total, counted = weights(), 0.0, 0
        for ids in texts:
            logits = torch.func.functional_call(model, w, (ids[None],), tie_weights=True).logits[0, :-1]
            total = total + torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum")
            counted += len(ids) - 1
        return total, counted

    optimizer, losses = torch.optim.AdamW(trained, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0), []
    for step in range(STEPS):
        optimizer.zero_grad()
        total, counted = loss()
        losses.append(total.item())
        (total / counted).backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        if method == "sorsa":
            (LAMBDA * penalty(factors)).backward()
        rate = step / WARMUP if step < WARMUP else (STEPS - step) / (STEPS - WARMUP)
        for group in optimizer.param_groups:
            group["lr"] = LR * rate
        optimizer.step()
    losses.append(loss()[0].item())
    save_file({n: w.detach().contiguous() for n, w in weights().items() if n in linear}, out / f"{method}.safetensors", {"format": "pt"})
    return losses


starts = {}
losses = {m: run(m) for m in ("sorsa", "pissa", "lora")}
save_file(starts, out / "lora_start.safetensors", {"format": "pt"})
(out / "golden.json").write_text(json.dumps({
    "made_by": f"make_lowrank.py, seed {SEED}, torch {torch.__version__}, transformers {transformers.__version__}",
    "steps": STEPS, "rank": RANK, "lr": LR, "warmup": WARMUP, "lambda": LAMBDA, "alpha": ALPHA, "clip": CLIP,
    "texts": [ids.tolist() for ids in texts], "losses": losses}, indent=1) + "\n")
print(losses)
