#!/usr/bin/env bash
# Whether TensorBoard itself (PyPI, no root, 200 MB) shows of a run that is killed and resumed what its log has. Makes a virtual
# environment DIR/venv and the run DIR/run anew. Needs target/release/rewarm. Usage: tools/tensorboard.sh DIR
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 1; }
cd "$(dirname "$0")/.."
[ -x "$1/venv/bin/python" ] || python3 -m venv "$1/venv"
"$1/venv/bin/python" -m pip install --quiet tensorboard==2.21.0
rm -rf "$1/run"
"$1/venv/bin/python" tools/check_tensorboard.py --rewarm "${CARGO_TARGET_DIR:-target}/release/rewarm" "$1"
