#!/usr/bin/env python3
"""One table of ratios from the records of one call: ours beside every other implementation of the same thing.

    python tools/compare.py OUTDIR            # every *.jsonl in it, or files by name
    python tools/compare.py OUTDIR --json

Records are comparable when name, model, device, precision, sequence length, micro-batch, accumulation and threads are
equal (docs/benchmarks.md). Passes of a call alternate, A B A B, so the first pass of one stands beside the
first of the other. The spread of an implementation is how much its slowest pass was slower than its fastest. A
difference is claimed only where it is more than twice the larger spread in every pass; one pass claims nothing, and
neither does a pass while other processes used more than a tenth of a core.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import records

SAME = ("model", "device", "precision", "seq_len", "micro_batch", "accumulation", "threads")
OURS, MOST_FOREIGN = "rewarm", 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folders or *.jsonl files of one call")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    args = parser.parse_args()
    rows = compare(load(args.paths))
    if not rows:
        sys.exit(f"error: nothing to compare: no record of {OURS} stands beside one of another implementation")
    print(json.dumps(rows, indent=1) if args.json else table(rows))


def load(paths):
    files = [file for path in paths for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]
    missing = [str(file) for file in files if not file.exists()]
    if missing or not files:
        sys.exit(f"error: no records: {', '.join(missing) or 'no *.jsonl in ' + ', '.join(map(str, paths))}")
    return records.read(files)


def compare(found):
    """A row for every other implementation of what we measured, in the order of measurement."""
    groups = defaultdict(lambda: defaultdict(list))
    for record in found:
        settings = record["settings"]
        key = (record["name"], *(settings.get(field) for field in SAME))
        groups[key][settings.get("implementation", OURS)].append(record)
    rows = []
    for key, implementations in groups.items():
        ours = implementations.pop(OURS, None)
        theirs = [row(key, ours, name, passes) for name, passes in implementations.items()] if ours else []
        if theirs:
            best = max(theirs, key=lambda r: r["peer_tokens_per_s"] or 1 / r["peer_s"])
            rows += [r | {"best_peer": r is best} for r in theirs]
    return rows


def row(key, ours, peer, theirs):
    a, b = medians(ours), medians(theirs)
    ratios = [slow / fast for fast, slow in zip(a, b)]
    spreads = [max(x) / min(x) - 1 for x in (a, b)]
    return {
        "name": key[0], **dict(zip(SAME, key[1:])), "peer": peer, "ours_s": statistics.median(a), "peer_s": statistics.median(b),
        "ours_tokens_per_s": rate(ours), "peer_tokens_per_s": rate(theirs), "ratios": ratios,
        "spread_ours": spreads[0], "spread_peer": spreads[1], "verdict": verdict(ratios, spreads, ours + theirs),
    }


def medians(passes):
    return [p["summary"]["median"] for p in passes]


def rate(passes):
    rates = [p["derived"]["tokens_per_s"] for p in passes if p["derived"].get("tokens_per_s")]
    return statistics.median(rates) if rates else None


def verdict(ratios, spreads, passes):
    if len(ratios) < 2:
        return "one pass: nothing claimed"
    if any((p["derived"].get("foreign_load") or 0) > MOST_FOREIGN for p in passes):
        return "busy machine: nothing claimed"
    needed = 1 + 2 * max(spreads)
    if min(ratios) > needed:
        return "faster"
    return "slower" if max(ratios) < 1 / needed else "no difference shown"


def table(rows):
    lines = ["| what | shape | peer | ours | peer | ours / peer, each pass | spread ours, peer | verdict |", "|---" * 8 + "|"]
    for r in rows:
        peer = f"**{r['peer']}**" if r["best_peer"] else r["peer"]
        ratios = " – ".join(f"{x:.2f}" for x in r["ratios"])
        lines.append(f"| {r['name']} | {shape(r)} | {peer} | {speed(r, 'ours')} | {speed(r, 'peer')} | {ratios} | "
                     f"{r['spread_ours']:.1%}, {r['spread_peer']:.1%} | {r['verdict']} |")
    return "\n".join(lines)


def shape(r):
    accumulated = f" x {r['accumulation']}" if (r["accumulation"] or 1) > 1 else ""
    return f"T{r['seq_len']} B{r['micro_batch']}{accumulated}, {r['precision']}"


def speed(r, side):
    tokens = r[f"{side}_tokens_per_s"]
    return f"{tokens:,.0f} tokens/s" if tokens else f"{1e3 * r[f'{side}_s']:.3f} ms"


if __name__ == "__main__":
    main()
