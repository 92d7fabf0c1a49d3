#!/bin/bash
# Builds the example's images into the local Docker Engine, from Debian packages
# alone: no registry is needed. Quick when nothing changed. Needs root.
#
#   examples/lamp/build.sh [name...]     default: mariadb apache haproxy
#
# Environment: ARGOSY_DEBIAN_MIRROR, a mirror instead of deb.debian.org.
set -euo pipefail
cd "$(dirname "$0")"

suite=bookworm
label=argosy.example=lamp
options=(
	--variant=apt
	--include=ca-certificates
	--dpkgopt='path-exclude=/usr/share/man/*'
	--dpkgopt='path-exclude=/usr/share/info/*'
	--dpkgopt='path-exclude=/usr/share/locale/*'
	--dpkgopt='path-exclude=/usr/share/doc/*'
	--dpkgopt='path-include=/usr/share/doc/*/copyright'
	--customize-hook="sync-in $PWD/base/rootfs /"
	--customize-hook='chmod 0755 "$1" "$1"/usr "$1"/usr/local "$1"/usr/local/bin "$1"/usr/local/bin/*'
	--customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*'
)

# One base below all images, so that a machine fetches and keeps it once. Its
# name holds the hash of what it is made of.
recipe=$(
	{
		printf '%s\n' "$suite" "${options[@]//$PWD/}"
		find base -type f -print0 | sort -z | xargs -0 sha256sum
	} | sha256sum | cut -c1-12
)
base=argosy-example/base:$recipe
if ! docker image inspect "$base" >/dev/null 2>&1; then
	echo "building $base (about half a minute, once)"
	command -v mmdebstrap >/dev/null || {
		echo "build.sh: mmdebstrap is not installed: apt-get install mmdebstrap" >&2
		exit 1
	}
	dir=$(mktemp -d /var/tmp/argosy-example.XXXXXX)
	trap 'rm -rf "$dir"' EXIT
	chmod 0755 "$dir"
	mkdir "$dir/tmp"
	log=$dir/log
	TMPDIR=$dir/tmp mmdebstrap "${options[@]}" "$suite" "$dir/base.tar" ${ARGOSY_DEBIAN_MIRROR:+"$ARGOSY_DEBIAN_MIRROR"} 2>"$log" || {
		tail -n 20 "$log" >&2
		exit 1
	}
	docker import --change "LABEL $label" "$dir/base.tar" "$base" >/dev/null
	rm -rf "$dir"
	trap - EXIT
fi

declare -A tags=([mariadb]=10.11 [apache]=2.4 [haproxy]=2.6)
[ $# -gt 0 ] || set -- mariadb apache haproxy
for name in "$@"; do
	ref=argosy-example/$name:${tags[$name]:?no image of that name}
	begun=$SECONDS
	log=$(docker build --network host --label "$label" --build-arg "BASE=$base" --tag "$ref" "$name" 2>&1) || {
		printf '%s\n' "$log" | tail -n 30 >&2
		echo "build.sh: $ref failed" >&2
		exit 1
	}
	echo "$ref ($((SECONDS - begun)) s)"
done
