"""Learning rates of the schedules that look at the loss, fed with random losses; part of golden_schedules.py."""

from functools import partial

import jax
import optax
import torch
import transformers
from golden_optax import LONGEST, optax_settings
from golden_torch import peak
from torch.optim import lr_scheduler


def losses_of(rng, steps):
    """Falls, stands still, jumps up and repeats itself, with noise."""
    level, losses = rng.uniform(1, 10), []
    while len(losses) < steps:
        slope, noise = rng.choice([0, 0.99, 0.95, 1.01]), rng.choice([0, 1e-3, 0.1])
        for _ in range(rng.randint(1, 60)):
            level *= slope or 1
            losses.append(level * (1 + noise * rng.uniform(-1, 1)))
        level *= rng.choice([1, 1, 0.7, 1.5])
    return losses[:steps]


def rule(rng):
    """What all of them take."""
    args = {"patience": rng.choice([1, rng.randint(2, 8)])}
    if rng.random() < 0.8:
        args["factor"] = rng.uniform(0.1, 0.95)
    if rng.random() < 0.5:
        args["cooldown"] = rng.randint(0, 8)
    return args


def torch_rule(rng, lr):
    args = rule(rng)
    if rng.random() < 0.2:
        args["patience"] = 0
    if rng.random() < 0.5:
        args["threshold"] = rng.choice([0.0, 1e-3, rng.uniform(0, 0.1)])
    if rng.random() < 0.5:
        args["threshold_mode"] = rng.choice(["rel", "abs"])
    if rng.random() < 0.3:
        args["mode"] = rng.choice(["min", "max"])
    if rng.random() < 0.5:
        args["eps"] = lr * rng.choice([0, 1e-3, rng.uniform(0, 0.3)])
    return args


def fed(steps, lr, losses, build):
    """The rate of each update, of a torch-like scheduler that is fed the loss of the one before."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = build(optimizer), []
    for loss in losses[:steps]:
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step(loss)
    return rates


def plateau_settings(framework, rng, steps):
    lr, losses = peak(rng), losses_of(rng, steps)
    own = torch_rule(rng, lr)
    if rng.random() < 0.5:
        own["min_lr"] = lr * rng.choice([0.1, rng.random(), 2])  # torch leaves a rate below min_lr alone
    if framework == "hf":
        build = partial(transformers.get_scheduler, "reduce_lr_on_plateau", scheduler_specific_kwargs=own)
        return {"learning_rate": lr} | own, fed(steps, lr, losses, lambda optimizer: build(optimizer=optimizer)), losses
    return {"lr": lr} | own, fed(steps, lr, losses, partial(lr_scheduler.ReduceLROnPlateau, **own)), losses


def windowed_plateau_settings(rng, steps):
    """Half of torch's settings are fed the mean of every `window` losses, which is an argument of ours."""
    if rng.random() < 0.5:
        return plateau_settings("torch", rng, steps)
    lr, losses, window = peak(rng), losses_of(rng, steps), rng.randint(2, 6)
    own = torch_rule(rng, lr)
    means = [sum(losses[i : i + window]) / window for i in range(0, steps - window + 1, window)]
    stairs = fed(len(means) + 1, lr, [*means, 0.0], partial(lr_scheduler.ReduceLROnPlateau, **own))
    return {"lr": lr, "window": window} | own, [stairs[i // window] for i in range(steps)], losses


def greedy_settings(rng, steps):
    lr, losses = peak(rng), losses_of(rng, steps)
    own = torch_rule(rng, lr) | {"min_lr": lr * rng.choice([0.1, rng.random(), 2]), "max_lr": lr * rng.uniform(2, 4)}
    if rng.random() < 0.5:
        own["warmup"] = rng.randint(0, 8)
    if rng.random() < 0.6:
        own["smooth"] = True
        own["window_size"] = rng.randint(1, 20)
    if rng.random() < 0.7:
        own["reset_start"] = rng.randint(0, 6)
    build = partial(transformers.get_scheduler, "greedy", scheduler_specific_kwargs=own)
    return {"learning_rate": lr} | own, fed(steps, lr, losses, lambda optimizer: build(optimizer=optimizer)), losses


def optax_plateau_settings(rng, steps):
    losses, own = losses_of(rng, steps), rule(rng)
    if rng.random() < 0.5:
        own["rtol"] = rng.choice([1e-3, rng.uniform(0.001, 0.1)])
    if rng.random() < 0.5:
        own["atol"] = rng.uniform(0, 0.1)
    if rng.random() < 0.5:
        own["accumulation_size"] = rng.randint(1, 6)
    if rng.random() < 0.5:
        own["min_scale"] = rng.uniform(0, 0.5)
    transform = optax.contrib.reduce_on_plateau(**own)
    one = jax.numpy.ones((), jax.numpy.float64)

    def update(state, loss):
        _, state = transform.update(one, state, value=loss)
        return state, state.scale

    padded = jax.numpy.array(losses + [0.0] * (LONGEST - steps))  # one shape: compiled once
    scales = [1.0, *jax.lax.scan(update, transform.init(one), padded)[1].tolist()]
    if rng.random() < 0.5:
        lr = peak(rng)
        return {"learning_rate": lr} | own, [lr * scale for scale in scales[:steps]], losses
    kind = rng.choice(["cosine_decay_schedule", "exponential_decay", "warmup_cosine_decay_schedule"])
    schedule, rates = optax_settings(kind, rng, steps)
    rates = [rate * scale for rate, scale in zip(rates, scales, strict=False)]
    return {"learning_rate": {"style": f"optax:{kind}"} | schedule} | own, rates, losses


FEEDBACK = {
    "hf:reduce_lr_on_plateau": partial(plateau_settings, "hf"),
    "hf:greedy": greedy_settings,
    "torch:ReduceLROnPlateau": windowed_plateau_settings,
    "optax:contrib.reduce_on_plateau": optax_plateau_settings,
}
