package network

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// reach sends an ICMP echo without the ping command, which minimal machines
// lack: a UDP echo between two container namespaces.
func (l *lab) reach(from, to *labMachine, size int) error {
	l.t.Helper()
	var server *net.UDPConn
	var err error
	inside(l.t, to.cns, func() {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: to.container().AsSlice()})
	})
	if err != nil {
		return err
	}
	defer server.Close()
	go func() {
		buf := make([]byte, 65536)
		for {
			n, addr, err := server.ReadFromUDP(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDP(buf[:n], addr)
		}
	}()
	var conn *net.UDPConn
	inside(l.t, from.cns, func() { conn, err = net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr)) })
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(make([]byte, size)); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	_, err = conn.Read(make([]byte, 65536))
	return err
}

func TestContainersReachEachOther(t *testing.T) {
	l := newLab(t, 3)
	l.applyAll()
	for _, from := range l.machines {
		for _, to := range l.machines {
			if from == to {
				continue
			}
			if err := l.reach(from, to, 64); err != nil {
				t.Errorf("%s to %s: %v", from.name, to.name, err)
			}
			// 1,450 less IP and UDP headers goes through whole; the source
			// address seen at the far end is the container's own.
			if err := l.reach(from, to, 1450-28); err != nil {
				t.Errorf("%s to %s, full-sized: %v", from.name, to.name, err)
			}
		}
	}
	for _, m := range l.machines {
		if again := m.apply(l.peers()); len(again) != 0 {
			t.Errorf("%s: a second apply took steps: %v", m.name, again)
		}
	}
}

