package claims

import (
	"fmt"
	"time"
)

// Class is what protects a volume, and so what may be promised of it.
type Class uint8

// The classes of volume, the weaker promise first where a machine can be lost.
const (
	ClassLocal    Class = iota // data on one machine; no lease
	ClassTimed                 // shared; protected by the guard and time
	ClassDetected              // and the file system notices a second mount
	ClassFenced                // and the storage refuses the old holder
)

func (c Class) String() string {
	return [...]string{"local", "timed", "timed+detected", "fenced", "unknown"}[min(c, ClassFenced+1)]
}

// Granted is a grant in the store.
type Granted struct {
	Machine Machine
	Token   Token
	// Ended: the machine said that this token is over there, or was never begun with.
	Ended bool
	// Connected: the machine speaks with the leader now.
	Connected bool
}

// Seen is what the leader's own witness knows of a claim.
type Seen struct {
	Machine Machine
	Session Session
	Token   Token
	// Gone is empty while it is held; "released" or "fenced" else.
	Gone string
	// Age is the time since the holder was heard of it.
	Age time.Duration
}

// Sights is all that the leader's own witness knows.
type Sights struct {
	// Mute is why it knows nothing yet, or empty.
	Mute string
	Seen map[ID]Seen
	// Voting: a majority of the witnesses that decide can give leases now, as far as its server has heard. Who gets none then is cut
	// off from them.
	Voting bool
}

// Force is an administrator's wish that a claim be taken from its holder.
type Force struct {
	By      string
	Allowed bool // by his role
	Reason  string
}

// Wish is all that is known of one claim.
type Wish struct {
	Claim   ID
	Class   Class
	Granted *Granted // nil: never
	Seen    *Seen    // nil: the leader's witness has no record
	Wanted  Machine  // empty: nowhere
	Force   *Force
	// Silent: the agent of the machine that is seen to hold it says nothing, either.
	Silent bool
	// Barred are the machines that the storage refuses, or is being told to refuse.
	Barred []Barred
	// Forget: what is known of the volume is to go for good.
	Forget bool
}

// Action is what the leader does about a claim.
type Action uint8

// What the leader can do.
const (
	Keep     Action = iota // nothing
	Grant                  // commit a new token for To
	Withdraw               // tell To to stop and release
	WaitFor                // nothing yet; Reason says for what, Wait for how long where that is known
	Fence                  // tell the witnesses that the holder's session is fenced, and write Audit
	Refuse                 // the force that was asked for is refused; Reason says why
)

func (a Action) String() string {
	return [...]string{"keep", "grant", "withdraw", "wait", "fence", "refuse", "unknown"}[min(a, Refuse+1)]
}

// Decision is what to do about a claim, and why.
type Decision struct {
	Claim  ID
	Action Action
	To     Machine
	// Above is the highest token known: the one that is granted must be higher, or is not committed.
	Above Token
	// Session is what a Fence is about.
	Session Session
	Wait    time.Duration
	Reason  string
	Audit   string
	// Cause is why a claim is granted anew, as Reason has it among other words; empty where it is not.
	Cause string
	// Bar is the holder's machine, which the storage is to refuse before anybody else has the claim, and Back the one that it is to take back
	// before that is granted it, or before the claim is forgotten; empty when there is none.
	Bar, Back Machine
}

// Decide says what to do about each claim, in their order. Mute is why the leader's own witness knows nothing yet, or empty.
// Whatever it decides, two machines never write: that is the witnesses' and guards' affair. It decides who is ready early
// enough, and that nobody who is well is disturbed.
func Decide(p Profile, mute string, wishes []Wish) []Decision {
	out := make([]Decision, 0, len(wishes))
	for _, w := range wishes {
		d := fenced(p, mute, w, decide(p, mute, w))
		d.Claim = w.Claim
		if w.Granted != nil {
			d.Above = w.Granted.Token
		}
		if w.Seen != nil && d.Above.Less(w.Seen.Token) {
			d.Above = w.Seen.Token
		}
		out = append(out, d)
	}
	return out
}

func decide(p Profile, mute string, w Wish) Decision {
	switch {
	case w.Force != nil:
		return force(p, mute, w)
	case w.Class == ClassLocal:
		return local(w)
	case w.Granted != nil && w.Wanted == "":
		return unwanted(w)
	case w.Wanted == "":
		return Decision{Reason: "nobody wants it"}
	case mute != "":
		return Decision{Action: WaitFor, Reason: mute}
	case w.Granted == nil:
		return Decision{Action: Grant, To: w.Wanted, Reason: "granted to " + string(w.Wanted) + ": nobody had it" + after(p, w.Seen)}
	case w.Seen != nil && w.Granted.Token.Less(w.Seen.Token):
		return anew(w, "the servers know token %v of %s, which is newer than the store", w.Seen.Token, w.Seen.Machine)
	case w.Granted.Machine == w.Wanted:
		return stay(p, w)
	}
	return move(p, w)
}

// after says what a grant has to wait for, where a holder is on record.
func after(p Profile, s *Seen) string {
	if s == nil || s.Gone != "" {
		return ""
	}
	return "; " + waiting(p, s)
}

func waiting(p Profile, s *Seen) string {
	if s.Age >= p.Wait {
		return fmt.Sprintf("%s's lease has run out; %s last heard %s ago", s.Machine, s.Machine, Tenths(s.Age))
	}
	return fmt.Sprintf("waiting %s more for %s's lease; %s last heard %s ago", Tenths(p.Wait-s.Age), s.Machine, s.Machine, Tenths(s.Age))
}

