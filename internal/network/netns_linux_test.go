package network

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

// A lab is a switch and some machines on it, each a network namespace with a
// bridge as Docker would make it, and a container namespace on the bridge.
type lab struct {
	t        testing.TB
	prefix   string
	machines []*labMachine
}

type labMachine struct {
	lab   *lab
	name  string
	ns    string
	cns   string // its container
	cfg   Config
	vxlan *VXLAN
	trace []Step
}

// newLab fails, rather than skips, without root: these tests are the only ones
// that see a kernel route packets.
func newLab(t testing.TB, machines int) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces and needs root; run it with sudo")
	}
	l := &lab{t: t, prefix: fmt.Sprintf("ag%05d", os.Getpid()%100000)}
	t.Cleanup(l.remove)
	l.ip("netns add " + l.prefix + "-sw")
	l.in(l.prefix+"-sw", "ip link add sw type bridge", "ip link set sw up", "ip link set lo up")
	for i := 1; i <= machines; i++ {
		l.addMachine(i)
	}
	return l
}

func (l *lab) addMachine(i int) *labMachine {
	l.t.Helper()
	m := &labMachine{
		lab: l, name: fmt.Sprintf("m%d", i),
		ns: fmt.Sprintf("%s-m%d", l.prefix, i), cns: fmt.Sprintf("%s-c%d", l.prefix, i),
		cfg: Config{Self: Peer{
			Machine:  fmt.Sprintf("m%d", i),
			Underlay: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}),
			Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(i), 0}), 24),
		}},
	}
	m.vxlan = &VXLAN{Trace: func(s Step) { m.trace = append(m.trace, s) }}
	l.ip("netns add " + m.ns)
	l.ip("netns add " + m.cns)
	l.in(m.ns, fmt.Sprintf("ip link add eth0 type veth peer name p%d netns %s-sw", i, l.prefix))
	l.in(l.prefix+"-sw", fmt.Sprintf("ip link set p%d master sw up", i))
	l.in(m.ns,
		"ip link set lo up",
		fmt.Sprintf("ip addr add %s/24 dev eth0", m.cfg.Self.Underlay), "ip link set eth0 up",
		"ip link add argosy0 type bridge", fmt.Sprintf("ip addr add %s/24 dev argosy0", m.cfg.Gateway()), "ip link set argosy0 up",
		"ip link add vc type veth peer name eth0 netns "+m.cns, "ip link set vc master argosy0 up",
	)
	l.in(m.cns, "ip link set lo up",
		fmt.Sprintf("ip addr add %s/24 dev eth0", m.container()), "ip link set eth0 mtu 1450 up",
		fmt.Sprintf("ip route add default via %s", m.cfg.Gateway()))
	l.machines = append(l.machines, m)
	return m
}

// container returns the address of the machine's container.
func (m *labMachine) container() netip.Addr {
	b := m.cfg.Self.Subnet.Addr().As4()
	b[3] = 10
	return netip.AddrFrom4(b)
}

func (l *lab) peers() []Peer {
	var out []Peer
	for _, m := range l.machines {
		out = append(out, m.cfg.Self)
	}
	return out
}

func (l *lab) remove() {
	for _, m := range l.machines {
		_ = exec.Command("ip", "netns", "del", m.cns).Run()
		_ = exec.Command("ip", "netns", "del", m.ns).Run()
	}
	_ = exec.Command("ip", "netns", "del", l.prefix+"-sw").Run()
}

func (l *lab) ip(args string) {
	l.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// in runs commands in a namespace and returns the output of the last.
func (l *lab) in(ns string, commands ...string) string {
	l.t.Helper()
	var out string
	for _, c := range commands {
		b, err := try(ns, c)
		if err != nil {
			l.t.Fatalf("in %s: %s: %v: %s", ns, c, err, b)
		}
		out = b
	}
	return out
}

func try(ns, command string) (string, error) {
	var buf bytes.Buffer
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns}, strings.Fields(command)...)...)
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err := cmd.Run()
	return buf.String(), err
}

// inside runs f on a thread that is in the namespace, so that its sockets,
// /proc/sys/net and child processes belong to it.
func inside(t testing.TB, ns string, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		h, err := netns.GetFromName(ns)
		if err == nil {
			defer h.Close()
			err = netns.Set(h)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("enter namespace %s: %v", ns, err)
	}
}

// apply applies and returns the steps that were taken.
func (m *labMachine) apply(peers []Peer) []Step {
	m.lab.t.Helper()
	m.trace = nil
	var err error
	inside(m.lab.t, m.ns, func() { err = m.vxlan.Apply(context.Background(), m.cfg, peers) })
	if err != nil {
		m.lab.t.Fatalf("apply on %s: %v", m.name, err)
	}
	return m.trace
}

func (m *labMachine) teardown() {
	m.lab.t.Helper()
	var err error
	inside(m.lab.t, m.ns, func() { err = m.vxlan.Teardown(context.Background(), m.cfg) })
	if err != nil {
		m.lab.t.Fatalf("teardown on %s: %v", m.name, err)
	}
}

func (l *lab) applyAll() {
	l.t.Helper()
	for _, m := range l.machines {
		m.apply(l.peers())
	}
}

// state is everything that could be left behind in a machine's namespace.
func (m *labMachine) state() string {
	var names []string
	for line := range strings.Lines(m.lab.in(m.ns, "ip -o link")) {
		names = append(names, strings.Fields(line)[1])
	}
	return strings.Join([]string{
		strings.Join(names, " "),
		m.lab.in(m.ns, "nft list ruleset"),
		m.lab.in(m.ns, "iptables -S"),
		m.lab.in(m.ns, "ip -4 route show table all"),
		m.lab.in(m.ns, "ip -4 neigh show nud permanent"),
	}, "\n")
}
