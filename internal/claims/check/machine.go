package check

import (
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/gate"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
)

// boot is what a machine is after it lost power, or was reset: nothing runs, nothing is mounted, tmpfs is empty.
func (w *World) boot(m int) {
	mc := &w.Machines[m]
	config := w.Store.Config
	if mc.Guard != nil {
		config = mc.Guard.Config // the agent tells it what it knew before, until it learns better
	}
	g := guard.New(w.profile(), config)
	*mc = machine{Guard: &g, Saved: &g, Sessions: mc.Sessions, Lost: mc.Sessions, Offer: mc.Offer}
}

func (w *World) want(m int) {
	mc := &w.Machines[m]
	w.tell("agent %s wants %v", machineID(m), mc.Offer)
	fresh := session(m, mc.Sessions+1)
	w.guard(m, guard.Want{Claim: claim, Token: mc.Offer, Fresh: fresh})
	if mc.Guard.Session == fresh {
		mc.Sessions++
	}
}

// leave tells a guard that its machine is about to be shut down. Its agent has a tick to stop what runs, and says nothing then.
func (w *World) leave(m, _ int) {
	spend(&w.Left.Leaves)
	w.tell("guard %s is told to leave", machineID(m))
	w.guard(m, guard.Leave{Patience: w.scenario.Rates[m]})
}

func (w *World) remain(m, _ int) {
	w.tell("guard %s is told to remain", machineID(m))
	w.guard(m, guard.Remain{})
}

// guard gives a guard an event, and carries out what it asks for. It may be killed before any of it.
func (w *World) guard(m int, e guard.Event) {
	mc := &w.Machines[m]
	before := mc.Guard
	next, effects := w.mutant.guardStep(*before, w.now(m), e)
	w.lookGuard(m, before, &next, e)
	mc.Guard = &next
	effects = w.withKill(m, effects)
	var sends []guard.Send
	for _, e := range effects {
		switch e := e.(type) {
		case guard.Save:
			mc.Saved = &next
		case guard.Send:
			sends = append(sends, e)
		case guard.Watchdog:
			mc.Watchdog = e
		case guard.Reset:
			w.tell("guard %s resets its machine: %s", machineID(m), e.Why)
			w.boot(m)
			return
		case guard.Mount:
			mc.Orders = append(mc.Orders, order{e, e.Token})
		case guard.Arm:
			mc.Orders = append(mc.Orders, order{e, e.Token})
		case guard.Clear:
			mc.Orders = append(mc.Orders, order{e, e.Token})
		case guard.Seal:
			mc.Orders = append(mc.Orders, order{e, e.Token})
		case guard.Tell, guard.AskStop:
			w.tellEffect(m, e)
		}
	}
	w.tidyOrders(m)
	if !mc.Dead {
		mc.Saved = &next // what a step need not save is learnt again
	}
	if w.scenario.Cut && len(sends) > 0 && w.Left.Loss > 0 && w.choose(2) == 1 {
		spend(&w.Left.Loss)
		w.tell("nothing of round %d of %s arrives", sends[0].Renewal.Round, machineID(m))
		sends = nil
	}
	for _, s := range sends { // only now, since an answer is another event
		w.send(m, s)
	}
}

func (w *World) tellEffect(m int, e guard.Effect) {
	if t, ok := e.(guard.Tell); ok && w.story != nil {
		w.tell("guard %s: %v is %v %s", machineID(m), t.Token, t.Phase, t.Why)
	}
}

// withKill chooses whether the guard is killed, and after which effect.
func (w *World) withKill(m int, effects []guard.Effect) []guard.Effect {
	if w.Left.Kills == 0 || len(effects) == 0 {
		return effects
	}
	n := w.choose(len(effects) + 1)
	if n == 0 {
		return effects
	}
	spend(&w.Left.Kills)
	w.tell("guard %s is killed after %d of %d effects of the next step", machineID(m), n-1, len(effects))
	w.Machines[m].Dead = true
	return effects[:n-1]
}

// tidyOrders drops orders that are given twice in a row: carried out twice, they do the same.
func (w *World) tidyOrders(m int) {
	mc := &w.Machines[m]
	mc.Orders = slices.CompactFunc(mc.Orders, func(a, b order) bool { return a == b })
}

func (w *World) killGuard(m int) {
	mc := &w.Machines[m]
	mc.Dead = true
	w.tell("guard %s is killed", machineID(m))
}

// restartGuard starts a guard that was killed with what it saved. Orders that it gave may be lost with it, or not.
func (w *World) restartGuard(m int) {
	mc := &w.Machines[m]
	mc.Dead = false
	if len(mc.Orders) > 0 && w.choose(2) == 1 {
		mc.Orders = nil
		w.tell("orders at %s are lost", machineID(m))
	}
	g := *mc.Saved
	g.Flights = nil
	mc.Guard = &g
	w.tell("guard %s starts again", machineID(m))
	w.guard(m, guard.Restarted{})
}

// slot finds what there is of a token, or makes it.
func (mc *machine) slot(t claims.Token) *slot {
	for i := range mc.Slots {
		if mc.Slots[i].Token == t {
			return &mc.Slots[i]
		}
	}
	mc.Slots = append(mc.Slots, slot{Token: t})
	return &mc.Slots[len(mc.Slots)-1]
}

