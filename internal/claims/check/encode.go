package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// encoder makes the canonical bytes of worlds: times are relative to now and only as far as they matter, rounds relative
// to the guard's, and servers that differ in name only are sorted.
type encoder struct {
	w      *World
	b      []byte
	blocks [][]byte
}

// key names a world. That two different ones share it has a probability of less than 1e-4 among 50 million.
func (e *encoder) key(w *World) uint64 {
	e.w, e.b = w, e.b[:0]
	l := w.Left
	e.put(l.Grants, l.Late, l.Loss, l.Twice, l.Releases, l.Leaves, l.Again, l.Kills, l.Lazy, l.Slow, l.Power, l.Restarts, l.Forgets, l.Busy, l.Wrong, l.Drops, l.Fences, l.Refusals, l.Restores, l.Ticks)
	e.stamp(w.Store.Last)
	e.stamp(w.Store.Config.Epoch)
	for m := range w.Machines {
		e.flag(w.Storage.Refuses[m], w.Storage.Sure[m], w.Storage.Late[m])
		e.stamp(w.Storage.Bound[m])
	}
	for m := range w.Machines {
		e.machine(m)
	}
	for len(e.blocks) < len(w.Servers) {
		e.blocks = append(e.blocks, nil)
	}
	rest := e.b
	for i := range w.Servers {
		e.b = e.blocks[i][:0]
		e.server(i)
		e.blocks[i] = e.b
	}
	blocks := e.blocks[:len(w.Servers)]
	if len(w.scenario.Sets) == 1 {
		slices.SortFunc(blocks, bytes.Compare)
	}
	e.b = rest
	for _, b := range blocks {
		e.put(uint8(len(b)))
		e.b = append(e.b, b...)
	}
	sum := sha256.Sum256(e.b)
	return binary.LittleEndian.Uint64(sum[:])
}

func (e *encoder) put(b ...uint8) { e.b = append(e.b, b...) }

func (e *encoder) flag(b ...bool) {
	for _, b := range b {
		if b {
			e.put(1)
		} else {
			e.put(0)
		}
	}
}

// stamp of small numbers.
func (e *encoder) stamp(s claims.Stamp) { e.put(uint8(s.Generation), uint8(s.Revision)) }

// when is a time relative to now, no earlier than least.
func (e *encoder) when(now, at, least time.Duration) {
	e.put(uint8(int8(max(at-now, least))))
}

func (e *encoder) session(s claims.Session) {
	m, n := parse(s)
	e.put(uint8(m), uint8(n))
}

func (mc *machine) mind() *guard.State {
	if mc.Dead {
		return mc.Saved
	}
	return mc.Guard
}

func (e *encoder) machine(m int) {
	mc := &e.w.Machines[m]
	now := e.w.now(m)
	e.flag(mc.Dead)
	e.put(uint8(mc.Sessions), uint8(mc.Lost))
	e.stamp(mc.Offer)
	e.watchdog(now, mc.Watchdog)
	g := mc.mind()
	e.session(g.Session)
	e.stamp(g.Config.Epoch)
	e.flag(g.Leaving)
	if g.Leaving {
		e.when(now, g.LeaveBy, 0)
	}
	e.flag(g.Leased)
	if g.Leased {
		e.when(now, g.Until, 0)
	}
	e.watchdog(now, g.Fed)
	if len(g.Claims) > 0 {
		e.when(now, g.Next, 0)
		e.flag(g.Early)
	}
	e.put(uint8(len(g.Claims)))
	for i := range g.Claims {
		c := &g.Claims[i]
		e.session(c.Session)
		e.stamp(c.Token)
		e.put(uint8(c.Phase))
		e.flag(c.Leased)
		if c.Leased && c.Phase < guard.Sealed {
			e.when(now, c.Deadline, -slow)
		}
		if c.Phase == guard.Clearing {
			e.when(now, c.Again, 0)
		}
	}
	for _, f := range g.Flights {
		if e.matters(m, f) {
			e.put(uint8(g.Round - f.Round))
			e.flag(f.Early)
			e.when(now, f.Begun, -100)
		}
	}
	e.put(0xff)
	for _, o := range mc.Orders {
		e.put(kindOf(o.What))
		e.stamp(o.Token)
	}
	e.put(0xff)
	slots := slices.Clone(mc.Slots)
	slices.SortFunc(slots, func(a, b slot) int { return a.Token.Compare(b.Token) })
	for _, s := range slots {
		e.stamp(s.Token)
		e.put(uint8(s.Gate))
		e.flag(s.Mounted, s.Verified, s.Live, s.Starting)
	}
	e.put(0xff)
}

