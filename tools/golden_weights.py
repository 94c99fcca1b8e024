#!/usr/bin/env python3
"""Writes tests/golden/weights.json: weighted and masked cross-entropy, and unlikelihood, by PyTorch in f64.

Logits are numbers of bf16, so that every device starts from the same ones. The mean is over the sizes of the weights:
loss = sum |w| l / sum |w| with l = -ln p of the target, or -ln(1 - p) where its weight is negative.
"""
import json
import pathlib

import torch

ROWS, VOCAB = 24, 64


def main():
    torch.manual_seed(7)
    logits = (2 * torch.randn(ROWS, VOCAB)).to(torch.bfloat16).to(torch.float64).requires_grad_()
    targets = torch.randint(VOCAB, (ROWS,))
    weights = torch.tensor([0.0, 1.0, 0.25, 3.0, -1.0, 2.5, -0.5, 0.0] * (ROWS // 8), dtype=torch.float64)
    log_p = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
    losses = torch.where(weights < 0, -torch.log1p(-log_p.exp()), -log_p)
    loss = (weights.abs() * losses).sum() / weights.abs().sum()
    loss.backward()
    golden = {
        "vocab": VOCAB,
        "logits": logits.detach().flatten().tolist(),
        "targets": targets.tolist(),
        "weights": weights.tolist(),
        "loss": loss.item(),
        "gradient": logits.grad.flatten().tolist(),
    }
    path = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "weights.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
