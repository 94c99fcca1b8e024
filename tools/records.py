"""Records of measurements as docs/benchmarks.md has them: what the PyTorch side prints, and what is read back."""

import json
import math
import os
import platform
import sys
import time
from pathlib import Path


def record(tool, version, name, settings, samples, derived, device="cpu"):
    """One measurement of `samples` in seconds, ready for json.dumps."""
    return {
        "tool": f"tools/{tool}", "version": version, "commit": None, "command": [sys.executable, *sys.argv],
        "machine": machine(device), "name": name, "settings": settings, "unit": "s",
        "samples": samples, "summary": summary(samples), "derived": derived,
    }


def summary(samples):
    """Median, and the values that a fifth and four fifths of the samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    rank = lambda q: ordered[max(1, math.ceil(q * len(ordered))) - 1]
    return {"median": rank(0.5), "p20": rank(0.2), "p80": rank(0.8)}


def machine(device="cpu"):
    cpu = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    gpu = driver = None
    if device.startswith("cuda"):
        import torch

        gpu, driver = torch.cuda.get_device_name(), torch.version.cuda
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu[0] if cpu else platform.machine(), "cores": len(os.sched_getaffinity(0)), "memory_bytes": memory,
            "os": f"{platform.system()} {platform.release()}", "gpu": gpu, "driver": driver}


def read(paths):
    """All records of JSON-lines files, each with the file and its place in it, in order."""
    found = []
    for path in paths:
        for number, line in enumerate(Path(path).read_text().splitlines()):
            try:
                item = json.loads(line) if line.startswith("{") else None
            except json.JSONDecodeError as error:
                sys.exit(f"error: {path} line {number + 1} is not JSON ({error}); a record is one line of it")
            if item is not None and "samples" in item:
                check(item, f"{path} line {number + 1}")
                found.append(item | {"file": Path(path).name, "line": number})
    return found


def check(item, where):
    """Ends the program where a record lacks what is compared."""
    for key, kind in {"name": str, "settings": dict, "summary": dict, "derived": dict}.items():
        if not isinstance(item.get(key), kind):
            sys.exit(f"error: {where}: a record's {key} is {json.dumps(item.get(key))}; docs/benchmarks.md has the form")
    median = item["summary"].get("median")
    if not isinstance(median, (int, float)) or not 0 < median < math.inf:
        sys.exit(f"error: {where}: a record's median is {json.dumps(median)}; seconds above 0 are expected")


def flops_per_token(layers, hidden, vocab, time_steps):
    """Useful FLOPs: 6 per matmul parameter, causal attention at half of T squared."""
    return 6 * (12 * layers * hidden**2 + vocab * hidden) + 6 * layers * hidden * time_steps


class Load:
    """CPU seconds per second of all but this process, from /proc/stat and /proc/self/stat."""

    def __init__(self):
        self.before = self.now()

    @staticmethod
    def now():
        tick = os.sysconf("SC_CLK_TCK")
        # user nice system idle iowait irq softirq steal; guest time is already inside user
        cpu = [int(x) / tick for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        own = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return time.perf_counter(), sum(cpu) - cpu[3] - cpu[4], (int(own[11]) + int(own[12])) / tick

    def foreign(self):
        wall, busy, own = (b - a for a, b in zip(self.before, self.now()))
        return max(0.0, busy - own) / wall
