#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.6", "transformers>=5", "numpy"]
# ///
"""Write the checkpoints of tests/checkpoint/neox as GPT-NeoX and DeepSpeed write theirs, and five steps on from each.

    uv run tools/neox_checkpoints.py [--out tests/checkpoint/neox]

Flat groups are cut as DeeperSpeed 0.3.15 (v1: intervals of communication) and DeepSpeed 0.8 to 0.16 (v2) do, and what is
saved are the same views of larger storages, classes included. Every value is a function of its tensor and its index, which
the test computes again; `steps.json` holds the losses, norms and final weights of PyTorch's AdamW from there. `pickles` has Hugging Face directories
with pytorch_model.bin: one file, shards, views of other storages, the format before PyTorch 1.6, and one that calls something.
"""

import argparse
import dataclasses
import enum
import json
import math
import os
import random
import shutil
import sys
import types
from collections import OrderedDict
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import torch.nn.functional as F
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

LR, DECAY, CLIP, STEPS, BATCH, TIME = 1e-3, 0.1, 1.0, 5, 2, 12
GLOBAL_STEPS, SKIPPED = 37, 2
WEIGHT, FIRST, SECOND = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    layers: int
    hidden: int
    inner: int
    heads: int
    vocab: int
    layout: str  # v1, v2, bf16, whole
    data_ranks: int = 1
    model_ranks: int = 1
    max_elements: int = 500_000_000  # per interval of communication
    parallel: bool = True
    lean: bool = False  # without states of random numbers

    @property
    def dtype(self):
        return torch.bfloat16 if self.layout == "bf16" else torch.float16


CASES = [
    Case("v1", 1, 16, 64, 2, 48, "v1", data_ranks=2),
    Case("v1_intervals_mp2", 2, 16, 32, 2, 64, "v1", data_ranks=3, model_ranks=2, max_elements=1000, lean=True),
    Case("v2", 1, 32, 64, 4, 32, "v2", data_ranks=2),
    Case("bf16_mp2", 1, 16, 64, 2, 48, "bf16", data_ranks=2, model_ranks=2, parallel=False, lean=True),
    Case("whole", 1, 16, 64, 2, 48, "whole", lean=True),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/checkpoint/neox"))
    out = parser.parse_args().out
    torch.manual_seed(1)
    torch.set_num_threads(1)
    stand_in_for_deepspeed()
    for case in CASES:
        folder = out / case.name
        shutil.rmtree(folder, ignore_errors=True)
        step = folder / f"global_step{GLOBAL_STEPS}"
        step.mkdir(parents=True)
        (folder / "latest").write_text(step.name)
        (folder / "like").mkdir()
        (folder / "like" / "config.json").write_text(json.dumps(config(case), indent=2) + "\n")
        for rank in range(case.model_ranks):
            write_rank(case, step, rank)
        (folder / "steps.json").write_text(json.dumps(five_steps(case)) + "\n")
    write_pickles(CASES[0], out / "pickles")
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"{total:,} bytes")
    assert total < 1_000_000


# -------------------------------------------------------------------------------------------------- values


def hashed(index, tensor, kind):
    """32 bits for each element, in u32 arithmetic that wraps."""
    u = (index * 2654435761 + tensor * 40503 + kind * 97 + 12345).astype(np.uint32)
    u ^= u >> np.uint32(15)
    u = (u * np.uint32(0x2C1B3C6D)).astype(np.uint32)
    u ^= u >> np.uint32(12)
    u = (u * np.uint32(0x297A2D39)).astype(np.uint32)
    return u ^ (u >> np.uint32(15))


def value(case, name, part, rank=0):
    """A whole tensor under its name in Hugging Face; `rank` alone tells biases of ranks apart, which are added up."""
    shape = shapes(case)[name]
    index = np.arange(math.prod(shape), dtype=np.uint64)
    number = list(shapes(case)).index(name)
    x = (hashed(index, number, part + 16 * rank) >> np.uint32(8)).astype(np.float64) / 2**24 - 0.5
    if part == FIRST:
        x = x / 2**10
    elif part == SECOND:
        x = (x + 0.5) / 2**20
    elif "norm.weight" in name:
        x = 1 + x / 2
    elif len(shape) == 1:
        x = x / 8
    return torch.from_numpy(x.astype(np.float32)).reshape(shape)


