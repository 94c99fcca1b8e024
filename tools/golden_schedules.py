#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.6", "transformers>=5", "optax>=0.2.5"]
# ///
"""Make the learning rates that `tests/schedules` compares rewarm's with: every schedule of every framework.

    uv run tools/golden_schedules.py OUT.jsonl [--settings 200] [--longest 300]

transformers, torch and optax are asked themselves; the other frameworks, which are no packages or large ones, are
re-stated in restated_schedules.py. Each line is one schedule with random settings:

    style      as in rewarm's `schedule.style`
    steps      length of the run
    args       the framework's own arguments, as in rewarm's `[schedule.args]`
    rates      the rate of every update 0..steps
    recursive  the framework computes each rate from the one before, so it carries rounding errors along
    losses     what a schedule that looks at them was fed: the rate of update i follows losses 0..i

The committed tests/schedules/golden.jsonl is `--settings 2 --longest 40`.
"""

import argparse
import json
import os
import random
import warnings
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_ENABLE_X64"] = "1"

import transformers
from golden_feedback import FEEDBACK
from golden_optax import LONGEST, OPTAX, optax_join_settings, optax_settings
from golden_torch import (
    SHORTEST, TORCH, TORCH_LISTS, TORCH_RECURSIVE, at_the_edge, peak, run, torch_list_settings, torch_settings
)  # fmt: skip
from restated_schedules import cases as restated
from torch.optim import lr_scheduler


def hf_edges(name, lr):
    low = {"min_lr_rate": [0.0, -0.0, 1.0], "num_cycles": [1e-3, 0.5, 10]}
    return {
        "cosine": {"num_cycles": [1e-3, 0.5, 10]},
        "cosine_with_restarts": {"num_cycles": [1, 20]},
        "polynomial": {"power": [1.0, 1e-3, 20.0], "lr_end": [0.0, -0.0, lr * (1 - 1e-9)]},
        "inverse_sqrt": {"timescale": [1, 10**9]},
        "cosine_with_min_lr": low,
        "cosine_warmup_with_min_lr": low | {"warmup_lr_rate": [0.0, -0.0, 1.0]},
        "warmup_stable_decay": {"num_decay_steps": [1], "num_stable_steps": [0], "min_lr_ratio": [0.0, -0.0, 1.0]},
    }.get(name, {})


def hf_settings(name, rng, steps):
    lr = peak(rng)
    args, special = {"learning_rate": lr}, {}
    horizon = rng.choice([steps, rng.randint(steps // 2, 2 * steps)])
    if name != "constant":
        args["num_warmup_steps"] = rng.choice([0, 1, rng.randint(2, steps // 3)])
    if name not in ("constant", "constant_with_warmup", "inverse_sqrt") and horizon != steps:
        args["num_training_steps"] = horizon
    if name == "inverse_sqrt" and rng.random() < 0.5:
        special["timescale"] = rng.randint(1, steps)
    if name in ("cosine", "cosine_with_min_lr", "cosine_warmup_with_min_lr") and rng.random() < 0.5:
        special["num_cycles"] = rng.choice([0.25, 1, 2.5, rng.uniform(0.1, 4)])
    if name == "cosine_with_restarts" and rng.random() < 0.8:
        special["num_cycles"] = rng.randint(1, 5)
    if name == "polynomial":
        if rng.random() < 0.7:
            special["power"] = rng.choice([1, 2, rng.uniform(0.3, 4)])
        if rng.random() < 0.7:
            special["lr_end"] = lr * rng.random()
    if name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        special["min_lr_rate"] = rng.random()
    if name == "cosine_warmup_with_min_lr" and rng.random() < 0.5:
        special["warmup_lr_rate"] = rng.random()
    if name == "warmup_stable_decay":
        special["num_decay_steps"] = rng.randint(1, steps // 3)
        if rng.random() < 0.4:
            special["num_stable_steps"] = rng.randint(0, steps)
        if rng.random() < 0.7:
            special["warmup_type"] = rng.choice(["linear", "cosine", "1-sqrt"])
        if rng.random() < 0.7:
            special["decay_type"] = rng.choice(["linear", "cosine", "1-sqrt"])
        if rng.random() < 0.7:
            special["min_lr_ratio"] = rng.random()
        if rng.random() < 0.2:
            special["num_cycles"] = rng.uniform(0.3, 2)
    at_the_edge(rng, special, hf_edges(name, lr))
    if "min_lr_rate" in special and rng.random() < 0.5:
        special["min_lr"] = lr * special.pop("min_lr_rate")
    warmup, total = args.get("num_warmup_steps"), args.get("num_training_steps", steps)
    scheduler = partial(transformers.get_scheduler, name, num_warmup_steps=warmup, num_training_steps=total)
    build = partial(scheduler, scheduler_specific_kwargs=special)
    return args | special, run(steps, lr, lambda optimizer: build(optimizer=optimizer))


HF = [
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt",
    "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay",
]  # fmt: skip


def one_cycle_of_epfl(strategy, rng, steps):
    """epfml/schedules-and-scaling, src/main.py: torch's OneCycleLR with the warmup as its rise."""
    args = {"lr": peak(rng), "warmup_steps": rng.randint(2, steps // 3)}
    share = args["warmup_steps"] / steps
    rest = {"total_steps": steps, "pct_start": share, "anneal_strategy": strategy, "cycle_momentum": False}
    build = partial(lr_scheduler.OneCycleLR, max_lr=args["lr"], div_factor=1e2, final_div_factor=0.1, **rest)
    return args, run(steps, args["lr"], build)


def cases():
    """(style, settings, recursive) of every schedule."""
    for name in HF:
        yield f"hf:{name}", partial(hf_settings, name), False
    for name in TORCH + TORCH_RECURSIVE:
        yield f"torch:{name}", partial(torch_settings, name), name in TORCH_RECURSIVE
    for name in TORCH_LISTS:
        yield f"torch:{name}", partial(torch_list_settings, name), True
    for name in OPTAX:
        yield f"optax:{name}", partial(optax_settings, name), False
    yield "optax:join_schedules", optax_join_settings, False
    for style, settings in FEEDBACK.items():
        yield style, settings, True
    for name in ["cos", "linear"]:
        yield f"epfl:{name}", partial(one_cycle_of_epfl, name), False
    for style, settings in restated():
        yield style, settings, False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--settings", type=int, default=200, help="of each schedule")
    parser.add_argument("--longest", type=int, default=LONGEST, help="steps")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w") as out:
        for style, settings, recursive in cases():
            rng = random.Random(style)
            for _ in range(options.settings):
                steps = rng.randint(SHORTEST, options.longest)
                args, rates, *losses = settings(rng, steps)
                assert len(rates) == steps and all(rate == rate for rate in rates), (style, args)
                line = {"style": style, "steps": steps, "args": args, "rates": rates, "recursive": recursive}
                if losses:
                    line["losses"] = losses[0]
                out.write(json.dumps(line, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
