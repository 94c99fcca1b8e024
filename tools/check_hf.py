#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.6", "transformers>=5", "safetensors>=0.5", "numpy"]
# ///
"""Ask transformers whether an exported Hugging Face directory is what it should be.

    uv run tools/check_hf.py DIR                                      does it load, with nothing missing
    uv run tools/check_hf.py DIR --against tests/golden/pythia_f16    logits on the golden tokens
    uv run tools/check_hf.py DIR --against OTHER --tokens 5,17,3      logits of two directories on given tokens
    uv run tools/check_hf.py DIR --same-tensors OTHER                 names, dtypes, shapes and bytes of all tensors

Prints one JSON line. Exit code 1: logits differ by more than --tolerance, tensors differ, or transformers found a
weight missing (it would fill it with random numbers) or one it does not know.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import load_file
from transformers import GPTNeoXForCausalLM

OLD_BUFFERS = ("attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq")


def main():
    args = parse_arguments()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    report = {"dir": str(args.dir), "torch": torch.__version__, "transformers": transformers.__version__}
    passed = True
    if args.same_tensors:
        difference = compare_tensors(args.dir, args.same_tensors)
        report["tensors"] = difference
        passed &= not any(difference[k] for k in ("only_here", "only_there", "different"))
    if args.against or not args.same_tensors:
        model, problems = load(args.dir)
        report["loading"] = problems
        passed &= not problems
        if args.against:
            report["logits"] = compare_logits(model, args)
            passed &= report["logits"]["max_abs_diff"] <= args.tolerance  # false for NaN
    report["pass"] = passed
    print(json.dumps(report))
    sys.exit(0 if passed else 1)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--against", type=Path, help="directory with golden.safetensors, or with a model and --tokens")
    parser.add_argument("--tokens", help="comma-separated token ids, instead of the golden ones")
    parser.add_argument("--same-tensors", type=Path, metavar="OTHER")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    return parser.parse_args()


def load(folder):
    """The model in f32, and what transformers complained about ({} when nothing)."""
    model, info = GPTNeoXForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    unexpected = [k for k in info["unexpected_keys"] if not k.endswith(OLD_BUFFERS)]
    problems = {"missing": sorted(info["missing_keys"]), "unexpected": sorted(unexpected),
                "mismatched": [str(k) for k in info["mismatched_keys"]]}
    return model.eval(), {k: v for k, v in problems.items() if v}


@torch.no_grad()
def logits_of(model, tokens):
    return model(input_ids=tokens.long(), use_cache=False).logits


def compare_logits(model, args):
    if args.tokens:
        tokens = torch.tensor([[int(t) for t in args.tokens.split(",")]])
        expected = logits_of(load(args.against)[0], tokens)
    else:
        golden = load_file(args.against / "golden.safetensors")
        tokens, expected = golden["tokens"], golden["logits"]
    logits = logits_of(model, tokens)
    assert logits.shape == expected.shape, f"shape {tuple(logits.shape)}, expected {tuple(expected.shape)}"
    return {"against": str(args.against), "shape": list(logits.shape), "tolerance": args.tolerance,
            "max_abs_diff": float((logits - expected).abs().max()), "std": float(expected.std())}


def compare_tensors(here, there):
    a, b = read_tensors(here), read_tensors(there)
    both = sorted(a.keys() & b.keys())
    return {"against": str(there), "same": sum(a[k] == b[k] for k in both),
            "only_here": sorted(a.keys() - b.keys()), "only_there": sorted(b.keys() - a.keys()),
            "different": [describe(k, a[k], b[k]) for k in both if a[k] != b[k]]}


def describe(name, a, b):
    if a[:2] != b[:2]:
        return f"{name}: {a[0]} {a[1]} / {b[0]} {b[1]}"
    return f"{name}: {sum(x != y for x, y in zip(a[2], b[2]))} of {len(a[2])} bytes"


def read_tensors(folder):
    """name -> (dtype, shape, bytes) over all shards, read without any tensor library; old buffers left out."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    tensors = {}
    for file in files:
        data = (folder / file).read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:start]).items():
            if name == "__metadata__" or name.endswith(OLD_BUFFERS):
                continue
            assert name not in tensors, f"{name} is in two shards"
            low, high = entry["data_offsets"]
            tensors[name] = (entry["dtype"], entry["shape"], data[start + low : start + high])
    return tensors


if __name__ == "__main__":
    main()
