package network

import (
	"fmt"
	"net/netip"
)

// Op is what a [Step] does.
type Op string

// The operations, in the order in which Decide uses them.
const (
	OpInstallRules    Op = "install-rules" // replace the whole nft table, atomically
	OpSetSysctl       Op = "sysctl"
	OpDeleteDevice    Op = "delete-device"
	OpCreateDevice    Op = "create-device"
	OpSetMTU          Op = "set-mtu"
	OpAddAddr         Op = "add-address"
	OpDeleteAddr      Op = "delete-address"
	OpSetUp           Op = "set-up"
	OpDeleteRoute     Op = "delete-route"
	OpDeleteNeighbour Op = "delete-neighbour"
	OpDeleteForward   Op = "delete-forward"
	OpDeleteMember    Op = "delete-member"
	OpAddMember       Op = "add-member"
	OpSetForward      Op = "set-forward"
	OpSetNeighbour    Op = "set-neighbour"
	OpSetRoute        Op = "set-route"
	OpDeleteAccept    Op = "delete-accept"
	OpInsertAccept    Op = "insert-accept"
)

// Step is one change to a machine's kernel. Which fields count depends on Op.
type Step struct {
	Op       Op
	Machine  string // the peer it is about, if any
	Reason   string // what was found instead, if that is not plain
	Device   Device // create-device
	MTU      int
	Prefix   netip.Prefix // addresses, routes
	Via      netip.Addr   // routes
	Addr     netip.Addr   // neighbours, members, a forward's underlay address
	MAC      MAC
	Key      string // sysctl, below /proc/sys
	Value    string
	Optional bool         // sysctl: may be missing from this kernel
	Rules    []Rule       // install-rules
	Members  []netip.Addr // install-rules
	Chain    string       // accepts
	Text     string       // accepts
}

// String returns a step as tests and logs show it.
func (s Step) String() string {
	out := string(s.Op)
	switch s.Op {
	case OpInstallRules:
		out += fmt.Sprintf(" %d rules, %d members", len(s.Rules), len(s.Members))
	case OpSetSysctl:
		out += fmt.Sprintf(" %s=%s", s.Key, s.Value)
	case OpCreateDevice:
		d := s.Device
		out += fmt.Sprintf(" vni %d port %d local %s dev %s mac %s mtu %d", d.VNI, d.Port, d.Local, d.Underlay, d.MAC, d.MTU)
	case OpSetMTU:
		out += fmt.Sprintf(" %d", s.MTU)
	case OpAddAddr, OpDeleteAddr:
		out += " " + s.Prefix.String()
	case OpSetRoute, OpDeleteRoute:
		out += " " + s.Prefix.String()
		if s.Via.IsValid() {
			out += " via " + s.Via.String()
		}
	case OpSetNeighbour, OpDeleteNeighbour, OpSetForward, OpDeleteForward:
		if s.Op == OpSetNeighbour || s.Op == OpDeleteNeighbour {
			out += fmt.Sprintf(" %s is %s", s.Addr, s.MAC)
		} else {
			out += fmt.Sprintf(" %s to %s", s.MAC, s.Addr)
		}
	case OpAddMember, OpDeleteMember:
		out += " " + s.Addr.String()
	case OpInsertAccept, OpDeleteAccept:
		out += " " + s.Chain + " " + s.Text
	}
	if s.Machine != "" {
		out += " (" + s.Machine + ")"
	}
	if s.Reason != "" {
		out += ": " + s.Reason
	}
	return out
}
