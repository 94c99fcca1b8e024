"""The learning rates of DeepSpeed, re-stated from its source; part of restated_schedules.py.

deepspeedai/DeepSpeed, deepspeed/runtime/lr_schedules.py of release 0.19.8. A scheduler sets a rate when it is made
(`last_batch_iteration = -1`), which update 0 uses; the engine steps it behind every update.
"""

import math


def warmup_share(last, warmup, kind):
    return math.log(last + 1) / math.log(warmup) if kind == "log" else last / warmup


def deepspeed(i, name, a):
    """The rate of update i."""
    last = i - 1
    if name == "LRRangeTest":
        interval = (last + 1) / a.get("lr_range_test_step_size", 2000)
        interval = math.floor(interval) if a.get("lr_range_test_staircase", False) else interval
        return a.get("lr_range_test_min_lr", 1e-3) * (1 + a.get("lr_range_test_step_rate", 1.0) * interval)
    if name == "OneCycle":
        return one_cycle(last, a)

    warmup, kind = max(2, a.get("warmup_num_steps", 1000)), a.get("warmup_type", "log")
    total = a.get("total_num_steps")
    if name == "WarmupCosineLR":
        if last < 0:
            return 0.0
        if last < warmup:
            start = a.get("warmup_min_ratio", 0.0)
            return a["lr"] * (start + (1 - start) * warmup_share(last, warmup, kind))
        progress = min(1.0, (last - warmup + 1) / max(1, total - warmup))
        end = a.get("cos_min_ratio", 0.0001)
        return a["lr"] * (end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2)

    low = a.get("warmup_min_lr", 0.0)
    high = a.get("warmup_max_lr", a["lr"] if "lr" in a else 0.001)
    if last < 0:
        return low
    if last < warmup:
        share = warmup_share(last, warmup, kind)
    elif name == "WarmupLR":
        share = 1.0
    else:
        share = max(0.0, (total - last) / max(1.0, total - warmup))
    return low + (high - low) * share


def one_cycle(last, a):
    first = a.get("cycle_first_step_size", 2000)
    second = a.get("cycle_second_step_size", first)
    low, high = a["cycle_min_lr"], a["cycle_max_lr"]
    if last >= first + second:
        rate, every = a.get("decay_lr_rate", 0.0), a.get("decay_step_size", 0)
        return low if rate == 0 or every == 0 else low / (1 + rate * (last - first - second + 1) / every)
    stairs = a.get("cycle_first_stair_count", 0)
    n = (last + 1) % (first + second)
    up, length = n, first
    if n > first:
        stairs = a.get("cycle_second_stair_count", stairs)
        up, length = first + second - n, second
    share = up / length if stairs == 0 else (up * stairs // length) / stairs
    return low + (high - low) * share


def warmup_args(rng, steps):
    args = {}
    if rng.random() < 0.9:  # else DeepSpeed's 1000
        args["warmup_num_steps"] = rng.choice([1, 2, rng.randint(3, steps // 2), rng.randint(3, 2 * steps)])
    if rng.random() < 0.7:
        args["warmup_type"] = rng.choice(["log", "linear"])
    return args


def total_of(rng, steps, args):
    warmup = max(2, args.get("warmup_num_steps", 1000))
    return rng.choice([max(steps, warmup), warmup, rng.randint(warmup, warmup + 2 * steps)])


def deepspeed_settings(name, rng, steps):
    lr = 10 ** rng.uniform(-5, -2)
    args = warmup_args(rng, steps) if name.startswith("Warmup") else {}
    if name in ("WarmupDecayLR", "WarmupCosineLR"):
        args["total_num_steps"] = total_of(rng, steps, args)
    if name in ("WarmupLR", "WarmupDecayLR"):
        if rng.random() < 0.5:
            args["warmup_min_lr"] = lr * rng.random()
        if rng.random() < 0.7:
            args["warmup_max_lr"] = lr
        elif name == "WarmupLR":
            args["lr"] = lr
    elif name == "WarmupCosineLR":
        args["lr"] = lr
        if rng.random() < 0.5:
            args["warmup_min_ratio"] = rng.random()
        if rng.random() < 0.6:
            args["cos_min_ratio"] = rng.choice([0.0, rng.random()])
    elif name == "LRRangeTest":
        if rng.random() < 0.8:
            args["lr_range_test_min_lr"] = lr
        if rng.random() < 0.8:
            args["lr_range_test_step_size"] = rng.randint(1, steps)
        if rng.random() < 0.7:
            args["lr_range_test_step_rate"] = rng.uniform(0, 5)
        if rng.random() < 0.6:
            args["lr_range_test_staircase"] = rng.random() < 0.8
    else:
        args |= {"cycle_min_lr": lr * rng.uniform(0.01, 1), "cycle_max_lr": lr, "cycle_momentum": False}
        if rng.random() < 0.9:
            args["cycle_first_step_size"] = rng.randint(1, steps // 2)
        if rng.random() < 0.6:
            args["cycle_second_step_size"] = rng.choice([0, rng.randint(1, steps // 2), rng.randint(1, steps)])
        if rng.random() < 0.5:
            args["cycle_first_stair_count"] = rng.choice([1, rng.randint(2, 10), rng.randint(2, 2 * steps)])
        if rng.random() < 0.4:
            args["cycle_second_stair_count"] = rng.choice([0, 1, rng.randint(2, 10), rng.randint(2, 2 * steps)])
        if rng.random() < 0.7:
            args["decay_lr_rate"], args["decay_step_size"] = rng.uniform(0, 2), rng.randint(0, steps)
    return args, [deepspeed(i, name, args) for i in range(steps)]


DEEPSPEED = ["WarmupLR", "WarmupDecayLR", "WarmupCosineLR", "OneCycle", "LRRangeTest"]
