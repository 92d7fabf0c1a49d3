package scheduler

import "slices"

// mark is what one group of equal requests must know of a machine beyond what
// its class knows: that it is out, or that it has replicas of the stack.
type mark struct {
	epoch uint32
	cause Cause // CauseNone: it is only counted
	count int32 // replicas of the own stack, kept if the demand spreads over machines
}

// group decides equal requests one after the other. Between open and the end
// nothing else changes the index.
//
// Invariants: marks of the current epoch are exactly the slots in marked;
// fits and rejected describe the index as it is now.
type group struct {
	s *Scheduler
	d *demand
	c *class

	marked  []int32
	counts  [][]int32 // by label, by value: replicas of the stack in the domain
	cands   []cand    // by cell
	private []tree    // by cell; nil while the shared trees do
	effort  int       // nodes looked at in shared trees

	fits     int
	tallies  [causes]int32
	near     nearest
	rejected *Rejections // nil if tallies or near changed since it was made
	nearMade []Miss      // nil if near changed since it was made
	with     []*stack    // only machines with replicas of all of these are candidates
}

// cand is the best machine of a cell.
type cand struct {
	good  bool // found is right
	found bool
	slot  int32
	pos   int32
	order order
}

// open marks machines and counts who fits; with are the stacks that must be on
// the same machine.
func (s *Scheduler) open(d *demand, with []*stack) *group {
	g := s.begin(d, with)
	for range g.c.cells {
		g.cands = append(g.cands, cand{})
	}
	g.markOwn()
	g.markOut()
	g.survey()
	if len(with) > 0 {
		g.materialise()
	}
	return g
}

// markedOut is a group that only knows which machines are out.
func (s *Scheduler) markedOut(d *demand) *group {
	g := s.begin(d, nil)
	g.markOut()
	return g
}

// begin is a group that knows nothing yet, in an epoch of its own.
func (s *Scheduler) begin(d *demand, with []*stack) *group {
	g := &s.group
	*g = group{s: s, d: d, c: s.classOf(d), with: with,
		marked: g.marked[:0], counts: g.counts[:0], cands: g.cands[:0], private: nil}
	if s.epoch++; s.epoch == 0 {
		clear(s.marks)
		s.epoch = 1
	}
	return g
}

// mark returns the slot's mark, blank if it has none yet.
func (g *group) mark(slot int32) *mark {
	m := &g.s.marks[slot]
	if m.epoch != g.s.epoch {
		*m = mark{epoch: g.s.epoch}
		g.marked = append(g.marked, slot)
	}
	return m
}

// markOwn counts the stack's own replicas by domain.
func (g *group) markOwn() {
	for i := range g.c.labels {
		g.counts = slices.Grow(g.counts, 1)[:i+1]
		g.counts[i] = zeroes(g.counts[i], len(g.c.values[i]))
	}
	if len(g.c.labels) == 0 && !g.d.machine {
		return
	}
	for _, e := range g.d.stack.at.entries {
		g.count(e.slot, e.n)
	}
}

// zeroes is n zeroes, in the memory of list where they have room.
func zeroes(list []int32, n int) []int32 {
	list = slices.Grow(list[:0], n)[:n]
	clear(list)
	return list
}

// count adds to the domains of a machine. Replicas that are to leave a machine
// (draining) or have been given up (lost) do not count.
func (g *group) count(slot, n int32) {
	m := &g.s.machines[slot]
	if !m.known || m.spec.Condition == Draining || m.spec.Condition == Lost {
		return
	}
	ref := &g.c.leaves[slot]
	for i := range g.counts {
		g.counts[i][g.c.cells[ref.cell].domain[i]] += n
	}
	if g.d.machine {
		g.mark(slot).count += n
	}
}

// markOut marks machines that neighbours or ports put out of the question,
// the causes in their order so that each machine has its first.
func (g *group) markOut() {
	d := g.d
	if len(g.with) > 0 {
		// Machines without the first are not candidates at all and need no mark.
		for _, e := range g.with[0].at.entries {
			for _, o := range g.with[1:] {
				if o.at.get(e.slot) == 0 {
					g.out(e.slot, CauseTogether)
				}
			}
		}
	}
	for _, o := range d.apart {
		for _, e := range o.at.entries {
			g.out(e.slot, CauseApart)
		}
	}
	for i := range d.stack.shunned {
		if d.selfFree && d.stack.shunned[i].by == d.stack {
			continue
		}
		for _, e := range d.stack.shunned[i].at.entries {
			g.out(e.slot, CauseApart)
		}
	}
	for _, p := range d.ports {
		t := g.s.ports[portNumber{p.Port, p.Protocol}]
		if t == nil {
			continue
		}
		for _, e := range t.entries {
			if g.s.machines[e.slot].taken(p) {
				g.out(e.slot, CausePort)
			}
		}
	}
	g.s.eachClash(d, func(_ UnitClash, at *tally) {
		for _, e := range at.entries {
			g.out(e.slot, CauseUnit)
		}
	})
}

func (g *group) out(slot int32, cause Cause) {
	if m := g.mark(slot); m.cause == CauseNone {
		m.cause = cause
	}
}

// next finds the machine for one more replica; false if none fits.
func (g *group) next() (cand, bool) {
	if g.fits == 0 {
		return cand{}, false
	}
	best := -1
	for i := range g.cands {
		c := &g.cands[i]
		if !c.good {
			*c = g.search(int32(i))
		}
		if c.found && (best < 0 || g.better(int32(i), int32(best))) {
			best = i
		}
	}
	if best < 0 {
		return cand{}, false
	}
	return g.cands[best], true
}