def shapes(case):
    """Of the whole model, by Hugging Face's names, in this order."""
    h, f, v = case.hidden, case.inner, case.vocab
    out = {"gpt_neox.embed_in.weight": (v, h)}
    for i in range(case.layers):
        p = f"gpt_neox.layers.{i}."
        out |= {
            p + "input_layernorm.weight": (h,), p + "input_layernorm.bias": (h,),
            p + "attention.query_key_value.weight": (3 * h, h), p + "attention.query_key_value.bias": (3 * h,),
            p + "attention.dense.weight": (h, h), p + "attention.dense.bias": (h,),
            p + "post_attention_layernorm.weight": (h,), p + "post_attention_layernorm.bias": (h,),
            p + "mlp.dense_h_to_4h.weight": (f, h), p + "mlp.dense_h_to_4h.bias": (f,),
            p + "mlp.dense_4h_to_h.weight": (h, f), p + "mlp.dense_4h_to_h.bias": (h,),
        }
    out |= {"gpt_neox.final_layer_norm.weight": (h,), "gpt_neox.final_layer_norm.bias": (h,)}
    return out | {"embed_out.weight": (v, h)}


def neox_name(case, name):
    """The place in the sequence of modules, and the name in it."""
    if name == "gpt_neox.embed_in.weight":
        return 0, "word_embeddings.weight"
    if name.startswith("gpt_neox.final_layer_norm"):
        return case.layers + 3, name.replace("gpt_neox.final_layer_norm", "norm")
    if name == "embed_out.weight":
        return case.layers + 4, "final_linear.weight"
    layer, leaf = name.removeprefix("gpt_neox.layers.").split(".", 1)
    return int(layer) + 2, leaf


def of_rank(case, name, part, rank):
    """What a rank of model parallelism holds."""
    summed = name.endswith(("attention.dense.bias", "dense_4h_to_h.bias"))
    if case.model_ranks > 1 and summed and case.parallel and part == WEIGHT:
        return value(case, name, part, rank)
    whole = value(case, name, part)
    if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
        return whole.chunk(case.model_ranks, 1)[rank].contiguous()
    if summed or "norm" in name:
        return whole
    return whole.chunk(case.model_ranks, 0)[rank].contiguous()


def merged(case, name, part):
    summed = name.endswith(("attention.dense.bias", "dense_4h_to_h.bias"))
    if case.model_ranks > 1 and summed and case.parallel and part == WEIGHT:
        return value(case, name, part, 0) + value(case, name, part, 1)
    return value(case, name, part)


# -------------------------------------------------------------------------------------------------- files


def stand_in_for_deepspeed():
    """Classes that pickles of DeepSpeed name, in modules of those names."""

    def module(name, **classes):
        made = sys.modules.setdefault(name, types.ModuleType(name))
        for key, value in classes.items():
            value.__module__, value.__qualname__ = name, key
            setattr(made, key, value)

    class DynamicLossScaler:
        def __init__(self):
            self.cur_scale, self.cur_iter, self.last_overflow_iter = 4096.0, GLOBAL_STEPS, 3

    class ZeroStageEnum(int, enum.Enum):
        disabled, optimizer_states = 0, 1

    @dataclasses.dataclass
    class fragment_address:
        numel: int
        start: int

    for name in ["deepspeed", "deepspeed.runtime", "deepspeed.runtime.fp16", "deepspeed.runtime.zero", "deepspeed.utils"]:
        module(name)
    module("deepspeed.runtime.fp16.loss_scaler", DynamicLossScaler=DynamicLossScaler)
    module("deepspeed.runtime.zero.config", ZeroStageEnum=ZeroStageEnum)
    module("deepspeed.utils.tensor_fragment", fragment_address=fragment_address)


def class_of(module, name):
    return getattr(sys.modules[module], name)


