"""The pictures of docs/continual.md and its tables, from studies that were run (examples/studies).

    python3 tools/continual_doc.py weak=DIR strong=DIR       # directories of `rewarm demo` with gupta2023/ and ibrahim2024/ in them

Writes docs/continual/*.svg, replaces what stands between `<!-- table NAME -->` and `<!-- end -->` in docs/continual.md, and keeps every
study.json in benches/results/studies/. Needs matplotlib.
"""
import json
import pathlib
import re
import shutil
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHIFTS = {"weak": "prose to code", "strong": "English to German"}
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b7280"]
plt.rcParams.update({"svg.hashsalt": "rewarm", "font.size": 9, "axes.grid": True, "grid.color": "#e5e7eb", "axes.spines.top": False,
                     "axes.spines.right": False, "axes.axisbelow": True, "legend.frameon": False})


def curves(study, group):
    """Losses of every set by step, the mean over the runs of a group."""
    runs = sorted(study.glob(f"cells/{group}*/metrics.jsonl")) or sorted(study.glob(f"ancestors/{group}/metrics.jsonl"))
    runs = [run for run in runs if run.parent.name.split(",seed=")[0] == group]
    found = {}
    for run in runs:
        for line in run.read_text().splitlines():
            point = json.loads(line)
            if "eval" in point:
                found.setdefault(point["eval"], {}).setdefault(point["step"], []).append(point["loss"])
    return {name: {step: statistics.fmean(losses) for step, losses in sorted(of.items())} for name, of in found.items()}


def draw(axes, study, groups, name, until=None):
    for color, (group, label) in zip(COLORS, groups.items()):
        points = {step: loss for step, loss in curves(study, group)[name].items() if until is None or step <= until}
        axes.plot(list(points), list(points.values()), color=color, label=label, lw=1.4)
    axes.set_xlabel("steps of 1,024 tokens")


def save(figure, name):
    figure.tight_layout()
    path = ROOT / "docs/continual" / f"{name}.svg"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(path)


def two_shifts(name, height, panels, of):
    """A row of panels per shift."""
    figure, rows = plt.subplots(len(of), len(panels), figsize=(9, height * len(of)), squeeze=False)
    for axes_of_row, (shift, folder) in zip(rows, of.items()):
        for axes, (title, panel) in zip(axes_of_row, panels.items()):
            panel(axes, folder)
            axes.set_title(f"{SHIFTS[shift]}: {title}", fontsize=9)
    if rows[0][0].get_legend_handles_labels()[0]:
        rows[0][0].legend(fontsize=8)
        rows[0][0].set_ylabel("nats per token")
    save(figure, name)


def trade(axes, studies):
    """What was learned against what was forgotten, a point a group with its spread."""
    for color, (study, groups) in zip(COLORS, studies):
        found = json.loads((study / "study.json").read_text())
        old, new = (found["sets"].index(name) for name in ("upstream", "downstream"))
        points = {group["name"]: group for group in found["groups"]}
        for name, label in groups.items():
            change = points[name]["change"]
            axes.errorbar(-change[new]["mean"], change[old]["mean"], xerr=change[new]["spread"], yerr=change[old]["spread"],
                          fmt="o", ms=4, color=color, elinewidth=1)
            axes.annotate(label, (-change[new]["mean"], change[old]["mean"]), xytext=(5, 3), textcoords="offset points", fontsize=8)
    axes.set_xlabel("learned downstream, nats per token")
    axes.set_ylabel("forgotten upstream")


def table(study, rows):
    """Markdown: loss and change of both sets, mean and spread over seeds."""
    found = json.loads((study / "study.json").read_text())
    old, new = (found["sets"].index(name) for name in ("upstream", "downstream"))
    groups = {group["name"]: group for group in found["groups"]}

    def shown(mean, sign=""):
        return f"{mean['mean']:{sign}.3f} ±{mean['spread']:.3f}".replace("-", "−")

    lines = ["| | downstream | upstream | forgotten | its peak |", "|---|---|---|---|---|"]
    for name, label in rows.items():
        group = groups[name]
        new_of_scratch = name == "scratch"
        change = "" if new_of_scratch else shown(group["change"][old], "+")
        peak = "" if new_of_scratch or not group["peak"][old] else shown(group["peak"][old], "+")
        lines.append(f"| {label} | {shown(group['loss'][new])} | {shown(group['loss'][old])} | {change} | {peak} |")
    return "\n".join(lines)


