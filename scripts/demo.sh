#!/bin/bash
# The demo: a cluster of three machines in containers, five LAMP stacks and two
# load balancers on it, from examples/lamp/lamp.yaml.
#
#   scripts/demo.sh up      make it run; again is quick and harmless
#   scripts/demo.sh down    remove every trace, also of packages installed for it
#                           (KEEP_PACKAGES=1 and KEEP_IMAGES=1 leave those)
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

cluster=local
export ARGOSY_SERVER=unix:///run/argosy-local/$cluster/server.sock
state=/var/lib/argosy-demo
argosy=bin/argosy
images=(argosy-example/mariadb:10.11 argosy-example/apache:2.4 argosy-example/haproxy:2.6)
replicas=5
balancers=2

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

# preconditions prints a sentence for each thing that is missing and that the
# demo cannot install itself.
preconditions() {
	[ "$(uname -s)" = Linux ] || echo "The demo runs on Linux, not on $(uname -s)."
	[ "$(id -u)" = 0 ] || echo "The demo starts containers that are machines, which needs root: run \`sudo make demo\`."
	local have want
	want=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)
	have=$(go env GOVERSION 2>/dev/null || true)
	if [ -z "$have" ]; then
		echo "Go is not installed: get version $want or later from https://go.dev/dl."
	elif [ "$(printf '%s\n' "go$want" "$have" | sort -V | head -n 1)" != "go$want" ]; then
		echo "Go is too old: this is $have, and version $want or later is needed; see https://go.dev/dl."
	fi
	local missing
	missing=$(scripts/install-deps.sh --list | tr '\n' ' ')
	if [ -n "${missing// /}" ] && ! command -v apt-get >/dev/null; then
		echo "These are missing, and there is no apt-get to install them with: $missing"
	fi
	if [ ! -S /run/argosy-local/$cluster/server.sock ]; then
		local mib gib
		mib=$(awk '/^MemAvailable:/{print int($2 / 1024)}' /proc/meminfo)
		[ "$mib" -ge 3072 ] || echo "The demo needs 3 GiB of free memory, and $mib MiB are available."
		gib=$(df --output=avail -BG /var/lib | tail -n 1 | tr -dc 0-9)
		[ "$gib" -ge 10 ] || echo "The demo needs 10 GiB of free disk below /var/lib, and $gib GiB are available."
	fi
}

# sweep asks each machine's port 80 for a while and prints "balancer replica"
# for each answer.
sweep() {
	local address
	for _ in $(seq $((replicas * 2))); do
		for address in $addresses; do
			curl -sS -m 3 -o /dev/null -w '%header{x-balancer} %header{x-served-by}\n' "http://$address/" 2>/dev/null || true
		done
	done | grep -E '^[^ ]+ [^ ]+$' || true # others than balancers say nothing
}

# served succeeds when each balancer has reached every replica.
served() {
	[ "$(printf '%s\n' "$1" | sort -u | cut -d' ' -f1 | uniq -c | awk -v n=$replicas '$1 >= n' | wc -l)" = $balancers ]
}

up() {
	local lacking
	lacking=$(preconditions)
	if [ -n "$lacking" ]; then
		printf '%s\n' "$lacking" >&2
		exit 1
	fi
	remember
	scripts/install-deps.sh --record $state/packages
	say "Building argosy"
	make --no-print-directory build
	say "Three machines"
	$argosy cluster up --name $cluster --machines 3
	say "The example's images"
	examples/lamp/build.sh
	$argosy image load "${images[@]}"
	say "Passwords that nobody has seen"
	$argosy secret set db-root --random --if-missing
	$argosy secret set db-shop --random --if-missing
	say "argosy apply examples/lamp/lamp.yaml --wait"
	$argosy apply examples/lamp/lamp.yaml --wait

	say "Every replica through each balancer"
	addresses=$($argosy cluster list -o json | tr -d '[:space:]' |
		grep -o "\"name\":\"$cluster\",[^]]*" | grep -o '"address":"[^"]*"' | cut -d'"' -f4)
	local answers= deadline=$((SECONDS + 60))
	until served "$answers"; do
		if [ $SECONDS -ge $deadline ]; then
			printf '%s\n' "$answers" | sort | uniq -c
			echo "Not every replica was reached through each balancer within a minute; see: argosy ps, argosy events" >&2
			exit 1
		fi
		answers=$answers$'\n'$(sweep)
	done
	printf '%s\n' "$answers" | sed '/^$/d' | sort | uniq -c | awk '{printf "  %s passed %2d visits to %s\n", $2, $1, $3}'
	where
}

