#!/usr/bin/env bash
# Installs the pinned nvcc and nvdisasm from PyPI into DIR (no root, no GPU) and prints the variable to set.
# Usage: tools/nvcc.sh DIR; then `export NVCC=...` and build: the fat binaries of kernels/*.cu are embedded.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 1; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
nvcc=$dir/nvidia/cu13/bin/nvcc
[ -x "$nvcc" ] || python3 -m pip install --quiet --root-user-action=ignore --target "$dir" \
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cuda-nvdisasm==13.2.51 >&2
"$nvcc" --version >&2
echo "export NVCC=$nvcc"