WARMUPS = {"warmup=0": "no warmup", "warmup=0.5%": "warmup 0.5 %", "warmup=1%": "warmup 1 %", "warmup=2%": "warmup 2 %"}
PEAKS = {"constant": "constant 3e-4", "half-peak": "peak 1.5e-3", "warmup=1%": "peak 3e-3", "twice-peak": "peak 6e-3"}
OTHERS = {"scratch": "from scratch", "again": "upstream again, 3e-3", "again-constant": "upstream again, constant",
          "from-quarter": "from 25 % of pre-training", "from-half": "from 50 % of pre-training"}
REPLAY = {f"replay-{share}": f"replay {share} %" for share in (0, 1, 5, 25, 50)}
PHASES = {"phases-cosine": "three cosines", "phases-infinite": "one rate, then annealed"}


def phases(axes, folder):
    """Three phases after one another."""
    study = folder / "ibrahim2024"
    chains = [("cosine-1", "cosine-2", "phases-cosine"), ("infinite-1", "infinite-2", "phases-infinite")]
    for color, chain, label in zip(COLORS, chains, PHASES.values()):
        steps, losses, offset = [], [], 0
        for group in chain:
            points = curves(study, group)["upstream"]
            steps += [offset + step for step in points if step > 0]
            losses += [loss for step, loss in points.items() if step > 0]
            offset += max(points)
        axes.plot(steps, losses, color=color, label=label, lw=1.4)
    axes.set_ylim(top=sorted(losses)[-3])
    axes.set_xlabel("steps of 1,024 tokens")


def main():
    of = {name: pathlib.Path(folder) for name, folder in (given.split("=", 1) for given in sys.argv[1:])}
    if set(of) - set(SHIFTS) or not of:
        sys.exit(__doc__)
    two_shifts("warmup", 2.6, {
        "downstream": lambda axes, folder: draw(axes, folder / "gupta2023", WARMUPS, "downstream"),
        "its first 20 steps": lambda axes, folder: draw(axes, folder / "gupta2023", WARMUPS, "downstream", 20),
        "upstream, first 20": lambda axes, folder: draw(axes, folder / "gupta2023", WARMUPS, "upstream", 20),
    }, of)
    two_shifts("peak", 2.6, {
        "downstream": lambda axes, folder: draw(axes, folder / "gupta2023", PEAKS, "downstream"),
        "upstream": lambda axes, folder: draw(axes, folder / "gupta2023", PEAKS, "upstream"),
    }, of)
    two_shifts("trade", 3.0, {
        "peaks": lambda axes, folder: trade(axes, [(folder / "gupta2023", PEAKS)]),
        "replay": lambda axes, folder: trade(axes, [(folder / "ibrahim2024", REPLAY)]),
    }, of)
    two_shifts("phases", 2.6, {"three phases of upstream": phases}, of)
    page = ROOT / "docs/continual.md"
    text = page.read_text()
    for shift, folder in of.items():
        for study, rows in (("gupta2023", {**WARMUPS, **PEAKS, "warmup=1%": "warmup 1 %, peak 3e-3", **OTHERS}), ("ibrahim2024", {**REPLAY, **PHASES})):
            made = table(folder / study, rows)
            mark = f"<!-- table {shift}-{study} -->"
            text = re.sub(f"{mark}.*?<!-- end -->", lambda _: f"{mark}\n{made}\n<!-- end -->", text, flags=re.S)
            kept = ROOT / "benches/results/studies" / f"{shift}-{study}.json"
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(folder / study / "study.json", kept)
    page.write_text(text)


if __name__ == "__main__":
    main()
