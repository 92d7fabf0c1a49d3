package check

import (
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// act is one thing that can happen.
type act struct {
	do   func(w *World, i, j int)
	i, j int
}

// Step makes one choice after another until one thing has happened. It is deterministic in what choose returns.
func (w *World) Step() {
	acts := w.acts()
	if len(acts) == 0 {
		w.broken = stuck
		return
	}
	a := acts[w.choose(len(acts))]
	a.do(w, a.i, a.j)
	w.look()
}

const stuck = "nothing can happen"

// acts lists what can happen now, what happens on good days first.
func (w *World) acts() []act {
	var out []act
	add := func(when bool, do func(w *World, i, j int), i, j int) {
		if when {
			out = append(out, act{do, i, j})
		}
	}
	if w.urgent(add); len(out) > 0 {
		return out
	}
	for m := range w.Machines {
		w.goodDay(m, add)
	}
	add(w.mayTick(), (*World).tick, 0, 0)
	for i := range w.Net {
		add(true, (*World).arrive, i, 0)
	}
	if len(w.scenario.Sets) > 1 {
		next, _ := w.change()
		add(next != nil, (*World).reconfigure, 0, 0)
	}
	for i := range w.Servers {
		add(w.Servers[i].State.Config.Epoch.Less(w.Store.Config.Epoch), (*World).configureServer, i, 0)
	}
	for m := range w.Machines {
		// The first grant goes to machine a: which of the two it is makes no difference.
		add(w.Left.Grants > 0 && (m == 0 || w.Store.Last.Revision > 0), func(w *World, i, _ int) { w.grant(i) }, m, 0)
	}
	for m := range w.Machines {
		w.badDay(m, add)
	}
	for i := range w.Servers {
		add(w.Left.Restarts > 0, (*World).restartServer, i, 0)
		add(w.Left.Forgets > 0, (*World).forget, i, 0)
		add(w.Left.Drops > 0 && w.Servers[i].record() != nil, (*World).drop, i, 0)
		if w.Left.Fences > 0 {
			for _, r := range w.Servers[i].State.Records {
				m, n := parse(r.Session)
				add(r.State == witness.Held && (n <= w.Machines[m].Lost || w.mutant.FenceAnybody), (*World).fence, i, m*100+n)
			}
		}
	}
	for m := range w.Machines {
		w.fencing(m, add)
	}
	add(w.Left.Restores > 0, (*World).restore, 0, 0)
	return out
}

// fencing lists what storage and servers may do about a machine: it is refused, at any time; witnesses learn it then or much later; and it is
// taken back once nothing is left there of before.
func (w *World) fencing(m int, add func(bool, func(*World, int, int), int, int)) {
	st := &w.Storage
	add(w.Left.Refusals > 0 && !st.Refuses[m] && !w.Store.Last.IsZero(), (*World).refuse, m, 0)
	add(w.Left.Refusals > 0 && !st.Refuses[m] && !st.Bound[m].IsZero(), (*World).refuse, m, 1)
	add(!st.Bound[m].IsZero() && !st.Sure[m] && !st.Late[m], (*World).refuse, m, 2)
	clear := st.Refuses[m] && (w.mutant.AnyTimeBack || w.nothingLeft(m))
	add(clear, (*World).takeBack, m, 0)
	add(clear && w.Left.Refusals > 0 && !st.Late[m], (*World).takeBack, m, 1)
	add(st.Late[m], (*World).lateBack, m, 0)
	add(st.Late[m], (*World).lateBack, m, 1)
	for i := range w.Servers {
		r := w.Servers[i].record()
		add(r != nil && r.State == witness.Held && r.Machine == machineID(m) && !st.Bound[m].IsZero() && (st.Sure[m] || w.mutant.Unsure) && (!st.Bound[m].Less(r.Token) || w.mutant.Unbound), (*World).fenceClaim, i, m)
	}
}

// urgent lists what has to happen before anything else, where machines are not slow and guards not lazy.
func (w *World) urgent(add func(bool, func(*World, int, int), int, int)) {
	for m := range w.Machines {
		mc := &w.Machines[m]
		if w.Left.Slow > 0 || mc.Dead {
			continue
		}
		if len(mc.Orders) > 0 {
			add(true, func(w *World, i, _ int) { w.actuate(i) }, m, 0)
			return
		}
		for i := range mc.Slots {
			if mc.Slots[i].Starting {
				add(true, (*World).engineStarts, m, i)
				return
			}
		}
		if c := w.theClaim(m); w.wantable(m) && (c == nil || c.Phase == guard.Sealed) {
			add(true, func(w *World, i, _ int) { w.want(i) }, m, 0)
			return
		}
	}
	for m := range w.Machines {
		add(w.Left.Lazy == 0 && w.due(m), func(w *World, i, _ int) { w.guard(i, guard.Tick{}) }, m, 0)
	}
}

// wantable tells whether the agent has something to want that it has not wanted yet.
func (w *World) wantable(m int) bool {
	offer, c := w.Machines[m].Offer, w.theClaim(m)
	return !offer.IsZero() && !w.Machines[m].Guard.Leaving && (c == nil || c.Token.Less(offer) && (c.Phase < guard.Stopping || c.Phase == guard.Sealed))
}

// pending counts what waits to be carried out.
func (w *World) pending() (n uint8) {
	for m := range w.Machines {
		mc := &w.Machines[m]
		if len(mc.Orders) > 0 {
			n++
		}
	}
	return n
}

// goodDay lists what a machine does when nothing goes wrong.
func (w *World) goodDay(m int, add func(bool, func(*World, int, int), int, int)) {
	mc := &w.Machines[m]
	add(mc.Dead, func(w *World, i, _ int) { w.restartGuard(i) }, m, 0)
	add(w.due(m), func(w *World, i, _ int) { w.guard(i, guard.Tick{}) }, m, 0)
	add(len(mc.Orders) > 0, func(w *World, i, _ int) { w.actuate(i) }, m, 0)
	for i := range mc.Slots {
		add(mc.Slots[i].Starting, (*World).engineStarts, m, i)
	}
	if mc.Dead {
		return
	}
	c := w.theClaim(m)
	add(w.wantable(m), func(w *World, i, _ int) { w.want(i) }, m, 0)
	add(c != nil && c.Phase == guard.Stopping, func(w *World, i, _ int) {
		w.tell("agent %s has stopped %v", machineID(i), w.theClaim(i).Token)
		w.guard(i, guard.Stopped{Claim: claim, Token: w.theClaim(i).Token})
	}, m, 0)
	add(mc.Guard.Config.Epoch.Less(w.Store.Config.Epoch), func(w *World, i, _ int) {
		w.tell("guard %s is told the set of servers %v", machineID(i), w.Store.Config.Epoch)
		w.guard(i, guard.Configure{Config: w.Store.Config})
	}, m, 0)
}

// badDay lists what else can happen to it.
func (w *World) badDay(m int, add func(bool, func(*World, int, int), int, int)) {
	mc := &w.Machines[m]
	if c := w.theClaim(m); c != nil && !mc.Dead {
		add(w.Left.Releases > 0 && c.Phase < guard.Stopping, func(w *World, i, _ int) {
			spend(&w.Left.Releases)
			w.tell("agent %s gives %v back", machineID(i), w.theClaim(i).Token)
			w.guard(i, guard.Release{Claim: claim, Token: w.theClaim(i).Token})
		}, m, 0)
		add(w.Left.Again > 0 && c.Token == mc.Offer, func(w *World, i, _ int) { spend(&w.Left.Again); w.want(i) }, m, 0)
	}
	if !mc.Dead {
		add(w.Left.Leaves > 0 && !mc.Guard.Leaving, (*World).leave, m, 0)
		add(mc.Guard.Leaving, (*World).remain, m, 0)
	}
	add(w.Left.Kills > 0 && !mc.Dead, func(w *World, i, _ int) { spend(&w.Left.Kills); w.killGuard(i) }, m, 0)
	add(w.Left.Power > 0, func(w *World, i, _ int) {
		spend(&w.Left.Power)
		w.tell("machine %s loses power", machineID(i))
		w.boot(i)
	}, m, 0)
}

func (w *World) theClaim(m int) *guard.Claim {
	if g := w.Machines[m].Guard; len(g.Claims) > 0 {
		return &g.Claims[0]
	}
	return nil
}

// due tells whether a guard has something to do.
func (w *World) due(m int) bool {
	if w.Machines[m].Dead {
		return false
	}
	at, ok := guard.Wake(*w.Machines[m].Guard)
	return ok && at <= w.now(m)
}

func (w *World) late() (n uint8) {
	for m := range w.Machines {
		if w.due(m) {
			n++
		}
	}
	return n
}

// mayTick tells whether time may pass: guards that have something to do stand still only at a cost, and without a
// watchdog not at all.
func (w *World) mayTick() bool {
	if w.Left.Ticks == 0 {
		return false
	}
	if !w.scenario.Watchdog && (w.Machines[0].Dead || w.Machines[1].Dead) {
		return false
	}
	return w.late() <= w.Left.Lazy && w.pending() <= w.Left.Slow
}
