#!/bin/sh
# Builds fleet's own client from its Go module, of before modules: its dependencies lie beside it.
#
#   scripts/fleetctl.sh FILE
set -eu
version=v0.11.8
file=$(realpath -m "$1")
[ -x "$file" ] && exit 0
mkdir -p "$(dirname "$file")"
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
GOFLAGS=-mod=mod go mod download github.com/coreos/fleet@$version
mkdir -p "$work/src/github.com/coreos"
cp -r "$(go env GOMODCACHE)/github.com/coreos/fleet@$version" "$work/src/github.com/coreos/fleet"
chmod -R u+w "$work"
cd "$work/src/github.com/coreos/fleet"
GO111MODULE=off GOFLAGS= GOPATH="$PWD/Godeps/_workspace:$work" CGO_ENABLED=0 go build -o "$work/fleetctl" ./fleetctl
mv "$work/fleetctl" "$file"
