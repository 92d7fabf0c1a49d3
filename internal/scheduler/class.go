package scheduler

import (
	"math"
	"slices"

	"github.com/argosy-cluster/argosy/internal/placement"
)

// class is the index for all shapes with the same require, prefer, strategy
// and spread labels.
//
// Invariant, after sync: for every slot, the leaf at (cell, pos) tells the
// machine's order and what is free on it, and is active exactly if the machine
// is ready and meets every require.
type class struct {
	sign   string
	shape  *Shape // one of them, for require, prefer and strategy
	labels []string
	leaves []leafRef // by slot
	cells  []cell    // one for each combination of values of labels
	cellOf map[string]int32
	values []map[domainName]int32 // by label: index of each value
	seen   uint64                 // changes up to this number are in
	used   uint64                 // when it was last asked for, in calls of classOf

	// What no replica changes, kept until a machine's spec does.
	refused     refusals
	refusedGood bool

	surveys []survey // for needs that machines differ in; they follow changes
}

// domainName is a label's value, or that there is none.
type domainName struct {
	value string
	has   bool
}

// cell is the machines that share the values of all spread labels.
type cell struct {
	tree   tree
	domain []int32 // by label: index of the value
}

type leafRef struct {
	version uint32
	fixed   uint32 // 0: never looked at
	cell    int32
	pos     int32
	pref    int32
	cause   Cause // CauseNone, a condition, CauseUnknown or CauseRequire
	require uint8 // index of the first that fails, for CauseRequire
}

// refusals is who is out for reasons that are the class's.
type refusals struct {
	counts  [causes]int32
	require []RequireCount
	near    nearest
}

// classOf finds or makes the class of a demand and brings it up to date.
func (s *Scheduler) classOf(d *demand) *class {
	c := d.class
	if c == nil || c.leaves == nil {
		c = s.classes[d.sign]
	}
	if c == nil {
		s.evict()
		c = s.newClass(d)
		s.classes[d.sign] = c
	}
	d.class = c
	s.classUses++
	c.used = s.classUses
	s.sync(c)
	return c
}

// maxClasses limits what classes cost beyond their leaves.
const maxClasses = 1024

// evict makes room for one class more by forgetting those not used for long.
func (s *Scheduler) evict() {
	limit := max(s.limits.classes, min(maxClasses, s.limits.leaves/max(1, len(s.machines))))
	if len(s.classes) < limit {
		return
	}
	uses := make([]uint64, 0, len(s.classes))
	for _, c := range s.classes {
		uses = append(uses, c.used)
	}
	slices.Sort(uses)
	median := uses[len(uses)/2]
	for sign, c := range s.classes {
		if c.used <= median {
			delete(s.classes, sign)
			c.leaves = nil // tells demands that still point here
		}
	}
}

func (s *Scheduler) newClass(d *demand) *class {
	labels := labelKeys(d.shape.Spread)
	c := &class{sign: d.sign, shape: d.shape, labels: labels, cellOf: map[string]int32{}, leaves: make([]leafRef, 0, len(s.machines))}
	for range labels {
		c.values = append(c.values, map[domainName]int32{})
	}
	c.seen = math.MaxUint64 // behind everything: sync looks at every machine
	return c
}

// sync takes in what changed since the class was last used.
func (s *Scheduler) sync(c *class) {
	end := s.changesFrom + uint64(len(s.changes))
	if len(c.leaves) < len(s.machines) {
		c.leaves = append(c.leaves, make([]leafRef, len(s.machines)-len(c.leaves))...)
	}
	behind := end - c.seen
	if c.seen < s.changesFrom || c.seen > end || behind > uint64(len(s.machines)/4) {
		for slot := range s.machines {
			s.refresh(c, int32(slot), false)
		}
		for i := range c.cells {
			c.cells[i].tree.build()
		}
	} else {
		for _, slot := range s.changes[c.seen-s.changesFrom:] {
			s.refresh(c, slot, true)
		}
	}
	c.seen = end
}

// refresh makes one leaf current, and its ancestors too if fix is set.
func (s *Scheduler) refresh(c *class, slot int32, fix bool) {
	m, ref := &s.machines[slot], &c.leaves[slot]
	if ref.version == m.version && ref.fixed == m.fixed {
		return
	}
	var old, now node
	if ref.fixed != 0 && ref.pos >= 0 {
		old = *c.cells[ref.cell].tree.leaf(ref.pos)
	}
	if ref.fixed != m.fixed {
		s.classify(c, slot)
	}
	ref.version = m.version
	if ref.pos >= 0 {
		t := &c.cells[ref.cell].tree
		now = leafFor(m, ref, c.shape.Strategy)
		*t.leaf(ref.pos) = now
		if fix {
			t.fix(ref.pos)
		}
	}
	if len(c.surveys) > 0 {
		s.follow(c, slot, &old, &now)
	}
}

