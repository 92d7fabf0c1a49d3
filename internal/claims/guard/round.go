package guard

import (
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// maxFlights bounds the rounds that are waited for, however often something new is wanted.
const maxFlights = 32

// round begins one: the clock was read before, and what it showed is what the round counts from.
func (s *step) round() {
	s.Round++
	early := s.Early
	s.Next, s.Early = s.now+s.Profile.Renew, false
	asked := false
	for _, w := range s.Config.Everybody() {
		items := s.items(w)
		if len(items) == 0 {
			continue
		}
		asked = true
		s.do(Send{w, claims.Renewal{Session: s.Session, Epoch: s.Config.Epoch, Round: s.Round, Items: items}})
	}
	if asked {
		s.Flights = append(s.Flights, Flight{Round: s.Round, Begun: s.now, Early: early})
		if len(s.Flights) > maxFlights {
			s.Flights = slices.Delete(s.Flights, 0, 1)
		}
	}
}

// soon has the next round begin at once.
func (s *step) soon() { s.Next, s.Early = s.now, false }

// sooner has the next round begin when a witness will let go what is asked for, where that is before its time: successors would
// otherwise wait for up to P more. The margin is above what two clocks can differ by in P, and lets the other witnesses' times
// pass as well. It brings nothing forward for an answer to a round that was brought forward, so rounds are at most doubled,
// whatever witnesses say.
func (s *step) sooner(f *Flight, left time.Duration) {
	if f.Early || left <= 0 || left >= s.Profile.Renew {
		return
	}
	if at := s.now + left + s.Profile.Renew/20; at < s.Next {
		s.Next, s.Early = at, true
	}
}

// items lists what is wanted of one witness.
func (s *step) items(w claims.Witness) []claims.Item {
	var items []claims.Item
	for i := range s.Claims {
		c := &s.Claims[i]
		it := claims.Item{Claim: c.ID, Session: c.Session, Token: c.Token}
		recorded := slices.Contains(c.Recorded, w)
		switch {
		case c.Phase == Sealed:
			if recorded {
				continue
			}
			it.Intent = claims.Release
		case c.Session != s.Session || s.Spent(s.now) || c.Leased && s.now >= c.Deadline:
			continue // what has lapsed is never asked for again
		case c.Phase < Stopping && !recorded:
			it.Intent = claims.Acquire
		default:
			it.Intent = claims.Continue
		}
		items = append(items, it)
	}
	return items
}

// ack counts an answer. It counts only for the round that it answers, under the configuration that the round was sent with.
func (s *step) ack(a claims.Ack) {
	if a.Config != nil && a.Config.Validate() == nil {
		s.configure(*a.Config)
	}
	at := slices.IndexFunc(s.Flights, func(f Flight) bool { return f.Round == a.Round })
	if at < 0 || a.Session != s.Session || a.Epoch != s.Config.Epoch || !s.Config.Has(a.Witness) {
		return
	}
	f := &s.Flights[at]
	if a.Refused != "" {
		for i := range s.Claims {
			if c := &s.Claims[i]; c.Phase == Asking {
				c.Why = string(a.Witness) + ": " + a.Refused
			}
		}
		return
	}
	for _, v := range a.Verdicts {
		c := s.exact(v.Claim.ID, v.Claim.Token)
		if c == nil || c.Session != v.Claim.Session {
			continue
		}
		s.verdict(f, c, a.Witness, v)
	}
}

func (s *step) verdict(f *Flight, c *Claim, w claims.Witness, v claims.Verdict) {
	if (v.Intent == claims.Release) != (c.Phase == Sealed) {
		return // asked before it was sealed, so it says nothing of the release
	}
	at := slices.Index(c.Recorded, w)
	if !v.OK {
		if at >= 0 {
			c.Recorded = slices.Delete(c.Recorded, at, at+1)
		}
		if c.Phase < Stopping {
			c.Why = string(w) + ": " + v.Why
		}
		switch {
		case c.Phase == Asking && c.Token.Less(v.Floor):
			s.move(c, Sealed, "a newer token was given: "+c.Why)
		case c.Phase == Asking && c.Token == v.Floor:
			// An earlier boot of this machine asked with it, of which this guard knows nothing. Its session never comes back.
			s.move(c, Sealed, "the token was used before this machine booted: "+c.Why)
		case c.Phase == Asking:
			s.sooner(f, v.Left)
		}
		return
	}
	if at < 0 {
		c.Recorded = append(c.Recorded, w)
	}
	if c.Phase == Sealed {
		return // the release was answered
	}
	c.agrees(w)
	yes := Yes{w, v.Claim}
	if !slices.Contains(f.Yes, yes) {
		f.Yes = append(f.Yes, yes)
	}
	agreed := func(w claims.Witness) bool { return slices.Contains(f.Yes, Yes{w, v.Claim}) }
	if s.Config.Majority(agreed) {
		s.extend(f, c)
	}
}

// extend is the only place where a deadline grows, and where a claim becomes leased.
func (s *step) extend(f *Flight, c *Claim) {
	deadline := f.Begun + s.Profile.Lease
	switch {
	case c.Phase == Sealing || c.Leased && s.now >= c.Deadline:
		return // it is over
	case c.Phase == Asking:
		if s.now >= deadline-2*s.Profile.Kill {
			return // too late to begin with; the next round is better
		}
		c.Leased, c.Deadline, c.Why = true, deadline, ""
		s.session(c)
		s.move(c, Mounting, "")
	case deadline > c.Deadline:
		c.Deadline = deadline
		s.session(c)
	}
}

func (s *step) session(c *Claim) {
	if !s.Leased || c.Deadline > s.Until {
		s.Leased, s.Until = true, c.Deadline
	}
}

// configure takes over a later set of servers. Rounds under the earlier one no longer count: another begins at once.
func (s *step) configure(c claims.Config) {
	if c.Validate() != nil || !s.Config.Epoch.Less(c.Epoch) {
		return
	}
	s.Config = c.Clone()
	s.Flights = nil
	s.soon()
	for i := range s.Claims {
		cl := &s.Claims[i]
		cl.Recorded = slices.DeleteFunc(cl.Recorded, func(w claims.Witness) bool { return !c.Has(w) })
	}
}
