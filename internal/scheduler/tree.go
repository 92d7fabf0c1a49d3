package scheduler

import "math"

// An order is how good a machine is: lower is better. From the highest bits:
// preference (16, inverted), replicas of the stack on it (16), load (20),
// size (12, inverted). Equal orders are told apart by the machine's id.
type order uint64

const (
	countShift = 32
	loadBits   = 20
	sizeBits   = 12
	fullLoad   = 1<<loadBits - 1
	maxCount   = math.MaxUint16
	maxWeight  = 32_000
)

func makeOrder(pref int32, count int32, load uint32, size uint32, strategy Strategy) order {
	if strategy == Pack {
		load = fullLoad - load
	}
	inverted := uint64(maxWeight - pref)
	return order(inverted<<48 | uint64(min(count, maxCount))<<countShift |
		uint64(load)<<sizeBits | uint64(1<<sizeBits-1-size))
}

func (o order) pref() int32  { return maxWeight - int32(o>>48) }
func (o order) count() int32 { return int32(o >> countShift & maxCount) }
func (o order) rest() uint32 { return uint32(o) }

func (o order) withCount(n int32) order {
	return o&^(maxCount<<countShift) | order(min(n, maxCount))<<countShift
}

// amount is cpu and memory in the units of the index: thousandths of a core
// and pages of 4 KiB. What a replica needs is rounded up and what a machine
// has is rounded down, so sums of amounts are exact.
type amount struct{ cpu, mem uint32 }

func (a amount) covers(need amount) bool { return need.cpu <= a.cpu && need.mem <= a.mem }

// node sums up the active leaves below it. A leaf is a node of n 1, or 0 when
// the machine is out of the question for everybody who uses the tree.
type node struct {
	order order
	tie   uint64 // first bytes of the best machine's id
	best  int32  // position of the best leaf
	n     int32
	most  amount // the most that is free on any, each resource for itself
	least amount
}

// tree is a tournament over machines: leaves at nodes[size:], the parent of i
// at i/2, the root at 1. The zero tree is empty.
type tree struct {
	ids   *[]machine // for ties beyond the first bytes
	nodes []node
	slots []int32 // machine by position, kept for positions given back
	size  int

	vacant []int32 // positions given back
}

// reset makes t an empty tree with room for n leaves, keeping its memory.
func (t *tree) reset(ids *[]machine, n int) {
	size := 1
	for size < n {
		size *= 2
	}
	t.ids, t.size, t.slots, t.vacant = ids, size, t.slots[:0], t.vacant[:0]
	if cap(t.nodes) < 2*size {
		t.nodes = make([]node, 2*size)
		return
	}
	t.nodes = t.nodes[:2*size]
	clear(t.nodes)
}

func (t *tree) leaf(pos int32) *node { return &t.nodes[t.size+int(pos)] }

// take gives a machine a leaf position; the caller sets the leaf and then
// calls fix, or build for many.
func (t *tree) take(slot int32) int32 {
	if n := len(t.vacant); n > 0 {
		pos := t.vacant[n-1]
		t.vacant = t.vacant[:n-1]
		t.slots[pos] = slot
		return pos
	}
	if len(t.slots) == t.size {
		t.grow()
	}
	t.slots = append(t.slots, slot)
	return int32(len(t.slots) - 1)
}

// drop gives a position back.
func (t *tree) drop(pos int32) {
	*t.leaf(pos) = node{best: pos}
	t.fix(pos)
	t.vacant = append(t.vacant, pos)
}

func (t *tree) grow() {
	old := *t
	t.size = max(1, 2*old.size)
	t.nodes = make([]node, 2*t.size)
	if old.size > 0 {
		copy(t.nodes[t.size:], old.nodes[old.size:])
	}
	t.build()
}

// build makes every inner node anew.
func (t *tree) build() {
	for i := t.size - 1; i >= 1; i-- {
		t.join(i)
	}
}

// fix makes the ancestors of one leaf anew.
func (t *tree) fix(pos int32) {
	for i := (t.size + int(pos)) / 2; i >= 1; i /= 2 {
		t.join(i)
	}
}

func (t *tree) join(i int) {
	p, l, r := &t.nodes[i], &t.nodes[2*i], &t.nodes[2*i+1]
	switch {
	case r.n == 0:
		*p = *l
		return
	case l.n == 0:
		*p = *r
		return
	case t.less(r, l):
		p.order, p.tie, p.best = r.order, r.tie, r.best
	default:
		p.order, p.tie, p.best = l.order, l.tie, l.best
	}
	p.n = l.n + r.n
	p.most = amount{max(l.most.cpu, r.most.cpu), max(l.most.mem, r.most.mem)}
	p.least = amount{min(l.least.cpu, r.least.cpu), min(l.least.mem, r.least.mem)}
}

// less compares the best leaves of two nodes that have any.
func (t *tree) less(a, b *node) bool {
	if a.order != b.order {
		return a.order < b.order
	}
	if a.tie != b.tie {
		return a.tie < b.tie
	}
	m := *t.ids
	return a.best != b.best && m[t.slots[a.best]].spec.ID < m[t.slots[b.best]].spec.ID
}

// A pick is the search for the best leaf that covers need and is not marked.
type pick struct {
	t      *tree
	need   amount
	marks  []mark // nil: nothing is marked
	epoch  uint32
	found  int32 // position, -1 for none
	visits int
}

// best finds the leaf and adds the number of nodes looked at to *visits.
func (t *tree) best(need amount, marks []mark, epoch uint32, visits *int) int32 {
	if t.size == 0 {
		return -1
	}
	p := pick{t: t, need: need, marks: marks, epoch: epoch, found: -1}
	p.descend(1)
	*visits += p.visits
	return p.found
}

// descend looks below node i, which costs one step if its best leaf will do,
// as it nearly always does.
func (p *pick) descend(i int) {
	n := &p.t.nodes[i]
	p.visits++
	if n.n == 0 || !n.most.covers(p.need) {
		return
	}
	if p.found >= 0 && !p.t.less(n, p.t.leaf(p.found)) {
		return
	}
	if p.t.leaf(n.best).most.covers(p.need) && !p.marked(n.best) {
		p.found = n.best
		return
	}
	if i >= p.t.size {
		return
	}
	l, r := 2*i, 2*i+1
	if p.t.nodes[r].n > 0 && (p.t.nodes[l].n == 0 || p.t.less(&p.t.nodes[r], &p.t.nodes[l])) {
		l, r = r, l
	}
	p.descend(l)
	p.descend(r)
}

func (p *pick) marked(pos int32) bool {
	return p.marks != nil && p.marks[p.t.slots[pos]].epoch == p.epoch
}
