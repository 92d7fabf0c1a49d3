package check

import (
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// Mutants are the mistakes that the checker has to find: those of section 7 of SINGLE-WRITER.md first.
func Mutants() []Mutant {
	return slices.Concat(founding(), ofGuards(), ofQuiet(), ofWitnesses(), ofServers())
}

type (
	guardFunc   = func(guard.State, time.Duration, guard.Event) (guard.State, []guard.Effect)
	witnessFunc = func(witness.State, time.Duration, witness.Event) (witness.State, []witness.Effect)
)

// after changes what a guard's step made.
func after(change func(before guard.State, next *guard.State, now time.Duration, e guard.Event)) guardFunc {
	return func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
		next, effects := guard.Step(s, now, e)
		next.Claims = slices.Clone(next.Claims)
		change(s, &next, now, e)
		return next, refeed(next, effects)
	}
}

// refeed makes the watchdog follow deadlines that a mistake has moved.
func refeed(next guard.State, effects []guard.Effect) []guard.Effect {
	if len(next.Claims) == 0 || next.Claims[0].Phase < guard.Mounting || next.Claims[0].Phase >= guard.Sealing {
		return effects
	}
	return append(effects, guard.Watchdog{On: true, Until: next.Claims[0].Deadline - next.Profile.Watchdog()})
}

// extended gives every claim that is leased T from now.
func extended(s *guard.State, now time.Duration) {
	for i := range s.Claims {
		if s.Claims[i].Leased {
			s.Claims[i].Deadline = now + s.Profile.Lease
			s.Until = now + s.Profile.Lease
		}
	}
}

// rewritten changes the table and what was heard before a witness's step.
func rewritten(change func(s *witness.State, now time.Duration, e witness.Event) witness.Event) witnessFunc {
	return func(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
		s.Records, s.Heard = slices.Clone(s.Records), slices.Clone(s.Heard)
		e = change(&s, now, e)
		return witness.Step(s, now, e)
	}
}

func founding() []Mutant {
	return []Mutant{
		{Name: "W is shorter than T(1+ρ)/(1−ρ)", Scenario: "cut off", Profile: func(p *claims.Profile) { p.Wait = p.Lease + 1 }},
		{Name: "the deadline counts from the reply", Scenario: "late messages", Guard: after(func(before guard.State, next *guard.State, now time.Duration, e guard.Event) {
			if grew(before, *next) {
				extended(next, now)
			}
		})},
		{Name: "one acknowledgement is enough", Scenario: "doubled messages", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			if a, ok := e.(guard.Ack); ok {
				for _, w := range s.Config.Everybody() {
					if w != a.Witness {
						a.Witness = w
						var more []guard.Effect
						next, more = guard.Step(next, now, a)
						effects = append(effects, more...)
					}
				}
			}
			return next, effects
		}},
		{Name: "acknowledgements of different rounds are mixed", Scenario: "late messages", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			if a, ok := e.(guard.Ack); ok {
				// What anybody agreed to in any round that is under way counts for this one.
				s.Flights = slices.Clone(s.Flights)
				for i := range s.Flights {
					for _, f := range s.Flights {
						if f.Round < s.Flights[i].Round {
							s.Flights[i].Yes = append(slices.Clone(s.Flights[i].Yes), f.Yes...)
						}
					}
				}
				e = a
			}
			return guard.Step(s, now, e)
		}},
		{Name: "no guard: the agent enforces", Scenario: "guards", NoWatchdog: true},
		{Name: "an agent that restarts extends the lease", Scenario: "guards", Guard: after(func(before guard.State, next *guard.State, now time.Duration, e guard.Event) {
			if w, ok := e.(guard.Want); ok && len(before.Claims) > 0 && before.Claims[0].Token == w.Token {
				extended(next, now)
			}
		})},
		{Name: "no silence after a server forgot", Scenario: "forgetting", Open: func(now time.Duration, next witness.State, whole bool) witness.State {
			next.Silent = false
			return next
		}, Witness: unsilenced},
		{Name: "a restarted server treats holders as lapsed", Scenario: "witnesses", Open: func(now time.Duration, next witness.State, whole bool) witness.State {
			for i := range next.Heard {
				next.Heard[i].At = now - next.Profile.Wait
			}
			return next
		}},
		{Name: "released before it is quiet", Scenario: "release", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			for _, ef := range effects {
				if c, ok := ef.(guard.Clear); ok {
					var more []guard.Effect
					next, more = guard.Step(next, now, guard.Cleared{Claim: c.Claim, Token: c.Token})
					effects = append(effects, more...)
					next, more = guard.Step(next, now, guard.Closed{Claim: c.Claim, Token: c.Token})
					effects = append(effects, more...)
				}
			}
			return next, effects
		}},
		{Name: "no start gate", Scenario: "release", NoGate: true},
	}
}

