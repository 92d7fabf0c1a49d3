package agent

import (
	"log/slog"
	"net/netip"
	"sync"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/dns"
)

// names fills the table that the name server answers from: with what the leader tells of all machines, and with what this
// agent sees itself, which is fresher and still there when no server is. Of two incarnations of a replica the later counts.
type names struct {
	table *dns.Table
	log   *slog.Logger

	mu     sync.Mutex
	remote map[dns.Key]endpoint
	local  map[dns.Key]endpoint
	own    map[core.ID][]dns.Key // keys in local, by who they are of
}

type endpoint struct {
	dns.Endpoint
	incarnation uint64
}

func newNames(log *slog.Logger) *names {
	return &names{table: dns.NewTable(), log: log, remote: map[dns.Key]endpoint{}, local: map[dns.Key]endpoint{}, own: map[core.ID][]dns.Key{}}
}

// told takes in what the leader tells.
func (n *names) told(u *argosyv1.NetworkUpdate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	touched := map[dns.Key]bool{}
	if u.GetFull() {
		for k := range n.remote {
			touched[k] = true
		}
		clear(n.remote)
	}
	for _, e := range u.GetRemovedEndpoints() {
		k := endpointOf(e).Key()
		delete(n.remote, k)
		touched[k] = true
	}
	for _, e := range u.GetEndpoints() {
		ep := endpointOf(e)
		n.remote[ep.Key()] = ep
		touched[ep.Key()] = true
	}
	n.apply(touched)
}

// seen takes in what this agent sees of a replica; o is nil when nothing is left of it. a may be nil.
func (n *names) seen(id core.ID, o *argosyv1.ReplicaObservation, a *argosyv1.Assignment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	touched := map[dns.Key]bool{}
	for _, k := range n.own[id] {
		if n.local[k].incarnation == id.Incarnation {
			delete(n.local, k)
		}
		touched[k] = true
	}
	delete(n.own, id)
	ready := o.GetState() == argosyv1.ReplicaState_REPLICA_STATE_READY
	for member, addr := range addressesOf(id, o, a) {
		ep := endpoint{dns.Endpoint{
			Tenant: id.Tenant, App: id.App, Stack: id.Stack, Number: id.Number, Member: member, Addr: addr,
			Ready: ready && addr.IsValid(), Ports: portsOf(a, member),
		}, id.Incarnation}
		if old, ok := n.local[ep.Key()]; ok && old.incarnation > ep.incarnation {
			continue
		}
		n.local[ep.Key()] = ep
		n.own[id] = append(n.own[id], ep.Key())
		touched[ep.Key()] = true
	}
	n.apply(touched)
}

// addressesOf are the members of a replica of which something is there. One that is assigned and has no address yet is among
// them without one: its name is taken, so that its siblings never find somebody else under it.
func addressesOf(id core.ID, o *argosyv1.ReplicaObservation, a *argosyv1.Assignment) map[string]netip.Addr {
	out := map[string]netip.Addr{}
	if len(o.GetMembers()) > 0 && a.GetIncarnation() == id.Incarnation {
		for _, c := range a.GetContainers() {
			out[c.GetName()] = netip.Addr{}
		}
	}
	for _, m := range o.GetMembers() {
		if addr, err := netip.ParseAddr(m.GetAddress()); err == nil {
			out[m.GetName()] = addr
		}
	}
	return out
}

// apply brings the table up to date for some keys.
func (n *names) apply(touched map[dns.Key]bool) {
	var d dns.Delta
	for k := range touched {
		local, here := n.local[k]
		remote, there := n.remote[k]
		switch {
		case here && (!there || local.incarnation >= remote.incarnation):
			d.Put = append(d.Put, local.Endpoint)
		case there:
			d.Put = append(d.Put, remote.Endpoint)
		default:
			d.Drop = append(d.Drop, k)
		}
	}
	if len(d.Put)+len(d.Drop) == 0 {
		return
	}
	if err := n.table.Apply(d); err != nil {
		n.log.Warn("some names are left out", "error", err)
	}
}

func endpointOf(e *argosyv1.Endpoint) endpoint {
	k := e.GetKey()
	out := endpoint{dns.Endpoint{
		Tenant: k.GetTenant(), App: k.GetApp(), Stack: k.GetStack(), Number: k.GetNumber(), Member: e.GetMember(), Ready: e.GetReady(),
	}, e.GetIncarnation()}
	if addr, err := netip.ParseAddr(e.GetAddress()); err == nil {
		out.Addr = addr
	}
	for _, p := range e.GetPorts() {
		out.Ports = append(out.Ports, portOf(p.GetName(), p.GetPort(), p.GetProtocol()))
	}
	return out
}

func portOf(name string, port uint32, p argosyv1.Protocol) dns.Port {
	proto := "tcp"
	if p == argosyv1.Protocol_PROTOCOL_UDP {
		proto = "udp"
	}
	return dns.Port{Name: name, Port: uint16(port), Proto: proto}
}

// portsOf lists what a member's spec exposes and publishes.
func portsOf(a *argosyv1.Assignment, member string) []dns.Port {
	var list []dns.Port
	for _, c := range a.GetContainers() {
		if c.GetName() != member {
			continue
		}
		for _, p := range c.GetExpose() {
			list = append(list, portOf(p.GetName(), p.GetPort(), p.GetProtocol()))
		}
		for _, p := range c.GetPorts() {
			list = append(list, portOf(p.GetName(), p.GetTarget(), p.GetProtocol()))
		}
	}
	return list
}