def write_rank(case, step, rank):
    modules = OrderedDict()
    for name in shapes(case):
        place, leaf = neox_name(case, name)
        modules.setdefault(place, OrderedDict())[leaf] = of_rank(case, name, WEIGHT, rank).to(case.dtype)
        if leaf == "attention.query_key_value.bias":
            modules[place]["attention.rotary_emb.inv_freq"] = torch.ones(2, dtype=case.dtype)
    state = counters(case)
    groups = [[n for n in shapes(case) if (len(shapes(case)[n]) > 1) == matrices] for matrices in (True, False)]
    if case.layout == "whole":
        flat = torch.cat([w.flatten() for m in modules.values() for w in m.values()])
        state["module"], at = OrderedDict(), 0
        for place, module in modules.items():
            for leaf, weight in module.items():
                state["module"][f"sequential.{place}.{leaf}"] = flat[at:at + weight.numel()].view(weight.shape)
                at += weight.numel()
        state["optimizer"] = whole_optimizer(case, groups, rank)
    else:
        for place, module in modules.items():
            torch.save(module, step / f"layer_{place:02d}-model_{rank:02d}-model_states.pt")
    sizes = [OrderedDict((".".join(map(str, neox_name(case, n))), of_rank(case, n, WEIGHT, rank).shape) for n in group)
             for group in groups]
    if case.layout in ("v2", "bf16"):
        state |= {"param_shapes": sizes, "buffer_names": ["2.attention.rotary_emb.inv_freq"], "ds_version": "0.8.3",
                  "ds_config": {"train_batch_size": 64, "fp16": {"enabled": case.layout == "v2"}}, "data_sampler": None}
    torch.save(state, step / f"mp_rank_{rank:02d}_model_states.pt")
    for piece in range(case.data_ranks if case.layout != "whole" else 0):
        prefix = "bf16_" if case.layout == "bf16" else ""
        # Both groups in the order of the model, as NeoX 1 has it.
        in_order = OrderedDict((".".join(map(str, neox_name(case, n))), of_rank(case, n, WEIGHT, rank).shape)
                               for n in shapes(case))
        shard = v1_shard(case, groups, rank, piece, in_order) if case.layout == "v1" else v2_shard(case, groups, rank, piece)
        torch.save(shard, step / f"{prefix}zero_pp_rank_{piece}_mp_rank_{rank:02d}_optim_states.pt")


def counters(case):
    state = {
        "module": None, "optimizer": None, "csr_tensor_module_names": set(), "skipped_steps": SKIPPED,
        "global_steps": GLOBAL_STEPS, "global_samples": GLOBAL_STEPS * 64, "dp_world_size": case.data_ranks,
        "mp_world_size": case.model_ranks, "iteration": GLOBAL_STEPS,
        "lr_scheduler": {"start_lr": 1e-3, "warmup_iter": 10.0, "num_iters": GLOBAL_STEPS - SKIPPED, "decay_style": "cosine",
                         "end_iter": 1000, "min_lr": 1e-4},
        "args": {"num_layers": case.layers, "hidden_size": case.hidden, "tokenizer_type": "HFTokenizer"},
    }
    if not case.lean:
        state |= {"random_rng_state": random.Random(1).getstate(), "np_rng_state": np.random.RandomState(1).get_state(),
                  "torch_rng_state": torch.get_rng_state(), "cuda_rng_state": torch.zeros(16, dtype=torch.uint8),
                  "rng_tracker_states": {"model-parallel-rng": torch.zeros(16, dtype=torch.uint8)}}
    return state


def flat_group(case, group, part, rank):
    return torch.cat([of_rank(case, name, part, rank).flatten() for name in group])


def v1_shard(case, groups, rank, piece, in_order):
    """DeeperSpeed 0.3.15, stage1.py: sub-partition `piece` of each interval, without the padding."""
    masters, moments, intervals = [], [], []
    for group in groups:
        parts = []
        for part in (WEIGHT, FIRST, SECOND):
            flat = flat_group(case, group, part, rank)
            count, size = sub_partitions(flat.numel(), case)
            padded = torch.cat([flat, torch.zeros(count * size * case.data_ranks - flat.numel())])
            lean = []
            for interval in range(count):
                start = (interval * case.data_ranks + piece) * size
                own = padded[start:start + size].clone().requires_grad_(part == WEIGHT)
                lean.append(own[:size - min(size, max(0, start + size - flat.numel()))])
            parts.append(lean)
        intervals.append(count)
        masters.append(parts[0])
        moments.append([{"exp_avg": m, "exp_avg_sq": v} for m, v in zip(parts[1], parts[2])])
    return {
        "optimizer_state_dict": {
            "loss_scaler": class_of("deepspeed.runtime.fp16.loss_scaler", "DynamicLossScaler")(),
            "dynamic_loss_scale": True, "overflow": False, "base_optimizer_state": moments, "zero_stage": 1,
            "partition_count": case.data_ranks, "num_comm_intervals_per_group": intervals,
            "local_sub_partitions_of_fp32_groups": masters,
        },
        "param_shapes": in_order,
    }