// unsilenced keeps a witness from ever being silent.
func unsilenced(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
	if _, ok := e.(witness.Configure); ok {
		s.Votes = now
		next, effects := witness.Step(s, now, e)
		next.Votes, next.Silent = now, false
		return next, effects
	}
	return witness.Step(s, now, e)
}

// grew tells whether a step extended a claim.
func grew(before, next guard.State) bool {
	for _, c := range next.Claims {
		i := slices.IndexFunc(before.Claims, func(b guard.Claim) bool { return b.Token == c.Token })
		if c.Leased && (i < 0 || !before.Claims[i].Leased || before.Claims[i].Deadline < c.Deadline) {
			return true
		}
	}
	return false
}

func ofGuards() []Mutant {
	return []Mutant{
		{Name: "a guard that restarts extends the lease", Scenario: "guards", Guard: after(func(_ guard.State, next *guard.State, now time.Duration, e guard.Event) {
			if _, ok := e.(guard.Restarted); ok {
				extended(next, now)
			}
		})},
		{Name: "a round is sent before its number is saved", Scenario: "guards, late", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			if at := slices.IndexFunc(effects, func(e guard.Effect) bool { _, ok := e.(guard.Save); return ok }); at >= 0 {
				effects = append(slices.Delete(effects, at, at+1), guard.Save{})
			}
			return next, effects
		}},
		{Name: "the deadline binds only once it is armed", Scenario: "mounts", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			s.Claims = slices.Clone(s.Claims)
			real := s.Until
			for i := range s.Claims {
				if c := &s.Claims[i]; c.Phase == guard.Mounting {
					real, c.Deadline = c.Deadline, now+100
				}
			}
			next, effects := guard.Step(s, now, e)
			for i := range next.Claims {
				if c := &next.Claims[i]; c.Leased && c.Deadline == now+100 {
					c.Deadline = real
				}
			}
			if len(next.Claims) > 0 && next.Claims[0].Phase == guard.Mounting {
				effects = append(effects, guard.Watchdog{})
			}
			return next, effects
		}},
		{Name: "the watchdog is fed until the deadline", Scenario: "guards", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			for i, ef := range effects {
				if w, ok := ef.(guard.Watchdog); ok && w.On {
					w.Until += next.Profile.Kill
					effects[i] = w
				}
			}
			return next, effects
		}},
		{Name: "not quiet by the deadline, and no reset", Scenario: "no watchdog", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			if reset(effects) {
				next.Claims = slices.Clone(next.Claims)
				next.Next = now + 2
				next.Claims[0].Deadline = now + 2 // and it tries again and again
				return next, nil
			}
			return next, effects
		}},
		{Name: "a lapsed claim comes back", Scenario: "no watchdog", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			if reset(effects) {
				next = s
				next.Claims = slices.Clone(s.Claims)
				next.Claims[0].Deadline, next.Until = now+1, now+1 // until an answer comes
				return guard.Step(next, now, e)
			}
			return next, effects
		}},
	}
}

