#!/bin/bash
# The protocol keeps buf's rules, breaks no one who speaks an earlier version,
# and the Go code generated from it is current.
set -euo pipefail
cd "$(dirname "$0")/.."
buf() { go tool -modfile=tools/go.mod buf "$@"; }

buf lint

# Compared with the branch that changes are made against, where there is one.
base=${ARGOSY_BASE:-origin/main}
if git rev-parse --quiet --verify "$base" >/dev/null && git cat-file -e "$base:buf.yaml" 2>/dev/null; then
	buf breaking --against ".git#ref=$base"
else
	echo "check-protocol: there is no $base to compare the protocol with" >&2
fi

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
buf generate --output "$fresh"
diff -r -x '*.proto' -x '*.md' -x doc.go "$fresh/api" api || {
	echo "the generated code is not current: make generate" >&2
	exit 1
}
