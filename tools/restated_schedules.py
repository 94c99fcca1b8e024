"""The learning rates of the frameworks that cannot be installed for a test, re-stated from their sources.

Each function takes the framework's own arguments and returns the rate of one update, counted from 0; the random
settings beside it go with `golden_schedules.py`. Plain f64, without regard to speed or to how rewarm computes.
"""

import math
import struct
from functools import partial


def down(r):
    """Half a cosine, from 1 at r = 0 to 0 at r = 1."""
    return 0.5 * (1 + math.cos(math.pi * r))


def megatron(i, style, lr, min_lr, warmup, horizon, init, decay=None, decay_style=None):
    """NVIDIA/Megatron-LM, megatron/core/optimizer_param_scheduler.py, with its sample counts divided by the batch."""
    if warmup > 0 and i <= warmup:
        return init + (lr - init) * i / warmup
    if style == "constant":
        return lr
    if i > horizon:
        return min_lr
    if style == "inverse-square-root":
        return max(min_lr, lr * math.sqrt(warmup / i))  # only asked for with a warmup
    share = (i - warmup) / (horizon - warmup)
    if style == "linear":
        weight = 1 - share
    elif style == "cosine":
        weight = down(share)
    else:
        begin = horizon - decay
        weight = 1.0
        if i > begin:
            share = (i - begin) / decay
            weight = {
                "linear": 1 - share,
                "cosine": down(share),
                "exponential": 2 * 0.5**share - 1,
                "minus_sqrt": 1 - math.sqrt(share),
            }[decay_style]
    return min_lr + weight * (lr - min_lr)


