"""The learning rates of the frameworks that cannot be installed for a test, re-stated from their sources.

Each function takes the framework's own arguments and returns the rate of one update, counted from 0; the random
settings beside it go with `golden_schedules.py`. Plain f64, without regard to speed or to how rewarm computes.
"""

import math
import struct
from functools import partial

from restated_deepspeed import DEEPSPEED, deepspeed_settings
from restated_olmo import OLMO, down, olmo_settings
from restated_small import LINGUA, lingua_settings, litgpt_settings, nanochat_settings


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
    for name in DEEPSPEED:
        yield f"deepspeed:{name}", partial(deepspeed_settings, name)
    for name in LINGUA:
        yield f"lingua:{name}", partial(lingua_settings, name)
    yield "litgpt:cosine", litgpt_settings
    yield "nanochat:warmdown", nanochat_settings
    for name in ["cosine", "linear", "constant", "wsd"]:
        yield f"llm.c:{name}", partial(llm_c_settings, name)
    for name in ["cosine", "linear", "1-sqrt"]:
        yield f"nanotron:{name}", partial(nanotron_settings, name)
    for name in ["wsd", "cos_inf"]:
        yield f"epfl:{name}", partial(epfl_settings, name)
