# Sourced by cpu_check.sh and gpu_check.sh: measurements one after the other, each recorded, none stopping the rest.
# They set $out, the folder; $passes, the file that says how each ended; $deadline, in $SECONDS; and read $failed.

skipped=77   # exit code of what this machine cannot run
failed=0

# FILE SECONDS COMMAND...: runs a command under a time limit. The records that it prints are appended to FILE.jsonl, what
# it says to FILE.log, and how it ended to $passes.
pass() {
    local file=$1 limit=$2 left=$((deadline - SECONDS)) start=$SECONDS code=-1
    shift 2
    [[ $limit -gt $left ]] && limit=$left
    if [[ $limit -ge 5 ]]; then
        echo "\$ $*" >>"$out/$file.log"
        timeout -k 5 "$limit" "$@" 2>>"$out/$file.log" | tee -a "$out/$file.log" | grep '^{' >>"$out/$file.jsonl"
        code=${PIPESTATUS[0]}
        [[ -s $out/$file.jsonl ]] || rm -f "$out/$file.jsonl"
    fi
    [[ $code == 0 || $code == "$skipped" || $code == -1 ]] || failed=1
    printf '{"file":"%s","status":"%s","code":%d,"seconds":%d,"command":"%s"}\n' "$file" "$(status_of "$code")" "$code" \
        $((SECONDS - start)) "${*//\"/\'}" >>"$passes"
    echo "$file: $(status_of "$code"), $((SECONDS - start)) s: $*"
}

# COMMAND...: as often as there are rounds, two where nothing is said: A B A B.
in_turn() {
    local round
    for ((round = 0; round < ${ROUNDS:-2}; round++)); do "$@"; done
}

status_of() {
    case $1 in
        0) echo ok ;;
        -1) echo "no time left" ;;
        "$skipped") echo skipped ;;
        124 | 137) echo "ran out of time" ;;
        *) echo failed ;;
    esac
}

# Deletes what an earlier call left of these files.
fresh() {
    local file
    mkdir -p "$out" || exit 2
    for file in "$@"; do
        rm -f "$out/$file.jsonl" "$out/$file.log"
        [[ ! -f $passes ]] || sed -i "/^{\"file\":\"$file\"/d" "$passes"
    done
}

# COMMAND...: what was run, when, and on what; as facts.json.
facts() {
    local gpu cpu doctor
    doctor=$("$rewarm" doctor --json | tr -d '\n')
    gpu=$(nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,memory.total,power.limit \
        --format=csv,noheader 2>/dev/null | tr '\n' ';')
    cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
    printf '{"command":"%s","date":"%s","commit":"%s","cpu":"%s","cores":%d,"kernel":"%s","gpu":"%s","doctor":%s}\n' \
        "$*" "$(date -u +%F)" "$(sed -n 's/.*"commit": *"\([^"]*\)".*/\1/p' <<<"$doctor")" "$cpu" "$(nproc)" "$(uname -r)" "$gpu" \
        "$doctor" >"$out/facts.json"
}
