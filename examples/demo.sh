#!/usr/bin/env bash
# The demo: three nodes on this machine find each other by gossip and teach the tiny base model in examples/base problems
# of three steps with LIFT. Ends with accuracy before and after, the exported model, and the digest of a run with one node.
# Everything it makes lies in build/demo; nothing else is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
coordinator=bin/coordinator
out=build/demo
rm -rf "$out"
mkdir -p "$out"
export TORC_HOME="$PWD/$out/home"

say() { printf '\n== %s\n' "$*"; }
# field NAME < JSON: the value of a field of a flat JSON object.
field() { sed -E "s/.*\"$1\": *\"?([^,\"}]*).*/\1/"; }
percent() { awk -v x="$1" 'BEGIN { printf "%.1f %%", 100 * x }'; }

say "before: 200 held-out problems of three steps"
before=$($coordinator eval --model examples/base --data examples/arithmetic/test.jsonl --generate --max-new 120 --json | tail -1 | field exact_match)
echo "exact match $(percent "$before")"

say "LIFT on three nodes: examples/arithmetic.yaml"
result=$($coordinator launch examples/arithmetic.yaml --local 3 --json | tail -1)
run=$(field run <<<"$result")
digest=$(field digest <<<"$result")

say "export"
$coordinator export "$run" -o "$out/model"

say "after"
after=$($coordinator eval --model "$out/model" --data examples/arithmetic/test.jsonl --generate --max-new 120 --json | tail -1 | field exact_match)
echo "exact match $(percent "$after")"
question=$(head -1 examples/arithmetic/test.jsonl | sed -E 's/.*"question": *"([^"]*)".*/\1/')
echo "Question: $question"
$coordinator generate --model "$out/model" --max-new 120 --prompt "Question: $question
Answer: "

say "the same run with one node"
$coordinator verify "$run"

say "done"
echo "exact match   $(percent "$before") before, $(percent "$after") after"
echo "model         $out/model"
echo "digest        $digest"
