#!/usr/bin/env bash
# The demo: three nodes on this machine find each other by gossip and teach the tiny base model in examples/base problems
# of three steps with LIFT. In the middle one of them is killed and another one joins. Ends with accuracy before and after,
# the exported model, and the digest of an undisturbed run with one node, which is the same.
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
# until_line FILE PATTERN: waits until a line of a file matches, while the run goes on.
until_line() {
	until grep -qE "$2" "$1" 2>/dev/null; do
		kill -0 "$launch" 2>/dev/null || return 0
		sleep 0.2
	done
}
started=()
end() { for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done; }
trap end EXIT

say "before: 200 held-out problems of three steps"
before=$($coordinator eval --model examples/base --data examples/arithmetic/test.jsonl --generate --max-new 120 --json | tail -1 | field exact_match)
echo "exact match $(percent "$before")"

say "a coordinator, and three nodes that join with a token"
$coordinator serve --listen 127.0.0.1:0 2>"$out/coordinator.log" &
started+=($!)
launch=$!
until_line "$out/coordinator.log" 'coordinator serves'
export TORC_COORDINATOR=$(sed -nE 's/.*coordinator serves" addr=([^ ]+).*/\1/p' "$out/coordinator.log" | head -1)
token=$($coordinator token create --uses 4 2>/dev/null)
declare -A node
join() {
	TORC_HOME="$PWD/$out/$1" bin/node join "$TORC_COORDINATOR" --token "$token" --name "$1" --threads 1 2>"$out/$1.log" &
	node[$1]=$!
	started+=($!)
}
for name in ada bob cleo; do join "$name"; done
for name in ada bob cleo; do until_line "$out/$name.log" 'msg=joined'; done
$coordinator nodes

say "LIFT on three nodes: examples/arithmetic.yaml"
$coordinator launch examples/arithmetic.yaml --json >"$out/result.json" 2> >(tee "$out/launch.log" >&2) &
launch=$!
until_line "$out/launch.log" '^step (4[0-9]|[5-9][0-9])/'
echo "-- bob is killed: kill -9 ${node[bob]}"
kill -9 "${node[bob]}"
until_line "$out/launch.log" 'view 2'
until_line "$out/launch.log" '^step (8[0-9]|9[0-9])/'
echo "-- dora joins in the middle"
join dora
wait "$launch"
result=$(tail -1 "$out/result.json")
run=$(field run <<<"$result")
digest=$(field digest <<<"$result")
$coordinator audit "$run"

say "export"
$coordinator export "$run" -o "$out/model"

say "after"
after=$($coordinator eval --model "$out/model" --data examples/arithmetic/test.jsonl --generate --max-new 120 --json | tail -1 | field exact_match)
echo "exact match $(percent "$after")"
question=$(head -1 examples/arithmetic/test.jsonl | sed -E 's/.*"question": *"([^"]*)".*/\1/')
echo "Question: $question"
$coordinator generate --model "$out/model" --max-new 120 --prompt "Question: $question
Answer: "

say "the same run, undisturbed, with one node"
end
wait || true # the coordinator has let go of its journal
started=()
$coordinator verify "$run"

say "done"
echo "exact match   $(percent "$before") before, $(percent "$after") after"
echo "model         $out/model"
echo "digest        $digest"