// matters tells whether an answer to a round can still come, in time to extend anything.
func (e *encoder) matters(m int, f guard.Flight) bool {
	if f.Begun+profile().Lease <= e.w.now(m) {
		return false
	}
	for _, msg := range e.w.Net {
		if msg.Machine == m && (msg.Renewal != nil && msg.Renewal.Round == f.Round || msg.Ack != nil && msg.Ack.Round == f.Round) {
			return true
		}
	}
	return false
}

func (e *encoder) watchdog(now time.Duration, w guard.Watchdog) {
	e.flag(w.On)
	if w.On {
		e.when(now, w.Until, -20)
	}
}

func kindOf(o guard.Effect) uint8 {
	switch o.(type) {
	case guard.Mount:
		return 1
	case guard.Arm:
		return 2
	case guard.Clear:
		return 3
	}
	return 4
}

// server writes all that belongs to one, in guards and under way too.
func (e *encoder) server(i int) {
	s := &e.w.Servers[i]
	now, long := e.w.serverNow(), -e.w.profile().Wait
	st := s.State
	e.flag(st.Silent)
	if st.Silent {
		e.when(now, st.Votes, 0)
	}
	e.stamp(st.Config.Epoch)
	if len(e.w.scenario.Sets) > 1 {
		e.when(now, st.Since, long)
	}
	e.when(now, s.Heard[0], long)
	e.when(now, s.Heard[1], long)
	e.when(now, s.Forgot, long)
	e.records(st.Records)
	e.stamp(st.Floor)
	e.stamp(s.Highest)
	for k, h := range st.Heard {
		e.when(now, h.At, long)
		e.heard(i, st.Records[k].Session, h.Round)
	}
	if e.w.Left.Restarts > 0 {
		e.flag(s.Saved.Silent)
		e.records(s.Saved.Records)
		e.stamp(s.Saved.Floor)
	}
	for m := range e.w.Machines {
		e.known(m, st.ID)
	}
	for _, msg := range e.sorted(i) {
		e.put(uint8(len(msg)))
		e.b = append(e.b, msg...)
	}
}

func (e *encoder) records(rs []witness.Record) {
	e.put(uint8(len(rs)))
	for _, r := range rs {
		e.session(r.Session)
		e.stamp(r.Token)
		e.put(uint8(r.State))
		e.flag(r.Alone)
	}
}

// heard is the round in which a server heard a session last, as far as messages that are under way make it matter.
func (e *encoder) heard(i int, s claims.Session, n uint64) {
	for _, msg := range e.w.Net {
		if msg.Renewal != nil && msg.Server == i && msg.Renewal.Session == s {
			e.round(s, n)
			return
		}
	}
	e.put(0x80)
}

// round is relative to the guard's, for its present session.
func (e *encoder) round(s claims.Session, n uint64) {
	m, _ := parse(s)
	if g := e.w.Machines[m].mind(); g.Session == s {
		e.put(uint8(int8(max(-2, min(longest+1, int64(g.Round)-int64(n))))))
		return
	}
	e.put(0x40 + uint8(n&0x3f))
}

// known is what a guard knows of a server.
func (e *encoder) known(m int, id claims.Witness) {
	mc := &e.w.Machines[m]
	g := mc.mind()
	for i := range g.Claims {
		e.flag(slices.Contains(g.Claims[i].Recorded, id))
	}
	for _, f := range g.Flights {
		if !e.matters(m, f) {
			continue
		}
		for _, y := range f.Yes {
			if y.Witness == id {
				e.stamp(y.Claim.Token)
			}
		}
		e.put(0xfe)
	}
}

// sorted are the messages from and to a server.
func (e *encoder) sorted(i int) [][]byte {
	var out [][]byte
	for _, msg := range e.w.Net {
		if msg.Server != i {
			continue
		}
		keep := e.b
		e.b = nil
		if r := msg.Renewal; r != nil {
			e.put(1, uint8(msg.Machine))
			e.session(r.Session)
			e.round(r.Session, r.Round)
			e.stamp(r.Epoch)
			for _, it := range r.Items {
				e.session(it.Session)
				e.stamp(it.Token)
				e.put(uint8(it.Intent))
			}
		} else {
			a := msg.Ack
			e.put(2, uint8(msg.Machine))
			e.session(a.Session)
			e.round(a.Session, a.Round)
			e.stamp(a.Epoch)
			e.flag(a.Refused != "", a.Config != nil)
			if a.Config != nil {
				e.stamp(a.Config.Epoch)
			}
			for _, v := range a.Verdicts {
				e.session(v.Claim.Session)
				e.stamp(v.Claim.Token)
				e.stamp(v.Floor)
				e.put(uint8(v.Intent))
				e.flag(v.OK)
				e.put(uint8(min(v.Left, profile().Renew))) // more brings nothing forward
			}
		}
		out = append(out, e.b)
		e.b = keep
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}
