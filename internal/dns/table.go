package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Delta is a change of the endpoints. Drops count before puts, so that a key in
// both ends up as put.
type Delta struct {
	Put  []Endpoint // added, or in place of what has the same key
	Drop []Key      // unknown ones are passed over
}

// Table holds what is known of the cluster's endpoints. Its methods may be
// called at any time by any goroutine.
//
// Invariants, under mu: every endpoint is in all exactly once, in the two nodes
// of its names, in byAddr if it has an address, and counted once in within. A node exists exactly as
// long as it is the name of an endpoint or lies above one. Endpoints are never
// changed once they are in; lists of them are ordered by key, so that the table
// depends on what it holds and not on how it came to hold it.
type Table struct {
	mu     sync.RWMutex
	all    map[Key]*Endpoint
	nodes  map[string]*node // by lower-case name with its final dot
	byAddr map[netip.Addr][]*Endpoint
	within map[member]map[string]int // in which stacks a member of an app is, and how many replicas have it
}

// member is what the replicas of an app call one of theirs.
type member struct{ tenant, app, name string }

// node is a name. It has endpoints, or is only above names that have.
type node struct {
	uses      int
	numbered  bool // answers whether ready or not
	endpoints []*Endpoint
	turn      atomic.Uint32 // answers given; the next one starts there
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{all: map[Key]*Endpoint{}, nodes: map[string]*node{}, byAddr: map[netip.Addr][]*Endpoint{}, within: map[member]map[string]int{}}
}

// Apply changes the table. An endpoint that is not valid is left out, together
// with what had its key, and named in the error; all others count.
func (t *Table) Apply(d Delta) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range d.Drop {
		t.drop(k)
	}
	var errs []error
	for _, e := range d.Put {
		if err := t.put(e); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Replace makes the table hold exactly these endpoints. What stays the same is
// not touched. Errors are those of Apply.
func (t *Table) Replace(all []Endpoint) error {
	keep := make(map[Key]bool, len(all))
	for _, e := range all {
		keep[e.Key()] = true
	}
	t.mu.RLock()
	d := Delta{Put: all}
	for k := range t.all {
		if !keep[k] {
			d.Drop = append(d.Drop, k)
		}
	}
	t.mu.RUnlock()
	return t.Apply(d)
}

// Len returns the number of endpoints.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.all)
}

func (t *Table) put(raw Endpoint) error {
	e, err := raw.normal()
	if err != nil {
		t.drop(raw.Key())
		return fmt.Errorf("%w: %s: %w", errBadEndpoint, raw.Key(), err)
	}
	if old := t.all[e.Key()]; old != nil {
		if old.equal(e) {
			return nil
		}
		// The names stay: only the endpoint behind them changes.
		t.node(e.plain()).swap(old, e)
		t.node(e.numbered()).swap(old, e)
		t.forgetAddr(old)
	} else {
		for _, name := range e.between() {
			t.use(name)
		}
		t.use(e.plain()).insert(e)
		n := t.use(e.numbered())
		n.numbered = true
		n.insert(e)
		t.count(e, 1)
	}
	t.all[e.Key()] = e
	if e.Addr.IsValid() {
		t.byAddr[e.Addr] = insert(t.byAddr[e.Addr], e)
	}
	return nil
}

func (t *Table) drop(k Key) {
	e := t.all[k]
	if e == nil {
		return
	}
	delete(t.all, k)
	t.count(e, -1)
	t.forgetAddr(e)
	t.node(e.plain()).remove(e)
	t.node(e.numbered()).remove(e)
	t.release(e.plain())
	t.release(e.numbered())
	for _, name := range e.between() {
		t.release(name)
	}
}

// count keeps within as endpoints come and go.
func (t *Table) count(e *Endpoint, by int) {
	m := member{e.Tenant, e.App, e.Member}
	stacks := t.within[m]
	if stacks == nil {
		stacks = map[string]int{}
		t.within[m] = stacks
	}
	if stacks[e.Stack] += by; stacks[e.Stack] == 0 {
		delete(stacks, e.Stack)
	}
	if len(stacks) == 0 {
		delete(t.within, m)
	}
}

