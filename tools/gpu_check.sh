#!/usr/bin/env bash
# Everything to learn from a machine with an NVIDIA GPU, in three calls which together take 15 minutes at most, each usable
# alone; what matters most comes first:
#     tools/gpu_check.sh correctness OUTDIR    whether it computes what it should: 235 s
#     tools/gpu_check.sh train OUTDIR          training steps beside PyTorch's, in turn (A B A B): 360 s
#     tools/gpu_check.sh kernels OUTDIR        our operations beside PyTorch's, in turn (A B A B): 295 s
# A call says first how long it takes at most and ends then, whatever it is at; what was found is in OUTDIR. Every part runs in a process of its own under a time limit; one that fails is recorded and the next one runs. Records
# come as they are into OUTDIR/*.jsonl, how each part ended into OUTDIR/passes-CALL.jsonl, clocks and power into
# OUTDIR/dmon-CALL.log, ratios into OUTDIR/comparison.md. `correctness` leaves PART.log, PART.json and summary.json.
# Exit code 1 where a part failed. Copied to benches/results/MACHINE, OUTDIR is what tools/performance_doc.py makes
# docs/performance.md from. Variables: REWARM, the binary; PYTHON, one with torch and transformers; DEVICE=emulated, to
# try this script without a GPU; CONFIGS, what `train` measures; BUDGET, the seconds of a call; BGRADB=no, where products
# of cuBLASLt are not to sum gradients of biases. Nothing is compiled here but by torch.compile: a binary that was built
# elsewhere with NVCC set is enough.
set -uo pipefail

