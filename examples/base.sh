#!/usr/bin/env bash
# Makes the tiny base model of the demo: tokenizer and random weights, then pretraining by examples/base.yaml on generated
# lessons. Its bytes depend on nothing but this tree and the arithmetic class. make base calls it; takes about ten minutes.
#
# With TEXT, files separated by spaces, another base is made, which is pretrained on these as well, and written to OUT (default
# build/base-text), for example to compare methods from there: go run ./bench/quality -base build/base-text -o build/quality-text.
# JSONL and Parquet files are taken as they are, samples cut at 128 tokens; of any other file each line is a text, cut at spaces
# into pieces of at most 120 bytes. LESSONS is how many generated lessons go with them (default 64000, as without).
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
coordinator=${COORDINATOR:-bin/coordinator}
work=${WORK:-$PWD/build/base}
rm -rf "$work"
mkdir -p "$work"
export TORC_HOME="$work/home"

lessons=64000
more=() # what differs from examples/base.yaml
if [ -n "${TEXT:-}" ]; then
	lessons=${LESSONS:-64000}
	files="\"$work/lessons.jsonl\""
	for f in $TEXT; do
		case $f in /*) ;; *) f=$here/$f ;; esac
		[ -r "$f" ] || { echo "TEXT: cannot read $f" >&2; exit 1; }
		case $f in
		*.jsonl | *.jsonl.gz | *.jsonl.zst | *.parquet) files+=", \"$f\"" ;;
		*) fold -s -w 120 "$f" | iconv -c -f UTF-8 -t UTF-8 | LC_ALL=C sed -e 's/[[:cntrl:]]/ /g' -e 's/  *$//' -e '/^ *$/d' \
			-e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/{"text": "&"}/' >>"$work/text.jsonl" ;;
		esac
	done
	[ ! -s "$work/text.jsonl" ] || files+=", \"$work/text.jsonl\""
	more=(--set "model=$work/new" --set "data.train=[$files]" --set data.overflow=truncate)
fi

$coordinator data drills --task pretrain --count "$lessons" --seed 1 -o "$work/lessons.jsonl"
$coordinator model new --preset tiny --dtype fp32 --spread 0.08 --seed 1 -o "$work/new"
run=$($coordinator launch examples/base.yaml --local 1 ${more[@]+"${more[@]}"} --json | tail -1 | sed -E 's/.*"run": *"([^"]*)".*/\1/')
$coordinator export "$run" --dtype bf16 -o "$work/base"

out=examples/base
if [ -n "${TEXT:-}" ]; then
	out=${OUT:-build/base-text}
else
	rm "$work/base/README.md" # which says what a run's model was made of; this file does
fi
rm -rf "$out"
mkdir -p "$(dirname "$out")"
cp -r "$work/base" "$out"
echo "wrote $out"
