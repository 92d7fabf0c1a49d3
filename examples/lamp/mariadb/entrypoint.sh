#!/bin/sh
# Starts MariaDB, after making its data directory if there is none yet.
#
#   MARIADB_DATABASE             database to create, optional
#   MARIADB_USER                 who may do everything in it, optional
#   MARIADB_PASSWORD_FILE        file with that user's password
#   MARIADB_ROOT_PASSWORD_FILE   file with root's password over the network;
#                                without it root exists on the local socket only
#
# The directory is made beside its place and renamed into it when complete, so
# that a machine that fails halfway leaves nothing that looks like a database.
# Passwords pass through pipes alone: no argument list or disk sees them.
set -eu
umask 077

home=/var/lib/mysql
data=$home/db
fresh=$home/db.new

die() {
	echo "entrypoint: $*" >&2
	exit 1
}

# quoted TEXT, FILE's content: as SQL string literals.
quoted() {
	printf "'%s'" "$(printf '%s' "$1" | sed "s/[\\\\']/\\\\&/g")"
}
secret() {
	[ -r "$1" ] || die "cannot read the password file $1"
	text=$(cat "$1")
	[ -n "$text" ] || die "the password file $1 is empty"
	quoted "$text"
}

# The shell's echo would read backslashes in passwords; printf does not.
say() {
	printf '%s\n' "$1"
}
statements() {
	say "FLUSH PRIVILEGES;"
	if [ -n "${MARIADB_ROOT_PASSWORD_FILE:-}" ]; then
		password=$(secret "$MARIADB_ROOT_PASSWORD_FILE") || exit 1
		say "ALTER USER root@localhost IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD($password);"
		say "CREATE USER root@'%' IDENTIFIED BY $password;"
		say "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
	fi
	if [ -n "${MARIADB_DATABASE:-}" ]; then
		say "CREATE DATABASE \`$MARIADB_DATABASE\`;"
		if [ -n "${MARIADB_USER:-}" ]; then
			password=$(secret "${MARIADB_PASSWORD_FILE:?names no file with the password of $MARIADB_USER}") || exit 1
			user=$(quoted "$MARIADB_USER")
			say "CREATE USER $user@'%' IDENTIFIED BY $password;"
			say "GRANT ALL ON \`$MARIADB_DATABASE\`.* TO $user@'%';"
		fi
	fi
}

case ${MARIADB_DATABASE:-} in *[!A-Za-z0-9_]*) die "MARIADB_DATABASE may have letters, digits and underscores only" ;; esac

install -d -o mysql -g mysql -m 0700 "$home"
install -d -o mysql -g mysql -m 0755 /run/mysqld
if [ ! -d "$data" ]; then
	echo "entrypoint: making a new data directory" >&2
	sql=$(statements)
	rm -rf "$fresh"
	mariadb-install-db --user=mysql --datadir="$fresh" --auth-root-authentication-method=socket \
		--auth-root-socket-user=root --skip-test-db --skip-log-bin >/dev/null
	printf '%s\n' "$sql" | mariadbd --user=mysql --datadir="$fresh" --bootstrap --skip-log-bin
	sync
	mv -T "$fresh" "$data"
	sync -f "$home"
	unset sql
fi
exec setpriv --reuid=mysql --regid=mysql --init-groups --inh-caps=-all mariadbd "$@"
