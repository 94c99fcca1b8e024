#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy", "scipy"]
# ///
"""Make tests/schedules/refine.json: schedules refined from gradient norms, as arXiv:2310.07831 states it, with numpy.

    uv run tools/golden_refine.py tests/schedules/refine.json
"""

import json
import sys

import numpy as np
from scipy.ndimage import median_filter


def refine(norms, power, tau):
    norms = np.asarray(norms)
    norms = norms[np.isfinite(norms)][2:-2]
    n = len(norms)
    width = 2 * (int(tau * n) // 2) + 1
    padded = np.pad(norms, (0, 2 * width), mode="reflect")
    smooth = median_filter(padded, size=width, mode="nearest")[:n]
    weights = smooth**-power
    tail = np.cumsum(weights[::-1])[::-1]
    rates = weights * np.append(tail[1:], 0.0)
    return rates / rates.max()


def main():
    rng = np.random.default_rng(7)
    cases = []
    for steps, tau, optimizer in [(40, 0.1, "adam"), (123, 0.1, "sgd"), (200, 0.25, "adam"), (75, 0.0, "sgd")]:
        t = np.arange(steps)
        norms = (1 + 20 / (1 + t / 5)) * np.exp(0.3 * rng.standard_normal(steps))
        norms[steps // 3] = np.nan  # a skipped update
        rates = refine(norms, {"adam": 1, "sgd": 2}[optimizer], tau)
        logged = [None if np.isnan(x) else x for x in norms.tolist()]
        cases.append({"norms": logged, "tau": tau, "optimizer": optimizer, "rates": rates.tolist()})
    with open(sys.argv[1], "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
