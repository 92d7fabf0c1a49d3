package scheduler

// survey counts the machines of a class by whether they cover a need, and
// lists those that lack least. It knows of no marks. A survey that was costly
// to make is kept with the class and follows every change, so that one more
// request does not cost a look at every machine again.
type survey struct {
	need    amount
	fits    int32
	tallies [2]int32 // CauseCPU, CauseMemory
	near    shortlist
	visits  int    // nodes that were looked at
	used    uint64 // by the class's count of uses
}

func (v *survey) tally(c Cause) *int32 { return &v.tallies[c-CauseCPU] }

// shortlist is the nearest of all machines that lack something.
//
// Invariant: whatever is not in the list is no nearer than its last, and if
// all is set there is nothing else.
type shortlist struct {
	n    int
	all  bool
	list [2 * MaxNear]near
}

func (l *shortlist) offer(s *Scheduler, v near) {
	if !l.all && (l.n == 0 || !s.nearer(&v, &l.list[l.n-1])) {
		return
	}
	i := l.n
	if l.n == len(l.list) {
		l.all = false
		if i--; !s.nearer(&v, &l.list[i]) {
			return
		}
	} else {
		l.n++
	}
	for ; i > 0 && s.nearer(&v, &l.list[i-1]); i-- {
		l.list[i] = l.list[i-1]
	}
	l.list[i] = v
}

func (l *shortlist) remove(slot int32) {
	for i := range l.n {
		if l.list[i].slot == slot {
			copy(l.list[i:], l.list[i+1:l.n])
			l.n--
			return
		}
	}
}

// enough reports whether the list still answers who is nearest.
func (l *shortlist) enough() bool { return l.all || l.n >= MaxNear }

const maxSurveys = 16 // kept for each class

// surveyOf counts for a need, or finds the survey kept for it.
func (s *Scheduler) surveyOf(c *class, need amount) *survey {
	oldest := 0
	for i := range c.surveys {
		v := &c.surveys[i]
		if v.need != need {
			if v.used < c.surveys[oldest].used {
				oldest = i
			}
			continue
		}
		if !v.near.enough() {
			s.count(c, v)
		}
		v.used = c.used
		return v
	}
	v := &s.survey
	*v = survey{need: need}
	s.count(c, v)
	if v.visits < s.limits.survey {
		return v
	}
	v.used = c.used
	if len(c.surveys) < maxSurveys {
		c.surveys = append(c.surveys, *v)
	} else {
		c.surveys[oldest] = *v
	}
	return v
}

// count makes a survey, visiting only the parts of the trees in which machines
// differ.
func (s *Scheduler) count(c *class, v *survey) {
	*v = survey{need: v.need, near: shortlist{all: true}}
	for i := range c.cells {
		if t := &c.cells[i].tree; t.size > 0 {
			s.walk(t, 1, v)
		}
	}
}

func (s *Scheduler) walk(t *tree, i int, v *survey) {
	n := &t.nodes[i]
	v.visits++
	if n.n == 0 {
		return
	}
	if n.least.covers(v.need) {
		v.fits += n.n
		return
	}
	short, ratio := shortage(n.most, v.need)
	if short != (amount{}) {
		// Nothing here fits. If all fail alike, count them at once unless one
		// may be among the nearest.
		bound := near{cause: causeOfShortage(short), slot: t.slots[n.best], ratio: ratio, order: n.order, short: short}
		if i >= t.size {
			*v.tally(bound.cause)++
			v.near.offer(s, bound)
			return
		}
		full := v.near.n == len(v.near.list)
		alike := bound.cause == CauseCPU || n.least.cpu >= v.need.cpu
		if alike && full && !s.nearer(&bound, &v.near.list[v.near.n-1]) {
			v.near.all = false
			*v.tally(bound.cause) += n.n
			return
		}
	}
	s.walk(t, 2*i, v)
	s.walk(t, 2*i+1, v)
}

// follow takes the change of one leaf over into the surveys kept.
func (s *Scheduler) follow(c *class, slot int32, old, now *node) {
	for i := range c.surveys {
		v := &c.surveys[i]
		if old.n > 0 {
			if short, _ := shortage(old.most, v.need); short == (amount{}) {
				v.fits--
			} else {
				*v.tally(causeOfShortage(short))--
				v.near.remove(slot)
			}
		}
		if now.n > 0 {
			if short, ratio := shortage(now.most, v.need); short == (amount{}) {
				v.fits++
			} else {
				cause := causeOfShortage(short)
				*v.tally(cause)++
				v.near.offer(s, near{cause: cause, slot: slot, ratio: ratio, order: now.order, short: short})
			}
		}
	}
}

// survey counts who fits and who does not, and finds the nearest misses.
func (g *group) survey() {
	r := g.s.refusalsOf(g.c)
	g.tallies, g.near, g.fits = r.counts, r.near, 0
	if len(g.with) > 0 {
		g.surveyTogether()
		return
	}
	v := g.s.surveyOf(g.c, g.d.need)
	g.fits = int(v.fits)
	for c := CauseCPU; c <= CauseMemory; c++ {
		g.tallies[c] += *v.tally(c)
	}
	if !g.nearUnmarked(v) {
		g.nearAmongAll()
	}
	g.surveyMarks()
}

// nearUnmarked offers what the survey lists, without machines that are marked
// out and so fail for another cause. It reports whether the list was enough.
func (g *group) nearUnmarked(v *survey) bool {
	offered := 0
	for i := range v.near.n {
		if m := &g.s.marks[v.near.list[i].slot]; m.epoch != g.s.epoch || m.cause == CauseNone {
			g.near.offer(g.s, v.near.list[i])
			offered++
		}
	}
	return v.near.all || offered >= MaxNear
}

// nearAmongAll is for when most of the survey's list is marked out.
func (g *group) nearAmongAll() {
	g.near = g.c.refused.near
	for slot := range g.c.leaves {
		if g.c.leaves[slot].cause != CauseNone {
			continue
		}
		if cause := g.fault(int32(slot)); cause == CauseCPU || cause == CauseMemory {
			g.near.offer(g.s, g.nearFor(int32(slot), cause))
		}
	}
}

// surveyMarks moves the machines that are marked out from where the survey has
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