func TestTCPKeepsSourceAddress(t *testing.T) {
	l := newLab(t, 2)
	l.applyAll()
	a, b := l.machines[0], l.machines[1]
	var ln net.Listener
	var err error
	inside(t, b.cns, func() { ln, err = net.Listen("tcp4", netip.AddrPortFrom(b.container(), 0).String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const size = 4 << 20
	got := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		if n != size {
			got <- "short"
			return
		}
		got <- c.RemoteAddr().(*net.TCPAddr).IP.String()
	}()
	var c net.Conn
	inside(t, a.cns, func() { c, err = net.DialTimeout("tcp4", ln.Addr().String(), 3*time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if src := <-got; src != a.container().String() {
		t.Errorf("the far end saw %s, want %s", src, a.container())
	}
}

func TestTeardownLeavesNothing(t *testing.T) {
	l := newLab(t, 2)
	m := l.machines[0]
	before := m.state()
	m.apply(l.peers())
	if m.state() == before {
		t.Fatal("apply changed nothing")
	}
	m.teardown()
	if after := m.state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	m.teardown() // of nothing
}

func TestRepairsDrift(t *testing.T) {
	l := newLab(t, 2)
	l.applyAll()
	a, b := l.machines[0], l.machines[1]
	for _, damage := range []string{
		"nft flush ruleset",
		"nft delete element inet argosy members { 198.51.100.2 }",
		"nft add rule inet argosy input accept",
		"ip route del 10.64.2.0/24",
		"ip route add 10.64.77.0/24 dev argosy-vx",
		"ip neigh del 10.64.2.0 dev argosy-vx",
		"bridge fdb del ae:67:0a:40:02:00 dev argosy-vx dst 198.51.100.2",
		"bridge fdb replace ae:67:0a:40:02:00 dev argosy-vx dst 198.51.100.9 self permanent",
		"bridge fdb append 00:00:00:00:00:00 dev argosy-vx dst 198.51.100.9",
		"ip link set argosy-vx down",
		"ip link set argosy-vx mtu 1400",
		"ip link del argosy-vx",
		"ip addr flush dev argosy-vx",
		"ip addr add 203.0.113.1/32 dev argosy-vx",
		"sysctl -qw net.ipv4.ip_forward=0",
	} {
		l.in(a.ns, damage)
		steps := a.apply(l.peers())
		if len(steps) == 0 {
			t.Errorf("%s: not noticed", damage)
		}
		if again := a.apply(l.peers()); len(again) != 0 {
			t.Errorf("%s: not settled after one apply: %v", damage, again)
		}
		if err := l.reach(a, b, 64); err != nil {
			t.Errorf("%s: after repair: %v", damage, err)
		}
	}
}

func TestStrangersAreDropped(t *testing.T) {
	l := newLab(t, 3)
	l.applyAll()
	a, b, c := l.machines[0], l.machines[1], l.machines[2]
	if err := l.reach(c, a, 64); err != nil {
		t.Fatal("as a member:", err)
	}
	// c leaves, but does not know it: it still sends.
	members := []Peer{a.cfg.Self, b.cfg.Self}
	steps := a.apply(members)
	if len(steps) != 4 {
		t.Errorf("one peer leaving takes 4 steps, not %v", steps)
	}
	// a would not answer c for want of a route: give it one by hand, so that
	// only the filter is left to drop the packets.
	l.in(a.ns, "ip route add 10.64.3.0/24 via 10.64.3.0 dev argosy-vx onlink",
		"ip neigh add 10.64.3.0 lladdr ae:67:0a:40:03:00 dev argosy-vx nud permanent",
		"bridge fdb add ae:67:0a:40:03:00 dev argosy-vx dst 198.51.100.3 self permanent")
	if err := l.reach(c, a, 64); err == nil {
		t.Error("a machine that is no member was let in")
	}
	if out := l.in(a.ns, "nft list chain inet argosy input"); strings.Contains(out, "packets 0 bytes 0") {
		t.Errorf("no packet was counted as dropped:\n%s", out)
	}
	if err := l.reach(b, a, 64); err != nil {
		t.Error("the remaining member:", err)
	}
}

func TestMasqueradeOnlyOutside(t *testing.T) {
	l := newLab(t, 2)
	l.applyAll()
	a := l.machines[0]
	// The switch's own address stands for the world outside.
	l.in(l.prefix+"-sw", "ip addr add 198.51.100.200/24 dev sw")
	var server *net.UDPConn
	var err error
	inside(t, l.prefix+"-sw", func() { server, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(198, 51, 100, 200)}) })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var conn *net.UDPConn
	inside(t, a.cns, func() { conn, err = net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr)) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, from, err := server.ReadFromUDP(make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	if got := from.IP.String(); got != a.cfg.Self.Underlay.String() {
		t.Errorf("outside saw %s, want the machine's %s", got, a.cfg.Self.Underlay)
	}
}

func TestUnheldAddressIsRefusedAtOnce(t *testing.T) {
	l := newLab(t, 1)
	l.applyAll()
	m := l.machines[0]
	l.in(m.ns, "ip route add default via 198.51.100.254")
	var err error
	inside(t, m.cns, func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp4", "10.64.99.10:80", 5*time.Second); err == nil {
			c.Close()
		}
	})
	if err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("want an immediate refusal, got %v", err)
	}
}

func TestThousandPeersOneChange(t *testing.T) {
	l := newLab(t, 1)
	m := l.machines[0]
	peers := make([]Peer, 0, 1000)
	for i := range 1000 {
		peers = append(peers, Peer{
			Machine:  "p" + string(rune('a'+i%26)) + time.Duration(i).String(),
			Underlay: netip.AddrFrom4([4]byte{198, 51, byte(101 + i/250), byte(1 + i%250)}),
			Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 70, byte(i / 250), 0}), 24),
		})
		b := [4]byte{10, byte(70 + i/250), byte(i % 250), 0}
		peers[i].Subnet = netip.PrefixFrom(netip.AddrFrom4(b), 24)
	}
	start := time.Now()
	steps := m.apply(peers)
	t.Logf("first apply: %d steps in %v", len(steps), time.Since(start))
	start = time.Now()
	if steps := m.apply(peers); len(steps) != 0 {
		t.Errorf("second apply took %d steps", len(steps))
	}
	t.Logf("second apply: none in %v", time.Since(start))
	peers[500].Underlay = netip.MustParseAddr("198.51.200.1")
	start = time.Now()
	steps = m.apply(peers)
	t.Logf("one peer moved: %v in %v", steps, time.Since(start))
	if len(steps) != 4 {
		t.Errorf("one moved peer took %d steps: %v", len(steps), steps)
	}
}

// BenchmarkIdleApply is what a recheck costs a machine of a small cluster.
func BenchmarkIdleApply(b *testing.B) {
	l := newLab(b, 3)
	l.applyAll()
	m := l.machines[0]
	for b.Loop() {
		if steps := m.apply(l.peers()); len(steps) != 0 {
			b.Fatal(steps)
		}
	}
}

func TestKeeperRepairsWhenNudged(t *testing.T) {
	l := newLab(t, 2)
	l.applyAll()
	a := l.machines[0]
	k := NewKeeper(driverIn{t, a}, nil, time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = k.Run(ctx) }()
	defer func() { cancel(); <-stopped }()
	k.Set(a.cfg, l.peers())
	if err := k.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	l.in(a.ns, "nft flush ruleset")
	k.Set(a.cfg, l.peers())
	if err := k.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if out := l.in(a.ns, "nft list tables"); !strings.Contains(out, "argosy") {
		t.Error("the table was not put back")
	}
}

// driverIn applies in a machine's namespace.
type driverIn struct {
	t *testing.T
	m *labMachine
}

func (d driverIn) Apply(ctx context.Context, cfg Config, peers []Peer) (err error) {
	inside(d.t, d.m.ns, func() { err = d.m.vxlan.Apply(ctx, cfg, peers) })
	return err
}

func (d driverIn) Teardown(ctx context.Context, cfg Config) (err error) {
	inside(d.t, d.m.ns, func() { err = d.m.vxlan.Teardown(ctx, cfg) })
	return err
}
