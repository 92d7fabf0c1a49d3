#!/bin/bash
# Records the demo as a film of text: a shell in a terminal, in which a person
# seems to type. Everything is run for real, on the demo's own cluster.
#
#   scripts/film.sh [FILE]       the default is docs/film/demo.cast
#
# The film is an asciicast of version 2: `asciinema play FILE` shows it. Pauses
# are cut to two seconds; the times that commands print are the real ones.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

film=${1:-docs/film/demo.cast}
columns=110 rows=32
patience=600 # seconds that one command may take

[ "$(id -u)" = 0 ] || {
	echo "The film shows the demo, which needs root: run \`sudo scripts/film.sh\`." >&2
	exit 1
}
missing=()
command -v asciinema >/dev/null || missing+=(asciinema)
command -v tmux >/dev/null || missing+=(tmux)
if [ ${#missing[@]} -gt 0 ]; then
	echo "installing ${missing[*]}"
	{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"; } >/dev/null
fi

work=$(mktemp -d)
screen() { tmux -L argosy-film -f /dev/null "$@"; }
trap 'screen kill-server 2>/dev/null || true; rm -rf "$work"' EXIT

cat >"$work/rc" <<-RC
	PS1='\[\e[1;32m\]\$\[\e[0m\] '
	PS2=
	PATH=$PWD/bin:\$PATH
	export ARGOSY_SERVER=unix:///run/argosy-local/local/server.sock
	unset HISTFILE PROMPT_COMMAND
	on() { argosy ps "\$1" -o json | sed -n 's/.*"machine_name": "\(.*\)".*/\1/p'; }
	address() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' argosy-local-"\$1"; }
	bind 'set enable-bracketed-paste off'
RC

seen() { screen capture-pane -p -t film; }
# at_prompt succeeds when the last line that is not empty is a bare prompt.
at_prompt() { [ "$(seen | sed -n '/[^ ]/h; ${x; s/ *$//; p}')" = '$' ]; }

# await waits until a test succeeds, and gives up with what the screen shows.
await() {
	local deadline=$((SECONDS + patience))
	until "$@"; do
		if [ $SECONDS -ge $deadline ]; then
			seen >&2
			echo "film: nothing more happened for $patience seconds; the screen is above." >&2
			exit 1
		fi
		sleep 0.2
	done
}

# type_in types a line as a person would, without its end.
type_in() {
	local i c
	for ((i = 0; i < ${#1}; i++)); do
		c=${1:i:1}
		[ "$c" != ';' ] || c='\;' # alone it would end tmux's own command
		screen send-keys -t film -l -- "$c"
		sleep 0.03
	done
}

press() { screen send-keys -t film "$@"; }
pause() { sleep "$1"; }

# run types a command, waits until it has ended, and leaves time to read.
run() {
	type_in "$1"
	sleep 0.4
	press Enter
	sleep 0.5
	await at_prompt
	pause "${2:-2}"
}

# scene clears the screen and says what comes.
scene() {
	screen send-keys -t film C-l
	sleep 0.3
	run "# $1" 1
}

# shows succeeds when the screen has a line that matches.
shows() { seen | grep -qE -- "$1"; }

mkdir -p "$(dirname "$film")"
screen new-session -d -s film -x $columns -y $rows \
	"env TERM=xterm-256color SHELL=/bin/bash asciinema rec -q -i 2 --overwrite -t 'Argosy: the demo' -c 'bash --noprofile --rcfile $work/rc -i' $work/film.cast"
screen set-option -g status off
await at_prompt

. scripts/film-story.sh

press C-d
await test ! -e "/proc/$(screen display-message -p -t film '#{pane_pid}' 2>/dev/null || echo gone)"
mv "$work/film.cast" "$film"
echo "recorded $film: $(wc -l <"$film") events, $(du -h "$film" | cut -f1), $(tail -n 1 "$film" | sed 's/^\[\([0-9]*\).*/\1/') seconds"
