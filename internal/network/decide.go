package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Decide returns the steps that bring a machine from what was seen to what the
// configuration and its peers ask for, in an order that is safe at every point:
// packets of non-members are refused before the device exists, a peer's packets
// are accepted before anything is sent to it, and its route goes first when it
// leaves. A machine that is as it should be gets no steps.
//
// cfg must be valid and peers must have been through [Config.Screen].
func Decide(cfg Config, peers []Peer, seen Seen) []Step {
	d := decision{cfg: cfg, peers: peers, seen: seen}
	d.rules()
	d.sysctl("net/ipv4/ip_forward", "1", false)
	d.device()
	d.leave()
	d.join()
	d.accepts()
	return d.steps
}

type decision struct {
	cfg   Config
	peers []Peer
	seen  Seen
	steps []Step

	membersInstalled bool // the rules' own step brings the set's members
}

func (d *decision) add(s Step) { d.steps = append(d.steps, s) }

func (d *decision) rules() {
	want := Rules(d.cfg)
	marks := make([]RuleMark, len(want))
	for i, r := range want {
		marks[i] = RuleMark{Chain: r.Chain, Mark: r.Mark}
	}
	if slices.Equal(byChain(marks), byChain(d.seen.Rules)) {
		return
	}
	d.membersInstalled = true
	members := make([]netip.Addr, 0, len(d.peers))
	for _, p := range d.peers {
		members = append(members, p.Underlay)
	}
	slices.SortFunc(members, netip.Addr.Compare)
	d.add(Step{Op: OpInstallRules, Rules: want, Members: slices.Compact(members), Reason: rulesReason(d.seen.Rules)})
}

func rulesReason(seen []RuleMark) string {
	if seen == nil {
		return "there are none"
	}
	return fmt.Sprintf("%d others were found", len(seen))
}

// byChain orders marks by chain and leaves their order within a chain alone.
func byChain(marks []RuleMark) []RuleMark {
	marks = slices.Clone(marks)
	slices.SortStableFunc(marks, func(a, b RuleMark) int { return strings.Compare(a.Chain, b.Chain) })
	return marks
}

func (d *decision) sysctl(key, value string, optional bool) {
	if got, exists := d.seen.Sysctls[key]; exists && got != value {
		d.add(Step{Op: OpSetSysctl, Key: key, Value: value, Optional: optional, Reason: "it was " + got})
	}
}

// device settles the VXLAN device. What cannot be changed on a device that
// exists makes it be replaced, and with it goes everything attached to it.
func (d *decision) device() {
	want := Device{
		Kind:     "vxlan",
		VNI:      d.cfg.VNI,
		Port:     d.cfg.Port,
		Local:    d.cfg.Self.Underlay,
		Underlay: d.cfg.Underlay,
		MAC:      TunnelMAC(d.cfg.Self.Subnet),
		MTU:      d.cfg.MTU,
	}
	addr := netip.PrefixFrom(TunnelAddr(d.cfg.Self.Subnet), 32)
	noIPv6 := "net/ipv6/conf/" + d.cfg.DeviceName + "/disable_ipv6"

	got := d.seen.Device
	if got != nil {
		if why := misfit(want, *got); why != "" {
			d.add(Step{Op: OpDeleteDevice, Reason: why})
			got = nil
		}
	}
	if got == nil {
		d.seen.Routes, d.seen.Neighbours, d.seen.Forwards = nil, nil, nil
		d.add(Step{Op: OpCreateDevice, Device: want})
		d.add(Step{Op: OpSetSysctl, Key: noIPv6, Value: "1", Optional: true})
		d.add(Step{Op: OpAddAddr, Prefix: addr})
		d.add(Step{Op: OpSetUp})
		return
	}
	d.sysctl(noIPv6, "1", true)
	for _, name := range []string{d.cfg.DeviceName, d.cfg.BridgeName} {
		d.sysctl("net/ipv4/conf/"+name+"/forwarding", "1", true)
	}
	if got.MTU != want.MTU {
		d.add(Step{Op: OpSetMTU, MTU: want.MTU, Reason: fmt.Sprintf("it was %d", got.MTU)})
	}
	for _, a := range got.Addrs {
		if a != addr {
			d.add(Step{Op: OpDeleteAddr, Prefix: a})
		}
	}
	if !slices.Contains(got.Addrs, addr) {
		d.add(Step{Op: OpAddAddr, Prefix: addr})
	}
	if !got.Up {
		d.add(Step{Op: OpSetUp})
	}
}

