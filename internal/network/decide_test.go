package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// take changes what was seen as a step would change a kernel.
func (s *Seen) take(step Step) {
	switch step.Op {
	case OpInstallRules:
		s.Rules = []RuleMark{}
		for _, r := range step.Rules {
			s.Rules = append(s.Rules, RuleMark{Chain: r.Chain, Mark: r.Mark})
		}
		s.Members = slices.Clone(step.Members)
	case OpSetSysctl:
		if _, exists := s.Sysctls[step.Key]; exists {
			s.Sysctls[step.Key] = step.Value
		}
	case OpDeleteDevice:
		s.Device, s.Routes, s.Neighbours, s.Forwards = nil, nil, nil, nil
	case OpCreateDevice:
		d := step.Device
		s.Device = &d
	case OpSetMTU:
		s.Device.MTU = step.MTU
	case OpSetUp:
		s.Device.Up = true
	case OpAddAddr:
		s.Device.Addrs = append(s.Device.Addrs, step.Prefix)
	case OpDeleteAddr:
		s.Device.Addrs = slices.DeleteFunc(s.Device.Addrs, func(p netip.Prefix) bool { return p == step.Prefix })
	case OpSetRoute, OpDeleteRoute:
		s.Routes = slices.DeleteFunc(s.Routes, func(r SeenRoute) bool { return r.Dst == step.Prefix })
		if step.Op == OpSetRoute {
			s.Routes = append(s.Routes, SeenRoute{Dst: step.Prefix, Via: step.Via, Steady: true})
		}
	case OpSetNeighbour, OpDeleteNeighbour:
		s.Neighbours = slices.DeleteFunc(s.Neighbours, func(n Neighbour) bool { return n.Addr == step.Addr })
		if step.Op == OpSetNeighbour {
			s.Neighbours = append(s.Neighbours, Neighbour{Addr: step.Addr, MAC: step.MAC, Steady: true})
		}
	case OpSetForward:
		s.Forwards = slices.DeleteFunc(s.Forwards, func(f Forward) bool { return f.MAC == step.MAC })
		s.Forwards = append(s.Forwards, Forward{MAC: step.MAC, Underlay: step.Addr, Steady: true})
	case OpDeleteForward:
		s.Forwards = slices.DeleteFunc(s.Forwards, func(f Forward) bool { return f.MAC == step.MAC && f.Underlay == step.Addr })
	case OpAddMember:
		s.Members = append(s.Members, step.Addr)
	case OpDeleteMember:
		s.Members = slices.DeleteFunc(s.Members, func(a netip.Addr) bool { return a == step.Addr })
	case OpInsertAccept:
		s.Docker.Rules = slices.Insert(s.Docker.Rules, 0, step.Text)
	case OpDeleteAccept:
		if i := slices.Index(s.Docker.Rules, step.Text); i >= 0 {
			s.Docker.Rules = slices.Delete(s.Docker.Rules, i, i+1)
		}
	}
}

func labConfig() Config {
	return Config{
		Self:     Peer{Machine: "m1", Underlay: netip.MustParseAddr("198.51.100.1"), Subnet: netip.MustParsePrefix("10.64.1.0/24")},
		Underlay: "eth0", MTU: 1450,
	}.WithDefaults()
}

// TestTranscripts runs conversations between Decide and a model of a kernel:
//
//	self      underlay=ADDR subnet=PREFIX dev=NAME mtu=N range=PREFIX
//	peers     machine underlay subnet, one a line
//	damage    what others do to the kernel, one a line
//	decide    the steps, which are then taken
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/decide", func(t *testing.T, path string) {
		cfg := labConfig()
		var peers []Peer
		seen := Seen{Sysctls: map[string]string{"net/ipv4/ip_forward": "0"}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "self":
				for _, a := range d.CmdArgs {
					setSelf(t, &cfg, a.Key, a.Vals[0])
				}
				if err := cfg.Validate(); err != nil {
					return err.Error() + "\n"
				}
				return "ok\n"
			case "peers":
				peers = nil
				for line := range strings.Lines(d.Input) {
					f := strings.Fields(line)
					underlay, _ := netip.ParseAddr(f[1])
					subnet, _ := netip.ParsePrefix(f[2])
					peers = append(peers, Peer{Machine: f[0], Underlay: underlay, Subnet: subnet})
				}
				good, err := cfg.Screen(peers)
				out := fmt.Sprintf("%d peers\n", len(good))
				if err != nil {
					out += err.Error() + "\n"
				}
				return out
			case "damage":
				for line := range strings.Lines(d.Input) {
					damage(t, &seen, strings.TrimSpace(line))
				}
				return "ok\n"
			case "decide":
				good, _ := cfg.Screen(peers)
				var out strings.Builder
				for _, s := range Decide(cfg, good, seen) {
					fmt.Fprintln(&out, s)
					seen.take(s)
				}
				if again := Decide(cfg, good, seen); len(again) != 0 {
					fmt.Fprintf(&out, "NOT SETTLED: %v\n", again)
				}
				if out.Len() == 0 {
					return "nothing to do\n"
				}
				return out.String()
			}
			return "unknown command " + d.Cmd + "\n"
		})
	})
}

