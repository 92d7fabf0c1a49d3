#!/bin/sh
# healthcheck.sh --connect: succeeds when the server answers a query and has
# the database that this container is for.
set -eu
[ "${1:-}" = --connect ] || {
	echo "usage: healthcheck.sh --connect" >&2
	exit 2
}
exec mariadb --connect-timeout=2 --batch --skip-column-names ${MARIADB_DATABASE:+--database="$MARIADB_DATABASE"} --execute='SELECT 1'
