#!/usr/bin/env bash
# Runs the tests of the kernels with every kernel, and the emulator, under AddressSanitizer and
# UndefinedBehaviorSanitizer: stable Rust, GCC on Linux. Usage: tools/sanitize.sh [FILTER | ARGUMENTS OF THE TESTS].
# Fails too where the sanitizers do not report the errors planted in kernels/selfcheck.cu.
set -euo pipefail
cd "$(dirname "$0")/.."

cxx=${CXX:-c++}
# The executable is linked by rustc, so the runtime has to be loaded before it.
runtime=$("$cxx" -print-file-name=libasan.so)
[[ $runtime == /* ]] || { echo "sanitize.sh: $cxx has no libasan.so; name a GCC in CXX" >&2; exit 1; }

# What cargo says of the ordinary build of the tests: where build.rs wrote the sources of the kernels, and the program.
of_build() {
    cargo "$1" --message-format=json-render-diagnostics "${@:2}" | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["reason"] == "build-script-executed" and "rewarm" in message["package_id"].rsplit("/", 1)[-1]:
        generated = message["out_dir"]
    if message["reason"] == "compiler-artifact" and message["target"]["name"] == "kernels":
        program = message["executable"]
print(generated, program)'
}
read -r generated _ < <(of_build test --release --locked --test kernels --no-run)

# Those objects once more, instrumented, linked in front of the library's, which are then not taken. Reports have lines (-g1).
out=target/sanitize
rm -rf "$out" && mkdir -p "$out"
mapfile -t flags < "$generated/flags"
compile() { "$cxx" "${flags[@]}" -fsanitize=address,undefined -fno-sanitize-recover=all -g1 -fno-omit-frame-pointer -c "$1" -o "$2"; }
pids=()
for source in kernels/emu.cc "$generated"/*.cc; do
    [[ $source == */probe.cc ]] && continue
    compile "$source" "$out/$(basename "$source" .cc).o" & pids+=($!)
    [[ ${#pids[@]} -lt $(nproc) ]] || { wait "${pids[0]}"; pids=("${pids[@]:1}"); }
done
for pid in "${pids[@]}"; do wait "$pid"; done
printf '#!/bin/sh\nexec cc %s "$@" -lasan -lubsan\n' "$PWD/$out/*.o" > "$out/cc"
chmod +x "$out/cc"
read -r _ program < <(of_build rustc --release --locked --test kernels -- --cfg sanitized -C "linker=$PWD/$out/cc")

tests() { LD_PRELOAD=$runtime ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 "$program" "$@"; }
planted=sanitize::planted_errors_are_reported
said=$(tests --exact "$planted") || { echo "$said"; exit 1; }
echo "$said"
grep -q "^test $planted ... ok" <<< "$said"
tests "$@" --skip "$planted"
