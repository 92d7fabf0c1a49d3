package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/store"
)

// leaderProcess is a server while it leads, or believes so: what package leader does around the core, in virtual time.
type leaderProcess struct {
	process
	server *server
	core   *core.Core
	term   int64 // as the store numbers it
	conns  []*conn
	busy   bool // a transaction is on its way
	due    bool // a turn of the loop is due already
	wake   time.Time
	// echoed is when the watch repeats the last batch.
	echoed time.Time
	queue  []core.Txn
	asked  []request
	// blindness is how much older than it says the picture of each machine may be, because a process had stood still and had not
	// noticed.
	blindness map[string]time.Duration
	// fencing is what is being done about fences, and programs end those that run.
	fencing  map[fenceTry]bool
	programs []func()
}

// request is a proposal that waits.
type request struct {
	decide func(now time.Time, v *core.View) (core.Proposal, error)
	done   func(error)
}

func (l *leaderProcess) serving() bool { return l.core != nil && !l.dead }

// end drops everything.
func (l *leaderProcess) end() {
	if l.dead {
		return
	}
	l.dead = true
	for _, c := range l.conns {
		c.leave()
	}
	for _, r := range l.asked {
		r.done(errKilled)
	}
	l.asked = nil
	for _, end := range l.programs {
		end()
	}
	l.w.reigns = slices.DeleteFunc(l.w.reigns, func(o *leaderProcess) bool { return o == l })
	if l.w.leader == l {
		l.w.leader = nil
	}
}

var errKilled = errors.New("the server was killed")

// restart is what a leader in doubt does: it begins again from the store, if it still leads.
func (l *leaderProcess) restart(why string) {
	if l.dead {
		return
	}
	w := l.w
	w.trace("server %s begins anew: %s", l.server.name, why)
	leads := w.leader == l
	l.end()
	if leads {
		w.after(w.span(100*time.Millisecond, time.Second), func() {
			if w.leader == nil && l.server.majority() {
				w.lead(l.server)
			} else {
				w.election()
			}
		})
	}
}

func (l *leaderProcess) takeOver() {
	w := l.w
	ctx := context.Background()
	if err := w.storeFault(l.server); err != nil {
		l.restart(err.Error())
		return
	}
	term, number, err := store.AcquireTerm(ctx, w.store, l.server.name, l.clock.now())
	if err != nil {
		l.restart(err.Error())
		return
	}
	snap, err := w.store.List(ctx, store.Root)
	if err != nil {
		l.restart(err.Error())
		return
	}
	l.term, w.term = term, term
	l.core = core.New(l.clock.now(), core.Config{Term: term, Number: number, Server: l.server.name, Diff: w.cfg.Diff, Heard: l.inherit()}, snap)
	w.trace("server %s leads, term %d", l.server.name, number)
	for _, o := range w.reigns {
		if o != l {
			// Whoever led before learns of it by the watch.
			o.after(w.span(time.Millisecond, time.Second), func() { o.restart("another server leads") })
		}
	}
	for _, m := range w.machines {
		if a := m.agent; a != nil {
			a.after(w.span(time.Millisecond, 100*time.Millisecond), func() { m.dial(a) })
		}
	}
	l.watchClock()
	l.soon()
}

// inherit is when this server heard of each machine while it did not lead.
func (l *leaderProcess) inherit() map[string]time.Time {
	out := map[string]time.Time{}
	for _, m := range l.w.machines {
		if m.beaten.After(l.server.heard) {
			out[m.ID] = l.clock.now().Add(-l.clock.passes(l.w.now.Sub(m.beaten)))
		}
	}
	return out
}

// soon has the loop take a turn.
func (l *leaderProcess) soon() {
	if l.due || l.dead || l.core == nil {
		return
	}
	l.due = true
	l.after(l.w.span(50*time.Microsecond, time.Millisecond), func() {
		l.due = false
		l.turn()
	})
}

