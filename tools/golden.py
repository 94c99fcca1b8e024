#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.6", "transformers>=5", "safetensors>=0.5", "numpy"]
# ///
"""Make the reference tensors of tests/golden with PyTorch and transformers (f32, CPU).

    uv run tools/golden.py [--out tests/golden]

Writes one Hugging Face directory per case, each with a golden.safetensors beside the weights:

    tokens  i32 [B, T]      targets i32 [B, T]
    logits  f32 [B, T, V]   loss    f32 [1]      mean cross-entropy over all B*T targets (no shift)
    grad.<name> f32         gradient of that loss for every stored parameter, named as in model.safetensors

and training/, twenty AdamW steps from the model stored there:

    batches i32 [20, 8, 17] inputs [:, :-1], targets [:, 1:]; rows 0-1, 2-3, 4-5, 6-7 are the micro-batches
    losses, norms, lrs f32 [20]  loss over the global batch before the update, norm before clipping, rate used
    final.<name> f32        the weights after step 20

Every parameter is random, LayerNorm and biases included, and attention scores and logits have a standard
deviation of at least 1: zeros and tiny numbers would hide a wrong layout. Each case is computed a second time in
f64; how far f32 is from it (the noise no implementation in f32 can be blamed for) is recorded in the metadata.
"""

import argparse
import copy
import json
import math
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
from transformers.models.gpt_neox import modeling_gpt_neox

TOTAL_LIMIT = 3_000_000  # bytes of everything in tests/golden


@dataclass(frozen=True)
class Case:
    name: str
    layers: int
    heads: int
    head_size: int
    inner: int  # intermediate_size, 4d in Pythia
    vocab: int
    batch: int = 2
    time: int = 16
    parallel: bool = True
    rotary_pct: float = 0.25
    theta: float = 10000
    eps: float = 1e-5
    tied: bool = False
    bias: bool = True  # attention_bias
    act: str = "gelu"
    dtype: torch.dtype = torch.float32  # of the stored weights
    old_config: bool = False  # spelling of config.json as published with Pythia
    old_buffers: bool = False  # attention.bias and friends, which old files carry and readers must ignore
    shard_bytes: int | None = None

    @property
    def hidden(self):
        return self.heads * self.head_size


CASES = [
    # The published form: f16 weights, old spelling, buffers to ignore, two heads, rotary on 8 of 32.
    Case("pythia_f16", 2, 2, 32, 80, 96, time=24, dtype=torch.float16, old_config=True, old_buffers=True),
    # Sequential residual, tied output, half rotary.
    Case("sequential_tied", 2, 1, 32, 128, 101, time=17, parallel=False, tied=True, rotary_pct=0.5),
    # Nothing in attention has a bias; all of the head rotates; tanh GELU.
    Case("hd64_nobias_tanh", 1, 1, 64, 48, 97, time=12, rotary_pct=1.0, bias=False, act="gelu_new"),
    # The 2.8B head: 80 wide, 20 rotate; old spelling with another base, which a reader may not hard-code.
    Case("hd80_f16", 1, 1, 80, 48, 97, time=19, theta=500, dtype=torch.float16, old_config=True),
    # bf16 weights, head of 128, tied and parallel.
    Case("hd128_bf16_tied", 1, 1, 128, 32, 98, time=13, tied=True, dtype=torch.bfloat16),
    # Three shards; sequential and full rotary on two heads, another base in rope_parameters.
    Case("sharded", 1, 2, 32, 64, 104, time=21, parallel=False, rotary_pct=1.0, theta=2500, shard_bytes=80_000),
    # Three layers, sequential, no attention bias, tanh GELU under its other name, a large epsilon.
    Case("deep_eps", 3, 1, 32, 64, 127, time=15, parallel=False, rotary_pct=0.5, eps=0.02, bias=False,
         act="gelu_pytorch_tanh", old_config=True),
]

