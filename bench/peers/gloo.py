"""All-reduce of float32 by torch.distributed's Gloo backend over loopback, one process per member.

usage: gloo.py --members 2 --bytes 4096,1048576,16777216 --rounds 15
Prints one JSON object per size: the median, fastest and slowest round of member 0 in seconds, its processor time per
round, and the bus bandwidth 2·(P−1)/P·bytes/median, as ringbench does for torc, so that the two may be divided.
"""
import argparse
import json
import os
import resource
import statistics
import tempfile
import time


def processor_time():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


def member(rank, args, sizes, store):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=args.members)
    for size in sizes:
        v = torch.ones(size // 4)
        rounds = args.rounds if size > 1 << 16 else args.rounds * 20
        for _ in range(3):
            dist.all_reduce(v)
        v.fill_(1)
        times, cpu = [], []
        for _ in range(rounds):
            v.fill_(1)
            dist.barrier()
            used, start = processor_time(), time.perf_counter()
            dist.all_reduce(v)
            times.append(time.perf_counter() - start)
            cpu.append(processor_time() - used)
        assert v[0].item() == args.members
        if rank == 0:
            median = statistics.median(times)
            print(json.dumps({
                "what": "gloo", "torch": torch.__version__, "members": args.members, "bytes": size, "n": rounds,
                "median_s": median, "min_s": min(times), "max_s": max(times),
                "cpu_s": statistics.median(cpu), "cpu_min_s": min(cpu), "bus_gbs": 2 * (args.members - 1) / args.members * size / median / 1e9,
            }), flush=True)
    dist.destroy_process_group()


def main():
    import torch.multiprocessing as mp

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--bytes", default="4096,1048576,16777216,67108864")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    sizes = [int(s) for s in args.bytes.split(",")]
    with tempfile.TemporaryDirectory() as d:
        mp.spawn(member, args=(args, sizes, os.path.join(d, "store")), nprocs=args.members)


if __name__ == "__main__":
    main()
