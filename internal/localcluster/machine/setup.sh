#!/bin/sh
# Runs once inside the new root file system, after the packages and the files of
# rootfs/ are there.
set -eu

chmod 0755 /usr/local/sbin/machine-init

# Empty, not missing: systemd then makes a new id at the first boot of each
# machine, without taking that boot for an installation.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id

systemctl enable containerd.service docker.service
systemctl set-default multi-user.target

# Kernel and hardware belong to the host: nothing in here sets sysctls, loads
# modules, mounts kernel file systems or waits for terminals. Nothing updates
# the packages either: a machine is replaced by one of a newer image.
systemctl mask \
	systemd-sysctl.service systemd-modules-load.service systemd-remount-fs.service \
	systemd-logind.service systemd-journald-audit.socket getty.target console-getty.service \
	sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
	sys-fs-fuse-connections.mount dev-hugepages.mount \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer

mkdir -p /var/log/journal /var/lib/argosy /etc/argosy

# Test tools of Docker's network library that Debian ships along: 27 MB.
rm -f /usr/bin/dnet /usr/sbin/ovrouter
rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/debconf/*-old