// turn is one turn of the loop.
func (l *leaderProcess) turn() {
	if l.busy || l.dead {
		return
	}
	l.flush()
	switch {
	case len(l.queue) > 0:
		t := l.queue[0]
		l.queue = l.queue[1:]
		l.commit(t, func(error) {})
	case len(l.asked) > 0:
		r := l.asked[0]
		l.asked = l.asked[1:]
		l.propose(r)
	case l.core.Due(l.clock.now()):
		units := l.core.Step(l.clock.now())
		l.w.checkRoll(l.view(), units)
		l.w.checkMoves(l.view(), units)
		l.queue = l.core.Pack(units)
		l.flush()
		if len(l.queue) > 0 {
			l.turn()
		} else {
			l.soon()
		}
	default:
		l.rest()
	}
}

// rest wakes the loop when time alone decides.
func (l *leaderProcess) rest() {
	next := l.core.NextWake()
	if next.Equal(l.wake) {
		return
	}
	l.wake = next
	l.after(max(next.Sub(l.clock.now()), time.Millisecond), l.soon)
}

func (l *leaderProcess) propose(r request) {
	u, err := l.core.Propose(l.clock.now(), r.decide)
	txns := l.core.Pack([]core.Unit{u})
	if err != nil || len(txns) == 0 {
		r.done(err)
		l.soon()
		return
	}
	l.commit(txns[0], r.done)
}

// commitTimeout is how long a transaction may take before its outcome counts as unknown, as in package leader.
const commitTimeout = 10 * time.Second

// storeFault says why the store does not take something of a server now.
func (w *World) storeFault(s *server) error {
	switch {
	case !s.majority():
		return store.ErrUnavailable
	case w.suffers(StoreFull):
		return store.ErrFull
	case w.suffers(StoreUnsure) && w.chance(0.05):
		return store.ErrUnavailable
	}
	return nil
}

// commit sends a transaction to the store; the answer comes a while after it took effect.
func (l *leaderProcess) commit(t core.Txn, done func(error)) {
	w := l.w
	l.busy = true
	took := w.span(100*time.Microsecond, 3*time.Millisecond)
	if w.suffers(StoreSlow) {
		took = w.span(0, 3*time.Second)
	}
	w.after(took, func() {
		switch err := w.storeFault(l.server); {
		case err == nil:
		case !l.server.majority():
			// It waits for a majority until it is given up, and may be applied even after that.
			l.answer(commitTimeout, done, func() { l.doubt(done, err) })
			w.after(w.span(0, commitTimeout+time.Second), func() {
				if l.server.majority() {
					_, _ = w.store.Commit(context.Background(), t.Txn)
				}
			})
			return
		default:
			l.answer(w.span(0, time.Second), done, func() { l.doubt(done, err) })
			return
		}
		revision, err := w.store.Commit(context.Background(), t.Txn)
		l.answer(w.span(100*time.Microsecond, 3*time.Millisecond), done, func() {
			switch {
			case err != nil:
				l.doubt(done, err)
			case w.suffers(StoreUnsure) && w.chance(0.05):
				l.doubt(done, store.ErrUnavailable)
			default:
				l.committed(revision, t)
				done(nil)
			}
		})
	})
}

// answer has the store's answer come after a while; whoever asked a server that is gone by then is not told it.
func (l *leaderProcess) answer(d time.Duration, done func(error), then func()) {
	l.w.after(d, func() {
		if l.dead {
			done(errKilled)
			return
		}
		l.run(func() { then() })
	})
}

func (l *leaderProcess) doubt(done func(error), err error) {
	done(err)
	l.restart(err.Error())
}

