"""The learning rates of frameworks with few schedules, re-stated from their sources; part of restated_schedules.py."""

import math


def lingua(i, name, a, steps):
    """facebookresearch/lingua, lingua/optim.py at 437d680e (June 2025); its LambdaLR asks for step i."""
    lr, warmup, ratio = a.get("lr", 3e-4), a.get("warmup", 2000), a.get("lr_min_ratio", 0.1)
    if name == "constant":
        return lr
    if i < warmup:
        return lr * i / warmup
    r = (i - warmup) / (steps - warmup)
    if name == "linear":
        return lr * (r * ratio + 1 - r)
    if name == "inv_sqrt":
        return lr * max((warmup / i) ** a.get("exp_factor", 0.5), ratio)
    cycle = a.get("cycle_length", 1.0)
    if name == "cosine":
        sign = -1 if i // (steps * cycle) % 2 == 1 else 1
        wave = sign * math.cos(math.pi * r ** a.get("cosine_theta", 1.0) / cycle)
        return lr * (ratio + (1 - ratio) * (1 + wave) / 2)
    period = int(steps * cycle)
    end = period * (i // period + 1)
    decay = int(end * a.get("decay_fraction", 0.1))
    if i <= end - decay:
        return lr
    r = (i - (end - decay)) / decay
    return lr / (r / ratio + 1 - r)


def lingua_settings(name, rng, steps):
    args = {"lr": 10 ** rng.uniform(-5, -2)} if rng.random() < 0.8 else {}
    if name != "constant":
        lowest = 1 if name == "inv_sqrt" else 0
        args["warmup"] = rng.choice([lowest, 1, rng.randint(2, steps // 3)])
        if rng.random() < 0.7:
            args["lr_min_ratio"] = rng.uniform(0.01, 1) if name == "wsd" else rng.choice([0.0, rng.random()])
    if name == "inv_sqrt" and rng.random() < 0.6:
        args["exp_factor"] = rng.uniform(0.2, 2)
    if name in ("cosine", "wsd") and rng.random() < 0.6:
        args["cycle_length"] = rng.choice([0.5, 0.25, 0.2, 0.1, 1 / 3, 1e18, rng.uniform(0.1, 2)])
    if name == "cosine" and rng.random() < 0.6:
        args["cosine_theta"] = rng.uniform(0.5, 3)
    if name == "wsd" and (rng.random() < 0.6 or args.get("cycle_length") == 0.1):
        args["decay_fraction"] = min(1.0, args.get("cycle_length", 1.0)) * rng.uniform(0, 0.99)
    if name == "wsd" and args.get("cycle_length", 1.0) <= args.get("decay_fraction", 0.1):
        args["decay_fraction"] = args["cycle_length"] / 2
    return args, [lingua(i, name, args, steps) for i in range(steps)]


def nanochat(i, a, steps):
    """karpathy/nanochat, scripts/base_train.py at 92d63d4e (July 2026), get_lr_multiplier."""
    lr, warmup, total = a["lr"], a.get("warmup_steps", 40), a.get("num_iterations", steps)
    down = round(a.get("warmdown_ratio", 0.65) * total)
    if i < warmup:
        return lr * (i + 1) / warmup
    if i <= total - down:
        return lr
    left = (total - i) / down
    return lr * (left + (1 - left) * a.get("final_lr_frac", 0.05))


def nanochat_settings(rng, steps):
    args = {"lr": 10 ** rng.uniform(-5, -2)}
    if rng.random() < 0.3:
        args["num_iterations"] = rng.randint(steps, 2 * steps)
    total = args.get("num_iterations", steps)
    if total < 40 or rng.random() < 0.8:
        args["warmup_steps"] = rng.choice([0, 1, rng.randint(2, total)])
    if rng.random() < 0.7:
        args["warmdown_ratio"] = rng.choice([0.0, 1.0, rng.random()])
    if rng.random() < 0.7:
        args["final_lr_frac"] = rng.choice([0.0, rng.random()])
    return args, [nanochat(i, args, steps) for i in range(steps)]


def litgpt(i, a, steps):
    """Lightning-AI/litgpt, litgpt/pretrain.py at 26857050 (June 2026), get_lr; called for each micro-batch."""
    devices = a["devices"] * a.get("num_nodes", 1)
    each = a.get("global_batch_size", 512) // devices // a.get("micro_batch_size", 4)
    lr, low = a["learning_rate"], a.get("min_lr", 4e-5)
    it, total = i * each + each - 1, steps * each  # that of the last before the update
    warmup = min(total, a.get("lr_warmup_steps", 2000) * each)
    if it < warmup:
        return lr * it / warmup
    return low + (1 + math.cos(math.pi * (it - warmup) / (total - warmup))) / 2 * (lr - low)


def litgpt_settings(rng, steps):
    lr = 10 ** rng.uniform(-4.3, -2)
    args = {"learning_rate": lr, "lr_warmup_steps": rng.choice([0, 1, rng.randint(2, steps // 2)]), "devices": 1}
    if rng.random() < 0.7:
        args["min_lr"] = lr * rng.choice([0.0, rng.random()])
    if rng.random() < 0.7:
        args["micro_batch_size"] = rng.choice([1, 2, 7, 16])
        args["global_batch_size"] = rng.randint(16, 300)
    elif rng.random() < 0.5:
        args |= {"devices": rng.choice([2, 8]), "num_nodes": rng.randint(1, 3)}
    return args, [litgpt(i, args, steps) for i in range(steps)]


LINGUA = ["constant", "linear", "inv_sqrt", "cosine", "wsd"]