// actuate carries out the first order of a machine, and tells its guard.
func (w *World) actuate(m int) {
	mc := &w.Machines[m]
	o := mc.Orders[0]
	mc.Orders = slices.Delete(mc.Orders, 0, 1)
	s := mc.slot(o.Token)
	var answer guard.Event
	switch o.What.(type) {
	case guard.Mount:
		answer = w.mount(m, s)
	case guard.Arm:
		next, ok := gate.Step(s.Gate, gate.Armed)
		w.tell("the gate of %v at %s is %v", s.Token, machineID(m), next)
		if ok && s.Gate != gate.Armed {
			s.Starting, s.Opened = true, true // the agent asks the Engine
		}
		s.Gate = next
	case guard.Clear:
		answer = w.clear(m, s)
	case guard.Seal:
		if next, ok := gate.Step(s.Gate, gate.Sealed); ok && !s.Live {
			s.Gate = next
			w.tell("%v at %s is sealed", s.Token, machineID(m))
			answer = guard.Closed{Claim: claim, Token: s.Token}
		}
	}
	if answer != nil && !mc.Dead {
		w.guard(m, answer)
	}
}

func (w *World) mount(m int, s *slot) guard.Event {
	if s.Gate != gate.Frozen && s.Gate != gate.Armed {
		return guard.Mounted{Claim: claim, Token: s.Token, Fault: "the gate is shut"}
	}
	s.Mounted = true
	if w.Left.Wrong > 0 && !s.Verified && w.choose(2) == 1 {
		spend(&w.Left.Wrong)
		w.tell("%v at %s is mounted, and is another volume", s.Token, machineID(m))
		return guard.Mounted{Claim: claim, Token: s.Token, Fault: "it is another volume"}
	}
	s.Verified = true
	w.tell("%v at %s is mounted", s.Token, machineID(m))
	return guard.Mounted{Claim: claim, Token: s.Token}
}

func (w *World) clear(m int, s *slot) guard.Event {
	s.Gate, _ = gate.Step(s.Gate, gate.Shut)
	if w.Left.Busy > 0 && s.exposed() && w.choose(2) == 1 {
		spend(&w.Left.Busy)
		s.Live = false
		w.tell("%v at %s is killed, and not quiet", s.Token, machineID(m))
		return guard.Cleared{Claim: claim, Token: s.Token, Fault: "busy"}
	}
	s.Live, s.Mounted = false, false
	w.tell("%v at %s is quiet", s.Token, machineID(m))
	return guard.Cleared{Claim: claim, Token: s.Token}
}

// engineStarts carries out a start that the Engine was asked for, whenever that is.
func (w *World) engineStarts(m, i int) {
	s := &w.Machines[m].Slots[i]
	s.Starting = false
	if w.mutant.NoGate || s.Gate.Accepts() && s.Mounted {
		s.Live = true
		w.tell("a process of %v runs at %s", s.Token, machineID(m))
	} else {
		w.tell("a process of %v at %s finds nothing to run in", s.Token, machineID(m))
	}
}

// send gives a renewal to the network, which does with it what it likes.
func (w *World) send(m int, s guard.Send) {
	r := s.Renewal
	r.Machine = machineID(m)
	w.lookSend(m, r)
	at := slices.IndexFunc(w.Servers, func(sv server) bool { return sv.State.ID == s.Witness })
	if at < 0 {
		return
	}
	switch fate := w.fate(); fate {
	case lost, late:
		if w.story != nil {
			w.tell("round %d of %s to %s: %s is %s", r.Round, machineID(m), s.Witness, intents(r), fates[fate])
		}
		if fate == lost {
			return
		}
		w.Net = append(w.Net, message{at, m, w.now(m), &r, nil})
	default:
		w.receive(at, m, w.now(m), r)
	}
}

func intents(r claims.Renewal) (text string) {
	for _, it := range r.Items {
		text += it.Intent.String() + " " + it.Token.String()
	}
	return text
}

// What can become of a message.
const (
	prompt = iota
	lost
	late
)

var fates = [...]string{"prompt", "lost", "under way"}

func (w *World) fate() int {
	if w.scenario.Cut {
		return prompt
	}
	n, loss := 1, w.Left.Loss > 0
	if loss {
		n++
	}
	if len(w.Net) < int(w.Left.Late) {
		n++
	}
	f := prompt
	if n > 1 {
		f = w.choose(n)
	}
	if f == lost && !loss {
		f = late
	}
	if f == lost {
		spend(&w.Left.Loss)
	}
	return f
}

// arrive delivers a message that was under way.
func (w *World) arrive(i, _ int) {
	msg := w.Net[i]
	if w.Left.Twice > 0 && w.choose(2) == 1 {
		spend(&w.Left.Twice)
	} else {
		w.Net = slices.Delete(w.Net, i, i+1)
	}
	if msg.Renewal != nil {
		if w.story != nil {
			w.tell("what was under way from %s arrives at %s: round %d, %s", machineID(msg.Machine), w.Servers[msg.Server].State.ID, msg.Renewal.Round, intents(*msg.Renewal))
		}
		w.receive(msg.Server, msg.Machine, msg.Sent, *msg.Renewal)
		return
	}
	w.tell("an answer to round %d that was under way from %s arrives at %s", msg.Ack.Round, w.Servers[msg.Server].State.ID, machineID(msg.Machine))
	w.acked(msg.Server, msg.Machine, msg.Sent, *msg.Ack)
}

func (w *World) acked(i, m int, sent time.Duration, a claims.Ack) {
	mc := &w.Machines[m]
	if mc.Dead {
		return
	}
	var notes []answered
	for _, n := range mc.Answers {
		if n.Sent+profile().Lease > w.now(m) {
			notes = append(notes, n)
		}
	}
	for _, v := range a.Verdicts {
		if v.OK && v.Intent != claims.Release {
			notes = append(notes, answered{i, sent, v.Claim.Session, v.Claim.Token})
		}
	}
	mc.Answers = notes
	w.guard(m, guard.Ack{Ack: a})
}