# where prints where to look.
where() {
	local address
	say "It runs. Where to look:"
	for address in $addresses; do
		if curl -s -m 3 -o /dev/null -f "http://$address/balancer/alive"; then
			echo "  http://$address/         a balancer: reload to meet all five replicas"
			echo "  http://$address:8404/    its statistics"
		fi
	done
	cat <<-EOF

		  export ARGOSY_SERVER=$ARGOSY_SERVER
		  $argosy ps                       what runs where
		  $argosy explain shop/lamp.3      why it is there
		  $argosy logs -f shop/lamp.3/apache
		  $argosy scale shop/lamp=7

		make demo-down removes every trace.
	EOF
}

engine_answers() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

# remember keeps what a Docker Engine changes in the host's network, while there
# is none, so that down can put it back.
remember() {
	if [ -e $state/network ] || engine_answers; then
		return
	fi
	mkdir -p $state
	{
		cat /proc/sys/net/ipv4/ip_forward
		{ iptables -S FORWARD 2>/dev/null || echo "-P FORWARD ACCEPT"; } | sed -n 's/^-P FORWARD //p'
	} >$state/network
}

# restore_network undoes what the Engine left behind, once it is gone.
restore_network() {
	[ -e $state/network ] || return 0
	if engine_answers; then
		return
	fi
	local forward policy
	{ read -r forward && read -r policy; } <$state/network
	! ip link show docker0 >/dev/null 2>&1 || ip link delete docker0
	for tool in iptables ip6tables; do
		if command -v $tool >/dev/null && $tool-save | grep -q DOCKER; then
			$tool-save | grep -vE 'DOCKER|docker0' | sed "s/^:FORWARD DROP/:FORWARD $policy/" | $tool-restore
		fi
	done
	echo "$forward" >/proc/sys/net/ipv4/ip_forward
}

# in_engine prints what is in the Engine besides its own networks.
in_engine() { docker ps -aq && docker images -q && docker volume ls -q; }

# remove_packages purges the packages that up installed, if that takes nothing
# else along and nobody has begun to use the Engine.
remove_packages() {
	[ -s $state/packages ] || return 0
	local packages others
	mapfile -t packages < <(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' $(sort -u $state/packages) 2>/dev/null | sed -n 's/^ii //p')
	if [ ${#packages[@]} -eq 0 ]; then
		rm -f $state/packages # somebody else removed them
		return
	fi
	if [ -n "${KEEP_PACKAGES:-}" ]; then
		echo "These packages were installed for the demo and stay: ${packages[*]}"
		return
	fi
	if grep -qx docker.io $state/packages && engine_answers && [ -n "$(in_engine)" ]; then
		echo "The Docker Engine holds things that are not the demo's, so these packages stay: ${packages[*]}"
		return
	fi
	others=$(apt-get -s purge "${packages[@]}" | awk '/^(Remv|Purg) /{print $2}' | sort -u | comm -23 - <(sort -u $state/packages))
	if [ -n "$others" ]; then
		echo "These packages stay, because by now others need them: ${packages[*]}"
		return
	fi
	echo "removing the packages that were installed for the demo"
	if grep -qx docker.io $state/packages; then
		# First the Engine and what it left in the network, while iptables is there.
		[ ! -d /run/systemd/system ] || systemctl stop docker.socket docker.service containerd.service
		restore_network
	fi
	DEBIAN_FRONTEND=noninteractive apt-get -q purge -y "${packages[@]}" >/dev/null
	if grep -qx docker.io $state/packages; then
		rm -rf /var/lib/docker /var/lib/containerd /etc/docker 2>/dev/null || true # a mount point stays, empty
	fi
	rm -f $state/packages
}

remove_example_images() {
	local refs
	mapfile -t refs < <(docker images --filter label=argosy.example=lamp --format '{{.Repository}}:{{.Tag}}' | grep -vF '<none>')
	[ ${#refs[@]} -eq 0 ] || docker rmi "${refs[@]}" >/dev/null
	docker image prune --force --filter label=argosy.example=lamp >/dev/null # those that newer builds replaced
}

down() {
	[ "$(id -u)" = 0 ] || {
		echo "Removing the demo needs root: run \`sudo make demo-down\`." >&2
		exit 1
	}
	if engine_answers; then
		[ -x $argosy ] || make --no-print-directory build
		local images_too=--images
		if [ -n "${KEEP_IMAGES:-}" ]; then
			images_too=
		else
			remove_example_images
		fi
		$argosy cluster down --name $cluster $images_too
	fi
	restore_network
	remove_packages
	rm -f $state/network
	if [ -d $state ] && ! rmdir $state 2>/dev/null; then
		return # the packages stay, and why has been said
	fi
	echo "Nothing of the demo is left."
}

case ${1:-} in
up | down) "$1" ;;
*) echo "usage: scripts/demo.sh up|down" >&2 && exit 64 ;;
esac