func local(w Wish) Decision {
	switch {
	case w.Wanted == "":
		return unwanted(w)
	case w.Granted == nil:
		return Decision{Action: Grant, To: w.Wanted, Reason: "granted to " + string(w.Wanted) + ": nobody had it"}
	case w.Granted.Machine != w.Wanted:
		return Decision{Action: WaitFor, Reason: fmt.Sprintf("a local volume stays where its data is, on %s", w.Granted.Machine)}
	case w.Granted.Ended:
		return anew(w, "token %v is over", w.Granted.Token)
	}
	return Decision{Reason: string(w.Wanted) + " has it"}
}

// unwanted ends what nobody wants.
func unwanted(w Wish) Decision {
	if w.Granted == nil || w.Granted.Ended || w.Seen != nil && w.Seen.Gone != "" && w.Seen.Token == w.Granted.Token {
		return Decision{Reason: "nobody wants it, and nobody has it"}
	}
	return Decision{Action: Withdraw, To: w.Granted.Machine, Reason: "no longer wanted; " + string(w.Granted.Machine) + " stops and releases it"}
}

// anew grants a claim once more to whom it was granted before.
func anew(w Wish, cause string, args ...any) Decision {
	cause = fmt.Sprintf(cause, args...)
	return Decision{Action: Grant, To: w.Wanted, Cause: cause, Reason: "granted anew to " + string(w.Wanted) + ": " + cause}
}

// stay is about a claim that is granted where it is wanted.
func stay(p Profile, w Wish) Decision {
	g, s := w.Granted, w.Seen
	switch {
	case g.Ended:
		return anew(w, "token %v is over there%s", g.Token, after(p, s))
	case s == nil || s.Token.Less(g.Token) && s.Gone != "":
		return Decision{Action: WaitFor, Reason: fmt.Sprintf("token %v is granted to %s, which has not acquired it yet", g.Token, g.Machine)}
	case s.Token.Less(g.Token):
		return Decision{Action: WaitFor, Wait: max(0, p.Wait-s.Age), Reason: waiting(p, s)}
	case s.Gone != "":
		return anew(w, "token %v was %s", g.Token, s.Gone)
	}
	return Decision{Reason: fmt.Sprintf("%s holds it; last heard %s ago", s.Machine, Tenths(s.Age))}
}

// move is about a claim that is granted elsewhere.
func move(p Profile, w Wish) Decision {
	g, s := w.Granted, w.Seen
	held := s != nil && s.Token == g.Token && s.Gone == ""
	grant := func(why string) Decision {
		return Decision{Action: Grant, To: w.Wanted, Reason: fmt.Sprintf("granted to %s: %s", w.Wanted, why)}
	}
	switch {
	case s != nil && s.Token == g.Token && s.Gone != "":
		return grant(fmt.Sprintf("%s's token %v was %s", g.Machine, g.Token, s.Gone))
	case held && s.Age >= p.Lease/2:
		return Decision{Action: Grant, To: w.Wanted, Wait: max(0, p.Wait-s.Age), Reason: fmt.Sprintf("prepared on %s: %s", w.Wanted, waiting(p, s))}
	case g.Ended:
		return grant(fmt.Sprintf("token %v is over on %s", g.Token, g.Machine) + after(p, s))
	case held:
		return Decision{Action: Withdraw, To: g.Machine, Reason: fmt.Sprintf("moves to %s: %s, last heard %s ago, stops and releases it", w.Wanted, g.Machine, Tenths(s.Age))}
	case g.Connected:
		return Decision{Action: Withdraw, To: g.Machine, Reason: fmt.Sprintf("moves to %s: %s was granted it, and gives it back", w.Wanted, g.Machine)}
	}
	return grant(fmt.Sprintf("%s was granted token %v, is not seen to have acquired it, and is out of sight%s", g.Machine, g.Token, after(p, s)))
}

// force takes a claim from a holder that does not answer. It cannot shorten the time in which the holder may still write.
func force(p Profile, mute string, w Wish) Decision {
	f, s := w.Force, w.Seen
	refuse := func(format string, args ...any) Decision {
		return Decision{Action: Refuse, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case !f.Allowed:
		return refuse("%s may not force a claim: that needs the role administrator", f.By)
	case f.Reason == "":
		return refuse("say why the claim is forced: it is kept in the audit log")
	case w.Class == ClassLocal:
		return refuse("a local volume has no lease that could be forced: its data is on one machine")
	case mute != "":
		return refuse("not yet: %s", mute)
	case s == nil:
		return refuse("no holder is on record, so there is nothing to force")
	case s.Gone != "":
		return refuse("%s's token %v was %s already, so there is nothing to force", s.Machine, s.Token, s.Gone)
	case s.Age < p.Wait:
		d := refuse("%s was heard %s ago and may still write: a claim is given up only after %s of silence, which is in %s", s.Machine, Tenths(s.Age), Tenths(p.Wait), Tenths(p.Wait-s.Age))
		d.Wait = p.Wait - s.Age
		return d
	}
	return Decision{Action: Fence, Session: s.Session, To: s.Machine,
		Reason: fmt.Sprintf("forced by %s: %s", f.By, f.Reason),
		Audit:  fmt.Sprintf("%s forced claim %s, held by %s with token %v and not heard for %s: %s", f.By, w.Claim, s.Machine, s.Token, Tenths(s.Age), f.Reason)}
}
