#!/usr/bin/env bash
# Everything to learn from a machine with an NVIDIA GPU in one call of at most ten minutes:
#     tools/gpu_check.sh OUTDIR
# Each part runs in a process of its own under a time limit; one that fails is recorded and the next one runs. A part
# leaves OUTDIR/PART.log, and OUTDIR/PART.json where it has numbers; OUTDIR/summary.json has all of them. Exit code 1
# where a part failed. Variables: REWARM, the binary; DEVICE=emulated, to try this script without a GPU; BUDGET, the
# seconds of all parts together. Nothing is compiled: a binary that was built elsewhere with NVCC set is enough (stripped
# it has 11 MB).
set -uo pipefail

usage="usage: tools/gpu_check.sh OUTDIR"
mkdir -p "${1:?$usage}" || exit 1
out=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
rewarm=$(realpath "${REWARM:-target/release/rewarm}")
device=${DEVICE:-cuda:0}
skipped=77   # exit code of a part that this machine cannot run

# Part and seconds at most, what matters most first.
parts="facts:30 selftest:150 data:60 losses:150 repeat:90 throughput:120 memcheck:120 racecheck:90"

emulated() { [[ $device == emulated ]]; }

# ------------------------------------------------------------------------------------------------ the parts

part_facts() {
    local gpu doctor
    gpu=$(nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,memory.total,power.limit \
        --format=csv,noheader 2>/dev/null | tr '\n' ';')
    nvidia-smi || emulated || echo "no nvidia-smi"
    doctor=$("$rewarm" doctor --json) || return
    printf '{"gpu":"%s","doctor":%s}\n' "$gpu" "${doctor//$'\n'/}" >"$out/facts.json"
}

part_selftest() { "$rewarm" selftest --device "$device" --json >"$out/selftest.json"; }

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

# The largest micro-batch that fits.
part_throughput() {
    local preset=pythia-160m time=2048 steps=14 micro
    emulated && { preset=pythia-14m time=32 steps=3; }
    for micro in 16 8 4 1; do
        emulated && micro=1
        [[ -s $out/data/repository.idx ]] || { echo "no data"; return 1; }
        rm -rf "$out/throughput"
        "$rewarm" train --device "$device" --set "run_dir=$out/throughput" --set "model.preset=$preset" \
            --set "data.train=[\"$out/data\"]" --set "data.seq_len=$time" --set "batch.sequences=$micro" \
            --set "train.steps=$steps" --set schedule.lr=1e-4 --set eval.every=0 || continue
        speed "$preset" "$time" "$micro" >"$out/throughput.json"
        return
    done
    return 1
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
        --set eval.every=0 "${sets[@]}"
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

# PRESET TIME MICRO: the median step of the second half of the run.
speed() {
    local lines
    lines=$(sed -n '/"eval"/!s/.*"tokens_per_s":\([^,}]*\).*/\1/p' "$out/throughput/metrics.jsonl")
    tail -n "$((($(wc -l <<<"$lines") + 1) / 2))" <<<"$lines" | sort -g | awk -v head="$1 $2 $3" '
        { x[NR] = $1 }
        END {
            split(head, h, " ")
            printf "{\"model\":\"%s\",\"time\":%d,\"micro\":%d,\"tokens_per_s\":%.0f,\"steps\":%d}\n", h[1], h[2], h[3],
                x[int((NR + 1) / 2)], NR
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
        timeout "$left" "$program" --tool "$1" --error-exitcode 9 "$rewarm" selftest --device "$device" --only $op
        status=$(name_of $?)
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

# ------------------------------------------------------------------------------------------------ one by one

# NAME SECONDS: runs a part and appends its line to the summary.
run_part() {
    local name=$1 left=$((deadline - SECONDS)) limit=$2 start=$SECONDS code status
    [[ $limit -gt $left ]] && limit=$left
    rm -f "$out/$name.json"
    if [[ $limit -lt 5 ]]; then
        code=-1 status="no time left"
    else
        LIMIT=$limit timeout -k 5 "$limit" tools/gpu_check.sh "$out" "$name" >"$out/$name.log" 2>&1
        code=$?
        status=$(name_of $code)
    fi
    [[ $status == failed || $status == "ran out of time" ]] && failed=1
    summary+=("$(printf '{"part":"%s","status":"%s","code":%d,"seconds":%d,"result":%s}' "$name" "$status" "$code" \
        $((SECONDS - start)) "$(result_of "$name")")")
    echo "$name: $status, $((SECONDS - start)) s"
}

name_of() {
    case $1 in
        0) echo ok ;;
        "$skipped") echo skipped ;;
        124 | 137) echo "ran out of time" ;;
        *) echo failed ;;
    esac
}

# The part's JSON where it is one whole object.
result_of() {
    local text
    text=$(tail -n 1 "$out/$1.json" 2>/dev/null)
    [[ $text == \{*\} ]] && echo "$text" || echo null
}

main() {
    local part
    failed=0 summary=() deadline=$((SECONDS + ${BUDGET:-590}))
    for part in $parts; do run_part "${part%:*}" "${part#*:}"; done
    printf '{"device":"%s","passed":%s,"seconds":%d,"parts":[%s]}\n' "$device" \
        "$([[ $failed == 0 ]] && echo true || echo false)" "$SECONDS" "$(IFS=,; echo "${summary[*]}")" >"$out/summary.json"
    echo "$out/summary.json"
    return "$failed"
}

if [[ $# -gt 1 ]]; then
    "part_$2"
else
    add_libraries
    main
fi
