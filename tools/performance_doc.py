#!/usr/bin/env python3
"""docs/performance.md from benches/results: every table there is made here, none by hand.

    python tools/performance_doc.py            # writes docs/performance.md
    python tools/performance_doc.py --check    # exit code 1 where the committed one differs

A folder of benches/results is one machine as tools/cpu_check.sh or tools/gpu_check.sh left it: facts.json, what was run
and on what, and *.jsonl, the records as they came (docs/benchmarks.md). A table without records says so.
"""

import argparse
import json
import sys
from pathlib import Path

import compare

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benches/results", ROOT / "docs/performance.md"

HEAD = """# Performance

Made by `tools/performance_doc.py` from [`benches/results`](../benches/results); do not edit. What the figures mean:
[benchmarks.md](benchmarks.md). Ours and the peers ran in turn (A B A B) in one call; a ratio above 1 is ours being
faster. The spread is how much the slowest pass of an implementation was slower than its fastest; a difference counts
only where it is more than twice that in every pass. **Bold**: the fastest peer. *Share of matmul* is the speed of light:
the time that the useful products alone would take at the rate of a large product in the same call, over the step's.
*Share of roofline* is the least time at the rates of a copy and of a large product in the same call, over the measured.
"""

MISSING = "Not measured yet.\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    text = page()
    if not args.check:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit(f"error: {PAGE.relative_to(ROOT)} is not what its records say; run tools/performance_doc.py")


def page():
    machines = sorted(path for path in RESULTS.iterdir() if (path / "facts.json").exists()) if RESULTS.exists() else []
    kinds = {"CPU": [], "GPU": []}
    for path in machines:
        facts = json.loads((path / "facts.json").read_text())
        kinds["GPU" if facts["gpu"] else "CPU"].append((path, facts))
    sections = []
    for kind, found in kinds.items():
        parts = [machine(path, facts) for path, facts in found] or [f"### {kind}\n\n{MISSING}"]
        sections.append(f"## {kind}s\n\n" + "\n".join(parts))
    return HEAD + "\n" + "\n".join(sections)


def machine(path, facts):
    files = sorted(path.glob("*.jsonl"))
    found = compare.load(files) if files else []
    name = facts["gpu"].strip("; ") or f"{facts['cpu']}, {facts['cores']} cores"
    # What the binaries were built from, where they say so: parts may be measured one by one.
    commits = {short(r["commit"]): None for r in found if r["commit"]} or {short(facts["commit"]): None}
    lines = [
        f"### {path.name}\n",
        f"{name}, Linux {facts['kernel']}; `{facts['command']}`, commit {' and '.join(commits)}, {facts['date']}.\n",
        *clocks(path),
        "#### Training steps\n", training(found),
        "#### Operations\n", operations(found),
        "#### Data and checkpoints\n", other(found),
    ]
    return "\n".join(lines)


def short(commit):
    digits = commit.removesuffix("-dirty")
    return (digits[:7] or "unknown") + commit[len(digits):]


def clocks(path):
    """Mean SM clock and power of each call that `nvidia-smi dmon` watched."""
    for log in sorted(path.glob("dmon-*.log")):
        names, rows = [], []
        for line in log.read_text().splitlines():
            fields = line.lstrip("# ").split()
            if line.startswith("#"):
                names = fields if "pwr" in fields else names  # the other heading has the units
            elif names:
                rows.append(dict(zip(names, fields)))
        means = [mean(row.get(name) for row in rows) for name in ("pclk", "pwr")]
        yield f"{log.stem.removeprefix('dmon-')}: SM clock {means[0]} MHz, power {means[1]} W on average over {len(rows)} s.\n"


def mean(texts):
    numbers = [float(text) for text in texts if text and text.replace(".", "").isdigit()]
    return f"{sum(numbers) / len(numbers):.0f}" if numbers else "n/a"


def training(found):
    """What we measured beside its roofline, then the ratios to the peers."""
    ours = [r for r in found if r["name"].startswith("train ") and r["settings"].get("implementation") == "rewarm"]
    if not ours:
        return MISSING
    lines = ["| what | shape | tokens/s, each pass | useful GFLOP/s | MFU | share of matmul | peak memory, planned |", "|---" * 7 + "|"]
    for passes in together(ours):
        first, derived = passes[0], passes[0]["derived"]
        speeds = " – ".join(f"{p['derived']['tokens_per_s']:,.0f}" for p in passes)
        planned = (derived.get("planned_bytes") or {}).get("total")
        lines.append(
            f"| {first['name']} | {compare.shape(row_of(first))} | {speeds} | {derived['gflop_per_s']:,.0f} | "
            f"{percent(derived.get('mfu'))} | {percent(derived.get('speed_of_light'))} | "
            f"{megabytes(derived.get('peak_bytes'))}, {megabytes(planned)} |")
    return "\n".join(lines) + "\n\n" + ratios(found, "train ")


def operations(found):
    ours = [r for r in found if r["name"].startswith("kernel ") and r["settings"].get("implementation") == "rewarm"]
    if not ours:
        return MISSING
    lines = ["| operation | of | ms | GB/s | GFLOP/s | share of roofline |", "|---" * 6 + "|"]
    for passes in together(ours):
        first, derived = passes[0], passes[0]["derived"]
        lines.append(f"| {first['name'].removeprefix('kernel ')} | {first['settings']['model']} {compare.shape(row_of(first))} | "
                     f"{1e3 * first['summary']['median']:.3f} | {number(derived['gb_per_s'])} | {number(derived['gflop_per_s'])} | "
                     f"{percent(derived.get('share_of_roofline'))} |")
    return "\n".join(lines) + "\n\n" + ratios(found, "kernel ")


def other(found):
    rows = [r for r in found if r["name"].split()[0] in ("data", "checkpoint")]
    if not rows:
        return MISSING
    lines = ["| what | ms | GB/s | more |", "|---" * 4 + "|"]
    for r in rows:
        derived = dict(r["derived"])
        speed = derived.pop("gb_per_s", None)
        more = ", ".join(f"{k} {v:,.4g}" for k, v in derived.items() if isinstance(v, (int, float)))
        lines.append(f"| {r['name']} | {1e3 * r['summary']['median']:.2f} | {number(speed)} | {more} |")
    return "\n".join(lines) + "\n"


def ratios(found, prefix):
    rows = [r for r in compare.compare(found) if r["name"].startswith(prefix)]
    return (compare.table(rows) if rows else "No peer was measured beside it.") + "\n"


def together(found):
    """Passes of the same thing, in the order of the first."""
    groups = {}
    for r in found:
        groups.setdefault((r["name"], *(r["settings"].get(field) for field in compare.SAME)), []).append(r)
    return groups.values()


def row_of(record):
    return {field: record["settings"].get(field) for field in compare.SAME}


def percent(share):
    return "n/a" if share is None else f"{share:.0%}"


def number(value):
    return "n/a" if value is None else f"{value:,.2f}"


def megabytes(count):
    return "n/a" if count is None else f"{count / 1e6:,.0f} MB"


if __name__ == "__main__":
    main()
