package volumesource

import (
	"strings"
	"testing"
)

func TestParseDevice(t *testing.T) {
	const id = "0a1b2c3d-0A1B-4c3d-8e5f-0a1b2c3d4e5f"
	for s, want := range map[string]Device{
		"UUID=" + id: {ByUUID, strings.ToLower(id)}, "LABEL=shop-data": {ByLabel, "shop-data"}, "LABEL=d{replica}": {ByLabel, "d{replica}"},
		"/dev/sdb": {ByPath, "/dev/sdb"}, "/dev/disk/by-id/scsi-36001-part{replica}": {ByPath, "/dev/disk/by-id/scsi-36001-part{replica}"}, "LABEL=a=b": {ByLabel, "a=b"},
	} {
		got, err := ParseDevice(s)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
		if again, err := ParseDevice(got.String()); err != nil || again != got {
			t.Errorf("%s: %+v, %v", got, again, err)
		}
	}
	for _, s := range []string{
		"", "sdb", "dev/sdb", "/etc/passwd", "/dev", "/dev/", "/dev/../etc", "/dev//sdb", "/dev/./sdb", "UUID=", "UUID=x", "UUID=" + id[1:], "uuid=" + id, "UUID={replica}",
		"LABEL=", "LABEL=seventeen-letters", "LABEL=twelve-chars{replica}", "PARTUUID=x", "LABEL=a b", "LABEL=a\n", "LABEL=\xff", "LABEL={number}", "LABEL=}{", "/dev/" + strings.Repeat("x", 2000), "-x", "--help",
	} {
		if got, err := ParseDevice(s); err == nil {
			t.Errorf("%q is %+v", s, got)
		}
	}
}

func TestFor(t *testing.T) {
	if got := For("LABEL=d{replica}-{replica}", 12); got != "LABEL=d12-12" {
		t.Error(got)
	}
	if EachReplica("LABEL=d") || !EachReplica("LABEL=d{replica}") {
		t.Error("which sources are each replica's own")
	}
}

func TestDeviceOption(t *testing.T) {
	for _, o := range []string{"noatime", "lazytime", "data=journal", "errors=panic", "commit=5", "stripe=128", "discard"} {
		if err := DeviceOption(o); err != nil {
			t.Errorf("%s: %v", o, err)
		}
	}
	for _, o := range []string{
		"", "ro", "rw", "bind", "remount", "suid", "dev", "nobarrier", "barrier=0", "data=writeback", "data", "errors=continue", "commit", "commit=", "commit=x", "commit=-1", "commit=05",
		"noload", "norecovery", "noatime,ro", "noatime ", "journal_dev=0x801", "journal_path=/x", "abort", "sb=131073", "init_itable=1", "context=x",
	} {
		if err := DeviceOption(o); err == nil {
			t.Errorf("%q is allowed", o)
		}
	}
}

func TestMount(t *testing.T) {
	for _, s := range []string{"nfs", "nfs4", "cifs", "ceph", "9p", "glusterfs", "lustre", "virtiofs", "ocfs2"} {
		if err := MountType(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", "none", "bind", "proc", "sysfs", "tmpfs", "overlay", "ext4", "xfs", "auto", "fuse", "fuse.sshfs", "NFS", "n/fs", "-t", "n fs", "nfs,ext4", strings.Repeat("x", 33)} {
		if err := MountType(s); err == nil {
			t.Errorf("type %q is allowed", s)
		}
	}
	for _, s := range []string{"storage:/exports/shop-{replica}", "//server/share", "a,b,c:/", "[fe80::1]:/x", "volume0", "mon1:6789:/"} {
		if err := MountSource(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", "/", "/dev/sda", "/etc", "-o", "--bind", "UUID=x", "LABEL=x", "s:/../x", "s:/..", "s:/x y", "s:/\n", "s:/{x}", "s:/\x00"} {
		if err := MountSource(s); err == nil {
			t.Errorf("source %q is allowed", s)
		}
	}
	for _, o := range []string{"vers=4.2", "hard", "soft", "timeo=50", "credentials=/etc/argosy/cifs", "uid=33", "noatime", "nconnect=4", "sec=krb5p", "name=admin"} {
		if err := MountOption(o); err != nil {
			t.Errorf("%s: %v", o, err)
		}
	}
	for _, o := range []string{
		"", "bind", "BIND", "rbind", "remount", "ro", "suid", "dev", "loop", "loop=/dev/loop0", "hard,bind", `a"b`, `a\b`, "x-mount.mkdir", "X-mount.idmap=x", "x-systemd.automount", "comment=x", "helper=x", "uhelper=x", "user", "users",
		"password=x", "pass=x", "shared", "rshared", "bg", "nofail", "a b", "=x", "$(id)", "`id`", ";id",
	} {
		if err := MountOption(o); err == nil {
			t.Errorf("option %q is allowed", o)
		}
	}
}

func FuzzSource(f *testing.F) {
	f.Add("LABEL=a{replica}")
	f.Add("s:/x")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDevice(s); err == nil {
			if again, err := ParseDevice(d.String()); err != nil || again != d {
				t.Errorf("%q: %+v, then %+v, %v", s, d, again, err)
			}
			if _, err := ParseDevice(For(s, 99999)); err != nil {
				t.Errorf("%q is allowed, and not for replica 99999: %v", s, err)
			}
		}
		if MountSource(s) == nil && (strings.HasPrefix(s, "-") || strings.ContainsAny(s, " \n\x00")) {
			t.Errorf("%q is allowed", s)
		}
		if MountOption(s) == nil && strings.ContainsAny(s, ", \n\x00") {
			t.Errorf("%q is allowed", s)
		}
		_, _ = DeviceOption(s), MountType(s)
	})
}

// Machines and servers of different releases compare these.
func TestReachStaysTheSame(t *testing.T) {
	if got := Reach("LABEL=shop-data-1"); got != 0x59092547ae51e37d {
		t.Errorf("%#x", got)
	}
}