TRAINING = Case("training", 2, 2, 32, 48, 67, batch=8, time=16, rotary_pct=1.0)
STEPS, MICRO, WARMUP, PEAK, FLOOR = 20, 2, 5, 1e-2, 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/golden"))
    out = parser.parse_args().out
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    rows = [write_case(case, out / case.name, seed) for seed, case in enumerate(CASES, start=1)]
    rows.append(write_training(TRAINING, out / TRAINING.name))
    print_table(rows)
    total = tree_bytes(out)
    print(f"total {total:,} bytes (limit {TOTAL_LIMIT:,})")
    assert total < TOTAL_LIMIT


# ---------------------------------------------------------------------------------------------- models


def new_model(case):
    config = GPTNeoXConfig(
        vocab_size=case.vocab, hidden_size=case.hidden, num_hidden_layers=case.layers,
        num_attention_heads=case.heads, intermediate_size=case.inner, hidden_act=case.act,
        max_position_embeddings=32, layer_norm_eps=case.eps, use_parallel_residual=case.parallel,
        tie_word_embeddings=case.tied, attention_bias=case.bias, bos_token_id=0, eos_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": float(case.theta),
                         "partial_rotary_factor": case.rotary_pct},
    )
    config._attn_implementation = "eager"
    return GPTNeoXForCausalLM(config).float().eval()


@torch.no_grad()
def randomise(model, dtype):
    """Large random weights everywhere, rounded to what the file will store."""
    for name, parameter in named_parameters(model):
        fan_in = parameter.shape[-1]
        if "layernorm.weight" in name or "layer_norm.weight" in name:
            parameter.normal_(1.0, 0.3)
        elif parameter.dim() == 1:
            parameter.normal_(0.0, 0.3)
        elif "embed_in" in name and not model.config.tie_word_embeddings:
            parameter.normal_(0.0, 1.0)
        elif "embed_" in name:
            parameter.normal_(0.0, 1.5 / math.sqrt(fan_in))
        else:
            parameter.normal_(0.0, 1.3 / math.sqrt(fan_in))
        parameter.copy_(parameter.to(dtype))


def named_parameters(model):
    """Parameters under the names of the file: transformers 5 calls embed_out `lm_head` in memory."""
    return [(n.replace("lm_head.", "embed_out."), p) for n, p in model.named_parameters()]


def cross_entropy(model, tokens, targets):
    logits = model(input_ids=tokens.long(), use_cache=False).logits
    return logits, F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.long().reshape(-1))


@contextmanager
def recorded_scores():
    """Collects the scaled, rotated q.k of every layer at the positions causality keeps."""
    scores, original = [], modeling_gpt_neox.eager_attention_forward

    def record(module, query, key, value, mask, scaling, **rest):
        keep = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
        scores.append((query @ key.transpose(2, 3) * scaling)[..., keep].detach())
        return original(module, query, key, value, mask, scaling=scaling, **rest)

    with mock.patch.object(modeling_gpt_neox, "eager_attention_forward", record):
        yield scores


# ---------------------------------------------------------------------------------------------- one case


def write_case(case, folder, seed):
    torch.manual_seed(seed)
    model = new_model(case)
    randomise(model, case.dtype)
    tokens, targets = random_tokens(case)
    golden, score_stds = measure(model, tokens, targets)
    exact, _ = measure(copy.deepcopy(model).double(), tokens, targets)
    logits = golden["logits"]
    facts = {
        "score_std": [round(s, 3) for s in score_stds],
        "logit_std": round(float(logits.std()), 3),
        "logit_max": round(float(logits.abs().max()), 3),
        "noise_logits": float((logits - exact["logits"]).abs().max()),
        "noise_loss": float((golden["loss"] - exact["loss"]).abs()),
        "noise_grad": max(row_error(golden[k], exact[k]) for k in golden if k.startswith("grad.")),
    }
    assert min(score_stds) >= 1, facts
    assert 1 <= facts["logit_std"] <= 4, facts

    write_hf(model, case, folder)
    save_golden(folder, golden, facts | {"seed": seed})
    check_written(folder, case, golden)
    return case, facts, folder


