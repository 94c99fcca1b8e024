#!/usr/bin/env python3
"""PyTorch's side of `rewarm bench kernels`: the operations of a model's step, one record a line (docs/benchmarks.md).

    python tools/bench_kernels_pytorch.py --model pythia-70m --micro 4 --seq-len 512 --threads 2
    python tools/bench_kernels_pytorch.py --model pythia-410m --micro 16 --device cuda --compile

f32 on the CPU, bf16 on CUDA. Operands and results are copies used in turn, so that no repetition finds them in a cache.
Products are written as the step needs them (`x w^T`, `dy w`, `dy^T x`), attention through SDPA (on CUDA each backend by
itself), backwards through autograd with the graph kept; a norm's gradient joins the residual's. `--compile` adds
torch.compile of what is not one library call.
"""

import argparse
import json
import math
import os
import sys
import time

import records
from neox import MODELS, rotate

HELD_BYTES = 256e6  # of the copies of an operation's operands together: past every cache
MOST_COPIES = 500


def main():
    args = parse_arguments()
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: this PyTorch finds no GPU; use --device cpu")
    torch.set_num_threads(args.threads)
    torch.manual_seed(1234)
    bench = Bench(args)
    for case in cases(bench, args):
        bench.run(*case)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="pythia-70m")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seq-len", type=int, help="default: 512 on the CPU, 2048 on CUDA")
    parser.add_argument("--micro", type=int, help="sequences (4 on the CPU, 16 on CUDA)")
    parser.add_argument("--chunk-rows", type=int, help="rows of logits at once (1024 on the CPU, 16384 on CUDA)")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--only", default="", help="operations whose names hold this")
    parser.add_argument("--attention", action="append", default=[], metavar="BxHxTxD", help="attention of this shape, too")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--precision", choices=("P1", "P2"), default="P1",
                        help="on CUDA, of AdamW: f32 weights and moments (P1), or bf16 rounded to nearest (P2: speed only)")
    parser.add_argument("--seconds", type=float, help="per operation, at least (0.3 on the CPU, 0.6 on CUDA)")
    args = parser.parse_args()
    cuda = args.device == "cuda"
    if args.precision == "P2" and not cuda:
        parser.error("--precision P2 is of --device cuda")
    args.seq_len = args.seq_len or (2048 if cuda else 512)
    args.micro = args.micro or (16 if cuda else 4)
    args.chunk_rows = args.chunk_rows or (16384 if cuda else 1024)
    args.threads = args.threads or len(os.sched_getaffinity(0))
    args.seconds = args.seconds or (0.6 if cuda else 0.3)
    return args


# ---------------------------------------------------------------------------------------------- timing


class Bench:
    def __init__(self, args):
        import torch

        self.args, self.torch, self.cuda = args, torch, args.device == "cuda"
        self.dtype = torch.bfloat16 if self.cuda else torch.float32
        self.element = 2 if self.cuda else 4
        self.copy_gb_per_s, self.matmul_gflop_per_s = self.ceilings()

    def tensor(self, *shape, grad=False, dtype=None):
        made = self.torch.randn(*shape, device=self.args.device, dtype=dtype or self.dtype)
        return made.requires_grad_(grad)

    def ceilings(self):
        """GB/s of a copy (read and written) and GFLOP/s of a large product."""
        size, edge = (1 << 32, 8192) if self.cuda else (1 << 28, 2048)
        source, target = (self.torch.zeros(size, dtype=self.torch.uint8, device=self.args.device) for _ in range(2))
        copied = records.summary(self.time([lambda: target.copy_(source)]))["median"]
        a, b = self.tensor(edge, edge), self.tensor(edge, edge)
        multiplied = records.summary(self.time([lambda: a @ b]))["median"]
        return 2 * size / copied / 1e9, 2 * edge**3 / multiplied / 1e9

    def time(self, calls):
        """Seconds of each repetition, over the copies in turn. Each copy's result is kept until its next turn: memory
        that is free again at once would be the next result's, and in a cache."""
        results = [(call(), call())[1] for call in calls]
        samples, least, end = [], 10 if self.cuda else 5, time.perf_counter() + self.args.seconds
        while len(samples) < least or time.perf_counter() < end:
            turn = len(samples) % len(calls)
            seconds, results[turn] = self.once(calls[turn])
            samples.append(seconds)
        return samples

    def once(self, call):
        if not self.cuda:
            start = time.perf_counter()
            result = call()
            return time.perf_counter() - start, result
        first, last = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        result = call()
        last.record()
        last.synchronize()
        return 1e-3 * first.elapsed_time(last), result

    def run(self, name, shape, numbers, flops, make, implementation="torch"):
        """Times `make()`, a call over fresh operands, which moves `numbers` elements at least."""
        args = self.args
        if args.only not in name:
            return
        moved = numbers * self.element
        copies = min(MOST_COPIES, math.ceil(HELD_BYTES / moved))
        try:
            samples = self.time([make() for _ in range(copies)])
        except RuntimeError as error:  # no kernel for this shape on this GPU
            print(f"# {implementation} {name} {shape}: {str(error).splitlines()[0][:120]}", flush=True)
            return
        median = records.summary(samples)["median"]
        gb, gflop = moved / median / 1e9, flops / median / 1e9
        least = max(moved / self.copy_gb_per_s, flops / self.matmul_gflop_per_s) / 1e9
        settings = {
            "implementation": implementation, "model": args.model, "device": "cuda:0" if self.cuda else "cpu",
            "precision": args.precision if self.cuda else "f32", "seq_len": args.seq_len, "micro_batch": args.micro,
            "threads": args.threads, "shape": shape, "buffers": copies,
        }
        derived = {
            "bytes": moved, "flops": flops, "gb_per_s": gb, "gflop_per_s": gflop, "copy_gb_per_s": self.copy_gb_per_s,
            "matmul_gflop_per_s": self.matmul_gflop_per_s, "share_of_copy": gb / self.copy_gb_per_s,
            "share_of_matmul": gflop / self.matmul_gflop_per_s, "share_of_roofline": least / median,
        }
        made = records.record("bench_kernels_pytorch.py", f"torch {self.torch.__version__}", f"kernel {name}", settings,
                              samples, derived, args.device)
        print(json.dumps(made), flush=True)