// ofQuiet are mistakes about what is on the machine.
func ofQuiet() []Mutant {
	return []Mutant{
		{Name: "killed counts as quiet", Scenario: "release", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			if c, ok := e.(guard.Cleared); ok {
				c.Fault = ""
				e = c
			}
			return guard.Step(s, now, e)
		}},
		{Name: "what the agent stopped counts as quiet", Scenario: "release", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			if c, ok := e.(guard.Stopped); ok {
				next, effects = guard.Step(next, now, guard.Cleared{Claim: c.Claim, Token: c.Token})
				return guard.Step(next, now, guard.Closed{Claim: c.Claim, Token: c.Token})
			}
			return next, effects
		}},
		{Name: "what is shut down counts as quiet", Scenario: "leaving", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			if _, ok := e.(guard.Leave); ok && len(next.Claims) > 0 {
				t := next.Claims[0].Token
				for _, e := range []guard.Event{guard.Stopped{Claim: claim, Token: t}, guard.Cleared{Claim: claim, Token: t}, guard.Closed{Claim: claim, Token: t}} {
					var more []guard.Effect
					next, more = guard.Step(next, now, e)
					effects = append(effects, more...)
				}
			}
			return next, effects
		}},
		{Name: "a mount that is another volume is armed", Scenario: "mounts", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			if c, ok := e.(guard.Mounted); ok {
				c.Fault = ""
				e = c
			}
			return guard.Step(s, now, e)
		}},
		{Name: "a new token is taken while the old one lives", Scenario: "release", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			if w, ok := e.(guard.Want); ok && len(s.Claims) > 0 && s.Claims[0].Token.Less(w.Token) {
				s.Claims = nil
			}
			return guard.Step(s, now, e)
		}},
	}
}

func reset(effects []guard.Effect) bool {
	return slices.ContainsFunc(effects, func(e guard.Effect) bool { _, ok := e.(guard.Reset); return ok })
}