func leafFor(m *machine, ref *leafRef, strategy Strategy) node {
	n := node{best: ref.pos}
	if ref.cause == CauseNone {
		n.n = 1
		n.order = makeOrder(ref.pref, 0, m.load, m.size, strategy)
		n.tie = m.tie
		n.most, n.least = m.free, m.free
	}
	return n
}

// classify works out what follows from the machine's spec.
func (s *Scheduler) classify(c *class, slot int32) {
	m, ref := &s.machines[slot], &c.leaves[slot]
	c.refusedGood = false
	first := ref.fixed == 0
	ref.fixed = m.fixed
	ref.cause, ref.require = m.standing(c.shape.Require)
	ref.pref = preferenceOf(m, c.shape.Prefer)
	at := int32(-1)
	if m.known {
		at = c.cellFor(m)
	}
	if !first && ref.pos >= 0 {
		if ref.cell == at {
			return
		}
		c.cells[ref.cell].tree.drop(ref.pos)
	}
	ref.cell, ref.pos = at, -1
	if at >= 0 {
		t := &c.cells[at].tree
		t.ids = &s.machines
		ref.pos = t.take(slot)
	}
}

// cellFor finds or makes the cell of a known machine.
func (c *class) cellFor(m *machine) int32 {
	if len(c.labels) == 0 {
		if len(c.cells) == 0 {
			c.cells = append(c.cells, cell{})
		}
		return 0
	}
	var w signer
	for _, l := range c.labels {
		v, ok := m.label(l)
		if ok {
			w.str(v)
		}
		w.text = append(w.text, ';')
	}
	key := string(w.text)
	if i, ok := c.cellOf[key]; ok {
		return i
	}
	domain := make([]int32, len(c.labels))
	for i, l := range c.labels {
		v, ok := m.label(l)
		name := domainName{v, ok}
		if _, ok := c.values[i][name]; !ok {
			c.values[i][name] = int32(len(c.values[i]))
		}
		domain[i] = c.values[i][name]
	}
	i := int32(len(c.cells))
	c.cells = append(c.cells, cell{domain: domain})
	c.cellOf[key] = i
	return i
}

// refusalsOf sums up who is out for the class's own reasons.
func (s *Scheduler) refusalsOf(c *class) *refusals {
	if c.refusedGood {
		return &c.refused
	}
	r := refusals{}
	perRequire := make([]int, len(c.shape.Require))
	for slot := range c.leaves {
		ref := &c.leaves[slot]
		if ref.cause <= CauseUnknown {
			continue
		}
		r.counts[ref.cause]++
		if ref.cause == CauseRequire {
			perRequire[ref.require]++
		}
		r.near.offer(s, near{cause: ref.cause, slot: int32(slot)})
	}
	for i, n := range perRequire {
		if n > 0 {
			r.require = append(r.require, RequireCount{c.shape.Require[i], n})
		}
	}
	c.refused, c.refusedGood = r, true
	return &c.refused
}

// standing is the first cause that follows from the machine's spec alone.
func (m *machine) standing(require []placement.Expr) (Cause, uint8) {
	switch {
	case !m.known:
		return CauseUnknown, 0
	case m.spec.Condition == Draining:
		return CauseDraining, 0
	case m.spec.Condition == Unreachable:
		return CauseUnreachable, 0
	case m.spec.Condition == Hung:
		return CauseHung, 0
	case m.spec.Condition == Unconnected:
		return CauseUnconnected, 0
	case m.spec.Condition != Ready:
		return CauseLost, 0
	}
	for i, e := range require {
		if !e.Eval(m.label) {
			return CauseRequire, uint8(min(i, math.MaxUint8))
		}
	}
	return CauseNone, 0
}

func preferenceOf(m *machine, prefer []Preference) int32 {
	sum := int64(0)
	for _, p := range prefer {
		if p.When.Eval(m.label) {
			sum += int64(min(max(p.Weight, -maxWeight), maxWeight))
		}
	}
	return int32(min(max(sum, -maxWeight), maxWeight))
}
