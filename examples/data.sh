#!/usr/bin/env bash
# Writes the demo's problems: the same bytes every time. make data calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p examples/arithmetic
bin/coordinator data drills --task train --count 4800 --seed 11 -o examples/arithmetic/train.jsonl
bin/coordinator data drills --task test --count 200 --seed 5 -o examples/arithmetic/test.jsonl
