#!/usr/bin/env python3
"""Compiles every kernel for sm_80 and sm_90 with warnings as errors and writes kernels/RESOURCES.md: registers and
occupancy as ptxas gives them, and what the SASS of the attention kernels consists of.

Usage: tools/kernel_table.py DIR [--check]      DIR: where tools/nvcc.sh has installed nvcc and nvdisasm

Refused: a stack frame, a spill, an attention kernel without tensor cores, with local memory, or with loads of
tensors that are not 16 bytes wide. --check compares instead of writing and exits with 1 where the file differs.
Threads and shared memory (columns 2 and 3) are stated by hand, of the largest launch; tests/kernels checks them.
"""
import argparse
import collections
import concurrent.futures
import difflib
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "kernels/RESOURCES.md"
# Per SM: bytes of shared memory, of which a block takes 1,024 beside its own (CUDA C Programming Guide, "Compute
# Capabilities"). Both have 65,536 registers in units of 256 a warp, 2,048 threads and 32 blocks.
ARCHS = {"80": 164 << 10, "90": 228 << 10}
REGISTERS, THREADS, BLOCKS = 65536, 2048, 32


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done


def compile_kernel(tools, source, arch, folder):
    """Registers by kernel, seconds, and the path of the cubin."""
    cubin, start = folder / f"{source.stem}.{arch}.cubin", time.monotonic()
    flags = ["-std=c++17", "-O3", f"-I{ROOT / 'kernels'}", "-Werror", "all-warnings", "-Xptxas", "-v"]
    log = run([tools / "nvcc", *flags, f"-arch=sm_{arch}", "-cubin", "-o", cubin, source]).stderr
    registers = {}
    for entry in re.split(r"Compiling entry function ", log)[1:]:
        name = re.match(r"'(\w+)'", entry)[1]
        frame = [int(n) for n in re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", entry).groups()]
        if any(frame):
            sys.exit(f"{name}, sm_{arch}: {frame[0]} bytes of stack, {frame[1]} and {frame[2]} spilled; expected none")
        registers[name] = int(re.search(r"Used (\d+) registers", entry)[1])
    return registers, time.monotonic() - start, cubin


def blocks_per_sm(arch, registers, threads, shared):
    warps = threads // 32
    per_warp = -(-registers * 32 // 256) * 256
    # Warps are given registers in fours.
    return min(REGISTERS // per_warp // 4 * 4 // warps, THREADS // threads, ARCHS[arch] // (shared + 1024), BLOCKS)


def sass(tools, cubin):
    """Instructions by kernel: name with its modifiers -> count."""
    counts, kernel = collections.defaultdict(collections.Counter), None
    for line in run([tools / "nvdisasm", "-c", cubin]).stdout.splitlines():
        if section := re.match(r"\.text\.(\w+):", line):
            kernel = section[1]
        elif kernel and (op := re.search(r"\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", line)):
            counts[kernel][op[1]] += 1
    return counts


def sass_cells(name, arch, counts):
    """What the second table says of a kernel, and the rules that every attention kernel keeps."""
    def count(pattern):
        return sum(n for op, n in counts.items() if re.fullmatch(pattern, op))

    products, local = count(r"HMMA\..*"), count(r"(LDL|STL)\b.*")
    # Statistics and document starts are read as single f32 and int; tensors in accesses of 16 bytes.
    wide, scalar = count(r"(LDG|LDGSTS)\..*\b128\b.*"), count(r"LDG\.E(\.CONSTANT|\.EF)?")
    other = count(r"(LDG|LDGSTS)\b.*") - wide - scalar
    if local or other or (re.match(r"attention_(fwd|bwd)_\d", name) and not products):
        sys.exit(f"{name}, sm_{arch}: {products} HMMA, {local} accesses of local memory, {other} loads narrower than "
                 f"16 bytes: {dict(counts)}")
    return [products, wide, scalar, count(r"STG.*\b128\b.*"), local]


def in_order(name):
    return [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", name)]


def stated():
    """Threads and bytes of shared memory by kernel, from the table as it is."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| .*%", TABLE.read_text(), re.M)
    return {name: (int(threads.replace(",", "")), int(shared.replace(",", ""))) for name, threads, shared in rows}


def table(tools, version, launches):
    sources = sorted((ROOT / "kernels").glob("*.cu"))
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = {(source, arch): pool.submit(compile_kernel, tools, source, arch, pathlib.Path(folder))
                for source in sources for arch in ARCHS}
        built = {job: future.result() for job, future in jobs.items()}
        slowest = max(built, key=lambda job: built[job][1])
        print(f"{len(built)} compilations, slowest {slowest[0].name} sm_{slowest[1]}: {built[slowest][1]:.1f} s")
        rows, instructions = [], []
        for source in sources:
            (first, _, _), (second, _, _) = (built[source, arch] for arch in ARCHS)
            for name in sorted(first, key=in_order):
                if name not in launches:
                    sys.exit(f"{TABLE}: add a row `{name}` with its threads and bytes of shared memory: "
                             f"| `{name}` | 256 | 0 | 0 | 0 | 0 | 0% |")
                threads, shared = launches[name]
                registers = [first[name], second[name]]
                blocks = [blocks_per_sm(a, r, threads, shared) for a, r in zip(ARCHS, registers)]
                full = ["{:.0f}%".format(100 * b * threads / THREADS) for b in blocks]
                cells = [f"{threads:,}", f"{shared:,}", *(" / ".join(map(str, c)) for c in (registers, blocks, full))]
                rows.append(f"| `{name}` | {' | '.join(cells)} |")
            if source.stem.startswith("attention"):
                by_arch = {arch: sass(tools, built[source, arch][2]) for arch in ARCHS}
                for name in sorted(by_arch["80"], key=in_order):
                    cells = zip(*(sass_cells(name, a, by_arch[a][name]) for a in ARCHS))
                    instructions.append(f"| `{name}` | {' | '.join(f'{x} / {y}' for x, y in cells)} |")
    return TEXT.format(version=version, rows="\n".join(rows), sass="\n".join(instructions))


TEXT = """# Registers, shared memory and occupancy of every kernel

Made by `tools/kernel_table.py` with nvcc {version}; every row is without stack frame and spill. Two numbers are sm_80 / sm_90. Threads and bytes of shared memory are those of the largest launch.

| kernel | threads | shared | registers | blocks per SM | occupancy |
| --- | --- | --- | --- | --- | --- |
{rows}

## SASS of the attention kernels

Instructions in the program, not executions. A 16-byte load is `LDG` or `LDGSTS` (cp.async); 4-byte ones read statistics and document starts.

| kernel | tensor-core products | 16-byte loads | 4-byte loads | 16-byte stores | local memory |
| --- | --- | --- | --- | --- | --- |
{sass}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    tools = args.dir / "nvidia/cu13/bin"
    version = re.search(r"release ([\d.]+)", run([tools / "nvcc", "--version"]).stdout)[1]
    new, old = table(tools, version, stated()), TABLE.read_text()
    if not args.check:
        TABLE.write_text(new)
    elif new != old:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "committed", "compiled"))
        sys.exit(f"{TABLE} is not what this source compiles to: run tools/kernel_table.py without --check")


if __name__ == "__main__":
    main()