// elsewhere returns the name of the one member of the asker's app that is
// called so, when only one stack has it and that is not the asker's own.
func (t *Table) elsewhere(asker *Endpoint, name string) (plain string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	stacks := t.within[member{asker.Tenant, asker.App, name}]
	if len(stacks) != 1 || stacks[asker.Stack] > 0 {
		return "", false
	}
	for stack := range stacks {
		e := Endpoint{Tenant: asker.Tenant, App: asker.App, Stack: stack, Member: name}
		plain = e.plain()
	}
	return plain, true
}

func (t *Table) node(name string) *node { return t.nodes[name] }

func (t *Table) use(name string) *node {
	n := t.nodes[name]
	if n == nil {
		n = &node{}
		t.nodes[name] = n
	}
	n.uses++
	return n
}

func (t *Table) release(name string) {
	n := t.nodes[name]
	if n.uses--; n.uses == 0 {
		delete(t.nodes, name)
	}
}

func (t *Table) forgetAddr(e *Endpoint) {
	if !e.Addr.IsValid() {
		return
	}
	if list := remove(t.byAddr[e.Addr], e); len(list) == 0 {
		delete(t.byAddr, e.Addr)
	} else {
		t.byAddr[e.Addr] = list
	}
}

func (n *node) insert(e *Endpoint) { n.endpoints = insert(n.endpoints, e) }
func (n *node) remove(e *Endpoint) { n.endpoints = remove(n.endpoints, e) }

func (n *node) swap(old, e *Endpoint) {
	if i, found := find(n.endpoints, old.Key()); found {
		n.endpoints[i] = e
	}
}

func find(list []*Endpoint, k Key) (int, bool) {
	return slices.BinarySearchFunc(list, k, func(e *Endpoint, k Key) int { return e.Key().compare(k) })
}

func insert(list []*Endpoint, e *Endpoint) []*Endpoint {
	i, _ := find(list, e.Key())
	return slices.Insert(list, i, e)
}

func remove(list []*Endpoint, e *Endpoint) []*Endpoint {
	if i, found := find(list, e.Key()); found {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// lookup returns the endpoints that a name stands for, and whether it exists.
// The list is a copy that begins turn places after the first, so that repeated
// questions spread over all; no more than limit are returned, and more says
// that there were more. With withheld, endpoints that are not ready count too
// (SRV must know whether a port exists at all).
func (t *Table) lookup(name string, want lookup) (list []*Endpoint, exists, more bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[name]
	if n == nil {
		return nil, name == Zone+".", false
	}
	if len(n.endpoints) == 0 {
		return nil, true, false
	}
	start := 0
	if want.turn {
		start = int((n.turn.Add(1) - 1) % uint32(len(n.endpoints)))
	}
	list = make([]*Endpoint, 0, min(want.limit, len(n.endpoints)))
	for i := range n.endpoints {
		e := n.endpoints[(start+i)%len(n.endpoints)]
		if !n.numbered && !e.Ready && !want.withheld {
			continue
		}
		if len(list) == want.limit {
			return list, true, true
		}
		list = append(list, e)
	}
	return list, true, false
}

// lookup says what of a name is wanted.
type lookup struct {
	limit    int
	withheld bool
	// turn counts the question. Only one kind of question per name may: a
	// client asks for A and AAAA in turn, and of two replicas would always see
	// the same one first if both counted.
	turn bool
}

// holds says whether a name is that of an endpoint.
func (t *Table) holds(name string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[name]
	return n != nil && len(n.endpoints) > 0
}

// at returns the endpoint that has an address, nil if none has.
func (t *Table) at(a netip.Addr) *Endpoint {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if list := t.byAddr[a.Unmap()]; len(list) > 0 {
		return list[0]
	}
	return nil
}
