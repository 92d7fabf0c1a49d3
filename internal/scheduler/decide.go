package scheduler

import "time"

// batchGroup is the requests of a batch with the same demand, in batch order.
type batchGroup struct {
	d      *demand
	pinned queue
	free   queue
	state  visit
}

// queue is a list of requests, linked by their positions in the batch.
type queue struct{ first, last int32 } // from 1; 0 is the end

func (q *queue) push(i int32, next []int32) {
	if q.first == 0 {
		q.first = i + 1
	} else {
		next[q.last-1] = i + 1
	}
	q.last = i + 1
}

// pop takes the first request out; ok is false if there is none.
func (q *queue) pop(next []int32) (i int32, ok bool) {
	if q.first == 0 {
		return 0, false
	}
	i = q.first - 1
	q.first = next[i]
	return i, true
}

type visit uint8

const (
	visitNone visit = iota
	visitUnderWay
	visitOrdered
	visitDone // decided
)

// Decide finds a machine for every request it can, and books it. The answer
// has one decision for each request, in the order of the batch; now is noted
// in each. The decisions refer to the elements of batch, which must not change.
//
// A replica that is placed already should not be asked for again with the same
// incarnation: it would be booked on a second machine.
func (s *Scheduler) Decide(now time.Time, batch []Request) []Decision {
	s.sweep()
	out := make([]Decision, len(batch))
	next := make([]int32, len(batch))
	groups := s.groupUp(batch, next)
	order := s.inOrder(groups)
	run := run{s: s, now: now, batch: batch, next: next, out: out, groups: groups}
	for _, i := range order {
		if _, waived, _ := run.company(groups[i].d); !waived {
			run.pinned(&groups[i])
		}
	}
	for _, i := range order {
		run.pinned(&groups[i])
		run.free(&groups[i])
		groups[i].state = visitDone
	}
	for i := range groups {
		groups[i].d.stack.groups = groups[i].d.stack.groups[:0]
		for _, u := range groups[i].d.brings {
			u.groups = u.groups[:0]
		}
	}
	return out
}

// groupUp sorts a batch by demand.
func (s *Scheduler) groupUp(batch []Request, next []int32) []batchGroup {
	groups := s.groups[:0]
	if s.epoch++; s.epoch == 0 {
		clear(s.marks)
		s.epoch = 1
	}
	epoch := s.epoch
	for i := range batch {
		r := &batch[i]
		d := s.demandOf(r.Replica.Stack, r.Shape)
		if d.epoch != epoch {
			d.epoch, d.group = epoch, int32(len(groups))
			d.stack.groups = append(d.stack.groups, d.group)
			for _, u := range d.brings {
				u.groups = append(u.groups, d.group)
			}
			groups = append(groups, batchGroup{d: d})
		}
		g := &groups[d.group]
		if r.Pin.Machine != "" {
			g.pinned.push(int32(i), next)
		} else {
			g.free.push(int32(i), next)
		}
	}
	s.groups = groups
	return groups
}

// inOrder puts groups after those of the stacks that they go together with,
// and otherwise leaves them in order. Of a circle, the one found last is first.
func (s *Scheduler) inOrder(groups []batchGroup) []int32 {
	order := make([]int32, 0, len(groups))
	var enter func(i int32)
	enter = func(i int32) {
		if groups[i].state != visitNone {
			return
		}
		groups[i].state = visitUnderWay
		for _, o := range groups[i].d.together {
			for _, j := range o.groups {
				enter(j)
			}
		}
		groups[i].state = visitOrdered
		order = append(order, i)
	}
	for i := range groups {
		enter(int32(i))
	}
	return order
}

// run is one call of Decide.
type run struct {
	s      *Scheduler
	now    time.Time
	batch  []Request
	next   []int32 // links of the groups' queues
	out    []Decision
	groups []batchGroup
}

