"""Learning rates of optax's schedules, alone and joined, with random settings; part of golden_schedules.py."""

import jax
import optax
from golden_torch import SHORTEST, at_the_edge, peak

LONGEST = 300  # steps


def optax_cycle(rng, steps, prefix=""):
    top = peak(rng)
    args = {f"{prefix}init_value": top * rng.random(), "peak_value": top}
    args["warmup_steps"] = rng.choice([0, 1, rng.randint(2, steps // 3)])
    return args


def optax_args(name, rng, steps):
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
    return at_the_edge(rng, args, optax_edges(name, rng, steps, top))


def optax_edges(name, rng, steps, top):
    """Rates at 0 and on both sides of each other, growth and decay, lengths of 1 and behind the run, late beginnings."""
    rates = [0.0, -0.0, top, top * rng.uniform(0.1, 3)]
    begin = {"transition_begin": [0, 1, steps - 1]}
    lengths = {"transition_steps": [1, 2, 3 * steps]} | begin
    decay = lengths | {"decay_rate": [1.0, 1e-3, rng.uniform(1.001, 3)], "end_value": rates, "staircase": [True]}
    line = {"init_value": rates, "end_value": rates} | lengths
    marks = [{1: 0.5}, {3: 0.0}, {4: 2.5, 9: 0.1}, {steps - 1: 1.0}]
    cycle = {"init_value": rates, "warmup_steps": [1]}
    return {
        "linear_schedule": line,
        "polynomial_schedule": line | {"power": [1.0, 1e-3, 20.0]},
        "piecewise_constant_schedule": {"boundaries_and_scales": [*marks, {0: 0.5, 2: 3.0}]},
        "piecewise_interpolate_schedule": {"boundaries_and_scales": marks},
        "exponential_decay": decay,
        "cosine_decay_schedule": {"decay_steps": [1, 2], "alpha": [0.0, -0.0, 1.0], "exponent": [1e-3, 20.0]},
        "linear_onecycle_schedule": {"div_factor": [1.0, 0.5], "final_div_factor": [1.0, 0.5]},
        "cosine_onecycle_schedule": {"div_factor": [1.0, 0.5], "final_div_factor": [1.0, 0.5]},
        "warmup_constant_schedule": cycle,
        "warmup_cosine_decay_schedule": cycle | {"end_value": [0.0, -0.0, 1e-9 * top]},
        "warmup_exponential_decay_schedule": {"init_value": rates, "warmup_steps": [0, 1]} | decay,
    }.get(name, {})


def rates_of(schedule, steps, staircase):
    if staircase:
        # XLA multiplies an array by 1/98 where optax divides by 98, and a stair begins a step late.
        return [float(schedule(i)) for i in range(steps)]
    rates = jax.vmap(lambda i: schedule(i) * 1.0)(jax.numpy.arange(LONGEST))  # one shape: compiled once
    return rates[:steps].tolist()


def optax_settings(name, rng, steps):
    while True:
        args = optax_args(name, rng, steps)
        rates = rates_of(getattr(optax, name)(**args), steps, args.get("staircase"))
        if max(rates) > 0:
            return args, rates


def optax_join(rng, steps, kinds):
    """Arguments of join_schedules, the schedule, and whether any part has stairs."""
    count = rng.randint(1, 4)
    boundaries = sorted(rng.sample(range(1, steps + 10), count - 1))
    entries, schedules, stairs = [], [], []
    for start, end in zip([0, *boundaries], [*boundaries, steps], strict=True):
        kind, length = rng.choice(kinds), max(end - start, SHORTEST)
        if kind == "join_schedules":
            own, schedule, staircase = optax_join(rng, length, OPTAX)
        else:
            own = optax_args(kind, rng, length)
            schedule, staircase = getattr(optax, kind)(**own), own.get("staircase")
        entries.append({"style": f"optax:{kind}"} | own)
        schedules.append(schedule)
        stairs.append(staircase)
    args = {"boundaries": boundaries, "schedules": entries}
    return args, optax.join_schedules(schedules, boundaries), any(stairs)


def optax_join_settings(rng, steps):
    while True:
        args, schedule, staircase = optax_join(rng, steps, [*OPTAX, "join_schedules"])
        rates = rates_of(schedule, steps, staircase)
        if max(rates) > 0:
            return args, rates


OPTAX = [
    "constant_schedule", "linear_schedule", "polynomial_schedule", "piecewise_constant_schedule",
    "piecewise_interpolate_schedule", "exponential_decay", "cosine_decay_schedule", "linear_onecycle_schedule",
    "cosine_onecycle_schedule", "warmup_constant_schedule", "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule", "sgdr_schedule",
]  # fmt: skip
