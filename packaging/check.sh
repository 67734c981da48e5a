#!/usr/bin/env bash
# Holds a package of this machine's processor to what it promises: the same bytes twice, programs that run, pages and completion
# that their readers accept, units that systemd takes. What is not installed here is left out, and said.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: check.sh VERSION}
arch=$(go env GOARCH)
package=build/torc-$version-linux-$arch.tar.gz
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
without() { echo "package: no $1 here, $2 is not checked"; }

packaging/package.sh "$version" "$arch" >/dev/null
cp "$package" "$root/first"
packaging/package.sh "$version" "$arch" >/dev/null
cmp "$root/first" "$package"
rm "$root/first"

tar -C "$root" -xzf "$package"
for p in coordinator node; do
	"$root/usr/bin/torc-$p" version --json | grep -q "\"version\":\"$version\"" || { echo "torc-$p does not say version $version"; exit 1; }
	bash -n "$root/usr/share/bash-completion/completions/torc-$p"
done
test ! -e "$root/usr/bin/node" # that is Node.js
if command -v man >/dev/null; then
	for page in "$root"/usr/share/man/man1/*.gz; do
		warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=120 man --warnings -E UTF-8 -l -Tutf8 "$page" 2>&1 >/dev/null |
			grep -v 'cannot adjust line' || true) # a long word in a narrow column
		test -z "$warnings" || { echo "$page: $warnings"; exit 1; }
	done
else
	without man "the form of manual pages"
fi
if command -v systemd-analyze >/dev/null; then
	# The units with this package's root as the system's, and what they want in it.
	mkdir -p "$root"/{etc,usr/lib/systemd/system}
	echo 'torc:x:999:999::/var/lib/torc:/usr/sbin/nologin' >"$root/etc/passwd"
	for unit in sysinit basic multi-user shutdown network-online time-sync; do
		printf '[Unit]\nDescription=%s\n' $unit >"$root/usr/lib/systemd/system/$unit.target"
	done
	for unit in torc-coordinator torc-node; do
		said=$(systemd-analyze verify --root="$root" --man=no "$unit.service" 2>&1) || { echo "$said"; exit 1; }
		test -z "$said" || { echo "$unit: $said"; exit 1; }
		systemd-analyze security --offline=yes --threshold=30 --no-pager --root="$root" "$unit.service" >"$root/exposure" ||
			{ cat "$root/exposure"; exit 1; } # 3.0 of 10 at most
	done
else
	without systemd-analyze "the units"
fi
echo "package: $package holds"
