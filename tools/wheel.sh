#!/usr/bin/env bash
# Builds a Python wheel that puts the `rewarm` binary onto the PATH, into DIR. Kernels for GPUs are embedded where the
# build finds nvcc (NVCC of tools/nvcc.sh, CUDA_HOME, PATH). Usage: tools/wheel.sh DIR; then `pip install DIR/*.whl`.
# Needs Rust, a C++ compiler and python3 with venv; maturin and wheel come from PyPI into a temporary folder.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 1; }
mkdir -p "$1"
dist=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
bin=$work/venv/bin # not onto the PATH, whose change would build everything again
"$bin/pip" install --quiet --disable-pip-version-check maturin==1.16.0 wheel==0.45.1
# What it needs to know stands in Cargo.toml, so there is no pyproject.toml.
"$bin/maturin" build --release --locked --bindings bin --strip --out "$work" >&2
# The licences ask to be where the program is; maturin takes them along only where there is a pyproject.toml.
"$bin/wheel" unpack --dest "$work/open" "$work"/rewarm-*.whl >&2
info=$(echo "$work"/open/rewarm-*/rewarm-*.dist-info)
mkdir "$info/licenses"
cp LICENSE-* "$info/licenses"
"$bin/wheel" pack --dest-dir "$dist" "$work"/open/rewarm-* >&2
echo "$dist"/rewarm-*.whl
