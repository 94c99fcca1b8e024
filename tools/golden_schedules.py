#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.6", "transformers>=5", "optax>=0.2.5"]
# ///
"""Make the learning rates that `tests/schedules` compares rewarm's with: every schedule of every framework.

    uv run tools/golden_schedules.py OUT.jsonl [--settings 200] [--longest 300]

transformers, torch and optax are asked themselves; the frameworks that are no packages are re-stated in
restated_schedules.py. Each line is one schedule with random settings:

    style      as in rewarm's `schedule.style`
    steps      length of the run
    args       the framework's own arguments, as in rewarm's `[schedule.args]`
    rates      the rate of every update 0..steps
    recursive  the framework computes each rate from the one before, so it carries rounding errors along

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

import jax
import optax
import torch
import transformers
from restated_schedules import cases as restated
from torch.optim import lr_scheduler

SHORTEST, LONGEST = 20, 300  # steps


def run(steps, lr, build):
    """Rates of a torch-like scheduler: update 0 has the rate that it starts with."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = build(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if len(rates) < steps:
            scheduler.step()
    return rates


def peak(rng):
    return 10 ** rng.uniform(-5, -2)


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
        if rng.random() < 0.5:
            special["min_lr"] = lr * rng.random()
        else:
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
    warmup, total = args.get("num_warmup_steps"), args.get("num_training_steps", steps)
    scheduler = partial(transformers.get_scheduler, name, num_warmup_steps=warmup, num_training_steps=total)
    build = partial(scheduler, scheduler_specific_kwargs=special)
    return args | special, run(steps, lr, lambda optimizer: build(optimizer=optimizer))


HF = [
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt",
    "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay",
]  # fmt: skip