def random_tokens(case):
    tokens = torch.randint(0, case.vocab, (case.batch, case.time))
    targets = torch.randint(0, case.vocab, (case.batch, case.time))
    tokens[0, :4] = torch.tensor([0, case.vocab - 1, 5, 5])  # both ends of the vocabulary, and repeats:
    tokens[1, -1] = 5  # embedding gradients must add up
    targets[1, :2] = torch.tensor([case.vocab - 1, 0])
    return tokens.int(), targets.int()


def measure(model, tokens, targets):
    with recorded_scores() as scores:
        logits, loss = cross_entropy(model, tokens, targets)
    loss.backward()
    golden = {"tokens": tokens, "targets": targets, "logits": logits.detach(), "loss": loss.detach()[None]}
    golden |= {f"grad.{n}": p.grad.clone() for n, p in named_parameters(model)}
    return golden, [float(s.std()) for s in scores]


def row_error(x, exact):
    return float((x - exact).norm() / exact.norm())


def save_golden(folder, tensors, facts):
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    # One JSON string: safetensors writes several keys in the order of a hash map, and the file should be reproducible.
    metadata = {"info": json.dumps(versions | facts, sort_keys=True)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "golden.safetensors", metadata)


def check_written(folder, case, golden):
    """What transformers reads back from the folder computes exactly the golden logits."""
    model, info = GPTNeoXForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    with torch.no_grad():
        logits, loss = cross_entropy(model.eval(), golden["tokens"], golden["targets"])
    assert torch.equal(logits, golden["logits"]) and torch.equal(loss[None], golden["loss"]), case.name
    stored = {k.removeprefix("grad.") for k in golden if k.startswith("grad.")}
    assert stored == {n for n, _ in named_parameters(model)}


# ---------------------------------------------------------------------------------------------- folders


def write_hf(model, case, folder):
    shutil.rmtree(folder, ignore_errors=True)
    stored = copy.deepcopy(model).to(case.dtype)
    stored.save_pretrained(folder, max_shard_size=case.shard_bytes or "5GB")
    assert (folder / "model.safetensors.index.json").exists() == (case.shard_bytes is not None)
    if case.old_config:
        write_old_config(model.config, case, folder)
    if case.old_buffers:
        add_old_buffers(case, folder / "model.safetensors")


def write_old_config(config, case, folder):
    """config.json field for field as Pythia's, published with transformers 4.24."""
    old = {
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": case.act,
        "hidden_size": case.hidden, "initializer_range": 0.02, "intermediate_size": case.inner,
        "layer_norm_eps": case.eps, "max_position_embeddings": config.max_position_embeddings,
        "model_type": "gpt_neox", "num_attention_heads": case.heads, "num_hidden_layers": case.layers,
        "rotary_emb_base": case.theta, "rotary_pct": case.rotary_pct, "tie_word_embeddings": case.tied,
        "torch_dtype": str(case.dtype).removeprefix("torch."), "transformers_version": "4.24.0", "use_cache": True,
        "use_parallel_residual": case.parallel, "vocab_size": case.vocab,
    }
    if not case.bias:
        old["attention_bias"] = False  # later than 4.24; the default is true
    (folder / "config.json").write_text(json.dumps(old, indent=2) + "\n")
    (folder / "generation_config.json").unlink()


def add_old_buffers(case, path):
    tensors, rotary = load_file(path), int(case.head_size * case.rotary_pct)
    inv_freq = 1.0 / case.theta ** (torch.arange(0, rotary, 2) / rotary)
    for i in range(case.layers):
        prefix = f"gpt_neox.layers.{i}.attention."
        tensors[prefix + "bias"] = torch.ones(32, 32, dtype=torch.uint8).tril()[None, None].contiguous()
        tensors[prefix + "masked_bias"] = torch.tensor(-1e9).half()  # overflows to -inf, as in the real files
        tensors[prefix + "rotary_emb.inv_freq"] = inv_freq.half()
    save_file(tensors, path, {"format": "pt"})


# ---------------------------------------------------------------------------------------------- training


