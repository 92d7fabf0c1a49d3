package guard

import (
	"fmt"
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Phase is how far a claim is.
type Phase uint8

// The phases of a claim.
const (
	Asking   Phase = iota // no majority yet; nothing of it is on this machine
	Mounting              // leased; it is being mounted and verified
	Armed                 // the gate is open
	Stopping              // the agent stops what runs
	Clearing              // what remains is frozen, killed and unmounted, until quiet is verified
	Sealing               // quiet; slice and path are being removed
	Sealed                // nothing of it can ever write again; it is being released
)

func (p Phase) String() string {
	return [...]string{"asking", "mounting", "armed", "stopping", "clearing", "sealing", "sealed", "unknown"}[min(p, Sealed+1)]
}

// exposed tells whether something may be able to write.
func (p Phase) exposed() bool { return p >= Mounting && p < Sealing }

// Claim is one that the agent wants or wanted.
type Claim struct {
	ID      claims.ID
	Session claims.Session
	Token   claims.Token
	Phase   Phase
	// Leased: a majority agreed once, and Deadline is the latest instant of that.
	Leased   bool
	Deadline time.Duration
	// Again is when to ask anew for what was not quiet.
	Again time.Duration
	// Recorded lists the witnesses that answered yes last; those that answered a release, once it is sealed.
	Recorded []claims.Witness
	// Why is the last thing that somebody said against it; Fault is why it could not be mounted, or is not quiet.
	Why   string
	Fault string
}

// Flight is a round that may still be answered.
type Flight struct {
	Round uint64
	Begun time.Duration // b_n: read before anything was sent
	Early bool          // begun before its time
	Yes   []Yes
}

// Yes is one witness's agreement in one round.
type Yes struct {
	Witness claims.Witness
	Claim   claims.Claimed
}

// State is a guard. Only New and Step make one.
type State struct {
	Profile claims.Profile
	Config  claims.Config
	// Session is empty until something is wanted.
	Session claims.Session
	// Until is the latest deadline that the session ever had; Leased tells whether it had one.
	Until  time.Duration
	Leased bool
	Round  uint64 // the last one begun
	Next   time.Duration
	// Early: Next was brought forward to when a witness may let go what is asked for.
	Early bool
	// Flights are those since which T has not passed, earliest first. They are not kept over a restart.
	Flights []Flight
	// Claims are in the order in which they were wanted.
	Claims []Claim
	// Floor is the highest token of claims that were forgotten: what is wanted with one up to it may have been used here.
	Floor claims.Token
	// Fed is what was said of the watchdog last.
	Fed Watchdog
	// Leaving: the machine is about to be shut down. What the agent has not stopped by LeaveBy is ended without it.
	Leaving bool
	LeaveBy time.Duration
}

// New is the guard of a machine that has just started. A guard that starts while it cannot know that nothing of a former
// one is left (it lost its state, and a slice exists) has to reset the machine instead.
func New(p claims.Profile, c claims.Config) State {
	return State{Profile: p, Config: c.Clone()}
}

func (s State) clone() State {
	s.Config = s.Config.Clone()
	s.Flights = slices.Clone(s.Flights)
	for i := range s.Flights {
		s.Flights[i].Yes = slices.Clone(s.Flights[i].Yes)
	}
	s.Claims = slices.Clone(s.Claims)
	for i := range s.Claims {
		s.Claims[i].Recorded = slices.Clone(s.Claims[i].Recorded)
	}
	return s
}

func (s *State) find(id claims.ID) *Claim {
	for i := range s.Claims {
		if s.Claims[i].ID == id {
			return &s.Claims[i]
		}
	}
	return nil
}

// exact finds a claim only under the token that is meant.
func (s *State) exact(id claims.ID, t claims.Token) *Claim {
	if c := s.find(id); c != nil && c.Token == t {
		return c
	}
	return nil
}

// recordedBy tells whether a witness answered yes last, or once it is sealed, the release.
func (c *Claim) recordedBy(w claims.Witness) bool { return slices.Contains(c.Recorded, w) }

func (c *Claim) claimed() claims.Claimed {
	return claims.Claimed{ID: c.ID, Session: c.Session, Token: c.Token}
}

// Spent tells whether the session has lapsed: its last deadline has passed.
func (s *State) Spent(now time.Duration) bool { return s.Leased && now >= s.Until }

// Instants at which something has to be done about a claim.
func (s *State) stopAt(c *Claim) time.Duration  { return c.Deadline - 2*s.Profile.Kill }
func (s *State) clearAt(c *Claim) time.Duration { return c.Deadline - s.Profile.Kill }

// Wake is when Step wants to be called though nothing came; ok is false when there is no such time.
func Wake(s State) (at time.Duration, ok bool) {
	consider := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	for i := range s.Claims {
		c := &s.Claims[i]
		if c.Leased && c.Phase.exposed() {
			if s.Leaving && c.Phase < Clearing {
				consider(s.LeaveBy)
			}
			switch {
			case c.Phase < Stopping:
				consider(s.stopAt(c))
			case c.Phase < Clearing:
				consider(s.clearAt(c))
			default:
				consider(min(c.Deadline, c.Again))
			}
		}
	}
	if s.talks() {
		consider(s.Next)
	}
	return at, ok
}

// talks tells whether there is anything to say to the witnesses.
func (s *State) talks() bool {
	return slices.ContainsFunc(s.Claims, func(c Claim) bool { return !s.told(&c) })
}

// told tells whether a claim is over for everybody.
func (s *State) told(c *Claim) bool {
	if c.Phase != Sealed {
		return false
	}
	for _, w := range s.Config.Everybody() {
		if !slices.Contains(c.Recorded, w) {
			return false
		}
	}
	return true
}

// Show says in a sentence how a claim is, for people.
func Show(s State, now time.Duration, id claims.ID) string {
	c := s.find(id)
	if c == nil {
		return "not wanted here"
	}
	text := fmt.Sprintf("%v with token %v", c.Phase, c.Token)
	switch {
	case c.Phase.exposed() && c.Deadline > now:
		text += fmt.Sprintf(", leased for %s more", claims.Tenths(c.Deadline-now))
	case c.Phase.exposed():
		text += ", the lease has run out"
	}
	if c.Why != "" {
		text += ": " + c.Why
	}
	if c.Fault != "" && c.Fault != c.Why {
		text += "; " + c.Fault
	}
	return text
}

// Progress is what the agent is to be told of claims that wait for a majority, where it is not what was told last: by claim,
// how many of the servers agreed. It returns what was told by then, too.
func Progress(s State, last map[claims.ID]string) (tells []Tell, told map[claims.ID]string) {
	told = map[claims.ID]string{}
	for i := range s.Claims {
		c := &s.Claims[i]
		if c.Phase != Asking {
			continue
		}
		if told[c.ID] = agreed(s, c.ID); told[c.ID] != last[c.ID] {
			tells = append(tells, Tell{Claim: c.ID, Token: c.Token, Phase: Asking, Why: told[c.ID]})
		}
	}
	return tells, told
}

// agreed says in words how far a claim is that waits for a majority, for whoever waits for it.
func agreed(s State, id claims.ID) string {
	c := s.find(id)
	if c == nil {
		return "not wanted here"
	}
	all := s.Config.Everybody()
	if len(all) == 0 {
		return "no server is known yet that gives leases"
	}
	n := 0
	for _, w := range all {
		if slices.Contains(c.Recorded, w) {
			n++
		}
	}
	text := fmt.Sprintf("%d of %d servers agreed", n, len(all))
	if c.Why != "" {
		text += ": " + c.Why
	}
	return text
}

// Idle tells whether nothing is held.
func Idle(s State) bool { return !(&step{State: s}).busy() }