func setSelf(t *testing.T, cfg *Config, key, value string) {
	t.Helper()
	switch key {
	case "underlay":
		cfg.Self.Underlay, _ = netip.ParseAddr(value)
	case "subnet":
		cfg.Self.Subnet, _ = netip.ParsePrefix(value)
	case "range":
		cfg.ClusterRange, _ = netip.ParsePrefix(value)
	case "dev":
		cfg.Underlay = value
	case "bridge":
		cfg.BridgeName = value
	case "mtu":
		_, _ = fmt.Sscan(value, &cfg.MTU)
	case "port":
		_, _ = fmt.Sscan(value, &cfg.Port)
	default:
		t.Fatalf("self has no %q", key)
	}
}

func damage(t *testing.T, seen *Seen, what string) {
	t.Helper()
	f := strings.Fields(what)
	switch f[0] + " " + f[1] {
	case "rules gone":
		seen.Rules, seen.Members = nil, nil
	case "rules reordered":
		seen.Rules[0], seen.Rules[1] = seen.Rules[1], seen.Rules[0]
	case "rules added":
		seen.Rules = append(seen.Rules, RuleMark{Chain: chainInput})
	case "member gone":
		seen.Members = slices.DeleteFunc(seen.Members, func(a netip.Addr) bool { return a == netip.MustParseAddr(f[2]) })
	case "member added":
		seen.Members = append(seen.Members, netip.MustParseAddr(f[2]))
	case "device gone":
		seen.take(Step{Op: OpDeleteDevice})
	case "device down":
		seen.Device.Up, seen.Routes, seen.Neighbours = false, nil, nil
	case "device learns":
		seen.Device.Learning = true
	case "device is":
		seen.Device.Kind = f[2]
	case "mtu is":
		_, _ = fmt.Sscan(f[2], &seen.Device.MTU)
	case "address added":
		seen.Device.Addrs = append(seen.Device.Addrs, netip.MustParsePrefix(f[2]))
	case "route gone":
		seen.take(Step{Op: OpDeleteRoute, Prefix: netip.MustParsePrefix(f[2])})
	case "route added":
		seen.Routes = append(seen.Routes, SeenRoute{Dst: netip.MustParsePrefix(f[2])})
	case "neighbour stale":
		for i := range seen.Neighbours {
			seen.Neighbours[i].Steady = false
		}
	case "forward elsewhere":
		seen.Forwards[0].Underlay = netip.MustParseAddr(f[2])
	case "forwarding off":
		seen.Sysctls["net/ipv4/ip_forward"] = "0"
	case "docker starts":
		seen.Docker = DockerChain{Chain: "DOCKER-USER", Rules: []string{"-j RETURN"}}
	case "docker user-rule":
		seen.Docker.Rules = append([]string{strings.Join(f[2:], " ")}, seen.Docker.Rules...)
	case "docker append":
		seen.Docker.Rules = append(seen.Docker.Rules, strings.Join(f[2:], " "))
	case "docker flushed":
		seen.Docker.Rules = []string{"-j RETURN"}
	default:
		t.Fatalf("no such damage: %s", what)
	}
}

