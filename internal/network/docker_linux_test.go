package network

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine is a Docker Engine of its own inside a machine's namespace, so that
// its iptables rules are that machine's.
type engine struct {
	t       *testing.T
	ns, dir string
	cmd     *exec.Cmd
	exited  chan struct{}
}

func startEngine(t *testing.T, ns string) *engine {
	t.Helper()
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Fatal("this test runs a Docker Engine of its own; install the package docker.io")
	}
	// Unix socket paths are short, so t.TempDir will not do.
	dir, err := os.MkdirTemp("", "agd")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, ns: ns, dir: dir}
	t.Cleanup(func() {
		e.stop(syscall.SIGTERM)
		for _, m := range mountsBelow(dir) {
			_ = syscall.Unmount(m, syscall.MNT_DETACH)
		}
		_ = os.RemoveAll(dir)
	})
	e.start()
	return e
}

func mountsBelow(dir string) []string {
	b, _ := os.ReadFile("/proc/self/mounts")
	var out []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], dir+"/") {
			out = append(out, f[1])
		}
	}
	slices.Reverse(out)
	return out
}

func (e *engine) start() {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	// nsenter rather than ip netns exec: that would hide the cgroups.
	e.cmd = exec.Command("nsenter", "--net=/run/netns/"+e.ns, "dockerd",
		"--data-root="+e.dir+"/data", "--exec-root="+e.dir+"/run", "--pidfile="+e.dir+"/pid",
		"-H", "unix://"+e.dir+"/s", "--storage-driver=vfs", "--live-restore")
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.exited = make(chan struct{})
	go func() { _ = e.cmd.Wait(); close(e.exited) }()
	deadline := time.Now().Add(60 * time.Second)
	for {
		c, err := net.Dial("unix", e.dir+"/s")
		if err == nil {
			c.Close()
			if _, err := e.try("info"); err == nil {
				return
			}
		}
		select {
		case <-e.exited:
		case <-time.After(50 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		b, _ := os.ReadFile(log.Name())
		e.t.Fatalf("the Docker Engine did not start:\n%s", b[max(0, len(b)-4000):])
	}
}

func (e *engine) stop(sig syscall.Signal) {
	_ = e.cmd.Process.Signal(sig)
	<-e.exited
}

func (e *engine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", append([]string{"-H", "unix://" + e.dir + "/s"}, args...)...).CombinedOutput()
	return string(out), err
}

func (e *engine) docker(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// loadEcho builds the echo program and makes an image of it alone.
func (e *engine) loadEcho() {
	e.t.Helper()
	bin := filepath.Join(e.dir, "echo")
	build := exec.Command("go", "build", "-o", bin, "testdata/echo/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		e.t.Fatalf("build echo: %v: %s", err, out)
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		e.t.Fatal(err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	_ = w.WriteHeader(&tar.Header{Name: "echo", Mode: 0o755, Size: int64(len(program))})
	_, _ = w.Write(program)
	_ = w.Close()
	load := exec.Command("docker", "-H", "unix://"+e.dir+"/s", "import", "-c", `ENTRYPOINT ["/echo"]`, "-", "ag-echo")
	load.Stdin = &image
	if out, err := load.CombinedOutput(); err != nil {
		e.t.Fatalf("docker import: %v: %s", err, out)
	}
}

// echo dials TCP from a namespace and returns the address that the other end
// saw.
func echo(t *testing.T, ns string, to netip.AddrPort) (string, error) {
	t.Helper()
	var c net.Conn
	var err error
	inside(t, ns, func() { c, err = net.DialTimeout("tcp4", to.String(), 1500*time.Millisecond) })
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// A real Engine's rules stand between the bridge and the VXLAN device: with
// ours packets pass, and go on passing when dockerd is restarted or somebody
// flushes its chains.
func TestThroughDockerEngine(t *testing.T) {
	l := newLab(t, 2)
	a, b := l.machines[0], l.machines[1]
	// The Engine makes a's bridge; the lab's goes.
	l.in(a.ns, "ip link del vc", "ip link del argosy0", "sysctl -qw net.ipv4.ip_forward=0")
	// What is outside: reached through the switch.
	outside := l.prefix + "-sw"
	l.in(outside, "ip addr add 198.51.100.200/24 dev sw", "ip route add 10.64.1.0/24 via 198.51.100.1")

	e := startEngine(t, a.ns)
	e.loadEcho()
	var cfg Config
	var err error
	inside(t, a.ns, func() { cfg, err = Complete(a.cfg) })
	if err != nil {
		t.Fatal(err)
	}
	n := DockerNetworkOptions(cfg, e.docker("version", "-f", "{{.Server.APIVersion}}"))
	args := []string{"network", "create", "-d", n.Driver, "--subnet", n.Subnet.String(), "--gateway", n.Gateway.String()}
	for k, v := range n.Options {
		args = append(args, "-o", k+"="+v)
	}
	e.docker(append(args, n.Name)...)
	// Docker accepts a published port from everywhere: what needs our rules is
	// a container that publishes none.
	plain := a.container().Next()
	e.docker("run", "-d", "--name", "ag-published", "--network", n.Name, "--ip", a.container().String(), "-p", "8007:7", "ag-echo")
	e.docker("run", "-d", "--name", "ag-plain", "--network", n.Name, "--ip", plain.String(), "ag-echo")
	if mtu := e.docker("network", "inspect", "-f", `{{index .Options "com.docker.network.driver.mtu"}}`, n.Name); mtu != "1450" {
		t.Errorf("MTU %q", mtu)
	}

	l.applyAll()
	inA := netip.AddrPortFrom(plain, 7)
	reachable := func(when string) {
		t.Helper()
		if src, err := echo(t, b.cns, inA); err != nil || src != b.container().String() {
			t.Errorf("%s: container to container: %q, %v", when, src, err)
		}
		if again := a.apply(l.peers()); len(again) != 0 {
			t.Errorf("%s: apply has more to do: %v", when, again)
		}
	}
	reachable("at first")

	// Containers of one machine: frames that only cross the bridge also pass
	// the rules where br_netfilter is on.
	published := e.docker("inspect", "-f", "{{.State.Pid}}", "ag-published")
	l.ip("netns attach " + l.prefix + "-pub " + published)
	defer func() { _ = exec.Command("ip", "netns", "del", l.prefix+"-pub").Run() }()
	if src, err := echo(t, l.prefix+"-pub", inA); err != nil || src != a.container().String() {
		t.Errorf("between containers of one machine: %q, %v", src, err)
	}

	// Outside the cluster only the published port answers.
	if _, err := echo(t, outside, netip.AddrPortFrom(a.cfg.Self.Underlay, 8007)); err != nil {
		t.Errorf("published port: %v", err)
	}
	for _, addr := range []netip.Addr{plain, a.container()} {
		if _, err := echo(t, outside, netip.AddrPortFrom(addr, 7)); err == nil {
			t.Errorf("container %s was reached past its published port", addr)
		}
	}
	// A container of another machine may use the published port as well.
	if src, err := echo(t, b.cns, netip.AddrPortFrom(a.cfg.Self.Underlay, 8007)); err != nil || src != b.cfg.Self.Underlay.String() {
		t.Errorf("published port from another machine's container: %q, %v", src, err)
	}

	// Without our rules Docker drops; with them again it does not.
	l.in(a.ns, "iptables -F DOCKER-USER", "iptables -A DOCKER-USER -j RETURN")
	if _, err := echo(t, b.cns, inA); err == nil {
		t.Error("Docker let packets pass without our rules; this test proves nothing")
	}
	if steps := a.apply(l.peers()); len(steps) != 2 {
		t.Errorf("after a flush: %v", steps)
	}
	reachable("after a flush")

	e.stop(syscall.SIGTERM)
	if src, err := echo(t, b.cns, inA); err != nil {
		t.Errorf("while dockerd is away: %q, %v", src, err)
	}
	e.start()
	a.apply(l.peers())
	reachable("after a restart of dockerd")

	e.stop(syscall.SIGKILL)
	l.in(a.ns, "iptables -F", "iptables -X", "iptables -t nat -F")
	e.start()
	a.apply(l.peers())
	reachable("after a kill of dockerd and a flush of everything")

	e.docker("rm", "-f", "ag-plain", "ag-published")
	a.teardown()
	for line := range strings.Lines(l.in(a.ns, "iptables -S")) {
		if isAccept(line) {
			t.Errorf("teardown left %s", line)
		}
	}
	t.Log("Docker Engine", e.docker("version", "-f", "{{.Server.Version}}"))
}
