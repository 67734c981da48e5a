#!/usr/bin/env bash
# Makes the tiny base model of the demo: tokenizer and random weights, then pretraining by examples/base.yaml on generated
# lessons. Its bytes depend on nothing but this tree and the arithmetic class. make base calls it; takes about ten minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
coordinator=bin/coordinator
work=build/base
rm -rf "$work"
mkdir -p "$work"
export TORC_HOME="$PWD/$work/home"

$coordinator data drills --task pretrain --count 64000 --seed 1 -o "$work/lessons.jsonl"
$coordinator model new --preset tiny --dtype fp32 --spread 0.08 --seed 1 -o "$work/new"
run=$($coordinator launch examples/base.yaml --local 1 --json | tail -1 | sed -E 's/.*"run": *"([^"]*)".*/\1/')
$coordinator export "$run" --dtype bf16 -o "$work/base"

rm -rf examples/base
cp -r "$work/base" examples/base
echo "wrote examples/base"
