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


def at_the_edge(rng, args, edges):
    """Half of the time, one or two of the arguments at an end of what they may be, or where something turns over."""
    if edges and rng.random() < 0.5:
        for key in rng.sample(sorted(edges), min(len(edges), rng.randint(1, 2))):
            args[key] = rng.choice(edges[key])
    return args


def torch_edges(name, rng, steps, lr):
    growth = [1.0, rng.uniform(1.001, 1.05)]
    low = {"eta_min": [0.0, -0.0, lr, lr * 1e-9]}
    return {
        "StepLR": {"step_size": [1, steps, 2 * steps], "gamma": growth},
        "MultiStepLR": {"milestones": [[0], [0, 0, 3], [5, 5, 5], [steps]], "gamma": growth},
        "ExponentialLR": {"gamma": growth},
        "ConstantLR": {"factor": [1.0, 1e-9], "total_iters": [1, steps]},
        "LinearLR": {"start_factor": [1.0, 1e-9], "end_factor": [0.0, -0.0, 1.0], "total_iters": [1, steps]},
        "PolynomialLR": {"power": [1.0, 1e-3, 20.0], "total_iters": [1, steps]},
        "CosineAnnealingLR": {"T_max": [1, 2, steps - 1]} | low,
        "CosineAnnealingWarmRestarts": {"T_0": [1, 2], "T_mult": [1, 2]} | low,
        "CyclicLR": {"base_lr": [0.0, -0.0, lr], "step_size_up": [1], "step_size_down": [1]},
        "OneCycleLR": {"div_factor": [1.0, 0.5], "final_div_factor": [1.0, 0.5], "three_phase": [True]},
    }[name]


def torch_args(name, rng, steps, lr):
    """A scheduler's own arguments, for an optimizer with this rate."""
    return at_the_edge(rng, ordinary_args(name, rng, steps, lr), torch_edges(name, rng, steps, lr))


def ordinary_args(name, rng, steps, lr):
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
    # A cosine with eta_min in a chain can lead below 0, which rewarm refuses, but for what is rounding.
    if min(rates) < -1e-15 * base or max(rates) == 0:
        return torch_list_settings(name, rng, steps)
    return args, [max(rate, 0.0) for rate in rates]