// company sorts the stacks that d goes together with: with are placed
// somewhere, missing are not. A stack that is placed nowhere but may yet be by
// this batch is neither: it comes after d, so it waits for d, and d does not
// wait for it; waived tells that there is such a one.
func (r *run) company(d *demand) (with []*stack, waived bool, missing []Stack) {
	return d.company(func(o *stack) bool {
		for _, j := range o.groups {
			if r.groups[j].state != visitDone {
				return true
			}
		}
		return false
	})
}

func (d *demand) company(pending func(*stack) bool) (with []*stack, waived bool, missing []Stack) {
	for _, o := range d.together {
		switch {
		case len(o.at.entries) > 0:
			with = append(with, o)
		case pending(o):
			waived = true
		default:
			missing = append(missing, o.name)
		}
	}
	return with, waived, missing
}

func (r *run) pinned(g *batchGroup) {
	for i, ok := g.pinned.pop(r.next); ok; i, ok = g.pinned.pop(r.next) {
		with, _, missing := r.company(g.d)
		if len(missing) > 0 {
			r.refuse(i, r.s.alone(missing))
			continue
		}
		r.out[i] = Decision{Request: &r.batch[i], At: r.now}
		r.s.decidePinned(g.d, with, &r.batch[i], &r.out[i])
	}
}

// alone is the reason to wait for stacks that are placed nowhere.
func (s *Scheduler) alone(missing []Stack) Reason {
	return Reason{Wait: WaitTogether, Missing: missing, Rejected: &Rejections{Machines: s.known}}
}

// free decides the requests that may go anywhere. After the first that finds
// no machine the others need not look: nothing changed since.
func (r *run) free(bg *batchGroup) {
	i, ok := bg.free.pop(r.next)
	for ok {
		with, waived, missing := r.company(bg.d)
		if len(missing) > 0 {
			r.refuseAll(bg, i, r.s.alone(missing))
			return
		}
		g := r.s.open(bg.d, with)
		for ok {
			c, found := g.next()
			if !found {
				r.refuseAll(bg, i, g.refusal())
				return
			}
			r.place(g, i, c)
			i, ok = bg.free.pop(r.next)
			if waived && bg.d.selfSet {
				break // from now on the stack has company: itself
			}
		}
	}
}

func (r *run) place(g *group, i int32, c cand) {
	req, out := &r.batch[i], &r.out[i]
	out.Request, out.At, out.MachineID = req, r.now, r.s.machines[c.slot].spec.ID
	g.explain(c, &out.Reason)
	r.s.book(g.d, booking{req.Replica.Number, req.Incarnation, c.slot, g.d.id})
	g.took(c)
}

// refusal is the reason when no machine fits.
func (g *group) refusal() Reason {
	wait := WaitFit
	if g.s.known == 0 {
		wait = WaitMachines
	}
	return Reason{Wait: wait, Rejected: g.rejections()}
}

// refuseAll refuses request i of a group and all that follow.
func (r *run) refuseAll(bg *batchGroup, i int32, reason Reason) {
	for ok := true; ok; i, ok = bg.free.pop(r.next) {
		r.refuse(i, reason)
	}
}

func (r *run) refuse(i int32, reason Reason) {
	r.out[i] = Decision{Request: &r.batch[i], At: r.now, Reason: reason}
}

// explain notes why c is chosen, as of before it is booked.
func (g *group) explain(c cand, r *Reason) {
	m := &g.s.machines[c.slot]
	r.Machine = m.spec.Name
	r.Fit = g.fits
	r.Load = m.permille()
	r.Preference = int(c.order.pref())
	r.Rejected = g.rejections()
	r.shape, r.labels = g.d.shape, m.spec.Labels
	g.eachSpread(c.slot, c.order.count(), func(i int, n int32) {
		if i < maxSpreadShown {
			r.counts[i] = n
		}
	})
}

// eachSpread tells for each spread key how many replicas the domain of a
// machine has, onMachine being the answer for the machine itself.
func (g *group) eachSpread(slot, onMachine int32, visit func(i int, n int32)) {
	label := 0
	for i, key := range g.d.shape.Spread {
		n := onMachine
		if key != SpreadMachine {
			n = g.domainCount(label, g.c.leaves[slot].cell)
			label++
		}
		visit(i, n)
	}
}
