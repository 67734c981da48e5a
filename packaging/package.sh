#!/usr/bin/env bash
# Writes build/torc-VERSION-linux-ARCH.tar.gz for each processor: the programs in a folder of their own (Node.js has a program
# called node, too), links to them, units, manual pages, shell completion, settings to fill in. The same source, Go release and
# version make the same bytes. Unpacked at /, it is installed; docs/bare-metal.md says what comes then.
#
#   packaging/package.sh VERSION [ARCH…]
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: package.sh VERSION [ARCH…]}
shift
[ $# -gt 0 ] || set -- amd64 arm64
go=${GO:-go}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

# Pages and completion are the same for every processor. Their date is that of the source.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
for p in coordinator node; do
	$go test -count=1 -run TestManualAndCompletion -ldflags "-X github.com/torctrain/torc/$p.version=$version" "./$p" -package "$work/usr" >/dev/null
done
gzip -9 -n "$work"/usr/share/man/man1/*.1

mkdir -p build
for arch; do
	root=$work/root-$arch
	mkdir -p "$root"/usr/{bin,lib/torc,lib/systemd/system,lib/sysusers.d,share/doc/torc/etc}
	cp -r "$work/usr/share" "$root/usr/"
	GOFLAGS='' GOEXPERIMENT='' CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 $go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X main.version=$version" -o "$root/usr/lib/torc/" ./coordinator ./node
	ln -s ../lib/torc/coordinator "$root/usr/bin/torc-coordinator"
	ln -s ../lib/torc/node "$root/usr/bin/torc-node"
	cp packaging/systemd/*.service "$root/usr/lib/systemd/system/"
	cp packaging/etc/sysusers.conf "$root/usr/lib/sysusers.d/torc.conf"
	cp packaging/etc/*.env "$root/usr/share/doc/torc/etc/"
	cp LICENSE README.md docs/bare-metal.md docs/failures.md "$root/usr/share/doc/torc/"
	find "$root" -type f -exec chmod 644 {} +
	chmod 755 "$root"/usr/lib/torc/*
	tar --sort=name --mtime=@"$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar -C "$root" -cf - usr |
		gzip -9 -n >"build/torc-$version-linux-$arch.tar.gz"
	sha256sum "build/torc-$version-linux-$arch.tar.gz"
done
