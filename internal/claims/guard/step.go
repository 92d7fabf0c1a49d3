package guard

import (
	"fmt"
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// step is one step under way.
type step struct {
	State
	now     time.Duration
	effects []Effect
	reset   string
}

// Step is one step. It changes nothing of what it is given. Where the machine has to be reset, that is the only effect.
func Step(s State, now time.Duration, e Event) (State, []Effect) {
	st := &step{State: s.clone(), now: now}
	st.deadlines() // before the event: an answer that comes after the deadline comes too late
	if st.reset == "" {
		st.handle(e)
		st.deadlines() // what the event made of them
	}
	if st.reset != "" {
		return st.State, []Effect{Reset{st.reset}}
	}
	st.forget()
	if st.talks() && now >= st.Next {
		st.unanswered(s)
		st.round()
	}
	st.explain(s)
	return st.State, st.settle(s)
}

// settle puts first what has to come first: the state is saved before anybody learns of it, and the watchdog is set before
// anything is mounted.
func (s *step) settle(before State) []Effect {
	first := []Effect{}
	if !equal(before, s.State) {
		first = append(first, Save{})
	}
	w := s.watchdog()
	if w == s.Fed {
		return append(first, s.effects...)
	}
	s.Fed = w
	if w.On {
		return append(append(first, w), s.effects...)
	}
	return append(append(first, s.effects...), w) // closed only after everything else
}

// watchdog says until when it may be fed: as long before the earliest deadline as it takes to act.
func (s *step) watchdog() Watchdog {
	var w Watchdog
	for i := range s.Claims {
		c := &s.Claims[i]
		if !c.Phase.exposed() {
			continue
		}
		if until := c.Deadline - s.Profile.Watchdog(); !w.On || until < w.Until {
			w = Watchdog{On: true, Until: until}
		}
	}
	return w
}

func (s *step) do(e Effect) { s.effects = append(s.effects, e) }

// move takes a claim to a later phase, and gives the order that belongs to it.
func (s *step) move(c *Claim, to Phase, why string) {
	if to <= c.Phase {
		return
	}
	c.Phase = to
	if why != "" {
		c.Why = why
	}
	if to == Sealed {
		c.Recorded = nil
		s.soon() // the witnesses shall know
	}
	s.order(c)
	s.do(Tell{Claim: c.ID, Token: c.Token, Phase: to, Why: why})
}

// order gives the order that belongs to a claim's phase. Given twice, it does the same.
func (s *step) order(c *Claim) {
	switch c.Phase {
	case Mounting:
		s.do(Mount{c.ID, c.Token})
	case Armed:
		s.do(Arm{c.ID, c.Token})
	case Stopping:
		s.do(AskStop{c.ID, c.Token, s.clearAt(c)})
	case Clearing:
		c.Again = s.now + s.Profile.Kill/2
		s.do(Clear{c.ID, c.Token})
	case Sealing:
		s.do(Seal{c.ID, c.Token})
	}
}

// deadlines does what is due.
func (s *step) deadlines() {
	for i := range s.Claims {
		c := &s.Claims[i]
		if c.Phase == Asking && c.Session == s.Session && s.Spent(s.now) {
			s.move(c, Sealed, "the session lapsed before a majority agreed; another grant is needed")
		}
		if !c.Leased || !c.Phase.exposed() {
			continue
		}
		switch {
		case s.now >= c.Deadline:
			s.reset = fmt.Sprintf("the lease of claim %s has run out, and it is not known to be quiet: token %v is %v", c.ID, c.Token, c.Phase)
			if c.Fault != "" {
				s.reset += ", " + c.Fault
			}
		case s.now >= s.clearAt(c) && c.Phase < Clearing:
			s.move(c, Clearing, "the lease runs out")
		case s.Leaving && s.now >= s.LeaveBy && c.Phase < Clearing:
			s.move(c, Clearing, "the machine is about to be shut down, and it has not stopped in time")
		case s.now >= s.stopAt(c) && c.Phase == Mounting:
			s.move(c, Clearing, "the lease runs out, and it was not mounted in time")
		case s.now >= s.stopAt(c) && c.Phase < Stopping:
			s.move(c, Stopping, "the lease runs out, as no majority of servers answers in time")
		case c.Phase == Clearing && s.now >= c.Again:
			s.order(c)
		}
	}
}

func (s *step) handle(e Event) {
	switch e := e.(type) {
	case Restarted:
		s.restart()
	case Configure:
		s.configure(e.Config)
	case Ack:
		s.ack(e.Ack)
	case Want:
		s.want(e)
	case Release:
		if c := s.exact(e.Claim, e.Token); c != nil {
			s.release(c, "the agent no longer needs it")
		}
	case Leave:
		s.leave(e.Patience)
	case Remain:
		s.Leaving, s.LeaveBy = false, 0
	case Stopped:
		if c := s.exact(e.Claim, e.Token); c != nil && c.Phase == Stopping {
			s.move(c, Clearing, "")
		}
	case Mounted:
		if c := s.exact(e.Claim, e.Token); c != nil && c.Phase == Mounting {
			if e.Fault != "" {
				c.Fault = "not mounted: " + e.Fault
				s.move(c, Clearing, c.Fault)
			} else {
				s.move(c, Armed, "")
			}
		}
	case Cleared:
		if c := s.exact(e.Claim, e.Token); c != nil && c.Phase == Clearing {
			if e.Fault != "" {
				c.Fault = "not quiet: " + e.Fault
			} else {
				c.Fault = ""
				s.move(c, Sealing, "")
			}
		}
	case Closed:
		if c := s.exact(e.Claim, e.Token); c != nil && c.Phase == Sealing {
			s.move(c, Sealed, "")
		}
	}
}

// release begins the end of a claim that is wanted no more.
func (s *step) release(c *Claim, why string) {
	switch c.Phase {
	case Asking:
		s.move(c, Sealed, why) // nothing of it was ever here
	case Mounting:
		s.move(c, Clearing, why)
	default:
		s.move(c, Stopping, why)
	}
}

// leave begins the end of all claims. Said twice, the earlier end of patience counts.
func (s *step) leave(patience time.Duration) {
	by := s.now + max(0, patience)
	if !s.Leaving || by < s.LeaveBy {
		s.Leaving, s.LeaveBy = true, by
	}
	for i := range s.Claims {
		s.release(&s.Claims[i], leaving)
	}
}

const leaving = "the machine is about to be shut down"

func (s *step) restart() {
	s.Flights = nil // nobody knows any more when they were begun
	s.soon()
	if s.Fed.On {
		s.do(s.Fed)
	}
	for i := range s.Claims {
		s.order(&s.Claims[i])
	}
}

// want takes a claim in, if it can ever be had.
func (s *step) want(e Want) {
	refuse := func(why string) { s.do(Tell{Claim: e.Claim, Token: e.Token, Refused: true, Why: why}) }
	if err := s.valid(e); err != nil {
		refuse(err.Error())
		return
	}
	if old := s.find(e.Claim); old != nil {
		switch {
		case old.Token == e.Token:
			s.do(Tell{Claim: old.ID, Token: old.Token, Phase: old.Phase, Why: old.Why})
			return
		case !old.Token.Less(e.Token):
			refuse(fmt.Sprintf("token %v was used here already", old.Token))
			return
		case old.Phase < Sealed:
			s.release(old, fmt.Sprintf("token %v follows", e.Token))
			s.do(Tell{Claim: e.Claim, Token: e.Token, Why: fmt.Sprintf("token %v is %v here; ask again when it is sealed", old.Token, old.Phase)})
			return
		}
	}
	if s.find(e.Claim) == nil && !s.Floor.Less(e.Token) {
		refuse(fmt.Sprintf("tokens up to %v may have been used here already", s.Floor))
		return
	}
	if s.Leaving {
		refuse(leaving + ", and takes no volumes")
		return
	}
	if s.Session == "" || s.Spent(s.now) {
		if s.busy() {
			s.do(Tell{Claim: e.Claim, Token: e.Token, Why: "the session has lapsed, and what it held is not sealed yet; ask again"})
			return
		}
		if e.Fresh == s.Session {
			refuse("the session is not a fresh one")
			return
		}
		s.Session, s.Until, s.Leased = e.Fresh, 0, false
	}
	s.Claims = slices.DeleteFunc(s.Claims, func(c Claim) bool { return c.ID == e.Claim })
	s.Claims = append(s.Claims, Claim{ID: e.Claim, Session: s.Session, Token: e.Token})
	s.soon()
	s.do(Tell{Claim: e.Claim, Token: e.Token, Phase: Asking})
}

func (s *step) valid(e Want) error {
	if s.find(e.Claim) == nil && len(s.Claims) >= claims.MaxItems {
		return fmt.Errorf("this machine has %d claims, and more are not allowed", len(s.Claims))
	}
	// The very checks that a witness makes, so that one bad claim never spoils a renewal for the others.
	r := claims.Renewal{Machine: "-", Session: e.Fresh, Round: 1, Items: []claims.Item{{Claim: e.Claim, Session: e.Fresh, Token: e.Token, Intent: claims.Acquire}}}
	return r.Validate()
}

// busy tells whether anything of the session is not sealed.
func (s *step) busy() bool {
	return slices.ContainsFunc(s.Claims, func(c Claim) bool { return c.Phase > Asking && c.Phase < Sealed })
}

// mostOver bounds how many claims are kept that are over for everybody.
const mostOver = 256

// forget drops the rounds that can no longer extend anything. A sealed claim is the highest token that was used here: of those that all
// witnesses know to be over only the latest are kept, and one floor for the others.
func (s *step) forget() {
	oldest := s.now - s.Profile.Lease
	s.Flights = slices.DeleteFunc(s.Flights, func(f Flight) bool { return f.Begun <= oldest })
	over := 0
	for i := range s.Claims {
		if s.told(&s.Claims[i]) {
			over++
		}
	}
	s.Claims = slices.DeleteFunc(s.Claims, func(c Claim) bool {
		if over <= mostOver || !s.told(&c) {
			return false
		}
		over--
		if s.Floor.Less(c.Token) {
			s.Floor = c.Token
		}
		return true
	})
}

// equal tells whether what a restart needs is the same. Who recorded what is learnt again.
func equal(a, b State) bool {
	return a.Session == b.Session && a.Until == b.Until && a.Leased == b.Leased && a.Round == b.Round && a.Fed == b.Fed &&
		a.Leaving == b.Leaving && a.LeaveBy == b.LeaveBy && a.Floor == b.Floor &&
		a.Config.Epoch == b.Config.Epoch && slices.EqualFunc(a.Claims, b.Claims, func(x, y Claim) bool {
		return x.ID == y.ID && x.Session == y.Session && x.Token == y.Token && x.Phase == y.Phase && x.Leased == y.Leased && x.Deadline == y.Deadline
	})
}
