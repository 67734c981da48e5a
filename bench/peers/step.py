"""A full fine-tuning step of the 135M shape (or another) by transformers and torch.optim.AdamW on the CPU, to be set against
`coordinator bench steps --methods full`, which prints the same figures for torc.

usage: step.py [--tokens 512] [--threads 2] [--rounds 5] [--dtype float32]
Prints one JSON object: medians of wall and processor seconds per step and of tokens/s, and the versions.
Random weights; one sequence; gradient clipping at 1; the loss of all tokens, as torc counts them.
"""
import argparse
import json
import resource
import statistics
import time

import torch
import transformers


def processor_time():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tokens", type=int, default=512)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--dtype", default="float32")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    shape = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True, max_position_embeddings=2048)
    model = transformers.LlamaForCausalLM(shape).to(getattr(torch, args.dtype)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    ids = (torch.arange(args.tokens) * 7919 % shape.vocab_size)[None]
    wall, processor = [], []
    for round in range(args.rounds + 1):
        start, used = time.perf_counter(), processor_time()
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if round > 0:  # the first makes buffers
            wall.append(time.perf_counter() - start)
            processor.append(processor_time() - used)
    seconds = statistics.median(wall)
    print(json.dumps({
        "torch": torch.__version__, "transformers": transformers.__version__, "dtype": args.dtype, "threads": args.threads,
        "tokens_per_second": args.tokens / seconds, "seconds": seconds, "processor_seconds": statistics.median(processor),
    }))


if __name__ == "__main__":
    main()