def megatron_settings(style, rng, steps):
    horizon = rng.choice([steps, rng.randint(steps // 2, steps)])
    lr = 10 ** rng.uniform(-5, -2)
    args = {"lr": lr, "min_lr": lr * rng.choice([0, 0.1, rng.random()])}
    if horizon != steps:
        args["lr_decay_iters"] = horizon
    if rng.random() < 0.3:
        args["lr_warmup_init"] = lr * rng.random()
    if style == "inverse-square-root":
        warmup = args["lr_warmup_iters"] = rng.randint(1, horizon // 3)
    elif rng.random() < 0.3:
        args["lr_warmup_fraction"] = rng.uniform(0.01, 0.3)
        warmup = args["lr_warmup_fraction"] * horizon
    else:
        warmup = args["lr_warmup_iters"] = rng.choice([0, 1, rng.randint(2, horizon // 3)])
    if style == "WSD":
        args["lr_wsd_decay_iters"] = rng.randint(1, horizon // 2)
        if rng.random() < 0.9:
            args["lr_wsd_decay_style"] = rng.choice(["linear", "cosine", "exponential", "minus_sqrt"])
    if rng.random() < 0.2:  # the same in samples
        batch = args["global_batch_size"] = rng.randint(2, 64)
        args["lr_decay_samples"] = horizon = horizon * batch + rng.randint(-batch + 1, 0)
        args.pop("lr_decay_iters", None)
        horizon /= batch
        if "lr_warmup_fraction" in args:
            warmup = args["lr_warmup_fraction"] * horizon
        else:
            args["lr_warmup_samples"] = args.pop("lr_warmup_iters") * batch
        if style == "WSD":
            args["lr_wsd_decay_samples"] = args.pop("lr_wsd_decay_iters") * batch
    decay = args.get("lr_wsd_decay_iters")
    if "lr_wsd_decay_samples" in args:
        decay = args["lr_wsd_decay_samples"] / args["global_batch_size"]
    decay_style = args.get("lr_wsd_decay_style", "exponential")
    init = args.get("lr_warmup_init", 0.0)
    rates = [megatron(i, style, lr, args["min_lr"], warmup, horizon, init, decay, decay_style) for i in range(steps)]
    return args, rates


def neox(i, style, lr, min_lr, warmup, horizon):
    """EleutherAI/gpt-neox, megatron/learning_rates.py since 19f294d5 (May 2026)."""
    if warmup > 0 and i <= warmup:
        return lr * max(1, i) / warmup
    n, length = i - warmup, horizon - warmup
    rate = {
        "constant": lr,
        "linear": lr * (length - n) / length,
        "cosine": min_lr + (lr - min_lr) * down(n / length),  # rises again after the horizon
        "exponential": lr * math.exp(-0.693 * n / length),
    }[style]
    return max(rate, min_lr)


def neox_legacy(i, style, lr, min_lr, warmup, horizon):
    """The same file before 009018e9 (August 2023): what Pythia was trained with."""
    held = min(i, horizon - warmup)
    if warmup > 0 and i <= warmup:
        return lr * held / warmup
    n = held - warmup
    rate = {
        "constant": lr,
        "linear": lr * (horizon - n) / horizon,
        "cosine": lr * down(n / horizon),
        "exponential": lr * math.exp(-0.693 * n / horizon),
    }[style]
    return max(rate, min_lr)


def neox_settings(function, style, rng, steps):
    lr = 10 ** rng.uniform(-5, -2)
    args = {"lr": lr, "min_lr": lr * rng.choice([0, 0.1, rng.random()])}
    horizon = steps
    if rng.random() < 0.3:
        horizon = args["lr_decay_iters"] = rng.randint(steps // 2, 2 * steps)
    elif rng.random() < 0.3:
        args["lr_decay_fraction"] = rng.uniform(0.3, 1)
        horizon = max(1, math.floor(steps * args["lr_decay_fraction"]))
    if rng.random() < 0.8:
        args["warmup"] = rng.choice([0.0, rng.uniform(1.5 / horizon, 0.3)])
    elif 0.01 * horizon < 1:
        args["warmup"] = 0.0  # less than a step of the default is refused
    warmup = args.get("warmup", 0.01) * horizon
    return args, [function(i, style, lr, args["min_lr"], warmup, horizon) for i in range(steps)]


def torchtitan(i, decay_type, lr, warmup, total, decay, floor):
    """pytorch/torchtitan, torchtitan/components/optimizer/lr_scheduler.py (2026)."""
    stable_until = total + 1 - decay
    if i < warmup:
        return lr * (i + 1) / warmup
    if i < stable_until:
        return lr
    share = (i + 1 - stable_until) / decay
    weight = {"linear": 1 - share, "sqrt": 1 - math.sqrt(share), "cosine": down(share)}[decay_type]
    return lr * (floor + (1 - floor) * weight)


def torchtitan_settings(decay_type, rng, steps):
    total = rng.choice([steps, rng.randint(steps, 2 * steps)])
    args = {"lr": 10 ** rng.uniform(-5, -2), "warmup_steps": rng.choice([0, 1, rng.randint(2, steps // 2)])}
    if total != steps:
        args["total_steps"] = total
    decay = total - args["warmup_steps"]
    if rng.random() < 0.7:
        args["decay_ratio"] = rng.choice([0.0, 1.0, rng.random()])
        decay = min(round(total * args["decay_ratio"]), decay)
    if rng.random() < 0.6:
        args["min_lr_factor"] = rng.random()
    rest = args["warmup_steps"], total, decay, args.get("min_lr_factor", 0.0)
    return args, [torchtitan(i, decay_type, args["lr"], *rest) for i in range(steps)]


def olmo(i, name, a, steps):
    """allenai/OLMo-core, src/olmo_core/optim/scheduler.py; the trainer counts an update before it asks for its rate."""
    s, lr = i + 1, a["lr"]
    horizon = a.get("t_max", steps)
    first = a["period_lengths"][0] if name == "wsds" else horizon
    warmup = a["warmup"] if "warmup" in a else round(first * a.get("warmup_fraction", 0.0))
    bottom = a.get("warmup_min_lr", 0.0)
    end = lr * a.get("alpha_f", 0.1)

    def decay_of(total):
        return a["decay"] if "decay" in a else round(total * a.get("decay_fraction", 0.1))

    def ramp(peak):
        return bottom + (peak - bottom) * s / warmup

    def tail(top, left, length):
        low = a.get("decay_min_lr", 0.0)
        return low + (top - low) * min(left, length) / length

    def cosine(at):
        if at < warmup:
            return bottom + (lr - bottom) * at / warmup
        return end if at >= horizon else end + (lr - end) * down((at - warmup) / (horizon - warmup))

    if name == "constant":
        return lr
    if name == "exponential":
        low = a.get("lr_min", 1e-9)
        return lr if s >= steps else low * (lr / low) ** (s / steps)
    if name == "composable":
        at, rate = 0, lr
        for stage in a["stages"]:
            start = stage.get("start_lr", lr * stage["start_lr_fraction"] if "start_lr_fraction" in stage else rate)
            rate = stage.get("end_lr", lr * stage.get("end_lr_fraction", 0.0))
            if s < at + stage["duration"]:
                r = (s - at) / stage["duration"]
                return rate + (start - rate) * (down(r) if stage.get("shape") == "cosine" else 1 - r)
            at += stage["duration"]
        return rate
    if name == "wsds":
        peaks = [lr * m for m in a.get("period_lr_multipliers", [1.0] * len(a["period_lengths"]))]
        if s < warmup:
            return ramp(peaks[0])
        begin = warmup
        for number, length in enumerate(a["period_lengths"]):
            finish = begin + length - (warmup if number == 0 else 0)
            if s <= finish and s < warmup + sum(a["period_lengths"]) - warmup:
                decay = decay_of(length)
                if s < finish - decay:
                    return peaks[number]
                return tail(peaks[number], finish - s, decay)
            begin = finish
        return a.get("decay_min_lr", 0.0)
    if name == "half_cos_with_warmup":
        if s < warmup:
            return ramp(end + (lr - end) / 2)
        r = (s - warmup) / (horizon - warmup)
        return end if s >= horizon else end + (lr - end) * down((r + 1) / 2)
    if name in ("constant_with_warmup", "wsd", "power_lr") and s <= warmup:
        return ramp(lr)
    if s < warmup:
        return ramp(lr)
    if name == "constant_with_warmup":
        return lr
    if name == "wsd":
        decay = decay_of(steps)
        return tail(lr, steps - s, decay) if s >= steps - decay else lr
    if name == "power_lr":
        decay, b = decay_of(steps), a.get("b", -0.51)
        if s >= steps - decay:
            return tail(lr * ((steps - decay) / warmup) ** b, steps - s, decay)
        return lr * (s / warmup) ** b
    if name == "linear_with_warmup":
        return end if s >= horizon else lr - (lr - end) * (s - warmup) / (horizon - warmup)
    if name == "inv_sqrt_with_warmup":
        return end + (lr - end) * math.sqrt(warmup / s)
    if name == "cos_with_warmup":
        return cosine(s)
    assert name == "cos_with_warmup_and_linear_decay"
    decay = decay_of(steps)
    if s >= steps - decay:
        return tail(cosine(steps - decay), steps - s, decay)
    return cosine(s)


OLMO = [
    "constant", "constant_with_warmup", "wsd", "power_lr", "linear_with_warmup", "inv_sqrt_with_warmup",
    "cos_with_warmup", "half_cos_with_warmup", "cos_with_warmup_and_linear_decay", "composable", "wsds",
    "exponential",
]  # fmt: skip


def olmo_settings(name, rng, steps):
    lr = 10 ** rng.uniform(-5, -2)
    args = {"lr": lr}
    decays = name in ("wsd", "power_lr", "cos_with_warmup_and_linear_decay", "wsds")
    periods = [rng.randint(4, max(5, steps // 2)) for _ in range(rng.randint(1, 4))]
    if name == "wsds":
        args["period_lengths"] = periods
        if rng.random() < 0.5:
            args["period_lr_multipliers"] = [rng.uniform(0.2, 1) for _ in periods]
    if name == "exponential" and rng.random() < 0.7:
        args["lr_min"] = lr * 10 ** rng.uniform(-6, -1)
    if name == "composable":
        args["stages"] = []
        for _ in range(rng.randint(1, 4)):
            stage = {"duration": rng.randint(1, steps // 2)}
            if rng.random() < 0.7:
                stage["shape"] = rng.choice(["linear", "cosine"])
            if rng.random() < 0.3:
                stage[rng.choice(["start_lr", "start_lr_fraction"])] = lr * rng.random()
            stage[rng.choice(["end_lr", "end_lr_fraction"])] = lr * rng.random()
            args["stages"].append(stage)
    if name not in ("constant", "exponential", "composable"):
        shortest = periods[0] // 2 if name == "wsds" else steps // 3
        least = 1 if name in ("power_lr", "inv_sqrt_with_warmup") else 0
        if rng.random() < 0.7:
            args["warmup"] = rng.choice([least, 1, rng.randint(least, shortest)])
        else:
            args["warmup_fraction"] = rng.uniform(0.05 if least else 0.0, 0.3)
        if rng.random() < 0.3:
            args["warmup_min_lr"] = lr * rng.uniform(0, 0.15)
    if name in ("linear_with_warmup", "inv_sqrt_with_warmup", "cos_with_warmup", "half_cos_with_warmup"):
        if rng.random() < 0.7:
            args["alpha_f"] = rng.random()
        if name != "inv_sqrt_with_warmup" and rng.random() < 0.4:
            args["t_max"] = rng.randint(steps // 2, 2 * steps)
    if name == "power_lr" and rng.random() < 0.5:
        args["b"] = rng.uniform(-1, -0.1)
    if decays:
        if rng.random() < 0.5:
            args["decay"] = rng.randint(1, min(periods) // 2 if name == "wsds" else steps // 2)
        elif rng.random() < 0.7 or name == "wsds":
            args["decay_fraction"] = rng.uniform(0.2, 0.5)
        if rng.random() < 0.4:
            # Below where the decay starts, which OLMo-core asserts: the power has fallen to 1/300 at most.
            args["decay_min_lr"] = lr * rng.uniform(0, 0.003)
    return args, [olmo(i, name, args, steps) for i in range(steps)]


def llm_c(i, name, lr, warmup, total, fraction):
    """karpathy/llm.c, llmc/schedulers.h, in f64 (it computes in f32)."""
    if name == "constant":
        return lr
    if i < warmup:
        return lr * (i + 1) / warmup
    low = lr * fraction
    if name == "wsd":
        begin = truncated_four_fifths(total)
        return lr if i < begin else low + (lr - low) * (1 - math.sqrt((i - begin) / (total - begin)))
    share = (i - warmup) / (total - warmup)
    return low + (lr - low) * (down(share) if name == "cosine" else 1 - share)


def truncated_four_fifths(total):
    """(int)(0.8f * total): 0.8f is 0.800000011920929, and the product is rounded to f32."""

    def f32(x):
        return struct.unpack("f", struct.pack("f", x))[0]

    return int(f32(f32(0.8) * f32(total)))


def llm_c_settings(name, rng, steps):
    args = {"learning_rate": 10 ** rng.uniform(-5, -2)}
    if rng.random() < 0.8:
        args["warmup_iterations"] = rng.choice([0, 1, rng.randint(2, steps // 2)])
    if rng.random() < 0.6:
        args["final_learning_rate_frac"] = rng.random()
    total = steps
    if rng.random() < 0.3:
        total = args["train_num_batches"] = rng.randint(steps, 2 * steps)
    rest = args.get("warmup_iterations", 0), total, args.get("final_learning_rate_frac", 1.0)
    return args, [llm_c(i, name, args["learning_rate"], *rest) for i in range(steps)]


def nanotron(i, style, a, steps):
    """huggingface/nanotron, src/nanotron/helpers.py, lr_scheduler_builder."""
    lr, warmup = a["learning_rate"], a.get("lr_warmup_steps", 0)
    low, begin = a.get("min_decay_lr", lr), a.get("lr_decay_starting_step")
    length = a.get("lr_decay_steps", steps - warmup - (begin or 0))
    begin = warmup if begin is None else begin
    if warmup == 0 and length == 0:
        return lr
    if i <= warmup:
        return lr * i / max(warmup, 1) if a["lr_warmup_style"] == "linear" else lr
    if i < begin:
        return lr
    if i < begin + length:
        r = (i - begin) / length
        return low + (lr - low) * {"cosine": down(r), "linear": 1 - r, "1-sqrt": 1 - math.sqrt(r)}[style]
    return low


def nanotron_settings(style, rng, steps):
    lr = 10 ** rng.uniform(-5, -2)
    args = {"learning_rate": lr, "lr_warmup_style": rng.choice(["linear", "linear", "constant"])}
    if rng.random() < 0.9:
        args["lr_warmup_steps"] = rng.choice([0, 1, rng.randint(2, steps // 3)])
    if rng.random() < 0.9:
        args["min_decay_lr"] = lr * rng.random()
    if rng.random() < 0.5:
        args["lr_decay_starting_step"] = rng.randint(0, steps // 2)
    if rng.random() < 0.5:
        args["lr_decay_steps"] = rng.randint(0, steps)
    return args, [nanotron(i, style, args, steps) for i in range(steps)]


def epfl(i, name, a, steps):
    """epfml/schedules-and-scaling, src/optim/utils.py."""
    lr, warmup, start = a["lr"], a.get("warmup_steps", 300), a["lr"] / 100
    if i < warmup:
        return lr * (i / warmup) + start * (1 - i / warmup)
    if name == "cos_inf":
        low, until = start / 0.1, steps - a.get("cos_inf_steps", 0)
        return low if i >= until else low + (lr - low) * down((i - warmup) / (until - warmup))
    length = int(a.get("wsd_fract_decay", 0.1) * steps)
    begin = steps - length
    if i < begin:
        return lr
    r, low = (i - begin) / length, a.get("wsd_final_lr_scale", 0.0)
    kind = a.get("decay_type", "linear")
    if kind == "exp":
        return lr * low**r
    weight = {
        "linear": 1 - r,
        "cosine": down(r),
        "miror_cosine": 2 * (1 - r) - down(r),
        "square": 1 - r * r,
        "sqrt": 1 - math.sqrt(r),
    }[kind]
    return lr * (low + (1 - low) * weight)


def epfl_settings(name, rng, steps):
    args = {"lr": 10 ** rng.uniform(-5, -2), "warmup_steps": rng.choice([0, 1, rng.randint(2, steps // 3)])}
    if name == "cos_inf":
        if rng.random() < 0.7:
            args["cos_inf_steps"] = rng.randint(0, steps // 2)
    else:
        args["decay_type"] = rng.choice(["linear", "cosine", "exp", "miror_cosine", "square", "sqrt"])
        if rng.random() < 0.7 or args["decay_type"] == "exp":
            args["wsd_final_lr_scale"] = rng.uniform(0.01, 1)
        if rng.random() < 0.7:
            args["wsd_fract_decay"] = rng.uniform(0.05, 0.6)
    return args, [epfl(i, name, args, steps) for i in range(steps)]


def cases():
    """(style, settings) of every re-stated schedule; settings takes (rng, steps) and gives (args, rates)."""
    for name in ["constant", "linear", "cosine", "inverse-square-root", "WSD"]:
        yield f"megatron:{name}", partial(megatron_settings, name)
    for name in ["constant", "linear", "cosine", "exponential"]:
        yield f"neox:{name}", partial(neox_settings, neox, name)
        yield f"neox-legacy:{name}", partial(neox_settings, neox_legacy, name)
    for name in ["linear", "sqrt", "cosine"]:
        yield f"torchtitan:{name}", partial(torchtitan_settings, name)
    for name in OLMO:
        yield f"olmo:{name}", partial(olmo_settings, name)
    for name in ["cosine", "linear", "constant", "wsd"]:
        yield f"llm.c:{name}", partial(llm_c_settings, name)
    for name in ["cosine", "linear", "1-sqrt"]:
        yield f"nanotron:{name}", partial(nanotron_settings, name)
    for name in ["wsd", "cos_inf"]:
        yield f"epfl:{name}", partial(epfl_settings, name)