func ofWitnesses() []Mutant {
	return []Mutant{
		{Name: "a server that forgot votes for those who continue", Scenario: "forgetting", Witness: func(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
			next, effects := witness.Step(s, now, e)
			r, ok := e.(witness.Renewal)
			if !ok || !next.Silent {
				return next, effects
			}
			for i, ef := range effects {
				if reply, ok := ef.(witness.Reply); ok {
					reply.Ack.Refused = ""
					for _, it := range r.Items {
						reply.Ack.Verdicts = append(reply.Ack.Verdicts, claims.Verdict{Claim: claims.Claimed{ID: it.Claim, Session: it.Session, Token: it.Token}, Intent: it.Intent, OK: it.Intent == claims.Continue, Unknown: true, Floor: it.Token})
					}
					effects[i] = reply
				}
			}
			return next, effects
		}},
		{Name: "a restart ends the silence of a server that forgot", Scenario: "forgetting", Open: func(now time.Duration, next witness.State, whole bool) witness.State {
			if whole {
				next.Silent = false
			}
			return next
		}},
		{Name: "a lower token is acquired where nobody holds it", Scenario: "doubled messages", Witness: rewritten(func(s *witness.State, now time.Duration, e witness.Event) witness.Event {
			if r, ok := e.(witness.Renewal); ok && len(s.Records) > 0 && s.Records[0].State == witness.Released && r.Items[0].Intent == claims.Acquire {
				s.Records, s.Heard = nil, nil
			}
			return e
		})},
		{Name: "continuing is agreed to whoever holds it", Scenario: "late releases", Witness: func(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
			next, effects := witness.Step(s, now, e)
			for _, ef := range effects {
				if reply, ok := ef.(witness.Reply); ok {
					for k := range reply.Ack.Verdicts {
						if v := &reply.Ack.Verdicts[k]; v.Intent == claims.Continue {
							v.OK = true
						}
					}
				}
			}
			return next, effects
		}},
		{Name: "a release of an earlier token lets the later one go", Scenario: "late releases", Witness: rewritten(func(s *witness.State, now time.Duration, e witness.Event) witness.Event {
			if r, ok := e.(witness.Renewal); ok && len(s.Records) > 0 && r.Items[0].Intent == claims.Release && s.Records[0].Session == r.Items[0].Session {
				r.Items = slices.Clone(r.Items)
				r.Items[0].Token = s.Records[0].Token
				return r
			}
			return e
		})},
		{Name: "the answer goes out before the table is on disk", Scenario: "restarts", Witness: func(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
			next, effects := witness.Step(s, now, e)
			slices.Reverse(effects)
			return next, effects
		}},
		{Name: "silence counts from the acquisition", Scenario: "cut off", Witness: func(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
			next, effects := witness.Step(s, now, e)
			if len(s.Records) > 0 && len(next.Records) > 0 && s.Records[0] == next.Records[0] {
				next.Heard[0].At = s.Heard[0].At
			}
			return next, effects
		}},
		{Name: "whoever has the higher token gets it at once", Scenario: "takeover", Witness: rewritten(func(s *witness.State, now time.Duration, e witness.Event) witness.Event {
			if r, ok := e.(witness.Renewal); ok && len(s.Heard) > 0 && r.Items[0].Intent == claims.Acquire && s.Records[0].Token.Less(r.Items[0].Token) {
				s.Heard[0].At = now - s.Profile.Wait
			}
			return e
		})},
		{Name: "a claim is dropped while it is held", Scenario: "dropped, silent", Witness: rewritten(func(s *witness.State, now time.Duration, e witness.Event) witness.Event {
			if _, ok := e.(witness.Drop); ok && len(s.Heard) > 0 {
				s.Heard[0].At = now - s.Profile.Wait
			}
			return e
		})},
		{Name: "a claim is dropped as soon as its lease may be over", Scenario: "dropped, silent", Witness: rewritten(func(s *witness.State, now time.Duration, e witness.Event) witness.Event {
			if _, ok := e.(witness.Drop); ok && len(s.Heard) > 0 && now-s.Heard[0].At >= s.Profile.Lease {
				s.Heard[0].At = now - s.Profile.Wait
			}
			return e
		})},
		{Name: "what was dropped leaves no floor", Scenario: "dropped", Witness: func(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
			next, effects := witness.Step(s, now, e)
			next.Floor = claims.Token{}
			return next, effects
		}},
		{Name: "the floor is not on disk", Scenario: "dropped", Open: func(now time.Duration, next witness.State, whole bool) witness.State {
			next.Floor = claims.Token{}
			return next
		}},
		{Name: "the storage takes a machine back while something is left there", Scenario: "storage", AnyTimeBack: true},
		{Name: "what the storage refused once counts for whatever is granted later", Scenario: "storage", Unbound: true, Witness: rewritten(func(s *witness.State, now time.Duration, e witness.Event) witness.Event {
			if f, ok := e.(witness.FenceClaim); ok && len(s.Records) > 0 && s.Records[0].Machine == f.Machine {
				f.Token = s.Records[0].Token
				return f
			}
			return e
		})},
		{Name: "what the storage confirms is told while somebody may have it undone", Scenario: "storage undone", Unsure: true},
		{Name: "fenced without a proof", Scenario: "power", FenceAnybody: true},
		{Name: "a fenced session may go on", Scenario: "power", Witness: rewritten(func(s *witness.State, now time.Duration, e witness.Event) witness.Event {
			if _, ok := e.(witness.Renewal); ok && len(s.Records) > 0 && s.Records[0].State == witness.Fenced {
				s.Records[0].State = witness.Held
			}
			return e
		})},
	}
}

func ofServers() []Mutant {
	return []Mutant{
		{Name: "a set of servers follows another at once", Scenario: "servers told", AtOnce: true},
		{Name: "the earlier set goes before all know of the change", Scenario: "servers told", NoSettling: true},
		{Name: "while it changes, a majority of the later set is enough", Scenario: "servers replaced", Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			joint := s.Config
			if _, ok := e.(guard.Ack); ok && joint.Joint() {
				s.Config.Members, s.Config.Next = joint.Next, nil
				next, effects := guard.Step(s, now, e)
				if next.Config.Epoch == joint.Epoch {
					next.Config = joint
				}
				return next, effects
			}
			return guard.Step(s, now, e)
		}},
		{Name: "servers answer whatever set of servers is meant", Scenario: "servers told", Witness: func(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
			r, ok := e.(witness.Renewal)
			meant := r.Epoch
			if r.Epoch = s.Config.Epoch; ok {
				e = r
			}
			next, effects := witness.Step(s, now, e)
			for i, ef := range effects {
				if reply, ok := ef.(witness.Reply); ok {
					reply.Ack.Epoch = meant
					effects[i] = reply
				}
			}
			return next, effects
		}},
	}
}
