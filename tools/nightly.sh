#!/usr/bin/env bash
# What takes longer than the gate may: the same kinds of checks as in .ci/run, for longer or larger. Needs 6 GB of memory
# and 16 GB of disk for a while. Usage: tools/nightly.sh
set -euo pipefail
cd "$(dirname "$0")/.."

stage() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name: $*"
    "$@"
    echo "== $name: $((SECONDS - start)) s"
}

# Every test of the kernels under the sanitizers; the gate leaves out the longest.
stage sanitize tools/sanitize.sh
# Rows of the self-test that the gate runs in one mode alone.
stage long-rows cargo test --release --locked --test kernels book -- --ignored
# Every step of 200 random settings of every schedule, as the frameworks themselves compute it.
stage frameworks tools/frameworks.sh target/frameworks
stage ask-frameworks target/frameworks/bin/python tools/golden_schedules.py target/schedules.jsonl
stage schedules env REWARM_GOLDEN_SCHEDULES="$PWD/target/schedules.jsonl" \
    cargo test --release --locked --test schedules every_step -- --nocapture
# Runs that are killed a thousand times, and readers that are given a hundred times as many damaged files.
stage soak env KILLS=1000 cargo test --release --locked --test resume soak::soak -- --nocapture
stage study env KILLS=50 cargo test --release --locked --test resume study::kills -- --nocapture
stage tokenize env KILLS=20 cargo test --release --locked --test resume tokenize:: -- --nocapture
stage hub cargo test --release --locked --features hub --test cli hub::
stage fuzz env ROUNDS=20000 cargo test --release --locked --test fuzz -- --nocapture
stage build cargo build --release --locked
# The page of `rewarm report` in a browser; needs node, npm and Chromium.
stage report tools/report_test.sh
# TensorBoard itself, on a run that is killed.
stage tensorboard tools/tensorboard.sh target/tensorboard
# The last tutorial: an export in lm-evaluation-harness itself.
lm_eval() {
    [ -d target/lm_eval ] || python3 -m venv target/lm_eval
    target/lm_eval/bin/pip install -q torch transformers lm_eval==0.4.9.2
    LM_EVAL_BIN=$PWD/target/lm_eval/bin cargo test --release --locked --test cli tutorials::an_export -- --ignored
}
stage lm-eval lm_eval
# Checkpoints of the largest tensors, alone in their process.
stage large-tensors cargo test --release --locked --test checkpoint -- \
    --ignored --exact host_memory::checkpoints_of_large_tensors_do_too --nocapture
# 10 GB edited in less than 1.
stage large-edits cargo test --release --locked --test checkpoint -- \
    --ignored --exact host_memory::ten_gb_are_edited_in_little_memory --nocapture
echo "== all stages passed in $SECONDS s"
