#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.6", "transformers>=5", "numpy"]
# ///
"""The PyTorch side of `rewarm bench train`: one configuration, one record (docs/benchmarks.md) on stdout.

    uv run tools/bench_pytorch.py --model small --mode hf-eager --threads 2
    python tools/bench_pytorch.py --model pythia-410m --micro 16 --device cuda --mode neox-compile --sdpa cudnn

Modes: `hf-eager`, transformers' GPTNeoXForCausalLM with SDPA; `hf-compile`, that and the loss under torch.compile;
`neox-compile`, tools/neox.py under torch.compile. All with fused AdamW and clip_grad_norm_ 1.0, on four batches of
random tokens in turn. A step is forward, backward, clip, update.

Precision: `f32`; `P1`, bf16 compute by autocast over f32 weights and moments; with `--products bf16` it is f32 whose
products alone are bf16 (torch.backends.mkldnn.matmul.fp32_precision), on a processor; `P2`, bf16 weights, gradients and moments,
rounded to nearest by fused AdamW: small updates are lost, so it is there for its speed only. `--sdpa` names the one
backend of attention that CUDA may use: PyTorch's own choice is not the fastest on Hopper, so both are measured and the
faster one is the peer.

On the CPU PyTorch runs with glibc told to keep freed memory: without that every large activation is mapped, faulted in
and unmapped again each step (small, 2 threads, eager: 14 to 27 % fewer tokens/s). It costs PyTorch peak memory, so
memory is to be compared with --malloc default, which shows PyTorch as a user finds it.
"""

import argparse
import contextlib
import json
import os
import resource
import sys
import time

import records

os.environ.setdefault("HF_HUB_OFFLINE", "1")

STARTED = time.perf_counter()
SHAPES = {"small": (256, 8), "pythia-70m": (512, 4), "pythia-160m": (512, 1)}  # T and B where nothing is said
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(64 << 30)}


def main():
    args = parse_arguments()
    if args.device == "cpu" and args.malloc == "keep" and KEEP_MEMORY.items() - os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)  # glibc reads it at start
    print(json.dumps(measure(args)), flush=True)


def parse_arguments():
    from neox import MODELS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", "--shape", choices=MODELS, default="small")
    parser.add_argument("--mode", choices=("hf-eager", "hf-compile", "neox-compile"), default="hf-eager")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("f32", "P1", "P2"),
                        help="default: f32 on the CPU, P1 on CUDA; P2 rounds to nearest: speed only")
    parser.add_argument("--products", choices=("autocast", "bf16"), default="autocast", help="P1 on the CPU: see above")
    parser.add_argument("--seq-len", type=int, help="default: 256 small, 512 pythia-70m and -160m, else 2048")
    parser.add_argument("--micro", type=int, help="sequences of a micro-batch (8 small, 4 pythia-70m, else 1)")
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches of a step")
    parser.add_argument("--sdpa", choices=("auto", "cudnn", "flash"), default="auto", help="attention on CUDA")
    parser.add_argument("--compile-mode", default="default", help="of torch.compile")
    parser.add_argument("--gelu", choices=("none", "tanh"), default="none", help="neox-compile: approximation")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--steps", type=int, default=20, help="timed")
    parser.add_argument("--warmup", type=int, default=8, help="before those")
    parser.add_argument("--malloc", choices=("keep", "default"), default="keep", help="what PyTorch runs with on the CPU")
    args = parser.parse_args()
    time_steps, micro = SHAPES.get(args.model, (2048, 1))
    args.seq_len, args.micro = args.seq_len or time_steps, args.micro or micro
    args.precision = args.precision or ("f32" if args.device == "cpu" else "P1")
    args.threads = args.threads or len(os.sched_getaffinity(0))
    if args.mode == "hf-eager" and args.gelu == "tanh" or args.steps < 1 or args.warmup < 1:
        parser.error("--gelu tanh is neox-compile's; --steps and --warmup are at least 1")
    if args.products == "bf16" and (args.device, args.precision) != ("cpu", "P1"):
        parser.error("--products bf16 is one way of --precision P1 on the CPU")
    return args


def measure(args):
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: this PyTorch finds no GPU; use --device cpu")
    torch.set_num_threads(args.threads)
    torch.manual_seed(1234)
    torch.backends.cuda.matmul.allow_tf32 = True
    if args.products == "bf16":
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    model, forward, version = build(args)
    step = make_step(args, model, forward)
    pool = torch.randint(0, vocab_of(args), (4, args.accumulate, args.micro, args.seq_len + 1)).to(args.device)

    isa = None
    for i in range(args.warmup):
        warm = lambda: float(step(pool[i % 4]))
        if i == args.warmup - 1 and args.device == "cpu":
            isa = instructions(warm)
        else:
            warm()
        if i == 0:
            first = time.perf_counter() - STARTED
    load = records.Load()
    samples, loss = (time_cuda if args.device == "cuda" else time_cpu)(args, step, pool)
    foreign = load.foreign()
    return to_record(args, model, samples, version, {
        "peak_bytes": peak_bytes(args.device), "first_step_s": first, "loss": float(loss), "foreign_load": foreign,
        "onednn": isa,
    })


