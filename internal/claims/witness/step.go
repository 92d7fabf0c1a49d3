package witness

import (
	"fmt"
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Event is what can happen to a witness.
type Event interface{ event() }

type (
	// Renewal came from a guard.
	Renewal struct{ claims.Renewal }
	// Configure tells the set of servers. To one whose table is new it has to be read from a majority of the store,
	// since an old one would let it vote with servers that have been let go.
	Configure struct{ claims.Config }
	// Fence says that the machine of a session was proven unable to write: it was switched off, or the storage refuses it.
	Fence struct{ Session claims.Session }
	// FenceClaim says that the storage of one claim was proven to refuse a machine: nothing that this was granted up to the token can
	// write. What it is granted later, once the storage has taken it back, is another matter, and so is what else its session has.
	FenceClaim struct {
		Claim   claims.ID
		Machine claims.Machine
		Token   claims.Token
	}
	// Drop names claims that the cluster no longer has. Those that somebody may still hold stay. Of the others the highest token is
	// kept, in one floor for all: a claim that comes again under its name is granted a later one, as tokens are the store's revisions.
	Drop struct{ Claims []claims.ID }
	// Tick says that time has passed.
	Tick struct{}
)

func (Renewal) event()    {}
func (Configure) event()  {}
func (Fence) event()      {}
func (FenceClaim) event() {}
func (Drop) event()       {}
func (Tick) event()       {}

// Effect is what a step asks for.
type Effect interface{ effect() }

type (
	// Save asks for the table to be on disk before any effect after it is carried out.
	Save struct{ Table Table }
	// Reply answers the renewal.
	Reply struct{ Ack claims.Ack }
)

func (Save) effect()  {}
func (Reply) effect() {}

// Open begins the life of a witness's process. With whole it goes on with the table that was saved last: every holder
// counts as heard now. Without, the table was lost, or is not surely the newest, or never was: it begins anew and has no
// vote until it was told the set of servers and W has passed. Letting it vote for those who continue would not be safe: it
// cannot tell them from those that it has let go.
func Open(now time.Duration, id claims.Witness, p claims.Profile, t Table, whole bool) (State, []Effect) {
	s := State{ID: id, Profile: p, Table: t.Clone(), Votes: now + p.Wait, Since: now}
	if whole {
		s.Heard = make([]Heard, len(s.Records))
		for i := range s.Heard {
			s.Heard[i].At = now
		}
		return s, nil
	}
	s.Table = Table{Serial: t.Serial, Silent: true}
	return s, s.save(nil)
}

func (s *State) save(effects []Effect) []Effect {
	s.Serial++
	return append(effects, Save{s.Table.Clone()})
}

// Step is one step. It changes nothing of what it is given.
func Step(s State, now time.Duration, e Event) (State, []Effect) {
	s = s.clone()
	var effects []Effect
	if s.Silent && !s.mute(now) {
		s.Silent = false
		effects = s.save(effects)
	}
	switch e := e.(type) {
	case Renewal:
		return s, s.renewal(now, e.Renewal, effects)
	case Configure:
		return s, s.configure(now, e.Config, effects)
	case Fence:
		changed := false
		for i := range s.Records {
			if r := &s.Records[i]; r.Session == e.Session && (r.State == Held || r.Alone) {
				r.State, r.Alone, changed = Fenced, false, true
			}
		}
		if changed {
			effects = s.save(effects)
		}
	case FenceClaim:
		at, found := s.find(e.Claim)
		if !found {
			break
		}
		if r := &s.Records[at]; r.Machine == e.Machine && !e.Token.Less(r.Token) && r.State == Held {
			r.State, r.Alone = Fenced, true
			effects = s.save(effects)
		}
	case Drop:
		before := len(s.Records)
		for _, id := range e.Claims {
			if at, found := s.find(id); found && s.free(now, at) {
				if t := s.Records[at].Token; s.Floor.Less(t) {
					s.Floor = t
				}
				s.Records, s.Heard = slices.Delete(s.Records, at, at+1), slices.Delete(s.Heard, at, at+1)
			}
		}
		if len(s.Records) != before {
			effects = s.save(effects)
		}
	}
	return s, effects
}

func (s *State) configure(now time.Duration, c claims.Config, effects []Effect) []Effect {
	if c.Validate() != nil || !s.Config.Epoch.Less(c.Epoch) {
		return effects
	}
	if s.Config.Epoch.IsZero() {
		s.Votes = now + s.Profile.Wait
	}
	s.Config, s.Since = c.Clone(), now
	return s.save(effects)
}

func (s *State) renewal(now time.Duration, r claims.Renewal, effects []Effect) []Effect {
	ack := claims.Ack{Witness: s.ID, Session: r.Session, Epoch: r.Epoch, Round: r.Round}
	if why := s.refuse(now, r, &ack); why != "" {
		ack.Refused = why
		return append(effects, Reply{ack})
	}
	changed := false
	for _, it := range r.Items {
		v, did := s.judge(now, r, it)
		ack.Verdicts = append(ack.Verdicts, v)
		changed = changed || did
	}
	if changed {
		effects = s.save(effects)
	}
	return append(effects, Reply{ack})
}

// refuse says why a renewal is not looked at.
func (s *State) refuse(now time.Duration, r claims.Renewal, ack *claims.Ack) string {
	if err := r.Validate(); err != nil {
		return err.Error()
	}
	switch c := r.Epoch.Compare(s.Config.Epoch); {
	case s.Config.Epoch.IsZero():
		return "this server does not know the set of servers yet"
	case c < 0:
		config := s.Config.Clone()
		ack.Config = &config
		return fmt.Sprintf("the set of servers is %v meanwhile, not %v", s.Config.Epoch, r.Epoch)
	case c > 0:
		return fmt.Sprintf("this server knows the set of servers as of %v, not yet %v", s.Config.Epoch, r.Epoch)
	case s.mute(now):
		return fmt.Sprintf("this server's table is new; it votes in %s", claims.Tenths(s.Votes-now))
	}
	return ""
}

// judge answers one item; changed tells whether the table did.
func (s *State) judge(now time.Duration, from claims.Renewal, it claims.Item) (v claims.Verdict, changed bool) {
	v = claims.Verdict{Claim: claims.Claimed{ID: it.Claim, Session: it.Session, Token: it.Token}, Intent: it.Intent}
	at, found := s.find(it.Claim)
	var r Record
	if v.Floor = s.Floor; found {
		r = s.Records[at]
		v.Floor = r.Token
	}
	mine := found && r.Machine == from.Machine && r.Session == it.Session && r.Token == it.Token
	switch {
	case it.Intent == claims.Release:
		v.OK = true // where the record is another, there is nothing to let go
		if mine && r.State == Held {
			s.Records[at].State = Released
			return v, true
		}
	case mine && r.State != Held:
		v.Why = fmt.Sprintf("token %v was %v", r.Token, r.State)
	case mine:
		v.OK = true
		if h := &s.Heard[at]; from.Round > h.Round { // one that was overtaken is no news
			h.At, h.Round = now, from.Round
		}
	case it.Intent == claims.Continue:
		v.Unknown = true
		v.Why = "this server has not recorded it"
	default:
		if v.Why, v.Left = s.denied(now, from.Machine, it, at, found); v.Why != "" {
			return v, false
		}
		v.OK, v.Floor = true, it.Token
		if !found {
			s.Records, s.Heard = slices.Insert(s.Records, at, Record{}), slices.Insert(s.Heard, at, Heard{})
		}
		s.Records[at] = Record{Claim: it.Claim, Machine: from.Machine, Session: it.Session, Token: it.Token}
		s.Heard[at] = Heard{At: now, Round: from.Round}
		return v, true
	}
	return v, false
}

// denied says why a claim cannot be acquired, and is empty when it can; left is what has to pass where only time is against it.
func (s *State) denied(now time.Duration, m claims.Machine, it claims.Item, at int, found bool) (why string, left time.Duration) {
	switch {
	case it.Token.Generation > s.Config.Epoch.Generation:
		return fmt.Sprintf("token %v is of a store that this server has not heard of; it knows generation %d", it.Token, s.Config.Epoch.Generation), 0
	case !found && len(s.Records) >= MaxRecords:
		return fmt.Sprintf("this server's table has %d claims and no room for more", len(s.Records)), 0
	case !found && !s.Floor.Less(it.Token):
		return fmt.Sprintf("token %v is not above %v, up to which claims were dropped that the cluster no longer has", it.Token, s.Floor), 0
	case !found:
		return "", 0
	}
	r := s.Records[at]
	switch {
	case !r.Token.Less(it.Token):
		return fmt.Sprintf("token %v is not above %v, which %s had", it.Token, r.Token, r.Machine), 0
	case r.Session == it.Session && (r.Machine != m || r.State == Fenced && !r.Alone):
		return fmt.Sprintf("the session belongs to %s and is %v", r.Machine, r.State), 0
	case r.Session == it.Session || s.free(now, at):
		return "", 0
	}
	age := now - s.Heard[at].At
	left = s.Profile.Wait - age
	return fmt.Sprintf("held by %s with token %v, last heard %s ago: %s more", r.Machine, r.Token, claims.Tenths(age), claims.Tenths(left)), left
}

// free tells whether another session may have the claim of a record.
func (s *State) free(now time.Duration, at int) bool {
	return s.Records[at].State != Held || now-s.Heard[at].At >= s.Profile.Wait
}
