package dispatcher

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// endpointKey names a member of a replica.
type endpointKey struct {
	state.Key
	member string
}

func (k endpointKey) compare(o endpointKey) int {
	return cmp.Or(k.Key.Compare(o.Key), strings.Compare(k.member, o.member))
}

// network is the peers and endpoints that every machine should know, with a log of what changed so that each session can
// be told what it lacks. Messages in it are immutable and shared.
type network struct {
	peers     map[string]*argosyv1.Peer
	endpoints map[state.Key]map[string]*argosyv1.Endpoint
	// log[i] is change number first+i; what it names may have changed again since.
	log   []netChange
	first uint64
	// peerList and endpointList are all of them, sorted; nil when that has to be done again.
	peerList     []*argosyv1.Peer
	endpointList []*argosyv1.Endpoint
	// delta is the last delta that was made, since most sessions lack the same.
	delta           *argosyv1.NetworkUpdate
	deltaAt, upTo   uint64
	deltaNamesPeers bool
}

// netChange names a peer, or else an endpoint.
type netChange struct {
	peer     string
	endpoint endpointKey
}

// maxLog bounds the log; a session further behind is told everything.
const maxLog = 16384

func newNetwork() network {
	return network{peers: map[string]*argosyv1.Peer{}, endpoints: map[state.Key]map[string]*argosyv1.Endpoint{}, first: 1}
}

// next is the number that the next change gets.
func (n *network) next() uint64 { return n.first + uint64(len(n.log)) }

func (n *network) record(ch netChange) {
	if len(n.log) >= 2*maxLog {
		cut := len(n.log) - maxLog
		n.log = append(n.log[:0:0], n.log[cut:]...)
		n.first += uint64(cut)
	}
	n.log = append(n.log, ch)
	if ch.peer != "" {
		n.peerList = nil
	} else {
		n.endpointList = nil
	}
}

// SetPeer says how the network reaches a machine; nil takes it away.
func (c *Core) SetPeer(id string, p *argosyv1.Peer) {
	old := c.net.peers[id]
	if proto.Equal(old, p) && (old == nil) == (p == nil) {
		return
	}
	if p == nil {
		delete(c.net.peers, id)
	} else {
		c.net.peers[id] = p
	}
	c.net.record(netChange{peer: id})
	c.wakeAll()
}

// SetEndpoints says where a replica's members are reached; those not named are taken away. It reports whether anything
// changed.
func (c *Core) SetEndpoints(k state.Key, list []*argosyv1.Endpoint) bool {
	old := c.net.endpoints[k]
	next := make(map[string]*argosyv1.Endpoint, len(list))
	changed := false
	for _, e := range list {
		if was := old[e.GetMember()]; proto.Equal(was, e) && was != nil {
			next[e.GetMember()] = was
			continue
		}
		next[e.GetMember()] = e
		changed = true
		c.net.record(netChange{endpoint: endpointKey{k, e.GetMember()}})
	}
	for member := range old {
		if next[member] == nil {
			changed = true
			c.net.record(netChange{endpoint: endpointKey{k, member}})
		}
	}
	if len(next) == 0 {
		delete(c.net.endpoints, k)
	} else {
		c.net.endpoints[k] = next
	}
	if changed && !c.held {
		c.wakeAll()
	}
	return changed
}

// Endpoints lists what is known of a replica's members, by name.
func (c *Core) Endpoints(k state.Key) []*argosyv1.Endpoint {
	var out []*argosyv1.Endpoint
	for _, e := range c.net.endpoints[k] {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *argosyv1.Endpoint) int { return strings.Compare(a.GetMember(), b.GetMember()) })
	return out
}

// Release lets full updates of the network go out: from now on what this core does not know does not exist.
func (c *Core) Release() {
	if c.held {
		c.held = false
		c.wakeAll()
	}
}

// Held reports whether full updates of the network are held back.
func (c *Core) Held() bool { return c.held }

func (c *Core) wakeAll() {
	for _, m := range c.machines {
		if m.session != nil {
			c.wake(m.session)
		}
	}
}

