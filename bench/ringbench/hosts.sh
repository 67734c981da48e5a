#!/usr/bin/env bash
# ringbench with its two members on hosts of their own: two network namespaces and a pair of interfaces between them, which
# end with this script. With a rate (1gbit) as the first argument both directions are limited to it. For root.
#
#	bench/ringbench/hosts.sh "" -tls -bytes 4194304
#	bench/ringbench/hosts.sh 1gbit -bytes 4194304
set -euo pipefail
cd "$(dirname "$0")/../.."
rate=$1
shift
work=$(mktemp -d)
held=()
end() {
	for pid in "${held[@]}"; do kill "$pid" 2>/dev/null || true; done
	rm -rf "$work"
}
trap end EXIT
go build -o "$work/ringbench" ./bench/ringbench
for i in 1 2; do
	unshare --net sh -c "echo >'$work/$i'; exec sleep infinity" &
	held+=($!)
	until test -e "$work/$i"; do sleep 0.05; done
done
on() { nsenter --target "${held[$1 - 1]}" --net -- "${@:2}"; }
on 1 ip link add eth0 type veth peer name eth0 netns "${held[1]}"
for i in 1 2; do
	on $i ip addr add "10.78.0.$i/24" dev eth0
	on $i ip link set eth0 up
	on $i ip link set lo up
	if test -n "$rate"; then on $i tc qdisc add dev eth0 root tbf rate "$rate" burst 256kb latency 200ms; fi
done
"$work/ringbench" -members 2 -local=false -listen 10.78.0.1,10.78.0.2 -enter "${held[0]},${held[1]}" "$@"
