#!/usr/bin/env bash
# Installs the pinned frameworks whose learning rates ours are compared with into a virtual environment DIR, from PyPI
# (no root, no GPU; 6 GB, since PyPI's torch brings CUDA along). Usage: tools/frameworks.sh DIR
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 1; }
[ -x "$1/bin/python" ] || python3 -m venv "$1"
# uv, since it takes half the time of pip.
"$1/bin/python" -m pip install --quiet uv==0.13.9
"$1/bin/uv" pip install --quiet --native-tls --python "$1/bin/python" \
    torch==2.15.0 transformers==5.23.0 optax==0.2.8
