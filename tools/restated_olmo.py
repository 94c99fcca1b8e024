"""The learning rates of OLMo-core, re-stated from its source; part of restated_schedules.py."""

import math
from functools import partial


def down(r):
    """Half a cosine, from 1 at r = 0 to 0 at r = 1."""
    return 0.5 * (1 + math.cos(math.pi * r))


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


def overridden(i, name, a, steps):
    """With the `override_decay` that the schedulers which are lists may have."""
    decay, rate = a.get("override_decay"), olmo_sequential if name == "sequential" else partial(olmo, name=name)
    if decay is None or i + 1 < decay["start"]:
        return rate(i, a=a, steps=steps)
    start, r = rate(decay["start"] - 1, a=a, steps=steps), (i + 1 - decay["start"]) / decay["duration"]
    end = decay.get("end_lr", a["lr"] * decay.get("end_lr_fraction", 0.0))
    if r >= 1:
        return end
    return end + (start - end) * (down(r) if decay.get("shape") == "cosine" else 1 - r)


def olmo_sequential(i, a, steps):
    current, lr = i + 1, a["lr"]
    for number, entry in enumerate(a["schedulers"]):
        rate = partial(overridden, name=entry["style"].removeprefix("olmo:"), a=entry | {"lr": lr})
        if number == len(a["schedulers"]) - 1:
            return rate(current - 1, steps=steps)
        length = a["schedulers_max"][number]
        if current <= length:
            return rate(current - 1, steps=min(steps, length))
        lr = rate(length - 1, steps=length)
        current, steps = current - length, steps - length


OLMO = [
    "constant", "constant_with_warmup", "wsd", "power_lr", "linear_with_warmup", "inv_sqrt_with_warmup",
    "cos_with_warmup", "half_cos_with_warmup", "cos_with_warmup_and_linear_decay", "composable", "wsds",
    "exponential", "sequential",
]  # fmt: skip


def olmo_override(rng, lr, steps):
    if rng.random() < 0.6:
        return {}
    decay = {"start": rng.randint(1, steps), "duration": rng.randint(1, steps)}
    if rng.random() < 0.7:
        decay["shape"] = rng.choice(["linear", "cosine"])
    decay[rng.choice(["end_lr", "end_lr_fraction"])] = lr * rng.random()
    return {"override_decay": decay}


def olmo_sequential_settings(rng, steps):
    """Only the last may end at 0, from which OLMo-core's asserts let no scheduler start; none is shorter than 20 steps."""
    lr, count = 10 ** rng.uniform(-5, -2), rng.randint(1, min(4, steps // 20))
    lengths = [rng.randint(20, steps // count) for _ in range(count - 1)]
    entries = []
    for length in [*lengths, steps - sum(lengths)]:
        last = len(entries) == count - 1
        ends_at_0 = ("wsd", "power_lr", "cos_with_warmup_and_linear_decay", "wsds", "exponential", "sequential")
        name = rng.choice([name for name in OLMO if name not in ends_at_0 or last and name != "exponential"])
        own, _ = olmo_settings(name, rng, length)
        for absolute in ("lr", "warmup_min_lr", "decay_min_lr"):
            own.pop(absolute, None)
        entries.append({"style": f"olmo:{name}"} | own)
    longest = [rng.randint(1, steps)] if rng.random() < 0.3 else []  # of the last, which is ignored
    args = {"lr": lr, "schedulers": entries, "schedulers_max": lengths + longest} | olmo_override(rng, lr, steps)
    return args, [overridden(i, "sequential", args, steps) for i in range(steps)]


def olmo_settings(name, rng, steps):
    if name == "sequential":
        return olmo_sequential_settings(rng, steps)
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
    if name == "composable":
        args |= olmo_override(rng, lr, steps)
    return args, [overridden(i, name, args, steps) for i in range(steps)]