def instructions(step):
    """Implementations of the matrix products of a step, by oneDNN's own log: `brg_matmul:avx512_core_amx` and the like."""
    import tempfile

    import torch

    with tempfile.TemporaryFile("w+") as log:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(log.fileno(), 1)  # the log is the library's, written to the descriptor
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                step()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        log.seek(0)
        lines = [line.split(",") for line in log if ",exec,cpu,matmul," in line or ",exec,cpu,inner_product," in line]
    return sorted({line[line.index("exec") + 3] for line in lines}) or None


def time_cpu(args, step, pool):
    samples = []
    for i in range(args.warmup, args.warmup + args.steps):
        start = time.perf_counter()
        loss = step(pool[i % 4])
        samples.append(time.perf_counter() - start)
    return samples, loss


def time_cuda(args, step, pool):
    """Events around every step, read at the end: the host never waits meanwhile."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(args.steps + 1)]
    events[0].record()
    for i in range(args.steps):
        loss = step(pool[i % 4])
        events[i + 1].record()
    torch.cuda.synchronize()
    return [1e-3 * a.elapsed_time(b) for a, b in zip(events, events[1:])], loss


def vocab_of(args):
    from neox import MODELS

    return MODELS[args.model][3]


def build(args):
    """The model, a function of tokens and targets to the loss, and what to call the software."""
    import torch
    import torch.nn.functional as F

    from neox import MODELS, NeoX

    layers, hidden, heads, vocab = MODELS[args.model]
    version = f"torch {torch.__version__}"
    if args.mode == "neox-compile":
        model = forward = NeoX(layers, hidden, heads, vocab, args.seq_len, args.gelu)
    else:
        import transformers

        model = transformers.GPTNeoXForCausalLM(hugging_face(layers, hidden, heads, vocab, args.seq_len))
        version += f", transformers {transformers.__version__}"

        def forward(tokens, targets):  # T targets per sequence, as ours; cheaper than labels=, which shifts and copies
            logits = model(input_ids=tokens, use_cache=False).logits
            return F.cross_entropy(logits.float().view(-1, vocab), targets.reshape(-1))

    model.to(args.device, torch.bfloat16 if args.precision == "P2" else torch.float32).train()
    if args.mode.endswith("compile"):
        forward = torch.compile(forward, mode=None if args.compile_mode == "default" else args.compile_mode)
    return model, forward, version


def hugging_face(layers, hidden, heads, vocab, time_steps):
    from transformers import GPTNeoXConfig

    config = GPTNeoXConfig(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, max_position_embeddings=time_steps, use_cache=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    )
    config._attn_implementation = "sdpa"
    return config


def make_step(args, model, forward):
    import torch

    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    autocast = torch.autocast(args.device, torch.bfloat16) if args.precision == "P1" else contextlib.nullcontext()

    def step(tokens):  # [accumulate, micro, T + 1]
        for sequences in tokens:
            with autocast, attention(args.sdpa):
                loss = forward(sequences[:, :-1].contiguous(), sequences[:, 1:].contiguous())
            (loss / args.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def attention(name):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backends = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
    return sdpa_kernel(backends[name]) if name in backends else contextlib.nullcontext()


def peak_bytes(device):
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def to_record(args, model, samples, version, derived):
    from neox import MODELS

    layers, hidden, _, vocab = MODELS[args.model]
    implementation = args.mode if args.sdpa == "auto" else f"{args.mode}-{args.sdpa}"
    if args.products == "bf16":
        implementation += "-bf16-products"
    if args.compile_mode != "default":
        implementation += f"-{args.compile_mode}"
    tokens = args.micro * args.accumulate * args.seq_len
    median = records.summary(samples)["median"]
    flops = tokens * records.flops_per_token(layers, hidden, vocab, args.seq_len)
    settings = {
        "implementation": implementation, "model": args.model, "parameters": sum(p.numel() for p in model.parameters()),
        "device": args.device if args.device == "cpu" else "cuda:0", "precision": args.precision, "seq_len": args.seq_len,
        "micro_batch": args.micro, "accumulation": args.accumulate, "recompute": "none", "chunk_rows": None,
        "threads": args.threads, "data": "synthetic", "steps": args.steps, "warmup": args.warmup, "gelu": args.gelu,
        "malloc": args.malloc,
    }
    rates = {"tokens_per_s": tokens / median, "gflop_per_s": flops / median / 1e9}
    return records.record("bench_pytorch.py", version, f"train {args.model}", settings, samples, rates | derived, args.device)


if __name__ == "__main__":
    main()