def torch_settings(name, rng, steps):
    lr, own = peak(rng), {}
    if name == "StepLR":
        own["step_size"] = rng.randint(1, steps)
    if name == "MultiStepLR":
        own["milestones"] = sorted(rng.sample(range(1, steps), rng.randint(1, 4)))
    if name in ("StepLR", "MultiStepLR") and rng.random() < 0.7 or name == "ExponentialLR":
        own["gamma"] = rng.uniform(0.8, 0.999)
    if name in ("ConstantLR", "LinearLR", "PolynomialLR") and rng.random() < 0.8:
        own["total_iters"] = rng.randint(1, 2 * steps)
    if name == "ConstantLR" and rng.random() < 0.7:
        own["factor"] = rng.uniform(0.1, 1)
    if name == "LinearLR" and rng.random() < 0.7:
        own["start_factor"], own["end_factor"] = rng.uniform(0.01, 1), rng.uniform(0, 1)
    if name == "PolynomialLR" and rng.random() < 0.7:
        own["power"] = rng.uniform(0.5, 3)
    if name == "CosineAnnealingLR":
        own["T_max"] = rng.randint(2, 2 * steps)
    if name == "CosineAnnealingWarmRestarts":
        own["T_0"] = rng.randint(1, steps)
        if rng.random() < 0.6:
            own["T_mult"] = rng.randint(1, 3)
    if name.startswith("CosineAnnealing") and rng.random() < 0.6:
        own["eta_min"] = lr * rng.random()
    if name == "CyclicLR":
        own |= {"base_lr": lr * rng.random(), "max_lr": lr, "cycle_momentum": False}
        own["step_size_up"] = rng.randint(1, steps // 2)
        if rng.random() < 0.5:
            own["step_size_down"] = rng.randint(1, steps // 2)
        own["mode"] = rng.choice(["triangular", "triangular2", "exp_range"])
        if own["mode"] == "exp_range":
            own["gamma"] = rng.uniform(0.95, 1)
    if name == "OneCycleLR":
        own |= {"max_lr": lr, "cycle_momentum": False}
        own["total_steps"] = rng.choice([steps, rng.randint(steps, 2 * steps)])
        own["three_phase"] = rng.random() < 0.3
        if rng.random() < 0.7:
            own["pct_start"] = rng.uniform(1.5 / SHORTEST, 0.45)
        if rng.random() < 0.5:
            own["anneal_strategy"] = rng.choice(["cos", "linear"])
        if rng.random() < 0.5:
            own["div_factor"], own["final_div_factor"] = rng.uniform(1.5, 50), rng.uniform(1.5, 1e4)
    alone = name in ("CyclicLR", "OneCycleLR")  # sets the optimizer's rate
    rates = run(steps, lr, lambda optimizer: getattr(lr_scheduler, name)(optimizer, **own))
    return own if alone else {"lr": lr} | own, rates


TORCH_RECURSIVE = [
    "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR", "CosineAnnealingLR",
]  # fmt: skip
TORCH = ["CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"]


def one_cycle_of_epfl(strategy, rng, steps):
    """epfml/schedules-and-scaling, src/main.py: torch's OneCycleLR with the warmup as its rise."""
    args = {"lr": peak(rng), "warmup_steps": rng.randint(2, steps // 3)}
    share = args["warmup_steps"] / steps
    rest = {"total_steps": steps, "pct_start": share, "anneal_strategy": strategy, "cycle_momentum": False}
    build = partial(lr_scheduler.OneCycleLR, max_lr=args["lr"], div_factor=1e2, final_div_factor=0.1, **rest)
    return args, run(steps, args["lr"], build)


def optax_cycle(rng, steps, prefix=""):
    top = peak(rng)
    args = {f"{prefix}init_value": top * rng.random(), "peak_value": top}
    args["warmup_steps"] = rng.choice([0, 1, rng.randint(2, steps // 3)])
    return args


def optax_settings(name, rng, steps):
    top = peak(rng)
    length = rng.randint(1, 2 * steps)
    low = top * rng.random()
    begin = {"transition_begin": rng.randint(0, steps)} if rng.random() < 0.4 else {}
    decay = {"transition_steps": length, "decay_rate": rng.uniform(0.2, 0.999)} | begin
    if rng.random() < 0.4:
        decay["staircase"] = True
    if rng.random() < 0.2:
        decay["decay_rate"] = rng.uniform(1.01, 2)
        if rng.random() < 0.5:
            decay["end_value"] = top * rng.uniform(1, 3)
    elif rng.random() < 0.5:
        decay["end_value"] = low
    marks = sorted(rng.sample(range(1, steps + 10), rng.randint(1, 4)))
    scales = {mark: rng.uniform(0.3, 1.3) for mark in marks}
    exponent = {"exponent": rng.uniform(0.5, 2.5)} if rng.random() < 0.4 else {}
    args = {
        "constant_schedule": lambda: {"value": top},
        "linear_schedule": lambda: {"init_value": top, "end_value": low, "transition_steps": length} | begin,
        "polynomial_schedule": lambda: {"init_value": top, "end_value": low, "transition_steps": length}
        | {"power": rng.uniform(0.3, 4)}
        | begin,
        "piecewise_constant_schedule": lambda: {"init_value": top, "boundaries_and_scales": scales},
        "piecewise_interpolate_schedule": lambda: {"init_value": top, "boundaries_and_scales": scales}
        | {"interpolate_type": rng.choice(["linear", "cosine"])},
        "exponential_decay": lambda: {"init_value": top} | decay,
        "cosine_decay_schedule": lambda: {"init_value": top, "decay_steps": length}
        | exponent
        | ({"alpha": rng.random()} if rng.random() < 0.6 else {}),
        "linear_onecycle_schedule": lambda: {"peak_value": top, "transition_steps": steps}
        | ({"pct_start": rng.uniform(0.1, 0.4), "pct_final": rng.uniform(0.5, 0.9)} if rng.random() < 0.6 else {}),
        "cosine_onecycle_schedule": lambda: {"peak_value": top, "transition_steps": steps}
        | ({"pct_start": rng.uniform(0.1, 0.8)} if rng.random() < 0.6 else {})
        | ({"div_factor": rng.uniform(2, 50), "final_div_factor": 10.0} if rng.random() < 0.4 else {}),
        "warmup_constant_schedule": lambda: optax_cycle(rng, steps) | {"warmup_steps": rng.randint(1, steps)},
        "warmup_cosine_decay_schedule": lambda: optax_cycle(rng, steps)
        | {"decay_steps": rng.randint(steps // 2, 2 * steps)}
        | exponent,
        "warmup_exponential_decay_schedule": lambda: {"init_value": low, "peak_value": top}
        | {"warmup_steps": rng.choice([0, 1, rng.randint(2, steps // 2)])}
        | decay,
        "sgdr_schedule": lambda: {
            "cosine_kwargs": [
                optax_cycle(rng, steps) | {"decay_steps": rng.randint(steps // 3 + 1, steps)} | exponent
                for _ in range(rng.randint(1, 4))
            ]
        },
    }[name]()
    if name == "warmup_cosine_decay_schedule" and rng.random() < 0.7:
        args["end_value"] = args["peak_value"] * rng.random()
    schedule = getattr(optax, name)(**args)
    if args.get("staircase"):
        # XLA multiplies an array by 1/98 where optax divides by 98, and a stair begins a step late.
        return args, [float(schedule(i)) for i in range(steps)]
    rates = jax.vmap(lambda i: schedule(i) * 1.0)(jax.numpy.arange(LONGEST))  # one shape: compiled once
    return args, rates[:steps].tolist()


OPTAX = [
    "constant_schedule", "linear_schedule", "polynomial_schedule", "piecewise_constant_schedule",
    "piecewise_interpolate_schedule", "exponential_decay", "cosine_decay_schedule", "linear_onecycle_schedule",
    "cosine_onecycle_schedule", "warmup_constant_schedule", "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule", "sgdr_schedule",
]  # fmt: skip


def cases():
    """(style, settings, recursive) of every schedule."""
    for name in HF:
        yield f"hf:{name}", partial(hf_settings, name), False
    for name in TORCH + TORCH_RECURSIVE:
        yield f"torch:{name}", partial(torch_settings, name), name in TORCH_RECURSIVE
    for name in OPTAX:
        yield f"optax:{name}", partial(optax_settings, name), False
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
                args, rates = settings(rng, steps)
                assert len(rates) == steps and all(rate == rate for rate in rates), (style, args)
                line = {"style": style, "steps": steps, "args": args, "rates": rates, "recursive": recursive}
                out.write(json.dumps(line, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