// However wrong a machine is, one round of steps puts it right, and a machine
// that is right gets none.
func TestOneRoundSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := labConfig()
		addr := func(label string) netip.Addr {
			return netip.AddrFrom4([4]byte{198, 51, 100, byte(rapid.IntRange(1, 6).Draw(t, label))})
		}
		subnet := func(label string) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(rapid.IntRange(1, 6).Draw(t, label)), 0}), 24)
		}
		var raw []Peer
		for i := range rapid.IntRange(0, 6).Draw(t, "peers") {
			raw = append(raw, Peer{Machine: fmt.Sprintf("p%d", i), Underlay: addr("underlay"), Subnet: subnet("subnet")})
		}
		peers, _ := cfg.Screen(raw)
		seen := drawSeen(t, cfg, addr, subnet)
		for _, s := range Decide(cfg, peers, seen) {
			seen.take(s)
		}
		if again := Decide(cfg, peers, seen); len(again) != 0 {
			t.Fatalf("not settled: %v", again)
		}
		if len(seen.Routes) != len(peers) || len(seen.Neighbours) != len(peers) || len(seen.Forwards) != len(peers) {
			t.Fatalf("%d peers, but %+v", len(peers), seen)
		}
		for _, m := range seen.Members {
			if !slices.ContainsFunc(peers, func(p Peer) bool { return p.Underlay == m }) {
				t.Fatalf("%s is let in but is nobody's", m)
			}
		}
	})
}

func drawSeen(t *rapid.T, cfg Config, addr func(string) netip.Addr, subnet func(string) netip.Prefix) Seen {
	flag := func(label string) bool { return rapid.Bool().Draw(t, label) }
	seen := Seen{Sysctls: map[string]string{"net/ipv4/ip_forward": rapid.SampledFrom([]string{"0", "1"}).Draw(t, "ip_forward")}}
	if flag("device") {
		seen.Device = &Device{
			Kind: rapid.SampledFrom([]string{"vxlan", "dummy"}).Draw(t, "kind"), VNI: cfg.VNI, Port: cfg.Port, Local: addr("local"), Underlay: "eth0",
			Learning: flag("learning"), MAC: TunnelMAC(cfg.Self.Subnet), MTU: rapid.SampledFrom([]int{1450, 1400}).Draw(t, "mtu"), Up: flag("up"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "entries") {
			s := subnet("entry")
			seen.take(Step{Op: OpSetRoute, Prefix: s, Via: TunnelAddr(subnet("via"))})
			seen.take(Step{Op: OpSetNeighbour, Addr: TunnelAddr(s), MAC: TunnelMAC(subnet("mac"))})
			seen.take(Step{Op: OpSetForward, MAC: TunnelMAC(s), Addr: addr("forward")})
		}
	}
	if flag("table") {
		seen.take(Step{Op: OpInstallRules, Rules: Rules(cfg)})
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			a := addr("member")
			seen.take(Step{Op: OpDeleteMember, Addr: a})
			seen.take(Step{Op: OpAddMember, Addr: a})
		}
	}
	if flag("docker") {
		seen.Docker.Chain = "DOCKER-USER"
		choices := append(acceptRules(cfg), "-j RETURN", "-i old -o older -m comment --comment argosy -j ACCEPT", "-s 192.0.2.1/32 -j DROP")
		seen.Docker.Rules = rapid.SliceOfN(rapid.SampledFrom(choices), 0, 5).Draw(t, "rules")
	}
	return seen
}