usage="usage: tools/gpu_check.sh correctness|train|kernels OUTDIR"
call=${1:?$usage}
declare -A seconds=([correctness]=235 [train]=360 [kernels]=295)
[[ $call == correctness || $call == kernels || $call == train ]] || { echo "error: no call \"$call\"; $usage" >&2; exit 1; }
mkdir -p "${2:?$usage}" || exit 1
out=$(cd "$2" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
rewarm=$(realpath "${REWARM:-target/release/rewarm}")
python=${PYTHON:-python3}
device=${DEVICE:-cuda:0}
budget=${BUDGET:-${seconds[$call]}}
# The whole call has the limit of its own: a child that does not end, or that nobody times, cannot overrun it.
if [[ $# == 2 && -z ${GPU_CHECK_LIMITED:-} ]]; then
    echo "$call: at most $budget s"
    GPU_CHECK_LIMITED=1 timeout -k 5 "$budget" tools/gpu_check.sh "$call" "$out"
    code=$?
    [[ $code == 124 || $code == 137 ]] && echo "$call: ended after its $budget s; $out has what was found until then"
    exit "$code"
fi
# What is left is for writing down how the last part ended.
deadline=$((SECONDS + budget - 8))
passes=$out/passes-$call.jsonl
source tools/passes.sh

# PRESET:MICRO:ACCUMULATION:CLASS of `train`, what matters most first; 410m:1:1 is bound by launches. P1: f32 master weights
# and moments; P2: both in bf16, and 6.9b in P2 alone, since PyTorch's state of it takes 110 GB in P1.
configs=${CONFIGS:-pythia-410m:16:1:P1 pythia-160m:32:1:P1 pythia-1.4b:8:1:P1 pythia-410m:16:1:P2 pythia-6.9b:4:1:P2
    pythia-410m:1:1:P1 pythia-6.9b:8:1:P2 pythia-410m:16:4:P1}
# Parts of `correctness` and the seconds of each at most, what matters most first.
parts="selftest:70 data:15 losses:50 repeat:40 memcheck:60 racecheck:40"
# What leaves BGRADB out of a selftest or a measurement, and out of a run.
without=() separate=()
[[ ${BGRADB:-yes} == no ]] && without=(--separate-bias-gradients) separate=(--set train.separate_bias_gradients=true)

emulated() { [[ $device == emulated ]]; }

# ------------------------------------------------------------------------------------------------ kernels and train

# PRESET MICRO TIME: the operations of a model.
kernel_round() {
    local peer=(--model "$1") ours=(--preset "$1") on=cuda
    emulated && { peer=(--model small --threads 1 --seconds 0.01) ours=(--shape small) on=cpu; }
    pass kernels 110 "$rewarm" bench kernels "${ours[@]}" --micro "$2" --seq-len "$3" --device "$device" --json
    pass kernels 110 "$python" tools/bench_kernels_pytorch.py "${peer[@]}" --micro "$2" --seq-len "$3" --device $on \
        $(emulated || echo --compile)
    pass kernels 60 "$rewarm" bench kernels "${ours[@]}" --only update --precision bf16 --device "$device" --json
    emulated || pass kernels 60 "$python" tools/bench_kernels_pytorch.py "${peer[@]}" --only update --precision P2 --device $on
}

call_kernels() {
    emulated && { in_turn kernel_round small 1 32; return; }
    in_turn kernel_round pythia-410m 16 2048
    in_turn kernel_round pythia-160m 32 2048
    in_turn kernel_round pythia-1.4b 16 2048
}

# PRESET MICRO ACCUMULATION CLASS: every implementation once.
train_round() {
    local sizes=(--micro "$2" --accumulate "$3") precision=mixed variant
    [[ $4 == P2 ]] && precision=bf16
    emulated && { train_emulated $precision; return; }
    pass train 60 "$rewarm" bench train --preset "$1" --seq-len 2048 "${sizes[@]}" --precision $precision --device "$device" \
        "${without[@]}" --steps 20 --warmup 8 --json
    for variant in "neox-compile --sdpa cudnn" "neox-compile --sdpa flash" hf-eager; do
        # shellcheck disable=SC2086 # a mode and its options
        pass train 130 "$python" tools/bench_pytorch.py --model "$1" "${sizes[@]}" --device cuda --precision "$4" \
            --steps 20 --warmup 20 --mode $variant
    done
}

train_emulated() {
    pass train 120 "$rewarm" bench train --shape small --micro 1 --seq-len 32 --precision "$1" --device emulated --steps 2 \
        --warmup 1 --json
    pass train 120 "$python" tools/bench_pytorch.py --model small --micro 1 --seq-len 32 --threads 1 --steps 2 --warmup 1
}

call_train() {
    local config preset micro accumulation class
    for config in $configs; do
        IFS=: read -r preset micro accumulation class <<<"$config"
        in_turn train_round "$preset" "$micro" "$accumulation" "${class:-P1}"
        emulated && break
    done
}

# ------------------------------------------------------------------------------------------------ parts of correctness

part_selftest() { "$rewarm" selftest --device "$device" "${without[@]}" --json >"$out/selftest.json"; }

# Tokens of this repository's own text.
part_data() {
    rm -rf "$out/data"
    "$rewarm" data tokenize docs src kernels README.md --extension md --extension rs --extension cu --extension h \
        --vocab-size 2048 --output "$out/data/repository"
}

# The same training on the processor and on the device.
part_losses() {
    local steps=200
    emulated && steps=4
    train cpu losses-cpu "train.steps=$steps" && train "$device" losses-device "train.steps=$steps" || return
    difference losses-cpu losses-device "$steps" >"$out/losses.json"
}

# 20 steps twice, and the second half of them once more from a checkpoint: equal logs.
part_repeat() {
    local half=10 run
    emulated && half=2
    for run in repeat-1 repeat-2; do
        train "$device" $run "train.steps=$((2 * half))" "checkpoint.every=$half" || return
        log_of $run >"$out/$run.curve"
    done
    rm -r "$out/repeat-2/step-$(printf %010d $((2 * half)))" || return
    "$rewarm" resume "$out/repeat-2" || return
    log_of repeat-2 >"$out/resumed.curve"
    cmp "$out/repeat-1.curve" "$out/repeat-2.curve" && cmp "$out/repeat-1.curve" "$out/resumed.curve" || return
    printf '{"steps":%d,"equal_logs":true,"resume_equal":true}\n' $((2 * half)) >"$out/repeat.json"
}

part_memcheck() { sanitize memcheck; }
part_racecheck() { sanitize racecheck; }

# ------------------------------------------------------------------------------------------------ what they share

# DEVICE NAME KEY=VALUE...: trains a small model in OUTDIR/NAME.
train() {
    local on=$1 name=$2 sets=() size="hidden_size=256 num_hidden_layers=4 num_attention_heads=4" pair
    local time=128
    shift 2
    emulated && { size="hidden_size=64 num_hidden_layers=2 num_attention_heads=2" time=64; }
    for pair in $size vocab_size=2048 "max_position_embeddings=$time"; do sets+=(--set "model.$pair"); done
    for pair in "$@"; do sets+=(--set "$pair"); done
    rm -rf "${out:?}/$name"
    "$rewarm" train --device "$on" --set "run_dir=$out/$name" --set "data.train=[\"$out/data\"]" \
        --set "data.seq_len=$time" --set batch.sequences=8 --set batch.micro=4 --set schedule.lr=1e-3 \
        --set eval.every=0 "${separate[@]}" "${sets[@]}"
}

# Losses of a run, one a line.
losses_of() { sed -n '/"eval"/!s/.*"loss":\([^,}]*\).*/\1/p' "$out/$1/metrics.jsonl"; }

# Its log without what depends on time.
log_of() { sed 's/"\(tokens\|gflop\)_per_s":[^,}]*//g' "$out/$1/metrics.jsonl"; }

# CPU-RUN DEVICE-RUN STEPS. Fails where a loss is missing, no number, or a quarter of a nat off.
difference() {
    paste <(losses_of "$1") <(losses_of "$2") | awk -v steps="$3" '
        { d = $1 - $2; d = d < 0 ? -d : d; sum += d; if (d > max) max = d; if (d != d) bad = 1; cpu = $1; device = $2 }
        NF != 2 || $1 !~ /^[0-9]/ || $2 !~ /^[0-9]/ { bad = 1 }
        END {
            good = !bad && NR == steps && max <= 0.25
            printf "{\"steps\":%d,\"max_difference\":%.6f,\"mean_difference\":%.6f,", NR, max, NR ? sum / NR : 0
            printf "\"last_cpu\":\"%s\",\"last_device\":\"%s\"}\n", cpu, device
            exit !good
        }'
}

# A tool of NVIDIA by its name: in PATH, the toolkit, or Python's packages.
find_tool() {
    local found
    found=$(command -v "$1") && { echo "$found"; return; }
    for found in /usr/local/cuda/bin/"$1" $(site_packages | sed "s|\$|/nvidia/cu13/bin/$1|"); do
        [[ -x $found ]] && { echo "$found"; return; }
    done
    return 1
}

site_packages() { python3 -c 'import site; print(*site.getsitepackages(), site.getusersitepackages(), sep="\n")' 2>/dev/null; }

# TOOL of compute-sanitizer over the kernels, family by family, while there is time.
sanitize() {
    local program op left status code=0 results=()
    program=$(find_tool compute-sanitizer) || { echo "no compute-sanitizer"; return $skipped; }
    for op in rotary layernorm gelu embedding cross_entropy update attention linear; do
        left=$((${LIMIT:-600} - SECONDS - 3))
        [[ $left -gt 5 ]] || break
        # The arguments of a kernel are counted until the driver says that there are no more: an error, but no fault.
        timeout "$left" "$program" --tool "$1" --report-api-errors no --error-exitcode 9 \
            "$rewarm" selftest --device "$device" --only $op "${without[@]}"
        status=$(status_of $?)
        results+=("\"$op\":\"$status\"")
        [[ $status == failed ]] && code=1
        printf '{%s}\n' "$(IFS=,; echo "${results[*]}")" >"$out/$1.json"
    done
    return $code
}

# CUDA's libraries may lie in Python's packages only.
add_libraries() {
    local folder
    for folder in $(site_packages | sed 's|$|/nvidia/*/lib|'); do
        [[ -d $folder ]] && export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    done
}

# ------------------------------------------------------------------------------------------------ correctness

# NAME SECONDS: runs a part in a process of its own.
run_part() {
    rm -f "$out/$1.json" "$out/$1.log"
    LIMIT=$2 pass "$1" "$2" tools/gpu_check.sh correctness "$out" "$1"
}

call_correctness() {
    local part
    for part in $parts; do
        run_part "${part%:*}" "${part#*:}"
        summary
    done
    echo "$out/summary.json"
}

# How the parts ended so far: a call that is cut off leaves that of those that were done.
summary() {
    local part name lines
    lines=$(while IFS= read -r part; do
        name=$(sed 's/.*"file":"\([^"]*\)".*/\1/' <<<"$part")
        printf '%s,"result":%s}\n' "${part%\}}" "$(result_of "$name")"
    done <"$passes" | paste -sd,)
    printf '{"device":"%s","passed":%s,"seconds":%d,"parts":[%s]}\n' "$device" \
        "$([[ $failed == 0 ]] && echo true || echo false)" "$SECONDS" "$lines" >"$out/summary.json"
}

# The part's JSON where it is one whole object.
result_of() {
    local text
    text=$(tail -n 1 "$out/$1.json" 2>/dev/null)
    [[ $text == \{*\} ]] && echo "$text" || echo null
}

# ------------------------------------------------------------------------------------------------ a call

if [[ $# -gt 2 ]]; then
    "part_$3"
    exit
fi
add_libraries
fresh "$call"
facts "tools/gpu_check.sh"
monitor=
if command -v nvidia-smi >/dev/null; then
    nvidia-smi dmon -s pucm -d 1 >"$out/dmon-$call.log" 2>&1 &
    monitor=$!
fi
"call_$call"
[[ -n $monitor ]] && kill "$monitor"
[[ $call == correctness ]] || emulated || "$python" tools/compare.py "$out" | tee "$out/comparison.md" || failed=1
exit "$failed"
