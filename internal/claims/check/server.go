package check

import (
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// receive gives a renewal to a witness.
func (w *World) receive(i, m int, sent time.Duration, r claims.Renewal) {
	id := w.Servers[i].State.ID
	for _, e := range w.witness(i, witness.Renewal{Renewal: r}) {
		a := e.Ack
		a.Witness = id
		w.lookAck(i, m, sent, a)
		fate := prompt
		if !w.scenario.Whole {
			fate = w.fate()
		}
		if w.story != nil {
			w.tell("round %d of %s at %s: %s; the answer is %s", r.Round, machineID(m), id, answer(a), fates[fate])
		}
		switch fate {
		case late:
			w.Net = append(w.Net, message{i, m, sent, nil, &a})
		case prompt:
			w.acked(i, m, sent, a)
		}
	}
}

func answer(a claims.Ack) string {
	if a.Refused != "" {
		return a.Refused
	}
	text := ""
	for _, v := range a.Verdicts {
		text += v.Intent.String() + " " + v.Claim.Token.String()
		if v.OK {
			text += ": yes"
		} else {
			text += ": " + v.Why
		}
	}
	return text
}

// witness gives a witness an event and carries out what it asks for; the answers are returned. Its process may end before
// any of it, and starts again with what is on disk.
func (w *World) witness(i int, e witness.Event) (replies []witness.Reply) {
	s := &w.Servers[i]
	before := s.State
	next, effects := w.mutant.witnessStep(*before, w.serverNow(), e)
	w.lookWitness(i, before, &next)
	s.State = &next
	kill := len(effects)
	if w.Left.Restarts > 0 && len(effects) > 1 {
		if n := w.choose(len(effects)); n > 0 {
			kill = n
		}
	}
	for _, e := range effects[:kill] {
		switch e := e.(type) {
		case witness.Save:
			s.keep(e.Table)
		case witness.Reply:
			replies = append(replies, e)
		}
	}
	if kill < len(effects) {
		w.tell("the next step of %s ends after %d of %d effects, with its process", s.State.ID, kill, len(effects))
		w.restartServer(i, 0)
	}
	return replies
}

// keep puts a table on disk.
func (s *server) keep(t witness.Table) {
	s.Saved = &t
	for _, r := range t.Records {
		if s.Highest.Less(r.Token) {
			s.Highest = r.Token
		}
	}
}

func (w *World) restartServer(i, _ int) {
	spend(&w.Left.Restarts)
	s := &w.Servers[i]
	w.tell("the witness of %s starts again", s.State.ID)
	w.open(i, true)
}

func (w *World) open(i int, whole bool) {
	s := &w.Servers[i]
	next, effects := w.mutant.open(w.serverNow(), s.State.ID, w.profile(), *s.Saved, whole)
	s.State = &next
	for _, e := range effects {
		if save, ok := e.(witness.Save); ok {
			s.keep(save.Table)
		}
	}
}

// forget loses a witness's table. It is told the set of servers as it is now.
func (w *World) forget(i, _ int) {
	spend(&w.Left.Forgets)
	s := &w.Servers[i]
	w.tell("%s loses its table", s.State.ID)
	w.open(i, false)
	s.Forgot, s.Highest = w.serverNow(), claims.Token{}
	w.witness(i, witness.Configure{Config: w.Store.Config})
}

func (w *World) configureServer(i, _ int) {
	w.tell("%s is told the set of servers %v", w.Servers[i].State.ID, w.Store.Config.Epoch)
	w.witness(i, witness.Configure{Config: w.Store.Config})
}

// drop tells one witness that the cluster no longer has the claim.
func (w *World) drop(i, _ int) {
	spend(&w.Left.Drops)
	w.tell("%s is told to drop the claim", w.Servers[i].State.ID)
	w.witness(i, witness.Drop{Claims: []claims.ID{claim}})
}

// fence tells one witness that a session's machine cannot write.
func (w *World) fence(i, which int) {
	spend(&w.Left.Fences)
	id := session(which/100, which%100)
	w.tell("%s is told that session %s is fenced", w.Servers[i].State.ID, id)
	w.witness(i, witness.Fence{Session: id})
}

// The ways in which the storage is told to refuse a machine.
const (
	refuseNew   = iota // the leader does
	refuseLate         // a program of a leader of before, which ends late: nobody knows of it
	refuseAgain        // the leader, now that nobody else tells the storage anything
)

func (w *World) refuse(m, how int) {
	st := &w.Storage
	w.tell("the storage refuses %s", machineID(m))
	st.Refuses[m] = true
	switch how {
	case refuseNew:
		spend(&w.Left.Refusals)
		st.Bound[m], st.Sure[m] = w.Store.Last, !st.Late[m]
	case refuseLate:
		spend(&w.Left.Refusals)
	case refuseAgain:
		st.Sure[m] = true
	}
}

// takeBack has it take the machine back; late says that the leader is deposed meanwhile, and that its program may do so once more.
func (w *World) takeBack(m, late int) {
	w.tell("the storage takes %s back", machineID(m))
	if w.Storage.Refuses[m] = false; late == 1 {
		spend(&w.Left.Refusals)
		w.Storage.Late[m] = true
	}
}

// lateBack is how such a program ends: it has the storage take the machine back, or does nothing any more.
func (w *World) lateBack(m, nothing int) {
	if w.Storage.Late[m] = false; nothing == 1 {
		return
	}
	w.tell("a program of before has the storage take %s back", machineID(m))
	w.Storage.Refuses[m] = false
}

// fenceClaim tells one witness that the storage refuses a machine.
func (w *World) fenceClaim(i, m int) {
	w.tell("%s is told that the storage refuses %s, which was granted up to %v", w.Servers[i].State.ID, machineID(m), w.Storage.Bound[m])
	w.witness(i, witness.FenceClaim{Claim: claim, Machine: machineID(m), Token: w.Storage.Bound[m]})
}

// nothingLeft tells whether nothing is left on a machine of what it was granted before it was refused, nor will be.
func (w *World) nothingLeft(m int) bool {
	mc, bound := &w.Machines[m], w.Storage.Bound[m]
	if !mc.Offer.IsZero() && !bound.Less(mc.Offer) {
		return false // its agent may want it again
	}
	for _, s := range mc.Slots {
		if !bound.Less(s.Token) && !w.quiet(m, s.Token) {
			return false
		}
	}
	for _, o := range mc.Orders {
		if !bound.Less(o.Token) {
			return false
		}
	}
	g := mc.Guard
	if mc.Dead {
		g = mc.Saved
	}
	for _, c := range g.Claims {
		if !bound.Less(c.Token) && c.Phase < guard.Sealed {
			return false
		}
	}
	return true
}

func (s *server) record() *witness.Record {
	if at := slices.IndexFunc(s.State.Records, func(r witness.Record) bool { return r.Claim == claim }); at >= 0 {
		return &s.State.Records[at]
	}
	return nil
}