func TestAllocate(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		within string
		taken  []netip.Prefix
		want   string // or what the error says
	}{
		{"10.64.0.0/10", nil, "10.64.0.0/24"},
		{"10.64.0.0/10", []netip.Prefix{p("10.64.0.0/24"), p("10.64.2.0/24")}, "10.64.1.0/24"},
		{"10.64.0.0/10", []netip.Prefix{p("10.64.0.0/16")}, "10.65.0.0/24"},
		{"10.64.0.0/10", []netip.Prefix{p("10.64.0.77/32")}, "10.64.1.0/24"},
		{"10.64.0.0/10", []netip.Prefix{p("192.168.0.0/16"), p("fd00::/8"), {}}, "10.64.0.0/24"},
		{"10.64.0.0/10", []netip.Prefix{p("10.0.0.0/8")}, "holds 16384 machines"},
		{"10.64.0.0/10", []netip.Prefix{p("0.0.0.0/0")}, "holds 16384 machines"},
		{"10.0.0.0/23", []netip.Prefix{p("10.0.0.0/24")}, "10.0.1.0/24"},
		{"10.0.0.0/23", []netip.Prefix{p("10.0.0.0/24"), p("10.0.1.0/24")}, "holds 2 machines"},
		{"10.0.0.0/25", nil, "must be between"},
		{"10.0.0.1/16", nil, "bits set beyond"},
		{"fd00::/48", nil, "not an IPv4 range"},
	} {
		got, err := Allocate(p(c.within), c.taken)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s less %v: %v, want %s", c.within, c.taken, err, c.want)
			}
		} else if got.String() != c.want {
			t.Errorf("%s less %v: %s, want %s", c.within, c.taken, got, c.want)
		}
	}
	if _, err := Allocate(netip.Prefix{}, nil); err == nil {
		t.Error("the zero range was accepted")
	}
}

func TestOverlaps(t *testing.T) {
	p := netip.MustParsePrefix
	routes := []Route{
		{Dst: p("0.0.0.0/0"), Device: "eth0"},
		{Dst: p("192.0.2.0/24"), Device: "eth0"},
		{Dst: p("10.64.3.0/24"), Device: "argosy-vx", Own: true},
	}
	if err := Overlaps(DefaultClusterRange(), routes); err != nil {
		t.Error(err)
	}
	for _, dst := range []string{"10.100.0.0/16", "10.0.0.0/8", "10.64.0.0/10", "10.127.255.255/32"} {
		err := Overlaps(DefaultClusterRange(), append(routes, Route{Dst: p(dst), Device: "tun0"}))
		if err == nil || !strings.Contains(err.Error(), dst+" dev tun0") {
			t.Errorf("%s: %v", dst, err)
		}
	}
}

func TestDockerNetworkOptions(t *testing.T) {
	n := DockerNetworkOptions(labConfig(), "1.41")
	if n.Subnet.String() != "10.64.1.0/24" || n.Gateway.String() != "10.64.1.1" || n.Options["com.docker.network.driver.mtu"] != "1450" {
		t.Errorf("got %+v", n)
	}
	for version, want := range map[string]bool{"1.41": false, "1.47": false, "1.48": true, "1.52": true, "2.0": true, "": false, "x": false} {
		_, got := DockerNetworkOptions(labConfig(), version).Options["com.docker.network.bridge.gateway_mode_ipv4"]
		if got != want {
			t.Errorf("API %q: gateway mode set: %v", version, got)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	good := labConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"not an IPv4 address":          func(c *Config) { c.Self.Underlay = netip.MustParseAddr("fd00::1") },
		"lies in the cluster range":    func(c *Config) { c.Self.Underlay = netip.MustParseAddr("10.70.0.1") },
		"not an IPv4 /24":              func(c *Config) { c.Self.Subnet = netip.Prefix{} },
		"not within the cluster range": func(c *Config) { c.Self.Subnet = netip.MustParsePrefix("192.168.0.0/24") },
		"VNI":                          func(c *Config) { c.VNI = 1 << 24 },
		"port":                         func(c *Config) { c.Port = 70000 },
		"MTU":                          func(c *Config) { c.MTU = 100 },
		"cannot name a network device": func(c *Config) { c.BridgeName = `x" drop` },
		"both called":                  func(c *Config) { c.BridgeName = c.DeviceName },
		"underlay device":              func(c *Config) { c.Underlay = "../x" },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func BenchmarkDecideThousandPeers(b *testing.B) {
	cfg := labConfig()
	var peers []Peer
	for i := range 1000 {
		peers = append(peers, Peer{
			Machine:  fmt.Sprint(i),
			Underlay: netip.AddrFrom4([4]byte{198, 51, byte(101 + i/250), byte(1 + i%250)}),
			Subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(70 + i/250), byte(i % 250), 0}), 24),
		})
	}
	peers, _ = cfg.Screen(peers)
	seen := Seen{}
	for _, s := range Decide(cfg, peers, seen) {
		seen.take(s)
	}
	for b.Loop() {
		if steps := Decide(cfg, peers, seen); len(steps) != 0 {
			b.Fatal(steps)
		}
	}
}