def sub_partitions(elements, case):
    """How many intervals, and elements of one rank in one."""
    ranks, most = case.data_ranks, case.max_elements
    fewest = elements // most
    if fewest > 0:
        padding = math.ceil(elements / (ranks * fewest))
        if most * math.ceil(elements / most) - elements > padding:
            most += padding
    by_parameters, by_communication = math.ceil(elements / ranks), most // ranks
    if by_parameters <= by_communication:
        return 1, by_parameters
    return math.ceil(by_parameters / by_communication), by_communication


def v2_shard(case, groups, rank, piece):
    """DeepSpeed's stage_1_and_2.py: one partition, whose masters alone lose the padding; BF16_Optimizer keeps it."""
    masters, state, paddings, slices = [], {}, [], []
    for number, group in enumerate(groups):
        parts = []
        for part in (WEIGHT, FIRST, SECOND):
            flat = flat_group(case, group, part, rank)
            padding = -flat.numel() % (2 * case.data_ranks)
            padded = torch.cat([flat, torch.zeros(padding)])
            parts.append(padded.chunk(case.data_ranks)[piece].clone())
        own = padding if piece == case.data_ranks - 1 else 0
        paddings.append(own)
        masters.append(parts[0][:parts[0].numel() - (own if case.layout == "v2" else 0)].requires_grad_())
        state[number] = {"step": GLOBAL_STEPS - SKIPPED + 1, "exp_avg": parts[1], "exp_avg_sq": parts[2]}
        address = class_of("deepspeed.utils.tensor_fragment", "fragment_address")
        slices.append(OrderedDict({"0.word_embeddings.weight": address(numel=4, start=0)}))
    settings = {"lr": 0.00075, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": DECAY, "params": [0]}
    optimizer = {
        "base_optimizer_state": {"state": state, "param_groups": [settings, settings | {"weight_decay": 0.0, "params": [1]}]},
        "single_partition_of_fp32_groups": masters, "group_paddings": paddings, "clip_grad": CLIP,
        "partition_count": [case.data_ranks] * 2, "ds_version": "0.8.3", "param_slice_mappings": slices,
    }
    if case.layout == "v2":
        stage = class_of("deepspeed.runtime.zero.config", "ZeroStageEnum")
        optimizer |= {"loss_scaler": class_of("deepspeed.runtime.fp16.loss_scaler", "DynamicLossScaler")(),
                      "dynamic_loss_scale": True, "overflow": False, "zero_stage": stage(1)}
    return {"optimizer_state_dict": optimizer, "ds_config": {}, "ds_version": "0.8.3"}


def whole_optimizer(case, groups, rank):
    """FP16_Optimizer of stage 0, over apex's Adam, which counts steps in its settings."""
    flats = [[flat_group(case, group, part, rank) for part in (WEIGHT, FIRST, SECOND)] for group in groups]
    settings = {"lr": 0.0005, "betas": (0.9, 0.95), "eps": 1e-8, "step": GLOBAL_STEPS - SKIPPED + 1}
    return {
        "dynamic_loss_scale": True, "cur_scale": 4096.0, "cur_iter": GLOBAL_STEPS, "last_overflow_iter": 3, "scale_factor": 2.0,
        "scale_window": 1000, "clip_grad": CLIP,
        "optimizer_state_dict": {"state": {g: {"exp_avg": m, "exp_avg_sq": v} for g, (_, m, v) in enumerate(flats)},
                                 "param_groups": [settings | {"params": [g]} for g in range(2)]},
        "fp32_groups_flat": [w.requires_grad_() for w, _, _ in flats],
    }


# -------------------------------------------------------------------------------------------------- pytorch_model.bin


class Calls:
    def __reduce__(self):
        return os.system, ("touch called",)


def write_pickles(case, out):
    shutil.rmtree(out, ignore_errors=True)
    weights = OrderedDict((name, value(case, name, WEIGHT).half()) for name in shapes(case))
    with_buffers = OrderedDict(weights)
    with_buffers["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
    with_buffers["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e9)
    with_buffers._metadata = OrderedDict({"": {"version": 1}})
    # A transposed view, a column of a wider matrix, every other row, and a parameter.
    views = OrderedDict((name, w.float()) for name, w in weights.items())
    qkv, dense, up = (f"gpt_neox.layers.0.{n}.weight" for n in ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h"))
    views[qkv] = views[qkv].t().contiguous().t()
    views[dense] = torch.cat([torch.zeros(16, 3), views[dense], torch.zeros(16, 2)], 1)[:, 3:-2]
    views[up] = torch.nn.Parameter(torch.stack([views[up], torch.zeros_like(views[up])], 1).flatten(0, 1)[::2])
    names = list(weights)
    halves = [OrderedDict((n, weights[n]) for n in part) for part in (names[:6], names[6:])]
    shards = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    index = {"metadata": {"total_size": 0}, "weight_map": {n: f for f, part in zip(shards, halves) for n in part}}
    for name, files in {
        "single": {"pytorch_model.bin": with_buffers}, "views": {"pytorch_model.bin": views},
        "calls": {"pytorch_model.bin": OrderedDict(weights, call=Calls())}, "old": {}, "sharded": dict(zip(shards, halves)),
    }.items():
        folder = out / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config(case), indent=2) + "\n")
        for file, saved in files.items():
            torch.save(saved, folder / file)
    torch.save(OrderedDict(a=torch.ones(2)), out / "old" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (out / "sharded" / "pytorch_model.bin.index.json").write_text(json.dumps(index) + "\n")


# -------------------------------------------------------------------------------------------------- five steps


def config(case):
    return {
        "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_size": case.hidden,
        "intermediate_size": case.inner, "num_hidden_layers": case.layers, "num_attention_heads": case.heads,
        "vocab_size": case.vocab, "max_position_embeddings": 32, "rotary_pct": 0.25, "rotary_emb_base": 10000,
        "hidden_act": "gelu", "use_parallel_residual": case.parallel, "tie_word_embeddings": False, "bos_token_id": 0,
        "eos_token_id": 0,
    }


def five_steps(case):
    settings = {k: v for k, v in config(case).items() if k not in ("architectures", "model_type", "rotary_pct",
                                                                   "rotary_emb_base")}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**settings, rope_parameters=rope)).float()
    named = {n.replace("lm_head.", "embed_out."): p for n, p in model.named_parameters()}
    assert set(named) == set(shapes(case))
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(merged(case, name, WEIGHT))
    groups = [{"params": [p for p in named.values() if (p.dim() > 1) == decays], "weight_decay": DECAY if decays else 0.0}
              for decays in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8)
    applied = GLOBAL_STEPS - SKIPPED + (case.layout != "v1")
    for name, parameter in named.items():
        optimizer.state[parameter] = {"step": torch.tensor(float(applied)), "exp_avg": merged(case, name, FIRST).clone(),
                                      "exp_avg_sq": merged(case, name, SECOND).clone()}
    losses, norms = [], []
    for step in range(STEPS):
        index = np.arange(BATCH * (TIME + 1), dtype=np.uint64) + step * 1000
        rows = torch.from_numpy((hashed(index, 999, 7) % case.vocab).astype(np.int64)).reshape(BATCH, TIME + 1)
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.reshape(-1, case.vocab), rows[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)))
        optimizer.step()
        losses.append(float(loss.detach()))
    lengths = {name: float(p.detach().double().norm()) for name, p in named.items()}
    probes = {name: [float(x) for x in p.detach().flatten()[:8]] for name, p in named.items()}
    return {"applied": applied, "lr": LR, "losses": losses, "norms": norms, "lengths": lengths, "first": probes}


if __name__ == "__main__":
    main()
