#!/bin/bash
# Installs the Debian packages that local machines, the demo and the end-to-end
# tests need, and only those that are missing.
#
#   scripts/install-deps.sh [--list] [--record FILE] [--vm]
#
# --list prints what is missing and installs nothing. --record adds the names of
# all packages that were new on the system to FILE. --vm adds what runs a virtual machine.
set -euo pipefail

list=
record=
vm=
while [ $# -gt 0 ]; do
	case $1 in
	--list) list=yes ;;
	--vm) vm=yes ;;
	--record) record=${2:?--record needs a file} && shift ;;
	*) echo "install-deps: unknown argument $1" >&2 && exit 64 ;;
	esac
	shift
done

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
missing=()
need() { # command, package
	command -v "$1" >/dev/null || missing+=("$2")
}
need dockerd docker.io
need docker docker.io
need iptables iptables
need nft nftables
need ip iproute2
need mmdebstrap mmdebstrap
need curl curl
need git git
need tmux tmux
need groff groff-base
[ -z "$vm" ] || need qemu-system-x86_64 qemu-system-x86
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
# shellcheck disable=SC2207
missing=($(printf '%s\n' "${missing[@]}" | sort -u))

if [ -n "$list" ]; then
	printf '%s\n' "${missing[@]}"
	exit 0
fi
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || {
	echo "These are missing, and there is no apt-get to install them with: ${missing[*]}." >&2
	exit 1
}
[ "$(id -u)" = 0 ] || {
	echo "Installing ${missing[*]} needs root: run this as root or with sudo." >&2
	exit 1
}

names() { dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^ii //p' | sort; }
echo "installing ${missing[*]}"
before=$(names)
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ apt-get -q update && apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
	tail -n 15 "$log" >&2
	echo "apt-get could not install ${missing[*]}; its last words are above." >&2
	exit 1
}
if [ -n "$record" ]; then
	mkdir -p "$(dirname "$record")"
	comm -13 <(echo "$before") <(names) >>"$record"
fi
