#!/usr/bin/env bash
# Our CPU speed beside PyTorch's in one call of at most 15 minutes on a quiet machine:
#     tools/cpu_check.sh OUTDIR [train] [mixed] [kernels] [other]
# Training at three shapes and the operations of one model, in turn (A B A B), then data and checkpoints, or those parts
# that are named; every record as it came in OUTDIR/*.jsonl, the ratios in OUTDIR/comparison.md. A part that fails is
# recorded and the next one runs; exit code 1 then. Copied to benches/results/MACHINE, OUTDIR is what
# tools/performance_doc.py makes docs/performance.md from. Variables: REWARM, the binary; PYTHON, one with torch and
# transformers; MODES, of tools/bench_pytorch.py; THREADS; ROUNDS; BUDGET, seconds of all; LLMC, a folder with llm.c's
# built train_gpt2 and its input files (tools/bench_llmc.py says which); QUICK=1, to try it.
set -uo pipefail

usage="usage: tools/cpu_check.sh OUTDIR [train] [mixed] [kernels] [other]"
mkdir -p "${1:?$usage}" || exit 1
out=$(cd "$1" && pwd)
shift
parts=("$@")
[[ $# -gt 0 ]] || parts=(train kernels other)
for part in "${parts[@]}"; do
    [[ $part =~ ^(train|mixed|kernels|other)$ ]] || { echo "$part is no part; $usage" >&2; exit 1; }
done
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
rewarm=$(realpath "${REWARM:-target/release/rewarm}")
python=${PYTHON:-python3}
threads=${THREADS:-$(nproc)}
deadline=$((SECONDS + ${BUDGET:-890}))
passes=$out/passes.jsonl
source tools/passes.sh

# MODEL T B STEPS WARMUP
shapes="small:256:8:20:5 pythia-70m:512:4:8:2 pythia-160m:512:1:6:2"
timed=(--model pythia-70m --micro 4 --seq-len 512)
seconds=0.3
[[ -n ${QUICK:-} ]] && shapes="small:64:1:2:1" timed=(--model small --micro 1 --seq-len 64) seconds=0.01

# MODEL T B STEPS WARMUP: every implementation once.
train_round() {
    local model=$1 time=$2 micro=$3 counts=(--steps "$4" --warmup "$5" --threads "$threads") mode name=(--preset "$1")
    [[ $model == small ]] && name=(--shape small)
    pass train 120 "$rewarm" bench train "${name[@]}" --seq-len "$time" --micro "$micro" "${counts[@]}" --json
    for mode in ${MODES:-hf-eager neox-compile}; do
        pass train 240 "$python" tools/bench_pytorch.py --model "$model" --seq-len "$time" --micro "$micro" --mode "$mode" \
            "${counts[@]}"
    done
}

# The same in mixed precision, beside PyTorch's ways to multiply bf16.
mixed_round() {
    local model=$1 time=$2 micro=$3 counts=(--steps "$4" --warmup "$5" --threads "$threads") mode name=(--preset "$1")
    local peer=("$python" tools/bench_pytorch.py --model "$model" --seq-len "$time" --micro "$micro" --precision P1)
    [[ $model == small ]] && name=(--shape small)
    pass mixed 120 "$rewarm" bench train "${name[@]}" --seq-len "$time" --micro "$micro" --precision mixed "${counts[@]}" \
        --json
    for mode in ${MODES:-hf-eager neox-compile}; do
        pass mixed 240 "${peer[@]}" --mode "$mode" "${counts[@]}"
    done
    pass mixed 240 "${peer[@]}" --mode neox-compile --products bf16 "${counts[@]}"
}

# The shape of llm.c's own example: 4 x 64 tokens of a model of 124 M parameters.
llmc_round() {
    local steps=6
    pass train 60 "$rewarm" bench train --preset pythia-160m --seq-len 64 --micro 4 --steps "$steps" --warmup 2 \
        --threads "$threads" --json
    pass train 90 "$python" tools/bench_llmc.py "$LLMC" --steps "$steps" --warmup 2 --threads "$threads"
}

kernel_round() {
    local model=(--preset "${timed[1]}")
    [[ ${timed[1]} == small ]] && model=(--shape small)
    pass kernels 180 "$rewarm" bench kernels "${model[@]}" "${timed[@]:2}" --threads "$threads" --json
    pass kernels 120 "$python" tools/bench_kernels_pytorch.py "${timed[@]}" --threads "$threads" --seconds $seconds
}

# Tokens of this repository's own text, and checkpoints of the model whose operations were timed.
other() {
    local model=(--preset "${timed[1]}")
    [[ ${timed[1]} == small ]] && model=(--shape small)
    rm -rf "$out/data"
    pass other 60 "$rewarm" data tokenize docs src kernels README.md --extension md --extension rs --extension cu \
        --extension h --vocab-size 2048 --output "$out/data/repository"
    pass other 60 "$rewarm" bench data "$out/data/repository" --seq-len 512 --threads "$threads" --json
    pass other 120 "$rewarm" bench checkpoint "${model[@]}" --dir "$out" --repeats 3 --threads "$threads" --json
    rm -rf "$out/data"
}

# A round of every shape.
each_shape() {
    local shape model time micro steps warmup
    for shape in $shapes; do
        IFS=: read -r model time micro steps warmup <<<"$shape"
        in_turn "$1" "$model" "$time" "$micro" "$steps" "$warmup"
    done
}

train() {
    each_shape train_round
    [[ -z ${LLMC:-} ]] || in_turn llmc_round
}

mixed() { each_shape mixed_round; }

kernels() { in_turn kernel_round; }

fresh "${parts[@]}"
facts "tools/cpu_check.sh"
for part in "${parts[@]}"; do "$part"; done
"$python" tools/compare.py "$out" | tee "$out/comparison.md" || failed=1
exit "$failed"
