package check

import (
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/gate"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// look judges a world by what is really there: what the kernels of the machines have, not what anybody believes.
func (w *World) look() {
	writers := 0
	for m := range w.Machines {
		mc := &w.Machines[m]
		for _, s := range mc.Slots {
			if !s.exposed() {
				continue
			}
			if !w.Storage.Refuses[m] {
				writers++
			}
			if writers > 1 {
				w.breaks("S1", "two can write: %s", w.writers())
			}
			if s.Live && s.Gate == gate.Sealed {
				w.breaks("S8", "a process of %v runs at %s behind a sealed gate", s.Token, machineID(m))
			}
			if s.Gate == gate.Armed && !s.Verified {
				w.breaks("S9", "%v is armed at %s on a mount that was not verified", s.Token, machineID(m))
			}
			if c := mc.belief(s.Token); c != nil && c.Leased && w.now(m) > c.Deadline {
				w.breaks("S6", "%v at %s is neither quiet nor was the machine reset by its deadline", s.Token, machineID(m))
			}
		}
	}
}

func (w *World) writers() string {
	text := ""
	for m := range w.Machines {
		for _, s := range w.Machines[m].Slots {
			if s.exposed() {
				text += string(machineID(m)) + " with " + s.Token.String() + ", "
			}
		}
	}
	return text
}

// belief is what a guard, or what it saved, says of a token.
func (mc *machine) belief(t claims.Token) *guard.Claim {
	g := mc.Guard
	if mc.Dead {
		g = mc.Saved
	}
	for i := range g.Claims {
		if g.Claims[i].Token == t {
			return &g.Claims[i]
		}
	}
	return nil
}

// lookGuard judges a guard's step.
func (w *World) lookGuard(m int, before, next *guard.State, e guard.Event) {
	for i := range next.Claims {
		c := &next.Claims[i]
		var old guard.Claim
		for _, o := range before.Claims {
			if o.Token == c.Token {
				old = o
			}
		}
		if c.Phase < old.Phase {
			w.breaks("S5", "%v at %s went back from %v to %v", c.Token, machineID(m), old.Phase, c.Phase)
		}
		if !c.Leased || old.Leased && c.Deadline == old.Deadline {
			continue
		}
		if old.Leased && w.now(m) >= old.Deadline {
			w.breaks("S5", "%v at %s lapsed and goes on", c.Token, machineID(m))
		}
		if _, ok := e.(guard.Ack); !ok {
			w.breaks("S4", "the deadline of %v at %s changed without an answer", c.Token, machineID(m))
		}
		if !w.agreed(m, next, c) {
			w.breaks("S2", "the deadline of %v at %s is later than T after the sending of any round that a majority answered", c.Token, machineID(m))
		}
	}
}

// agreed tells whether a majority of each set answered one round that began no earlier than T before a claim's deadline.
// It goes by what was really sent and answered, not by what the guard counts.
func (w *World) agreed(m int, g *guard.State, c *guard.Claim) bool {
	notes := w.Machines[m].Answers
	for _, first := range notes {
		if first.Sent+profile().Lease < c.Deadline {
			continue
		}
		enough := true
		for _, set := range [][]claims.Witness{g.Config.Members, g.Config.Next} {
			n := 0
			for _, id := range set {
				for _, a := range notes {
					if a.Sent == first.Sent && a.Token == c.Token && a.Session == c.Session && w.Servers[a.Server].State.ID == id {
						n++
						break
					}
				}
			}
			enough = enough && (len(set) == 0 || 2*n > len(set))
		}
		if enough {
			return true
		}
	}
	return false
}

// lookSend judges what a guard says.
func (w *World) lookSend(m int, r claims.Renewal) {
	for _, it := range r.Items {
		if _, n := parse(it.Session); it.Intent == claims.Release && n > w.Machines[m].Lost && !w.quiet(m, it.Token) {
			w.breaks("S7", "%v at %s is released, and is not quiet and sealed", it.Token, machineID(m))
		}
	}
}

// quiet tells whether nothing of a token can ever write at a machine again.
func (w *World) quiet(m int, t claims.Token) bool {
	mc := &w.Machines[m]
	for _, s := range mc.Slots {
		if s.Token == t && (s.exposed() || s.Gate != gate.Sealed) {
			return false
		}
	}
	for _, o := range mc.Orders {
		if _, mount := o.What.(guard.Mount); mount && o.Token == t {
			return false
		}
	}
	return true
}

// lookWitness judges a witness's step.
func (w *World) lookWitness(i int, before, next *witness.State) {
	s := &w.Servers[i]
	var old, now witness.Record
	if len(before.Records) > 0 {
		old = before.Records[0]
	}
	if len(next.Records) > 0 {
		now = next.Records[0]
	}
	m, n := parse(old.Session)
	switch {
	case now.Token.IsZero():
		if old.State == witness.Held && !old.Token.IsZero() && w.serverNow()-s.Heard[m] < w.profile().Wait {
			w.breaks("S3", "%s drops the claim of %s, and heard it less than W ago", s.State.ID, old.Session)
		}
		return
	case old.Token.IsZero():
		if !s.Highest.Less(now.Token) {
			w.breaks("S11", "%s gives the claim with token %v, and had %v", s.State.ID, now.Token, s.Highest)
		}
		return
	case old.Session == now.Session && old.Token == now.Token:
		if old.State == witness.Held && now.State == witness.Released && n > w.Machines[m].Lost && !w.quiet(m, old.Token) {
			w.breaks("S7", "%s takes %v of %s for released, and it is not quiet and sealed", s.State.ID, old.Token, machineID(m))
		}
		if old.State == witness.Held && now.State == witness.Fenced && n > w.Machines[m].Lost && (w.Storage.Bound[m].Less(old.Token) || w.Storage.Bound[m].IsZero()) {
			w.breaks("S3", "%s takes session %s for fenced, and its machine is well", s.State.ID, old.Session)
		}
		if old.State != witness.Held && now.State == witness.Held {
			w.breaks("S5", "%v is held again at %s", old.Token, s.State.ID)
		}
		return
	case !old.Token.Less(now.Token):
		w.breaks("S11", "%s goes from token %v to %v", s.State.ID, old.Token, now.Token)
	}
	if old.Session != now.Session && old.State == witness.Held && w.serverNow()-s.Heard[m] < w.profile().Wait {
		w.breaks("S3", "%s gives the claim from %s to %s, and heard %s less than W ago", s.State.ID, old.Session, now.Session, old.Session)
	}
}

// lookAck judges an answer.
func (w *World) lookAck(i, m int, sent time.Duration, a claims.Ack) {
	s := &w.Servers[i]
	for _, v := range a.Verdicts {
		if !v.OK || v.Intent == claims.Release {
			continue
		}
		if w.serverNow()-s.Forgot < w.profile().Wait {
			w.breaks("S10", "%s lost its table and votes within W", s.State.ID)
		}
		if r := s.record(); r == nil || r.Session != v.Claim.Session || r.Token != v.Claim.Token || r.State != witness.Held {
			w.breaks("S3", "%s agrees to %v of %s, which is not what it has on record", s.State.ID, v.Claim.Token, v.Claim.Session)
		}
		if sent > s.Asked[m] { // whoever was overtaken was sent before what was heard already
			s.Heard[m], s.Asked[m] = w.serverNow(), sent
		}
	}
}
