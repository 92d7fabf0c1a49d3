package orchestrator

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// stay looks after a replica whose machine is not lost: it goes on there, unless that is to be emptied at once.
func (d *decision) stay(r *argosyv1.Replica, m Machine) {
	k := state.KeyOf(r.GetKey())
	home := d.homes[k.Number]
	switch {
	case home != nil && (m.StopData || m.StopAll) && m.live():
		d.change(Change{Kind: Remove, Key: k, Replica: r,
			Why: fmt.Sprintf("%s is being drained; volume %s stays there", m.Name, home.GetName())})
		return
	case m.StopAll && m.live() && !d.in.Entry.GetEachMachine():
		why := m.Name + " is being drained, and its deadline has passed"
		d.replaceKeeping(r, d.handedOver(r, false, why), false, why)
		return
	}
	d.kept = append(d.kept, r)
	if past, changed := d.settled(r); changed {
		d.change(Change{Kind: Settle, Key: k, Replica: r, Past: past, Why: whatIsSettled(r, past)})
	}
	switch unmet := d.unmet(r); {
	case m.Draining && home != nil:
		d.wait(k, fmt.Sprintf("stays on %s, which is being drained: volume %s is there (argosy machines drain %s --stop-data stops it)",
			m.Name, home.GetName(), m.Name))
	case unmet != "" && !m.Draining && home != nil:
		d.wait(k, fmt.Sprintf("%s no longer meets %s; stays: volume %s is there", m.Name, unmet, home.GetName()))
	case unmet != "" && !m.Draining && !d.in.Spec.GetPlacement().GetMoveWhenUnmet():
		d.wait(k, fmt.Sprintf("%s no longer meets %s; stays, as placement.when_unmet does not say move", m.Name, unmet))
	}
}

func whatIsSettled(r *argosyv1.Replica, left []*argosyv1.PastIncarnation) string {
	if len(left) == len(r.GetPast()) {
		return "it is ready, so the incarnation before it may go"
	}
	return "nothing is left of earlier incarnations"
}

// unmet is the rule that a replica's machine no longer meets. What a revision changes is an update's business, and stacks
// with one replica on each machine have a rule of their own.
func (d *decision) unmet(r *argosyv1.Replica) string {
	if d.in.Unmet == nil || d.in.Entry.GetEachMachine() || r.GetRevision() != d.in.Target {
		return ""
	}
	return d.in.Unmet(r.GetMachine())
}

// settled lists the earlier incarnations that may still be somewhere, and says whether that differs from the record: some
// have gone, or need no longer go on.
func (d *decision) settled(r *argosyv1.Replica) (past []*argosyv1.PastIncarnation, changed bool) {
	past = d.pastLeft(r)
	changed = len(past) < len(r.GetPast())
	for i, p := range past {
		if p.GetUntilReady() && !d.goesOn(r, p) {
			past[i] = proto.CloneOf(p)
			past[i].UntilReady = false
			changed = true
		}
	}
	return past, changed
}

// goesOn reports whether an earlier incarnation is still to stand in for the present one.
func (d *decision) goesOn(r *argosyv1.Replica, p *argosyv1.PastIncarnation) bool {
	m := d.in.Machine(p.GetMachine())
	return r.GetGoal() == goalRun && m.Known && !m.lost() && !m.StopAll && r.GetMachine() != p.GetMachine() &&
		(r.GetMachine() == "" || !d.isReady(r))
}

// handedOver is what to remember of a replica that gets its next incarnation elsewhere.
func (d *decision) handedOver(r *argosyv1.Replica, untilReady bool, why string) []*argosyv1.PastIncarnation {
	past, _ := d.settled(r)
	return append(past, &argosyv1.PastIncarnation{Incarnation: r.GetIncarnation(), Machine: r.GetMachine(), Why: why,
		UntilReady: untilReady, Revision: r.GetRevision(), Restart: r.GetRestart()})
}

// leaves says why a replica should be elsewhere, empty when it need not.
func (d *decision) leaves(r *argosyv1.Replica) string {
	m := d.in.Machine(r.GetMachine())
	if d.in.Entry.GetEachMachine() || d.homes[r.GetKey().GetNumber()] != nil {
		return ""
	}
	unmet := d.unmet(r)
	switch {
	case m.Draining:
		return m.Name + " is being drained"
	case unmet != "" && d.in.Spec.GetPlacement().GetMoveWhenUnmet():
		return fmt.Sprintf("%s no longer meets %s", m.Name, unmet)
	}
	return ""
}

// moves finds the replicas that should be elsewhere. They move one at a time: the next one once the last one is ready where
// it went, so that a drain takes nothing away from a stack.
func (d *decision) moves() {
	busy := d.busy()
	var next []Change
	var under *argosyv1.Replica
	for _, r := range d.kept {
		k := state.KeyOf(r.GetKey())
		if p := standsIn(r); p != nil && !busy[k] {
			d.wait(k, fmt.Sprintf("incarnation %d goes on on %s until this one is ready", p.GetIncarnation(), d.in.Machine(p.GetMachine()).Name))
			if under == nil {
				under = r
			}
		}
		why := d.leaves(r)
		switch m := d.in.Machine(r.GetMachine()); {
		case why == "" || busy[k] || standsIn(r) != nil:
		case !m.live():
			d.wait(k, fmt.Sprintf("%s, and waits for it: it is %s", why, Word(m.Condition)))
		default:
			next = append(next, Change{Kind: Move, Key: k, Replica: r, Revision: r.GetRevision(), Restart: r.GetRestart(),
				Past: d.handedOver(r, d.isReady(r) && !d.shared[k.Number], why), Why: why})
		}
	}
	slices.SortStableFunc(next, func(a, b Change) int { return order(d.isReady(a.Replica), d.isReady(b.Replica)) })
	d.plan.Moves = next
	if under == nil || len(next) == 0 {
		return
	}
	s := d.in.Seen(under)
	d.plan.MovesHalted = fmt.Sprintf("waits for %s to be ready on %s: %s", state.KeyOf(under.GetKey()),
		d.in.Machine(under.GetMachine()).Name, stateWord(s.State))
	if s.Message != "" {
		d.plan.MovesHalted += ": " + s.Message
	}
	for _, c := range next {
		d.wait(c.Key, c.Why+"; "+d.plan.MovesHalted)
	}
}

// standsIn is the earlier incarnation that goes on until the present one is ready, nil when there is none.
func standsIn(r *argosyv1.Replica) *argosyv1.PastIncarnation {
	for _, p := range r.GetPast() {
		if p.GetUntilReady() {
			return p
		}
	}
	return nil
}