// networkUpdate is what a session lacks of the network, nil when nothing.
func (c *Core) networkUpdate(s *Session) *argosyv1.NetworkUpdate {
	next := c.net.next()
	switch {
	case s.netFull && !c.held, s.netAt < c.net.first:
		// While full updates are held back, what is known is sent without taking anything away, and a full one stays owed.
		s.netAt, s.netFull = next, c.held
		u := c.net.everything(s.machine.id, !c.held)
		if !u.Full && len(u.Peers) == 0 {
			return nil
		}
		return u
	case s.netAt == next:
		return nil
	}
	u := c.net.since(s.netAt, s.machine.id)
	s.netAt = next
	return u
}

// everything is the whole network for one machine. Lists are sorted once for each state of the network and shared, since
// many sessions begin at the same time. What takes nothing away leaves endpoints to the full update that follows.
func (n *network) everything(self string, full bool) *argosyv1.NetworkUpdate {
	u := &argosyv1.NetworkUpdate{Full: full, Peers: n.allPeers()}
	if i := slices.IndexFunc(u.Peers, func(p *argosyv1.Peer) bool { return p.GetMachine() == self }); i >= 0 {
		u.Peers = slices.Delete(slices.Clone(u.Peers), i, i+1)
	}
	if full {
		u.Endpoints = n.allEndpoints()
	}
	return u
}

func (n *network) allPeers() []*argosyv1.Peer {
	if n.peerList == nil {
		u := &argosyv1.NetworkUpdate{Peers: slices.Collect(maps.Values(n.peers))}
		n.sort(u)
		n.peerList = u.Peers
	}
	return n.peerList
}

func (n *network) allEndpoints() []*argosyv1.Endpoint {
	if n.endpointList == nil {
		u := &argosyv1.NetworkUpdate{}
		for _, members := range n.endpoints {
			u.Endpoints = slices.AppendSeq(u.Endpoints, maps.Values(members))
		}
		n.sort(u)
		n.endpointList = u.Endpoints
	}
	return n.endpointList
}

func (n *network) sort(u *argosyv1.NetworkUpdate) {
	slices.SortFunc(u.Peers, func(a, b *argosyv1.Peer) int { return strings.Compare(a.GetMachine(), b.GetMachine()) })
	compare := func(a, b *argosyv1.Endpoint) int {
		return endpointKey{state.KeyOf(a.GetKey()), a.GetMember()}.compare(endpointKey{state.KeyOf(b.GetKey()), b.GetMember()})
	}
	slices.SortFunc(u.Endpoints, compare)
	slices.SortFunc(u.RemovedEndpoints, compare)
	slices.Sort(u.RemovedPeers)
}

// since is what changed from a number on. A delta without peers is the same for every machine and is shared.
func (n *network) since(at uint64, self string) *argosyv1.NetworkUpdate {
	if n.delta != nil && n.deltaAt == at && n.upTo == n.next() && !n.deltaNamesPeers {
		return n.delta
	}
	u := &argosyv1.NetworkUpdate{}
	done := map[netChange]bool{}
	peers := false
	for _, ch := range n.log[at-n.first:] {
		if done[ch] {
			continue
		}
		done[ch] = true
		if ch.peer == "" {
			n.addEndpoint(u, ch.endpoint)
			continue
		}
		peers = true
		switch p := n.peers[ch.peer]; {
		case ch.peer == self:
		case p == nil:
			u.RemovedPeers = append(u.RemovedPeers, ch.peer)
		default:
			u.Peers = append(u.Peers, p)
		}
	}
	n.sort(u)
	n.delta, n.deltaAt, n.upTo, n.deltaNamesPeers = u, at, n.next(), peers
	return u
}

func (n *network) addEndpoint(u *argosyv1.NetworkUpdate, k endpointKey) {
	if e := n.endpoints[k.Key][k.member]; e != nil {
		u.Endpoints = append(u.Endpoints, e)
		return
	}
	u.RemovedEndpoints = append(u.RemovedEndpoints, &argosyv1.Endpoint{Key: k.Proto(), Member: k.member})
}
