package guard

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// anyEvent is what agents, actuators and witnesses may say, sense or nonsense.
func anyEvent(t *rapid.T, s State) Event {
	id := rapid.SampledFrom([]claims.ID{"c", "d"}).Draw(t, "claim")
	token := claims.Token{Generation: 1, Revision: rapid.Uint64Range(0, 4).Draw(t, "revision")}
	if c := s.find(id); c != nil && rapid.Bool().Draw(t, "its own token") {
		token = c.Token
	}
	fault := rapid.SampledFrom([]string{"", "", "", "busy"}).Draw(t, "fault")
	switch rapid.IntRange(0, 16).Draw(t, "event") {
	case 0, 1:
		return Want{id, token, claims.Session(rapid.SampledFrom([]string{"x", "y", "z", ""}).Draw(t, "fresh"))}
	case 2:
		return Release{id, token}
	case 3:
		return Stopped{id, token}
	case 4, 5:
		return Mounted{id, token, fault}
	case 6:
		return Cleared{id, token, fault}
	case 7:
		return Closed{id, token}
	case 8:
		return Restarted{}
	case 9:
		c := three()
		c.Epoch.Revision = rapid.Uint64Range(0, 3).Draw(t, "epoch")
		c.Next = rapid.SampledFrom([][]claims.Witness{nil, {"s3", "s4"}}).Draw(t, "next")
		return Configure{c}
	case 10:
		return Tick{}
	case 11:
		return Leave{rapid.SampledFrom([]time.Duration{-1, 0, time.Second, time.Hour}).Draw(t, "patience")}
	case 12:
		return Remain{}
	}
	a := claims.Ack{
		Witness: rapid.SampledFrom([]claims.Witness{"s1", "s2", "s3", "s4", "stranger"}).Draw(t, "witness"),
		Session: s.Session, Epoch: s.Config.Epoch, Round: s.Round - min(s.Round, rapid.Uint64Range(0, 2).Draw(t, "rounds ago")),
	}
	for _, c := range s.Claims {
		v := claims.Verdict{Claim: c.claimed(), Intent: claims.Continue, OK: rapid.IntRange(0, 9).Draw(t, "yes") > 0, Floor: c.Token}
		if c.Phase == Sealed {
			v.Intent = claims.Release
		}
		if !v.OK && rapid.Bool().Draw(t, "held by another") {
			v.Floor, v.Left = claims.Token{}, time.Duration(rapid.Int64().Draw(t, "left"))
		}
		a.Verdicts = append(a.Verdicts, v)
	}
	return Ack{a}
}

// S2, S4, S5, S6 and S7 for one guard, whatever it is told.
func TestStepProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(claims.Default(), three())
		now := time.Duration(0)
		shut := map[claims.Claimed]bool{} // what was ever cleared
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, 2 * time.Second, 5 * time.Second}).Draw(t, "later")
			e := anyEvent(t, s)
			next, effects := Step(s, now, e)
			checkClaims(t, s, next, now, e)
			checkEffects(t, s, next, now, effects, shut)
			if at, ok := Wake(next); ok && at <= now && !due(next, now) {
				t.Fatalf("it wants to be called at %v, and it is %v", at, now)
			}
			for _, ef := range effects {
				if _, ok := ef.(Reset); ok {
					return
				}
			}
			s = next
		}
	})
}

// due tells whether something that cannot be put off is still there: only what is cleared again and again.
func due(s State, now time.Duration) bool {
	for _, c := range s.Claims {
		if c.Phase.exposed() && c.Deadline <= now {
			return true
		}
	}
	return false
}

func checkClaims(t *rapid.T, before, next State, now time.Duration, e Event) {
	_, acked := e.(Ack)
	for _, c := range next.Claims {
		old := before.exact(c.ID, c.Token)
		if old == nil {
			if c.Phase != Asking || c.Leased {
				if c.Phase != Sealed || c.Leased {
					t.Fatalf("a claim begins as %+v", c)
				}
			}
			continue
		}
		switch {
		case c.Phase < old.Phase:
			t.Fatalf("S5: from %v back to %v", old.Phase, c.Phase)
		case c.Leased && (!old.Leased || c.Deadline != old.Deadline) && (!acked || c.Deadline < old.Deadline && old.Leased || c.Deadline > now+before.Profile.Lease):
			t.Fatalf("S4: a deadline went from %+v to %+v at %v by %T", old, c, now, e)
		case old.Leased && now >= old.Deadline && c.Deadline != old.Deadline:
			t.Fatalf("S5: it had lapsed: %+v", old)
		case c.Phase > Asking && c.Phase < Sealed && !c.Leased:
			t.Fatalf("S2: without a lease: %+v", c)
		}
	}
	for _, c := range before.Claims {
		if next.exact(c.ID, c.Token) == nil && c.Phase != Sealed {
			t.Fatalf("S7: a claim that is not sealed was forgotten: %+v", c)
		}
	}
}

func checkEffects(t *rapid.T, before, next State, now time.Duration, effects []Effect, shut map[claims.Claimed]bool) {
	saved := equal(before, next)
	for _, ef := range effects {
		var id claims.ID
		var token claims.Token
		switch ef := ef.(type) {
		case Save:
			saved = true
			continue
		case Send:
			if !saved {
				t.Fatal("sent before it was saved")
			}
			checkRenewal(t, next, now, ef.Renewal)
			continue
		case Clear:
			shut[claims.Claimed{ID: ef.Claim, Token: ef.Token}] = true
			continue
		case Mount:
			id, token = ef.Claim, ef.Token
		case Arm:
			id, token = ef.Claim, ef.Token
		default:
			continue
		}
		c := next.exact(id, token)
		if c == nil || !c.Leased || now >= c.Deadline-next.Profile.Kill || !saved || shut[claims.Claimed{ID: id, Token: token}] {
			t.Fatalf("%T of %v %v at %v: %+v", ef, id, token, now, c)
		}
		if !next.Fed.On || next.Fed.Until > c.Deadline-next.Profile.Watchdog() {
			t.Fatalf("S6: the watchdog is not set: %+v for %+v", next.Fed, c)
		}
	}
}

func checkRenewal(t *rapid.T, s State, now time.Duration, r claims.Renewal) {
	r.Machine = "m"
	if err := r.Validate(); err != nil {
		t.Fatalf("no witness takes it: %v", err)
	}
	for _, it := range r.Items {
		c := s.exact(it.Claim, it.Token)
		if it.Intent == claims.Release != (c.Phase == Sealed) {
			t.Fatalf("S7: %v of what is %v", it.Intent, c.Phase)
		}
		if it.Intent != claims.Release && (c.Leased && now >= c.Deadline || s.Spent(now)) {
			t.Fatalf("S5: %v of what has lapsed", it.Intent)
		}
	}
}
