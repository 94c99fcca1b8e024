#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["tensorboard>=2.20"]
# ///
"""Ask TensorBoard what it shows of a run, and compare that with the log of the run.

    uv run tools/check_tensorboard.py RUN                                 of a run with log.tensorboard = true
    uv run tools/check_tensorboard.py --rewarm target/release/rewarm DIR  of a tiny run in DIR/run that is killed and resumed

Three readers of its package are asked: `EventAccumulator`, the accumulator behind the Python server, and the server itself
over HTTP (with its data server in Rust, where that is installed). Prints one JSON line. Exit code 1: tags, steps, values or
times differ in one of them.
"""

import argparse
import contextlib
import ctypes
import json
import math
import random
import re
import signal
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

STEP = ["loss", "loss_end_of_text", "loss_within_text", "grad_norm", "lr", "sequences", "weight_decay", "beta1", "beta2"]
SET = ["loss", "perplexity", "bits_per_byte", "forgetting", "learned"]
# null in the log: not finite.
NULL_IS_NAN = ["loss", "grad_norm", "perplexity"]
TINY = """
run_dir = "DIR/run"
[model]
vocab_size = 64
hidden_size = 8
num_hidden_layers = 2
num_attention_heads = 2
rotary_pct = 0.5
max_position_embeddings = 32
[data]
seq_len = 16
[[data.mixture]]
name = "new"
paths = ["raw-u16:DIR/new.bin"]
weight = 3
[[data.mixture]]
name = "replay"
paths = ["raw-u16:DIR/replay.bin"]
when_empty = "repeat"
[[data.validation]]
name = "old"
paths = ["raw-u16:DIR/old.bin"]
role = "retain"
[[data.validation]]
name = "other"
paths = ["raw-u16:DIR/other.bin"]
role = "learn"
[batch]
sequences = 4
[optim]
weight_decay_phases = [{shape = "linear", to = 0.0}]
[schedule]
lr = 1e-2
[train]
steps = 2000
[eval]
every = 25
sequences = 4
[checkpoint]
every = 40
[log]
tensorboard = true
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--rewarm", type=Path, help="the program that makes a run in DIR, which has none")
    args = parser.parse_args()
    run, report = args.dir, {}
    if args.rewarm:
        run = args.dir / "run"
        report["kills"], report["done_again"] = make_run(args.rewarm, args.dir)
    events = run / "tensorboard"
    expected = of_log(run / "metrics.jsonl")
    report |= {"files": len(list(events.iterdir())), "tags": len(expected), "values": sum(map(len, expected.values()))}
    passed = report["values"] > 0
    for name, reader in [("event_accumulator", accumulator), ("plugin_accumulator", plugin), ("server", server)]:
        report[name] = differences(expected, reader(events))
        passed &= report[name] == 0
    report["pass"] = passed
    print(json.dumps(report))
    sys.exit(not passed)


def make_run(rewarm, folder):
    """Kills the run some times; gives how often, and how many steps were done again."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(7)
    for name, count in [("new", 200_000), ("replay", 3_000), ("old", 2_000), ("other", 2_000)]:
        (folder / f"{name}.bin").write_bytes(struct.pack(f"<{count}H", *(dice.randrange(64) for _ in range(count))))
    (folder / "run.toml").write_text(TINY.replace("DIR", str(folder.resolve())))
    kills = again = 0
    command = [rewarm, "train", folder / "run.toml"]
    while True:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        saved = 0
        for line in child.stderr:
            saved += line.startswith("saved")
            if saved == 3 and kills < 4:
                time.sleep(dice.random() / 50)
                child.send_signal(signal.SIGKILL)
                break
        child.stderr.close()
        code = child.wait()
        if code == 0:
            return kills, again
        if code != -signal.SIGKILL:
            sys.exit(f"rewarm ended with {code}")
        kills += 1
        newest = max(int(path.name[5:]) for path in (folder / "run").glob("step-*"))
        lines = (folder / "run/metrics.jsonl").read_text().split("\n")[:-1]
        again += json.loads(lines[-1])["step"] - newest
        command = [rewarm, "resume", folder / "run"]


def of_log(path):
    """Of every tag its points: step, value as TensorBoard has it (an f32), time."""
    points = {}

    def get(values, name, what):
        return math.nan if what in NULL_IS_NAN and values[name] is None else values.get(name)

    for line in map(json.loads, path.read_text().splitlines()):
        if "eval" in line:
            values = {f"eval/{line['eval']}/{name}": get(line, name, name) for name in SET}
        elif "lr" in line:
            values = {f"train/{name}": get(line, name, name) for name in [*STEP, "tokens_per_s"]}
            sources = line.get("loss_by_source", {})
            values |= {f"train/loss_by_source/{name}": get(sources, name, "loss") for name in sources}
        else:
            continue
        for tag, value in values.items():
            if value is not None:
                points.setdefault(tag, []).append((line["step"], plain(ctypes.c_float(value).value), line["time"]))
    return points


def differences(expected, found):
    """Points that only one side has; a tag whose points were all forgotten counts as none."""
    only_one_has = 0
    for tag in expected.keys() | found.keys():
        one, other = Counter(expected.get(tag, [])), Counter(found.get(tag, []))
        only_one_has += (one - other).total() + (other - one).total()
    return only_one_has


def accumulator(events):
    from tensorboard.backend.event_processing import event_accumulator as ea

    read = ea.EventAccumulator(str(events), size_guidance={ea.SCALARS: 0})
    read.Reload()
    return {tag: [(e.step, plain(e.value), e.wall_time) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def plugin(events):
    from tensorboard.backend.event_processing import plugin_event_accumulator as pea
    from tensorboard.util import tensor_util

    read = pea.EventAccumulator(str(events), size_guidance={pea.TENSORS: 0}, tensor_size_guidance={"scalars": 0})
    read.Reload()
    value = lambda e: plain(tensor_util.make_ndarray(e.tensor_proto).item())
    return {tag: [(e.step, value(e), e.wall_time) for e in read.Tensors(tag)] for tag in read.Tags()["tensors"]}


@contextlib.contextmanager
def serving(events):
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(events), "--port", "0", "--host", "127.0.0.1"]
    command += ["--samples_per_plugin", "scalars=100000", "--reload_interval", "1"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for line in child.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                yield found[0]
                break
        else:
            sys.exit("tensorboard did not start")
    finally:
        child.terminate()
        child.stderr.close()
        child.wait()


def server(events):
    """What the page in the browser asks for, once it no longer changes."""
    with serving(events) as address:

        def ask(what):
            with urllib.request.urlopen(f"{address}data/plugin/scalars/{what}", timeout=60) as answer:
                return json.load(answer)

        found = before = None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not found or found != before):
            time.sleep(2)
            before, found = found, {}
            for run, tags in ask("tags").items():
                for tag in tags:
                    points = ask("scalars?" + urllib.parse.urlencode({"run": run, "tag": tag}))
                    found[tag] = [(step, plain(value), at) for at, step, value in points]
        return found


def plain(value):
    """A number that equals itself; the server writes those that are not finite as words."""
    return "NaN" if math.isnan(float(value)) else float(value)


if __name__ == "__main__":
    main()
