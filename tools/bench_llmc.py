#!/usr/bin/env python3
"""Training steps of llm.c's CPU trainer (karpathy/llm.c, train_gpt2.c) as a record of docs/benchmarks.md.

    python tools/bench_llmc.py DIR --threads 2

DIR holds what llm.c's own Makefile built, `train_gpt2`, and what that program opens: `gpt2_124M.bin` (its checkpoint
format, version 3; random weights will do) and dev/data/tinyshakespeare/tiny_shakespeare_{train,val}.bin. None of it
belongs to this repository. The program trains GPT-2 124M on 4 sequences of 64 tokens, which multiplies as many
parameters as Pythia-160M with its untied output matrix: the record is called `train pythia-160m`. It times its steps
itself, and is ended after the last one that is wanted, at most 20.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import records

BATCH, TIME, LONGEST = 4, 64, 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=6, help="timed")
    parser.add_argument("--warmup", type=int, default=2, help="before those")
    args = parser.parse_args()
    if not 0 < args.steps + args.warmup <= LONGEST or args.steps < 1:
        parser.error(f"--steps and --warmup together are 1 to {LONGEST}")
    program = args.dir / "train_gpt2"
    if not os.access(program, os.X_OK):
        sys.exit(f"error: {program} is not there; build llm.c by its Makefile (make train_gpt2) and name its folder")
    seconds, loss = run(program.resolve(), args)
    samples = seconds[args.warmup :]
    median = records.summary(samples)["median"]
    settings = {
        "implementation": "llm.c", "model": "pythia-160m", "parameters": 124_475_904, "device": "cpu", "precision": "f32",
        "seq_len": TIME, "micro_batch": BATCH, "accumulation": 1, "recompute": "none", "chunk_rows": None,
        "threads": args.threads, "data": "synthetic", "steps": args.steps, "warmup": args.warmup,
    }
    flops = records.flops_per_token(12, 768, 50304, TIME)
    rate = BATCH * TIME / median
    derived = {"tokens_per_s": rate, "gflop_per_s": rate * flops / 1e9, "peak_bytes": None, "first_step_s": None,
               "loss": loss, "foreign_load": None}
    print(json.dumps(records.record("bench_llmc.py", "llm.c train_gpt2", "train pythia-160m", settings, samples, derived)))


def run(program, args):
    """Seconds of each step, and the last loss."""
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    # Line by line: the program is to be ended when it has taken enough steps.
    child = subprocess.Popen(["stdbuf", "-oL", str(program)], cwd=program.parent, env=environment, text=True,
                             stdout=subprocess.PIPE)
    seconds, said = [], []
    for line in child.stdout:
        said.append(line)
        if step := re.match(r"step \d+: train loss (\S+) \(took (\S+) ms\)", line):
            loss = float(step[1])
            seconds.append(float(step[2]) / 1e3)
            if len(seconds) == args.warmup + args.steps:
                child.kill()
                child.wait()
                return seconds, loss
    sys.exit(f"error: {program} ended after {len(seconds)} steps with code {child.wait()}: {''.join(said[-3:]).strip()}")


if __name__ == "__main__":
    main()
