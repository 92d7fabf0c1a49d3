package scheduler

// survey counts who fits and who does not, and finds the nearest misses. It
// visits only the parts of the trees where machines differ.
func (g *group) survey() {
	r := g.s.refusalsOf(g.c)
	g.tallies, g.near, g.fits = r.counts, r.near, 0
	if len(g.with) > 0 {
		g.surveyTogether()
	} else {
		for i := range g.c.cells {
			if t := &g.c.cells[i].tree; t.size > 0 {
				g.walk(t, 1)
			}
		}
		g.surveyMarks()
	}
}

// walk surveys the leaves below node i as if nothing were marked out, except
// that a machine marked out is no near miss of cpu or memory.
func (g *group) walk(t *tree, i int) {
	n, need := &t.nodes[i], g.d.need
	if n.n == 0 {
		return
	}
	if n.least.covers(need) {
		g.fits += int(n.n)
		return
	}
	if i >= t.size {
		short, ratio := shortage(n.most, need)
		cause := causeOfShortage(short)
		g.tallies[cause]++
		slot := t.slots[n.best]
		if m := &g.s.marks[slot]; m.epoch != g.s.epoch || m.cause == CauseNone {
			g.near.offer(g.s, near{cause: cause, slot: slot, ratio: ratio, order: n.order, short: short})
		}
		return
	}
	// All fail alike: count them at once unless one may be among the nearest.
	if short, ratio := shortage(n.most, need); short != (amount{}) {
		cause := causeOfShortage(short)
		alike := cause == CauseCPU || n.least.cpu >= need.cpu
		if alike && !g.mayBeNear(near{cause: cause, slot: t.slots[n.best], ratio: ratio, order: n.order}) {
			g.tallies[cause] += n.n
			return
		}
	}
	g.walk(t, 2*i)
	g.walk(t, 2*i+1)
}

// mayBeNear reports whether a machine at least that near would be taken in.
func (g *group) mayBeNear(bound near) bool {
	return g.near.n < MaxNear || g.s.nearer(&bound, &g.near.list[MaxNear-1])
}

// surveyMarks moves the machines that are marked out from where walk counted
// them to their cause.
func (g *group) surveyMarks() {
	for _, slot := range g.marked {
		mark, ref := &g.s.marks[slot], &g.c.leaves[slot]
		if mark.cause == CauseNone || ref.cause != CauseNone {
			continue
		}
		short, _ := shortage(g.s.machines[slot].free, g.d.need)
		if cause := causeOfShortage(short); cause != CauseNone {
			g.tallies[cause]--
		} else {
			g.fits--
		}
		g.reject(slot, mark.cause)
	}
}

// surveyTogether looks at the machines with all stacks of together one by one;
// the others are all out for that.
func (g *group) surveyTogether() {
	for i := range g.c.cells {
		if t := &g.c.cells[i].tree; t.size > 0 {
			g.tallies[CauseTogether] += t.nodes[1].n
		}
	}
	for _, e := range g.with[0].at.entries {
		if g.c.leaves[e.slot].cause != CauseNone {
			continue
		}
		g.tallies[CauseTogether]--
		if cause := g.fault(e.slot); cause != CauseNone {
			g.reject(e.slot, cause)
		} else {
			g.fits++
		}
	}
	if g.fits > 0 {
		return
	}
	for slot := range g.c.leaves {
		if g.c.leaves[slot].cause == CauseNone && g.with[0].at.get(int32(slot)) == 0 {
			g.near.offer(g.s, g.nearFor(int32(slot), CauseTogether))
		}
	}
}

// fault is why a machine of the class cannot take one more, as marked or for
// want of cpu or memory.
func (g *group) fault(slot int32) Cause {
	if m := &g.s.marks[slot]; m.epoch == g.s.epoch && m.cause != CauseNone {
		return m.cause
	}
	short, _ := shortage(g.s.machines[slot].free, g.d.need)
	return causeOfShortage(short)
}

// reject counts a machine that is out.
func (g *group) reject(slot int32, cause Cause) {
	g.tallies[cause]++
	if v := g.nearFor(slot, cause); g.near.offer(g.s, v) {
		g.nearMade = nil
	}
	g.rejected = nil
}

// recount is called for a machine that did fit and got a replica.
func (g *group) recount(slot int32) {
	if cause := g.fault(slot); cause != CauseNone {
		g.fits--
		g.reject(slot, cause)
	}
}

func (g *group) nearFor(slot int32, cause Cause) near {
	s, d := g.s, g.d
	v := near{cause: cause, slot: slot}
	if cause == CauseCPU || cause == CauseMemory {
		m, ref := &s.machines[slot], &g.c.leaves[slot]
		v.short, v.ratio = shortage(m.free, d.need)
		v.order = makeOrder(ref.pref, 0, m.load, m.size, g.c.shape.Strategy)
	}
	return v
}

// rejections is the public form of the tallies; it is made anew only after
// they changed.
func (g *group) rejections() *Rejections {
	if g.rejected != nil {
		return g.rejected
	}
	if g.nearMade == nil && g.near.n > 0 {
		g.nearMade = make([]Miss, g.near.n)
		for i := range g.nearMade {
			g.nearMade[i] = g.s.miss(g.d, g.with, &g.near.list[i])
		}
	}
	g.rejected = &Rejections{Machines: g.s.known, Counts: g.tallies, Require: g.c.refused.require, Near: g.nearMade}
	return g.rejected
}