// search finds the best machine of one cell.
func (g *group) search(i int32) cand {
	s := g.s
	if g.private == nil && g.effort > s.limits.patience+2*len(s.machines) {
		g.materialise()
	}
	if g.private != nil {
		t := &g.private[i]
		pos := t.best(g.d.need, nil, 0, &g.effort)
		if pos < 0 {
			return cand{good: true}
		}
		return cand{good: true, found: true, slot: t.slots[pos], pos: pos, order: t.leaf(pos).order}
	}
	t := &g.c.cells[i].tree
	out := cand{good: true}
	if pos := t.best(g.d.need, s.marks, s.epoch, &g.effort); pos >= 0 {
		out = cand{good: true, found: true, slot: t.slots[pos], pos: pos, order: t.leaf(pos).order}
	}
	// Marked machines are worse than unmarked ones, being counted, unless
	// preferences say otherwise.
	if g.d.machine && (!out.found || len(g.d.shape.Prefer) > 0) {
		g.searchMarked(i, &out)
	}
	return out
}

func (g *group) searchMarked(i int32, best *cand) {
	g.effort += len(g.marked)
	for _, slot := range g.marked {
		ref, mark := &g.c.leaves[slot], &g.s.marks[slot]
		if mark.cause != CauseNone || ref.cell != i || ref.pos < 0 || ref.cause != CauseNone {
			continue
		}
		leaf := g.c.cells[i].tree.leaf(ref.pos)
		if !leaf.most.covers(g.d.need) {
			continue
		}
		c := cand{good: true, found: true, slot: slot, pos: ref.pos, order: leaf.order.withCount(mark.count)}
		if !best.found || g.s.before(&c, best) {
			*best = c
		}
	}
}

// before compares candidates of one cell.
func (s *Scheduler) before(a, b *cand) bool {
	if a.order != b.order {
		return a.order < b.order
	}
	return s.machines[a.slot].spec.ID < s.machines[b.slot].spec.ID
}

// better compares the candidates of two cells.
func (g *group) better(i, j int32) bool {
	a, b := &g.cands[i], &g.cands[j]
	if x, y := a.order.pref(), b.order.pref(); x != y {
		return x > y
	}
	label := 0
	for _, key := range g.d.shape.Spread {
		x, y := a.order.count(), b.order.count()
		if key != SpreadMachine {
			x, y = g.domainCount(label, i), g.domainCount(label, j)
			label++
		}
		if x != y {
			return x < y
		}
	}
	if x, y := a.order.rest(), b.order.rest(); x != y {
		return x < y
	}
	return g.s.machines[a.slot].spec.ID < g.s.machines[b.slot].spec.ID
}

func (g *group) domainCount(label int, cell int32) int32 {
	return g.counts[label][g.c.cells[cell].domain[label]]
}

// materialise gives the group trees of its own, in which marks are built in.
// It costs as much as a few searches among many marks.
func (g *group) materialise() {
	s := g.s
	if n := len(g.c.cells); len(s.spare) < n {
		s.spare = append(s.spare, make([]tree, n-len(s.spare))...)
	}
	g.private = s.spare[:len(g.c.cells)]
	if len(g.with) > 0 {
		g.onlyTogether()
	} else {
		for i := range g.private {
			t, from := &g.private[i], &g.c.cells[i].tree
			t.reset(&s.machines, len(from.slots))
			t.slots = append(t.slots, from.slots...)
			copy(t.nodes[t.size:], from.nodes[from.size:from.size+len(from.slots)])
		}
		for _, slot := range g.marked {
			if ref := &g.c.leaves[slot]; ref.pos >= 0 {
				leaf := g.private[ref.cell].leaf(ref.pos)
				*leaf = g.overlay(slot, *leaf)
			}
		}
	}
	for i := range g.private {
		g.private[i].build()
		g.cands[i].good = false
	}
}

// onlyTogether fills the private trees with the machines that have all the
// stacks asked for.
func (g *group) onlyTogether() {
	for i := range g.private {
		g.private[i].reset(&g.s.machines, 1)
	}
	for _, e := range g.with[0].at.entries {
		ref := &g.c.leaves[e.slot]
		if ref.pos < 0 {
			continue
		}
		t := &g.private[ref.cell]
		pos := t.take(e.slot)
		leaf := g.overlay(e.slot, *g.c.cells[ref.cell].tree.leaf(ref.pos))
		leaf.best = pos
		*t.leaf(pos) = leaf
	}
}

// overlay applies a slot's mark to its leaf in the class.
func (g *group) overlay(slot int32, leaf node) node {
	m := &g.s.marks[slot]
	if m.epoch != g.s.epoch || leaf.n == 0 {
		return leaf
	}
	if m.cause != CauseNone {
		return node{best: leaf.best}
	}
	leaf.order = leaf.order.withCount(m.count)
	return leaf
}

// took brings the group up to date after a replica was booked on its choice.
func (g *group) took(c cand) {
	s, d := g.s, g.d
	if len(g.counts) > 0 || d.machine {
		g.count(c.slot, 1)
	}
	switch {
	case d.selfFree:
		g.out(c.slot, CauseApart)
	case len(d.ports) > 0:
		g.out(c.slot, CausePort)
	case len(d.brings) > 0:
		g.out(c.slot, CauseUnit)
	}
	m, ref := &s.machines[c.slot], &g.c.leaves[c.slot]
	if g.private != nil {
		t := &g.private[ref.cell]
		leaf := leafFor(m, ref, g.c.shape.Strategy)
		leaf.best = c.pos
		*t.leaf(c.pos) = g.overlay(c.slot, leaf)
		t.fix(c.pos)
	} else {
		s.refresh(g.c, c.slot, true)
	}
	g.cands[ref.cell].good = false
	g.recount(c.slot)
}