func misfit(want, got Device) string {
	switch {
	case got.Kind != want.Kind:
		return "it is a device of kind " + got.Kind
	case got.VNI != want.VNI:
		return fmt.Sprintf("its VNI is %d", got.VNI)
	case got.Port != want.Port:
		return fmt.Sprintf("its port is %d", got.Port)
	case got.Local != want.Local:
		return fmt.Sprintf("it sends from %s", got.Local)
	case got.Underlay != want.Underlay:
		return fmt.Sprintf("it sends through %q", got.Underlay)
	case got.Learning:
		return "it learns addresses"
	case got.MAC != want.MAC:
		return "its hardware address is " + got.MAC.String()
	}
	return ""
}

// leave removes what belongs to no peer any more.
func (d *decision) leave() {
	routes := make(map[netip.Prefix]bool, len(d.peers))
	macs := make(map[MAC]netip.Addr, len(d.peers))
	addrs := make(map[netip.Addr]bool, len(d.peers))
	members := make(map[netip.Addr]bool, len(d.peers))
	for _, p := range d.peers {
		routes[p.Subnet] = true
		macs[TunnelMAC(p.Subnet)] = p.Underlay
		addrs[TunnelAddr(p.Subnet)] = true
		members[p.Underlay] = true
	}
	for _, r := range d.seen.Routes {
		if !routes[r.Dst] {
			d.add(Step{Op: OpDeleteRoute, Prefix: r.Dst, Via: r.Via})
		}
	}
	for _, n := range d.seen.Neighbours {
		if !addrs[n.Addr] {
			d.add(Step{Op: OpDeleteNeighbour, Addr: n.Addr, MAC: n.MAC})
		}
	}
	for _, f := range d.seen.Forwards {
		if dst, wanted := macs[f.MAC]; !wanted || dst != f.Underlay {
			d.add(Step{Op: OpDeleteForward, MAC: f.MAC, Addr: f.Underlay})
		}
	}
	if d.membersInstalled {
		return
	}
	for _, m := range d.seen.Members {
		if !members[m] {
			d.add(Step{Op: OpDeleteMember, Addr: m})
		}
	}
}

// join adds what is missing for each peer.
func (d *decision) join() {
	routes := make(map[SeenRoute]bool, len(d.seen.Routes))
	for _, r := range d.seen.Routes {
		routes[r] = true
	}
	neighbours := make(map[Neighbour]bool, len(d.seen.Neighbours))
	for _, n := range d.seen.Neighbours {
		neighbours[n] = true
	}
	forwards := make(map[Forward]bool, len(d.seen.Forwards))
	for _, f := range d.seen.Forwards {
		forwards[f] = true
	}
	members := make(map[netip.Addr]bool, len(d.seen.Members))
	for _, m := range d.seen.Members {
		members[m] = true
	}
	for _, p := range d.peers {
		mac, addr := TunnelMAC(p.Subnet), TunnelAddr(p.Subnet)
		if !d.membersInstalled && !members[p.Underlay] {
			members[p.Underlay] = true // another peer may share the address
			d.add(Step{Op: OpAddMember, Machine: p.Machine, Addr: p.Underlay})
		}
		if !forwards[Forward{MAC: mac, Underlay: p.Underlay, Steady: true}] {
			d.add(Step{Op: OpSetForward, Machine: p.Machine, MAC: mac, Addr: p.Underlay})
		}
		if !neighbours[Neighbour{Addr: addr, MAC: mac, Steady: true}] {
			d.add(Step{Op: OpSetNeighbour, Machine: p.Machine, MAC: mac, Addr: addr})
		}
		if !routes[SeenRoute{Dst: p.Subnet, Via: addr, Steady: true}] {
			d.add(Step{Op: OpSetRoute, Machine: p.Machine, Prefix: p.Subnet, Via: addr})
		}
	}
}

// accepts settles our rules in Docker's chain. Only those before a bare RETURN
// have any effect, so a later one does not count. Rules are deleted by what they
// say, and the first that says it goes: one that is wanted is therefore never
// deleted, even if it stands there twice.
func (d *decision) accepts() {
	chain := d.seen.Docker
	if chain.Chain == "" {
		return
	}
	want := acceptRules(d.cfg)
	effective := chain.Rules
	if i := slices.Index(effective, "-j RETURN"); i >= 0 {
		effective = effective[:i]
	}
	for _, text := range chain.Rules {
		if isAccept(text) && !slices.Contains(want, text) {
			d.add(Step{Op: OpDeleteAccept, Chain: chain.Chain, Text: text})
		}
	}
	for _, text := range want {
		if !slices.Contains(effective, text) {
			d.add(Step{Op: OpInsertAccept, Chain: chain.Chain, Text: text})
		}
	}
}
