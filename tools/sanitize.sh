#!/usr/bin/env bash
# Runs the tests of the kernels with every kernel, and the emulator, under AddressSanitizer and
# UndefinedBehaviorSanitizer: stable Rust, GCC on Linux. Usage: tools/sanitize.sh [FILTER | ARGUMENTS OF THE TESTS].
# Fails too where the sanitizers do not report the errors planted in kernels/selfcheck.cu.
set -euo pipefail
cd "$(dirname "$0")/.."

# The executable is linked by rustc, so the runtime has to be loaded before it.
runtime=$("${CXX:-c++}" -print-file-name=libasan.so)
[[ $runtime == /* ]] || { echo "sanitize.sh: ${CXX:-c++} has no libasan.so; name a GCC in CXX" >&2; exit 1; }
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=env LD_PRELOAD=$runtime ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1"
export NVCC=none   # nothing here runs on a GPU
# A feature, so that these objects lie beside those of ordinary builds.
tests() { cargo test --release --locked --features sanitize --test kernels -- "$@"; }

planted=sanitize::planted_errors_are_reported
said=$(tests --exact "$planted") || { echo "$said"; exit 1; }
echo "$said"
grep -q "^test $planted ... ok" <<< "$said"
tests "$@" --skip "$planted"