def write_training(case, folder):
    torch.manual_seed(100)
    model = new_model(case)
    start_weights(model)
    batches = pattern_batches(case)
    start = copy.deepcopy(model)
    golden = train(model, batches)
    exact = train(copy.deepcopy(start).double(), batches)
    losses, norms = golden["losses"], golden["norms"]
    finals = [k for k in golden if k.startswith("final.")]
    facts = {
        "peak_lr": PEAK, "min_lr": PEAK * FLOOR, "warmup": WARMUP, "steps": STEPS, "micro_batches": 4,
        "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": "0.1 where dim >= 2, else 0", "clip": 1.0,
        "clip_rule": "scale = min(1, 1 / (norm + 1e-6))",
        "loss_first_last": [round(float(losses[i]), 4) for i in (0, -1)],
        "norm_min_max": [round(float(f(norms)), 4) for f in (torch.min, torch.max)],
        "clipped_steps": int((norms > 1).sum()),
        "noise_losses": float((losses - exact["losses"]).abs().max()),
        "noise_norms": float((norms - exact["norms"]).abs().max()),
        "noise_final_max": max(float((golden[k] - exact[k]).abs().max()) for k in finals),
        "noise_final_rel": max(row_error(golden[k], exact[k]) for k in finals),
        "change_final_rel": min(row_error(golden[f"final.{n}"], p.detach()) for n, p in named_parameters(start)),
    }
    assert losses[0] - losses[-1] >= 1, facts
    assert 0 < facts["clipped_steps"] < STEPS, facts

    write_hf(start, case, folder)
    save_golden(folder, golden, facts | {"seed": 100})
    return case, facts, folder


@torch.no_grad()
def start_weights(model):
    """Nearer to an initialisation than `randomise`, so that the loss starts near ln V; still nothing is zero."""
    for name, parameter in named_parameters(model):
        if parameter.dim() == 1:
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.1)
        else:
            parameter.normal_(0.0, 0.6 / math.sqrt(parameter.shape[-1]))


def pattern_batches(case):
    """x -> 3x + 5 modulo 31, one token in sixteen replaced by any of the vocabulary: learnable, not trivial."""
    rows = [torch.randint(0, 31, (STEPS, case.batch))]
    for _ in range(case.time):
        rows.append((3 * rows[-1] + 5) % 31)
    tokens = torch.stack(rows, dim=-1)
    noise = torch.rand(tokens.shape) < 1 / 16
    return torch.where(noise, torch.randint(0, case.vocab, tokens.shape), tokens).int()


def learning_rate(step):
    if step < WARMUP:
        return PEAK * step / WARMUP
    low = PEAK * FLOOR
    return low + 0.5 * (PEAK - low) * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def train(model, batches):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8, foreach=False, fused=False)
    losses, norms, lrs = [], [], [learning_rate(i) for i in range(STEPS)]
    for lr, batch in zip(lrs, batches):
        micro_losses = []
        for micro in batch.split(MICRO):
            _, loss = cross_entropy(model, micro[:, :-1], micro[:, 1:])
            (loss / (len(batch) // MICRO)).backward()
            micro_losses.append(loss.detach())
        losses.append(torch.stack(micro_losses).mean())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=False))
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    golden = {"batches": batches, "losses": torch.stack(losses), "norms": torch.stack(norms), "lrs": torch.tensor(lrs)}
    return golden | {f"final.{n}": p.detach().clone() for n, p in named_parameters(model)}


# ---------------------------------------------------------------------------------------------- report


def tree_bytes(folder):
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def print_table(rows):
    for case, facts, folder in rows:
        print(f"{case.name}: {tree_bytes(folder):,} bytes; L{case.layers} d{case.hidden} {case.heads}x{case.head_size} "
              f"inner {case.inner} V{case.vocab} B{case.batch} T{case.time} "
              f"{'parallel' if case.parallel else 'sequential'} rotary {case.rotary_pct} theta {case.theta} "
              f"eps {case.eps} {'tied' if case.tied else 'untied'} {case.act} "
              f"attention_bias {case.bias} {str(case.dtype).removeprefix('torch.')} "
              f"{'old' if case.old_config else 'new'} config")
        print("   ", json.dumps(facts))


if __name__ == "__main__":
    main()