# ---------------------------------------------------------------------------------------------- operations


def cases(bench, args):
    """(name, shape, elements moved at least, FLOPs, maker of a call, implementation), by the names of ours."""
    _, hidden, heads, vocab = MODELS[args.model]
    rows = args.micro * args.seq_len
    chunk = min(args.chunk_rows, rows)
    # The parallel residual's output is one product of [attention | GELU].
    sizes = {"qkv": (rows, hidden, 3 * hidden), "out": (rows, 5 * hidden, hidden), "up": (rows, hidden, 4 * hidden),
             "head": (chunk, hidden, vocab)}
    for which, size in sizes.items():
        yield from products(bench, which, *size)
    yield from attention(bench, (args.micro, heads, args.seq_len, hidden // heads), "")
    for text in args.attention:
        yield from attention(bench, tuple(map(int, text.split("x"))), f" {text}")
    yield from elementwise(bench, args, rows, hidden, heads)
    yield from loss(bench, args, chunk, vocab)
    yield from embedding(bench, rows, hidden, vocab)
    yield from update(bench, args)


def products(bench, which, rows, inputs, outputs):
    """The bare products: ours add biases, residual and bias gradients."""
    import torch.nn.functional as F

    shape, flops = f"{rows}x{inputs}x{outputs}", 2 * rows * inputs * outputs
    moved = rows * inputs + inputs * outputs + rows * outputs
    x, w, dy = ((rows, inputs), (outputs, inputs), (rows, outputs))

    def pair(a, b, f):
        def make():
            left, right = bench.tensor(*a), bench.tensor(*b)
            return lambda: f(left, right)
        return make

    if which == "up":
        bias = bench.tensor(outputs)
        yield "linear_gelu up", shape, moved, flops, pair(x, w, lambda x, w: F.gelu(F.linear(x, w, bias)))
    else:
        yield f"linear {which}", shape, moved, flops, pair(x, w, lambda x, w: x @ w.T)
    yield f"linear_bwd_input {which}", shape, moved, flops, pair(dy, w, lambda dy, w: dy @ w)
    yield f"linear_bwd_weight {which}", shape, moved, flops, pair(dy, x, lambda dy, x: dy.T @ x)


def attention(bench, sizes, suffix):
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    torch, shape = bench.torch, "x".join(map(str, sizes))
    batch, heads, time_steps, size = sizes
    elements = batch * heads * time_steps * size
    flops = 2 * elements * time_steps  # two products at half of T squared
    backends = {"torch-flash": SDPBackend.FLASH_ATTENTION, "torch-cudnn": SDPBackend.CUDNN_ATTENTION}
    for implementation, backend in backends.items() if bench.cuda else (("torch", None),):
        def forward(q, k, v, backend=backend):
            if backend is None:
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)

        def operands():  # [B, T, H, D] in memory, as a model has them
            return [bench.tensor(batch, time_steps, heads, size).transpose(1, 2).requires_grad_(True) for _ in range(3)]

        def make_forward():
            qkv = [x.detach() for x in operands()]
            return lambda: forward(*qkv)

        def make_backward():
            qkv = operands()
            out, dout = forward(*qkv), bench.tensor(batch, time_steps, heads, size).transpose(1, 2)
            return lambda: torch.autograd.grad(out, qkv, dout, retain_graph=True)

        yield f"attention{suffix}", shape, 4 * elements, flops, make_forward, implementation
        yield f"attention_bwd{suffix}", shape, 8 * elements, 2.5 * flops, make_backward, implementation


def backward(bench, f, shape, parameters=(), residual=False):
    """Makers of the forward and of the backward of `f(x, *parameters)`, a tuple, for `x` of this shape. With `residual`
    the gradient of `x` joins the one that came past `f`, as in a step."""
    def make_forward():
        x = bench.tensor(*shape)
        fixed = [p.detach() for p in parameters]
        return lambda: f(x, *fixed)

    def make_backward():
        x = bench.tensor(*shape, grad=True)
        y = f(x, *parameters)
        dy = [bench.torch.randn_like(part) for part in y]
        if not residual:
            return lambda: bench.torch.autograd.grad(y, (x, *parameters), dy, retain_graph=True)
        dx = bench.tensor(*shape)
        return lambda: dx.add_(bench.torch.autograd.grad(y, (x, *parameters), dy, retain_graph=True)[0])

    return make_forward, make_backward


def elementwise(bench, args, rows, hidden, heads):
    import torch.nn.functional as F

    variants = [("torch", lambda f: f)] + ([("torch-compile", bench.torch.compile)] if args.compile else [])
    norms = [bench.tensor(hidden, grad=True) for _ in range(4)]
    size, rotary = hidden // heads, hidden // heads // 4
    angles = bench.tensor(args.seq_len, rotary // 2)
    n, inner = rows * hidden, rows * 4 * hidden

    def norm(x, w, b):
        return (F.layer_norm(x, (hidden,), w, b),)

    def norm_pair(x, w, b, v, c):
        return norm(x, w, b) + norm(x, v, c)

    for implementation, wrap in variants:
        for count, name, f in ((1, "layernorm", norm), (2, "layernorm_pair", norm_pair)):
            forward, back = backward(bench, wrap(f), (rows, hidden), norms[: 2 * count], residual=True)
            yield name, f"{rows}x{hidden}", (1 + count) * n, 8 * count * n, forward, implementation
            yield f"{name}_bwd", f"{rows}x{hidden}", (3 + count) * n, 14 * count * n, back, implementation
        forward, back = backward(bench, wrap(lambda x: (F.gelu(x),)), (rows, 4 * hidden))
        yield "gelu_again", f"{rows}x{4 * hidden}", 2 * inner, 25 * inner, forward, implementation
        yield "gelu_bwd", f"{rows}x{4 * hidden}", 3 * inner, inner, back, implementation
        turned, _ = backward(bench, wrap(lambda x: (rotate(x, angles, angles),)), (args.micro, 2 * heads, args.seq_len, size))
        moved = 4 * rows * heads * rotary
        yield "rotary", f"{rows}x{heads}x{size}", moved, 3 * moved // 2, turned, implementation


def loss(bench, args, rows, vocab):
    import torch.nn.functional as F

    torch = bench.torch
    variants = [("torch", lambda f: f)] + ([("torch-compile", torch.compile)] if args.compile else [])
    targets = torch.randint(0, vocab, (rows,), device=args.device)
    for implementation, wrap in variants:
        of = wrap(lambda logits: F.cross_entropy(logits.float(), targets))

        def make():
            logits = bench.tensor(rows, vocab, grad=True)
            return lambda: torch.autograd.grad(of(logits), logits)

        yield "cross_entropy", f"{rows}x{vocab}", 2 * rows * vocab, 5 * rows * vocab, make, implementation


def embedding(bench, rows, hidden, vocab):
    import torch.nn.functional as F

    torch = bench.torch

    def operands():
        return bench.tensor(vocab, hidden, grad=True), torch.randint(0, vocab, (rows,), device=bench.args.device)

    def make_forward():
        w, tokens = operands()
        return lambda: F.embedding(tokens, w.detach())

    def make_backward():
        w, tokens = operands()
        x = F.embedding(tokens, w)
        dx = torch.randn_like(x)
        return lambda: torch.autograd.grad(x, w, dx, retain_graph=True)

    yield "embedding", f"{rows}x{hidden}", 2 * rows * hidden, 0, make_forward
    yield "embedding_bwd", f"{rows}x{hidden}", 3 * rows * hidden, rows * hidden, make_backward


def update(bench, args):
    """Clipping and fused AdamW of the model with one block, as ours: f32 (P1's master weights and moments), or all bf16."""
    torch = bench.torch
    dtype = torch.bfloat16 if args.precision == "P2" else torch.float32
    _, hidden, _, vocab = MODELS[args.model]
    block = [(3 * hidden, hidden), (3 * hidden,), (hidden, hidden), (hidden,), (4 * hidden, hidden), (4 * hidden,),
             (hidden, 4 * hidden)] + [(hidden,)] * 5
    shapes = [(vocab, hidden)] * 2 + [(hidden,)] * 2 + block
    elements = sum(torch.Size(shape).numel() for shape in shapes)

    def make():
        parameters = [torch.nn.Parameter(bench.tensor(*shape, dtype=dtype)) for shape in shapes]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

        def step():
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

        return step

    yield "update", str(elements), 8 * dtype.itemsize * elements // bench.element, 15 * elements, make


if __name__ == "__main__":
    main()
