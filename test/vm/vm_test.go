//go:build vm

package vm

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const suite = "bookworm"

// packages are those of a machine that a person would set up, besides the minimal system.
var packages = []string{"systemd-sysv", "dbus", "udev", "linux-image-cloud-amd64", "initramfs-tools", "docker.io", "apparmor", "e2fsprogs",
	"iproute2", "iptables", "nftables", "procps", "ca-certificates"}

// address is the one that the documentation's units have.
const address = "192.0.2.10"

// checks is how many things the guest says of that they are right.
const checks = 13

const writerManifest = `argosy: v1
app: one
containers:
  writer: {image: "argosy-test/ledger:1", volumes: ["data:/data"], cpus: 0.1, mem_limit: 64m, stop_grace_period: 2s}
stacks:
  w:
    containers: [writer]
    volumes:
      data: {driver: device, device: LABEL=proof-vm, filesystem: ext4}
cluster: {w: 1}
`

const guestUnit = `[Unit]
Description=What the virtual machine is for
After=docker.service

[Service]
ExecStart=/usr/local/sbin/guest
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0

[Install]
WantedBy=multi-user.target
`

const netUnit = `[Unit]
Description=The address of this machine
Before=network.target argosy-server.service argosy-agent.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip link add uplink0 type dummy
ExecStart=/sbin/ip link set uplink0 up
ExecStart=/sbin/ip address add ` + address + `/24 dev uplink0
ExecStart=/sbin/ip route add default dev uplink0

[Install]
WantedBy=multi-user.target
`

// TestVM: a single writer on a real machine, with cgroup v2, systemd as Docker's driver, a watchdog and resets.
func TestVM(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	system := filepath.Join(dir, "root")
	unpack(t, base(t, filepath.Join(root, ".cache/vm")), system)
	furnish(t, root, system)
	disk, data := filepath.Join(dir, "disk.img"), filepath.Join(dir, "data.img")
	run(t, "mke2fs", "-q", "-t", "ext4", "-d", system, disk, "4g")
	run(t, "truncate", "--size", "256M", data)
	run(t, "mke2fs", "-q", "-t", "ext4", "-O", "mmp", "-L", "proof-vm", data)
	boot(t, system, disk, data)
}

// boot runs the machine until what is in it has come to its end, and says what it said.
func boot(t *testing.T, system, disk, data string) {
	cmd := exec.CommandContext(t.Context(), "qemu-system-x86_64", "-machine", "q35", "-cpu", "Nehalem,-cx16,+rdrand", "-smp", "2", "-m", "3072",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
		"-kernel", one(t, system, "boot/vmlinuz-*"), "-initrd", one(t, system, "boot/initrd.img-*"), "-append", "root=/dev/vda rw console=ttyS0 quiet",
		"-drive", "if=virtio,format=raw,cache=unsafe,file="+disk, "-drive", "if=virtio,format=raw,file="+data)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	oks, last := 0, ""
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, said, found := strings.Cut(strings.TrimSpace(lines.Text()), "vm ")
		if !found {
			last = lines.Text()
			continue
		}
		what, text, _ := strings.Cut(said, ": ")
		switch what {
		case "ok":
			oks++
			t.Logf("%5.0f s  %s", time.Since(begun).Seconds(), text)
		case "note":
			t.Logf("%5.0f s  … %s", time.Since(begun).Seconds(), text)
		case "wrong":
			t.Errorf("%5.0f s  %s", time.Since(begun).Seconds(), text)
		case "done":
			if oks != checks {
				t.Errorf("%d things were right, of %d", oks, checks)
			}
			return
		}
	}
	t.Fatalf("the machine ended before its end: %v; it said last: %s", lines.Err(), last)
}

// base is Debian with a kernel, built once.
func base(t *testing.T, cache string) string {
	sum := sha256.Sum256([]byte(suite + strings.Join(packages, " ")))
	path := filepath.Join(cache, "debian-"+hex.EncodeToString(sum[:6])+".tar")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Log("building Debian with a kernel (some minutes, once)")
	args := []string{"--variant=minbase", "--include=" + strings.Join(packages, ","), suite, path + ".new"}
	if mirror := os.Getenv("ARGOSY_DEBIAN_MIRROR"); mirror != "" {
		args = append(args, mirror)
	}
	run(t, "mmdebstrap", append([]string{"--format=tar"}, args...)...)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func unpack(t *testing.T, tar, dir string) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "tar", "--extract", "--numeric-owner", "--file", tar, "--directory", dir)
}

// furnish puts Argosy into the system, as docs/operations.md has it, and what the test needs.
func furnish(t *testing.T, root, system string) {
	for _, name := range []string{"argosy", "argosyd", "argosy-witness", "argosy-guard"} {
		copyFile(t, filepath.Join(root, "bin", name), filepath.Join(system, "usr/local/bin", name), 0o755)
	}
	guide, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	units := documented(string(guide))
	for _, name := range []string{"argosy-server", "argosy-witness", "argosy-agent", "argosy-guard"} {
		if units[name+".service"] == "" {
			t.Fatalf("docs/operations.md has no unit %s.service", name)
		}
	}
	units["guest.service"], units["address.service"] = guestUnit, netUnit
	for name, text := range units {
		put(t, filepath.Join(system, "etc/systemd/system", name), text)
	}
	put(t, filepath.Join(system, "etc/docker/daemon.json"), `{"live-restore": true}`)
	put(t, filepath.Join(system, "etc/hostname"), "vm1\n")
	put(t, filepath.Join(system, "etc/guest/one.yaml"), writerManifest)
	build(t, root, "./test/vm/guest", filepath.Join(system, "usr/local/sbin/guest"))
	dir := t.TempDir()
	build(t, root, "./test/ledger/writer", filepath.Join(dir, "writer"))
	run(t, "tar", "--create", "--file", filepath.Join(system, "etc/guest/writer.tar"), "--directory", dir, "writer")
	run(t, "systemctl", "--quiet", "--root", system, "enable", "guest.service", "address.service")
	run(t, "systemctl", "--quiet", "--root", system, "mask", "serial-getty@ttyS0.service")
}

// documented finds the units of a guide: the first block after each path of one.
func documented(guide string) map[string]string {
	units := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)`/etc/systemd/system/([a-z-]+\\.service)`.*?\n```\n(\\[Unit\\]\n.*?)```").FindAllStringSubmatch(guide, -1) {
		units[m[1]] = m[2]
	}
	return units
}

func build(t *testing.T, root, what, to string) {
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", to, what)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func put(t *testing.T, path, text string) {
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string, mode fs.FileMode) {
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

func one(t *testing.T, dir, pattern string) string {
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}

func run(t *testing.T, name string, args ...string) {
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out))
	}
}
