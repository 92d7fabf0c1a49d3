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

// leaderProcess is a server while it runs: what package leader does around the core, in virtual time.
type leaderProcess struct {
	w     *World
	core  *core.Core
	conns []*conn
	dead  bool
	busy  bool // a transaction is on its way
	due   bool // a turn of the loop is due already
	wake  time.Time
	// echoed is when the watch repeats the last batch.
	echoed time.Time
	queue  []core.Txn
	asked  []request
	// server is its name; each start is another server, so that a deposed one may still try to write.
	server string
}

// request is a proposal that waits.
type request struct {
	decide func(now time.Time, v *core.View) (core.Proposal, error)
	done   func(error)
}

func (l *leaderProcess) serving() bool { return l.core != nil && !l.dead }

// StartLeader starts a server that takes over leadership.
func (w *World) StartLeader() {
	l := &leaderProcess{w: w, server: w.id("s")}
	w.leader = l
	w.trace("server %s starts", l.server)
	w.after(w.span(10*time.Millisecond, 300*time.Millisecond), l.takeOver)
}

// KillLeader kills the server at once: a transaction on its way may still be applied.
func (w *World) KillLeader() {
	l := w.leader
	if l == nil {
		return
	}
	w.trace("server %s is killed", l.server)
	l.end()
	w.leader = nil
}

// end drops everything.
func (l *leaderProcess) end() {
	l.dead = true
	for _, c := range l.conns {
		if c.leaderOpen {
			c.leaderOpen = false
			l.w.after(c.delay(&c.down), c.closeMachine)
		}
	}
	for _, r := range l.asked {
		r.done(errors.New("the server was killed"))
	}
	l.asked = nil
}

// restart is what a leader in doubt does: it begins again from the store.
func (l *leaderProcess) restart(why string) {
	if l.dead {
		return
	}
	l.w.trace("server %s begins anew: %s", l.server, why)
	l.end()
	if l.w.leader == l {
		l.w.leader = nil
		l.w.after(l.w.span(100*time.Millisecond, time.Second), func() {
			if l.w.leader == nil {
				l.w.StartLeader()
			}
		})
	}
}

func (l *leaderProcess) takeOver() {
	if l.dead {
		return
	}
	ctx := context.Background()
	term, number, err := store.AcquireTerm(ctx, l.w.store, l.server, l.w.now)
	if err != nil {
		l.restart(err.Error())
		return
	}
	snap, err := l.w.store.List(ctx, store.Root)
	if err != nil {
		l.restart(err.Error())
		return
	}
	l.core = core.New(l.w.now, core.Config{Term: term, Number: number, Diff: l.w.cfg.Diff}, snap)
	l.w.trace("server %s leads, term %d", l.server, number)
	l.soon()
}

// soon has the loop take a turn.
func (l *leaderProcess) soon() {
	if l.due || l.dead || l.core == nil {
		return
	}
	l.due = true
	l.w.after(l.w.span(50*time.Microsecond, time.Millisecond), func() {
		l.due = false
		l.turn()
	})
}

// turn is one turn of the loop.
func (l *leaderProcess) turn() {
	if l.dead || l.busy {
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
	case l.core.Due(l.w.now):
		units := l.core.Step(l.w.now)
		l.w.checkRoll(l.core.View(l.w.now), units)
		l.w.checkMoves(l.core.View(l.w.now), units)
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
	l.w.after(max(next.Sub(l.w.now), time.Millisecond), l.soon)
}

func (l *leaderProcess) propose(r request) {
	u, err := l.core.Propose(l.w.now, r.decide)
	txns := l.core.Pack([]core.Unit{u})
	if err != nil || len(txns) == 0 {
		r.done(err)
		l.soon()
		return
	}
	l.commit(txns[0], r.done)
}

// commit sends a transaction to the store; the answer comes a while after it took effect.
func (l *leaderProcess) commit(t core.Txn, done func(error)) {
	w := l.w
	l.busy = true
	w.after(w.span(100*time.Microsecond, 3*time.Millisecond), func() {
		if w.chance(w.faults.Refused) {
			w.after(w.span(0, time.Second), func() { l.doubt(done, store.ErrUnavailable) })
			return
		}
		revision, err := w.store.Commit(context.Background(), t.Txn)
		w.after(w.span(100*time.Microsecond, 3*time.Millisecond), func() {
			switch {
			case l.dead:
				done(errors.New("the server was killed"))
			case err != nil:
				l.doubt(done, err)
			case w.chance(w.faults.Unanswered):
				l.doubt(done, store.ErrUnavailable)
			default:
				l.committed(revision, t)
				done(nil)
			}
		})
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
	for _, op := range t.Ops {
		w.traceOp(op)
	}
	l.core.Committed(w.now, revision, t)
	if w.chance(0.01) {
		w.checkMirror(l.core.View(w.now))
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
	w.after(at.Sub(w.now), func() { l.echo(echo) })
	l.flush()
	w.check()
	l.turn()
}

// echo is the watch repeating what was committed.
func (l *leaderProcess) echo(b store.Batch) {
	if l.dead {
		return
	}
	l.core.Apply(l.w.now, b)
	l.flush()
}

// receive is a message from a machine.
func (l *leaderProcess) receive(c *conn, msg *argosyv1.SessionRequest) {
	// What a session that is over still had on its way reaches the core as well: it must not be believed.
	if l.dead || l.core == nil || !c.leaderOpen && c.session == nil {
		return
	}
	if hello := msg.GetHello(); hello != nil {
		s, refusal := l.core.Open(l.w.now, c.m.ID, hello)
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
	if err := l.core.Receive(l.w.now, c.session, msg); err != nil {
		if c.leaderOpen {
			l.w.trace("session of %s ends: %v", c.m.Name, err)
			c.leaderOpen = false
			l.closed(c)
			l.w.after(c.delay(&c.down), c.closeMachine)
		}
	}
	l.flush()
	if l.core.Due(l.w.now) {
		l.soon()
	}
}

func (l *leaderProcess) closed(c *conn) {
	if l.dead || c.session == nil {
		return
	}
	l.core.Close(l.w.now, c.session)
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
			if s.Closed() && c.leaderOpen {
				c.leaderOpen = false
				l.w.after(c.delay(&c.down), c.closeMachine)
			}
		}
	}
	for _, text := range l.core.Complaints() {
		l.w.trace("server complains: %s", text)
	}
	l.core.TakeChange()
}
