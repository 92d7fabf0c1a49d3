package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// A unit that replaces others is placed beside none of them. Where no machine is without them, they are moved: each by its own
// rules, or nobody moves and the unit says why it waits. The unit is given the machine at once, so that nobody else comes to
// need it meanwhile, and its machine is told of it when the last of them is gone from there (heldBy).
//
// Whoever is moved gets a machine in the same step and drives nobody out himself, so every unit that is placed moves others
// once, and nobody is chased about.

// displacing is a replica that is placed, and what is moved for it.
type displacing struct {
	decision scheduler.Decision
	moved    []scheduler.Decision // of replicas that have a record on the machine; those that leave it anyway are not in here
	why      string               // where nothing was found
}

const (
	// maxDisplaced bounds what is moved for one unit, maxTried the machines that are tried.
	maxDisplaced, maxTried = 100, 16
)

// displace looks for a machine for what replaces others and can be nowhere without that. What it finds stays booked in the trial.
func (c *Core) displace(now time.Time, t *scheduler.Trial, req scheduler.Request, busy func(state.Key) bool) displacing {
	var why []string
	list := t.Displacements(req.Replica, req.Shape)
	for _, m := range list[:min(len(list), maxTried)] {
		mark := t.Mark()
		out := c.displaceFrom(now, t, req, m, busy)
		if out.decision.Placed() {
			return out
		}
		t.Back(mark)
		if out.why != "" {
			why = append(why, out.why)
		}
	}
	return displacing{why: strings.Join(why, "; ")}
}

func (c *Core) displaceFrom(now time.Time, t *scheduler.Trial, req scheduler.Request, m scheduler.Displacement, busy func(state.Key) bool) displacing {
	name := c.st.MachineName(m.MachineID)
	if len(m.Leave) > maxDisplaced {
		return displacing{why: fmt.Sprintf("%d replicas would have to leave %s, and %d may at once", len(m.Leave), name, maxDisplaced)}
	}
	if req.Pin.Machine != "" && req.Pin.Machine != m.MachineID {
		return displacing{}
	}
	var movers []scheduler.Request
	for _, p := range m.Leave {
		k := state.Key{Tenant: p.Replica.Stack.Tenant, App: p.Replica.Stack.App, Stack: p.Replica.Stack.Name, Number: uint32(p.Replica.Number)}
		r := c.st.Replica(k)
		t.Remove(p)
		switch home, volume := c.st.HomeOf(k); {
		case busy(k):
			c.capacity = true // it is looked at again when what is under way is through
			return displacing{why: fmt.Sprintf("%s, which has to leave %s, is being changed", k, name)}
		case leaves(r, p):
		case c.each.Has(k.StackKey()):
			return displacing{why: fmt.Sprintf("%s cannot leave %s: there is one on each machine", k, name)}
		case home != "":
			return displacing{why: fmt.Sprintf("%s cannot leave %s: volume %s is there", k, name, volume)}
		default:
			movers = append(movers, scheduler.Request{Replica: p.Replica, Incarnation: c.st.Above(r.GetIncarnation()), Shape: p.Shape})
		}
	}
	req.Pin = scheduler.Pin{Machine: m.MachineID, Why: replacesText(m.Leave)}
	// Who waits is answered with the requests, which the caller keeps.
	asked := []scheduler.Request{req}
	out := displacing{decision: t.Decide(now, asked)[0]}
	if !out.decision.Placed() {
		return displacing{why: fmt.Sprintf("nor does it fit without what it replaces: %s", refusal(&out.decision))}
	}
	out.moved = t.Decide(now, movers)
	for i := range out.moved {
		if d := &out.moved[i]; !d.Placed() {
			return displacing{why: fmt.Sprintf("%s cannot leave %s: %s", d.Request.Replica, name, refusal(d))}
		}
	}
	for _, p := range m.Leave { // until they are gone they need what they have
		t.Add(p)
	}
	return out
}

// refusal is why a decision found no machine.
func refusal(d *scheduler.Decision) string { return strings.TrimPrefix(d.Reason.String(), "waits: ") }

