"""Learning rates of PyTorch's schedulers, alone and in lists, with random settings; part of golden_schedules.py."""

import math

import torch
from torch.optim import lr_scheduler

SHORTEST = 20  # steps


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


def torch_args(name, rng, steps, lr):
    """A scheduler's own arguments, for an optimizer with this rate."""
    own = {}
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
        if rng.random() < 0.7:
            own["total_steps"] = rng.choice([steps, rng.randint(steps, 2 * steps)])
        else:
            own["epochs"] = rng.randint(1, 5)
            own["steps_per_epoch"] = rng.randint(math.ceil(steps / own["epochs"]), steps)
        own["three_phase"] = rng.random() < 0.3
        if rng.random() < 0.7:
            own["pct_start"] = rng.uniform(1.5 / SHORTEST, 0.45)
        if rng.random() < 0.5:
            own["anneal_strategy"] = rng.choice(["cos", "linear"])
        if rng.random() < 0.5:
            own["div_factor"], own["final_div_factor"] = rng.uniform(1.5, 50), rng.uniform(1.5, 1e4)
    return own


def torch_settings(name, rng, steps):
    lr = peak(rng)
    own = torch_args(name, rng, steps, lr)
    rates = run(steps, lr, lambda optimizer: getattr(lr_scheduler, name)(optimizer, **own))
    return own if name in SETS_OPTIMIZER else {"lr": lr} | own, rates


SETS_OPTIMIZER = ["CyclicLR", "OneCycleLR"]
TORCH_RECURSIVE = [
    "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR", "CosineAnnealingLR",
]  # fmt: skip
TORCH = ["CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"]
TORCH_LISTS = ["SequentialLR", "ChainedScheduler"]


def torch_list_settings(name, rng, steps):
    """Lists of schedulers; OneCycleLR can only be the first, as torch starts the others from what it overwrites."""
    lr, count = peak(rng), rng.randint(1, 4)
    milestones = sorted(rng.sample(range(1, steps + 10), count - 1)) if name == "SequentialLR" else []
    starts = [0, *milestones] if name == "SequentialLR" else [0] * count
    ends = [*milestones, steps] if name == "SequentialLR" else [steps] * count
    base, entries = lr, []
    for start, end in zip(starts, ends, strict=True):
        kind = rng.choice([name for name in TORCH + TORCH_RECURSIVE if name != "OneCycleLR" or not entries])
        own = torch_args(kind, rng, max(end - start, SHORTEST), base)
        if not entries and kind in SETS_OPTIMIZER:
            base = own["base_lr"] if kind == "CyclicLR" else own["max_lr"] / own.get("div_factor", 25.0)
        entries.append((kind, own))

    def build(optimizer):
        schedulers = [getattr(lr_scheduler, kind)(optimizer, **own) for kind, own in entries]
        if name == "SequentialLR":
            return lr_scheduler.SequentialLR(optimizer, schedulers, milestones=milestones)
        return lr_scheduler.ChainedScheduler(schedulers, optimizer=optimizer)

    args = {} if entries[0][0] in SETS_OPTIMIZER else {"lr": lr}
    args |= {"milestones": milestones} if name == "SequentialLR" else {}
    args["schedulers"] = [{"style": f"torch:{kind}"} | own for kind, own in entries]
    rates = run(steps, lr, build)
    # A cosine with eta_min in a chain can lead below 0, which rewarm refuses.
    return (args, rates) if min(rates) >= 0 else torch_list_settings(name, rng, steps)