// committed takes in what was committed, and has the watch repeat it later.
func (l *leaderProcess) committed(revision int64, t core.Txn) {
	w := l.w
	l.busy = false
	w.commits++
	for _, op := range t.Ops {
		w.traceOp(op)
	}
	l.core.Committed(l.clock.now(), revision, t)
	if w.leader == l && w.chance(0.01) {
		w.checkMirror(l.view())
	}
	echo := store.Batch{Revision: revision}
	for _, op := range t.Ops {
		echo.Events = append(echo.Events, store.Event(op))
	}
	at := w.now.Add(w.span(0, 20*time.Millisecond))
	if at.Before(l.echoed) {
		at = l.echoed
	}
	l.echoed = at
	copies := 1
	if w.suffers(Duplicate) && w.chance(0.2) {
		copies = 2
	}
	for range copies {
		w.after(at.Sub(w.now), func() { l.run(func() { l.echo(echo) }) })
	}
	l.flush()
	l.check()
	l.turn()
}

// echo is the watch repeating what was committed.
func (l *leaderProcess) echo(b store.Batch) {
	l.core.Apply(l.clock.now(), b)
	l.flush()
}

// view is what this leader sees now.
func (l *leaderProcess) view() *core.View { return l.core.View(l.clock.now()) }

// receive is a message from a machine, which may be about how things were a while ago.
func (l *leaderProcess) receive(c *conn, msg *argosyv1.SessionRequest, blind time.Duration) {
	// What a session that is over still had on its way reaches the core as well: it must not be believed.
	if l.core == nil || !c.leaderOpen && c.session == nil || !l.awake() {
		return
	}
	now := l.clock.now()
	if hello := msg.GetHello(); hello != nil {
		s, refusal := l.core.Open(now, c.m.ID, hello)
		if refusal != nil {
			c.toMachine(&argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Refusal{Refusal: refusal}})
		}
		c.session = s
		l.conns = slices.DeleteFunc(l.conns, func(c *conn) bool { return !c.leaderOpen && !c.machineOpen })
		l.flush()
		l.soon()
		return
	}
	if c.session == nil {
		return
	}
	// Only a report, and a beat after one, renew the picture of the machine: until a new session has reported, it is that
	// of the last one.
	c.heard = c.heard || msg.GetReport() != nil
	if c.heard && !c.session.Closed() && (msg.GetReport() != nil || msg.GetBeat() != nil) {
		l.blindness[c.m.ID] = blind
	}
	if err := l.core.Receive(now, c.session, msg); err != nil {
		if c.leaderOpen {
			l.w.trace("session of %s ends: %v", c.m.Name, err)
			c.leave()
			l.closed(c)
		}
	}
	l.flush()
	l.checkMachine(c.m)
	if l.core.Due(now) {
		l.soon()
	}
}

func (l *leaderProcess) closed(c *conn) {
	if l.dead || c.session == nil {
		return
	}
	l.core.Close(l.clock.now(), c.session)
	l.flush()
	l.soon()
}

// flush sends what the core has for its sessions.
func (l *leaderProcess) flush() {
	for _, s := range l.core.Wakes() {
		for _, c := range l.conns {
			if c.session != s {
				continue
			}
			for msg := l.core.Next(s); msg != nil; msg = l.core.Next(s) {
				c.toMachine(msg)
			}
			if s.Closed() {
				c.leave()
			}
		}
	}
	for _, text := range l.core.Complaints() {
		l.w.trace("server complains: %s", text)
	}
	l.core.TakeChange()
}

// watchClock looks again and again whether the process stood still.
func (l *leaderProcess) watchClock() {
	l.after(clockTick, func() {
		if l.awake() {
			l.watchClock()
		}
	})
}

// awake reports whether the process ran all the time. If not, its term is over.
func (l *leaderProcess) awake() bool {
	if l.core.Awake(l.clock.now()) {
		return true
	}
	l.restart("it stood still")
	return false
}

const (
	clockTick = 500 * time.Millisecond
	// stalled is how long a process may stand still without noticing, the agent's and the leader's.
	stalled = 3500 * time.Millisecond
)