// leaves says whether what is placed leaves its machine anyway.
func leaves(r *argosyv1.Replica, p scheduler.Placed) bool {
	return r.GetIncarnation() != p.Incarnation || r.GetMachine() != p.Machine || r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE
}

func replacesText(leave []scheduler.Placed) string {
	text := fmt.Sprintf("it replaces %s there", leave[0].Replica)
	if more := len(leave) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// displace places a job at the cost of what its units replace; otherwise why says what is in the way, empty if it replaces nothing
// anywhere.
func (s *stepping) displace(j job, req scheduler.Request) (why string, placed bool) {
	if !replacesSome(req.Shape) {
		return "", false
	}
	c := s.c
	t := c.sched.Suppose()
	found := c.displace(s.now, t, req, s.changed.Has)
	if !found.decision.Placed() {
		t.End()
		return found.why, false
	}
	t.Keep()
	for i := range found.moved {
		s.sendAway(&found.moved[i], j.key)
	}
	s.assign(j, &found.decision)
	return "", true
}

// sendAway gives a replica its next incarnation elsewhere. Its present one is stopped at once: who takes its place waits for that.
func (s *stepping) sendAway(d *scheduler.Decision, by state.Key) {
	c := s.c
	k := state.Key{Tenant: d.Request.Replica.Stack.Tenant, App: d.Request.Replica.Stack.App, Stack: d.Request.Replica.Stack.Name,
		Number: uint32(d.Request.Replica.Number)}
	r := c.st.Replica(k)
	why := fmt.Sprintf("%s replaces it on %s", by, c.st.MachineName(r.GetMachine()))
	next := proto.CloneOf(r)
	next.Past = append(next.Past, &argosyv1.PastIncarnation{Incarnation: r.GetIncarnation(), Machine: r.GetMachine(), Why: why})
	next.Incarnation = d.Request.Incarnation
	delete(c.waits[k.StackKey()], k)
	s.assign(job{key: k, next: next, from: "on " + c.st.MachineName(r.GetMachine()), why: why}, d)
}

func replacesSome(s *scheduler.Shape) bool {
	return s != nil && slices.ContainsFunc(s.Units, func(u scheduler.Unit) bool { return len(u.Replaces) > 0 })
}

// heldBy says what a replica, which has a machine, waits for before that is told of it: that what its units replace is gone from
// there. What the machine has shown already is never held.
func (c *Core) heldBy(k state.Key, r *argosyv1.Replica) string {
	if r.GetMachine() == "" || r.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
		return ""
	}
	sh := c.shapeAt(k.StackKey(), r.GetRevision())
	if shape := sh.of(k); replacesSome(shape) {
		if _, _, seen := c.disp.Seen(r.GetMachine(), incarnationOf(r, r.GetIncarnation())); seen {
			return ""
		}
		for _, p := range c.sched.Displaced(schedulerReplica(k), shape, r.GetMachine()) {
			other := state.Key{Tenant: p.Replica.Stack.Tenant, App: p.Replica.Stack.App, Stack: p.Replica.Stack.Name, Number: uint32(p.Replica.Number)}
			if leaves(c.st.Replica(other), p) {
				return fmt.Sprintf("waits until %s, which it replaces, is gone from %s", other, c.st.MachineName(r.GetMachine()))
			}
		}
	}
	return ""
}

// hold notes that a machine is to be told of a replica later.
func (c *Core) hold(k state.Key, r *argosyv1.Replica) bool {
	if c.heldBy(k, r) == "" {
		return false
	}
	if c.held[r.GetMachine()] == nil {
		c.held[r.GetMachine()] = state.Set[state.Key]{}
	}
	c.held[r.GetMachine()].Add(k)
	return true
}

// freed has a machine told of what was held there, as far as it is free to run now.
func (c *Core) freed(machine string) {
	for k := range c.held[machine] {
		c.disp.Mark(machine, k)
		c.change.Replicas.Add(k)
	}
	delete(c.held, machine)
}
