"""Makes lift/: a tiny Llama, and what the definition of LIFT (arXiv:2506.00772) makes of it in PyTorch.

    python make_lift.py

Masks come from a full float64 SVD, gradients from autograd of transformers' own Llama in float32, indexed at the mask;
the optimizer and the remap are written out below as in the paper and the authors' src/sparseAdam.py, except that the
largest entries are selected. Weights have decaying spectra, so that the masks do not hang on rounding.
"""
import json, pathlib, torch, transformers
from safetensors.torch import save_file

SEED, STEPS, REFRESH, RANK, LR, WARMUP = 7, 9, 3, 3, 4e-3, 2
B1, B2, EPS = 0.9, 0.95, 1e-6
out = pathlib.Path(__file__).parent / "lift"
torch.manual_seed(SEED)
config = transformers.LlamaConfig(
    hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, head_dim=8,
    vocab_size=31, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True,
    attn_implementation="eager", torch_dtype="float32")
model = transformers.LlamaForCausalLM(config)
linear = {n: p for n, p in model.named_parameters() if n.endswith("proj.weight")}
with torch.no_grad():
    for p in linear.values():
        u, s, v = torch.linalg.svd(torch.randn(p.shape))
        k = min(p.shape)
        p.copy_((u[:, :k] * (0.9 * torch.arange(1, k + 1) ** -0.8)) @ v[:k])
    model.model.embed_tokens.weight.normal_(0, 0.5)
for n, p in model.named_parameters():
    p.requires_grad_(n in linear)

text = [torch.randint(0, 31, (n,)) for n in (9, 6, 12)]
tensors = {n: p.detach().clone() for n, p in model.named_parameters()}
save_file(tensors, out / "model.safetensors", {"format": "pt"})
(out / "config.json").write_text(json.dumps({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 24,
    "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8,
    "vocab_size": 31, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32"}, indent=1) + "\n")


def mask(w):
    m, n = w.shape
    u, s, v = torch.linalg.svd(w.double(), full_matrices=False)
    score = ((u[:, :RANK] * s[:RANK]) @ v[:RANK]).abs().flatten()
    k = min((m + n) * RANK, m * n)
    return torch.topk(score, k).indices.sort().values


def loss():
    total, counted = 0.0, 0
    for ids in text:
        logits = model(ids[None]).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum")
        counted += len(ids) - 1
    return total, counted


state = {n: (None, None, None) for n in linear}
losses, rates = [], []
for t in range(1, STEPS + 1):
    if t == 1 or t % REFRESH == 0:
        for n, p in linear.items():
            old, m, v = state[n]
            idx = mask(p.detach())
            dm, dv = torch.zeros(p.numel()), torch.zeros(p.numel())
            if old is not None:
                dm[old], dv[old] = m, v
            state[n] = (idx, dm[idx], dv[idx])
    model.zero_grad()
    total, counted = loss()
    (total / counted).backward()
    losses.append(total.item())
    done = t - 1
    rate = LR * (done / WARMUP if done < WARMUP else (STEPS - done) / (STEPS - WARMUP))
    rates.append(rate)
    with torch.no_grad():
        for n, p in linear.items():
            idx, m, v = state[n]
            g = p.grad.flatten()[idx]
            m.mul_(B1).add_(g, alpha=1 - B1)
            v.mul_(B2).addcmul_(g, g, value=1 - B2)
            eta = rate * (1 - B2**t) ** 0.5 / (1 - B1**t)
            p.view(-1)[idx] -= eta * m / (v.sqrt() + EPS)
losses.append(loss()[0].item())

save_file({n: p.detach().clone() for n, p in linear.items()}, out / "trained.safetensors", {"format": "pt"})
(out / "golden.json").write_text(json.dumps({
    "made_by": f"make_lift.py, seed {SEED}, torch {torch.__version__}, transformers {transformers.__version__}",
    "steps": STEPS, "refresh": REFRESH, "rank": RANK, "lr": LR, "warmup": WARMUP,
    "texts": [ids.tolist() for ids in text], "rates": rates, "losses": losses}, indent=1) + "\n")
print(losses)
