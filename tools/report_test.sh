#!/usr/bin/env bash
# Looks at `rewarm report` with a browser (tools/report_test.mjs). Needs node, npm and Chromium (CHROMIUM=, by default
# /usr/bin/chromium), and the release build. Usage: tools/report_test.sh [OUTDIR]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/report_test}
mkdir -p "$out" target/playwright
[ -d target/playwright/node_modules/playwright-core ] ||
    (cd target/playwright && npm init -y >/dev/null && npm install --no-save playwright-core@1 >/dev/null)
node tools/report_test.mjs target/release/rewarm target/playwright "$out"
