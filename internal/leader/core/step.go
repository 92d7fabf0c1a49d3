package core

import (
	"fmt"
	"math"
	"slices"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/placement"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Step decides everything that is due and returns what is to be committed, in order.
func (c *Core) Step(now time.Time) []Unit {
	c.settle()
	c.disp.Slow(now)
	if !now.Before(c.judgeAt) {
		c.judge(now)
		c.settle()
	}
	units := c.machineUnits(now)
	s := &stepping{c: c, now: now, floors: map[state.AppKey]uint64{}, changed: state.Set[state.Key]{}}
	retry := c.capacity && !now.Before(c.retryAt)
	if retry {
		c.capacity = false
		c.retryAt = now.Add(time.Duration(len(c.pending)+len(c.stuck)) * retryCost)
		for k := range c.stuck {
			c.stacks.Add(k)
		}
	}
	for k, at := range c.proving {
		if !now.Before(at) {
			c.stacks.Add(k)
		}
	}
	for _, k := range sortedSet(c.stacks, state.StackKey.Compare) {
		s.stack(k)
	}
	clear(c.stacks)
	if retry {
		s.retry()
	}
	s.place()
	c.foresee(now)
	s.claims()
	units = append(units, s.floorUnits()...)
	units = append(units, s.units...)
	units = append(units, c.appUnits(now)...)
	units = append(units, c.outboxUnits(now)...)
	return units
}

// retryCost spaces out tries of what waits for capacity: a thousand waiting replicas are tried every ten milliseconds at
// most, however often something is freed.
const retryCost = 10 * time.Microsecond

// stepping is one Step's work on stacks.
type stepping struct {
	c     *Core
	now   time.Time
	units []Unit
	// jobs wait for the scheduler's decision.
	jobs []job
	// floors are incarnations whose records go, by app.
	floors map[state.AppKey]uint64
	// changed are replicas that this step already changes.
	changed state.Set[state.Key]
}

// stack decides one stack and carries out the plan, but for what needs a place.
func (s *stepping) stack(k state.StackKey) {
	c := s.c
	delete(c.stuck, k)
	delete(c.rolling, k)
	delete(c.proving, k)
	delete(c.waits, k)
	in, fault := c.input(s.now, k)
	if fault != "" {
		s.blocked(k, fault)
		return
	}
	plan := orchestrator.Decide(in)
	for key, why := range plan.Waits {
		c.wait(key, wait{text: why})
	}
	for _, ch := range plan.Changes {
		if ch.Kind != orchestrator.Adopt && ch.Kind != orchestrator.Restart {
			s.carry(ch)
			continue
		}
		if !s.inPlace(ch) {
			// It is felt after all: it has to move, and takes its turn.
			ch.Kind = orchestrator.Restart
			plan.Roll = append(plan.Roll, ch)
			if plan.Halted != "" {
				c.wait(ch.Key, wait{text: plan.Halted})
			}
		}
	}
	if plan.MovesHalted == "" {
		s.leave(k, plan.Moves)
	}
	if plan.Halted != "" {
		c.rolling.Add(k)
		if plan.Again > 0 {
			c.proving[k] = s.now.Add(plan.Again)
		}
	} else {
		s.roll(k, plan.Roll)
	}
	// Pending replicas that the plan does not touch are tried again, since something about the stack has changed.
	for _, r := range in.Replicas {
		if key := state.KeyOf(r.GetKey()); c.pending.Has(key) && !s.changed.Has(key) {
			s.again(r)
		}
	}
}

func (s *stepping) blocked(k state.StackKey, fault string) {
	s.c.complain("%s: %s", k, fault)
	for _, r := range s.c.st.StackReplicas(k) {
		s.c.wait(state.KeyOf(r.GetKey()), wait{text: fault})
	}
}

// roll changes the first replica that can be changed.
func (s *stepping) roll(k state.StackKey, list []orchestrator.Change) {
	if len(list) == 0 {
		return
	}
	s.c.rolling.Add(k)
	for i, ch := range list {
		if s.inPlace(ch) || s.move(ch) {
			for _, rest := range list[i+1:] {
				s.c.wait(rest.Key, wait{text: fmt.Sprintf("revision %d waits for its turn after %s", rest.Revision, ch.Key)})
			}
			return
		}
	}
}

// wait notes what a replica waits for; the first note stands.
func (c *Core) wait(k state.Key, w wait) {
	sk := k.StackKey()
	if c.waits[sk] == nil {
		c.waits[sk] = map[state.Key]wait{}
	}
	if _, ok := c.waits[sk][k]; !ok {
		c.waits[sk][k] = w
	}
}

// input gathers what decides about a stack; fault says why nothing can be decided.
func (c *Core) input(now time.Time, k state.StackKey) (in orchestrator.Input, fault string) {
	app := c.st.App(k.Tenant, k.App)
	if err := c.st.AppFault(k.AppKey()); err != nil {
		return in, fmt.Sprintf("nothing is decided about it: %v", err)
	}
	in = orchestrator.Input{
		Key: k, App: app, Replicas: c.st.StackReplicas(k), Volumes: c.st.StackVolumes(k),
		Machine:  c.orchestratorMachine,
		Seen:     func(r *argosyv1.Replica) orchestrator.Seen { return c.seen(now, r) },
		Gone:     c.gone,
		Unleased: func(r *argosyv1.Replica) string { return c.unleased(now, r) },
	}
	if app == nil || app.GetDeleting() {
		in.Target = app.GetRevision()
		return in, ""
	}
	rev := c.st.AppRevision(k.Tenant, k.App, 0)
	if rev == nil {
		return in, fmt.Sprintf("nothing is decided about it: revision %d of %s is not in the store", app.GetRevision(), k.AppKey())
	}
	in.Target = app.GetRevision()
	in.Spec = state.StackSpec(rev.GetSpec(), k.Stack)
	in.Entry = state.Entry(rev.GetSpec(), k.Stack)
	in.Same = func(revision uint64) bool {
		return revision == in.Target || c.definition(k, revision) == c.definition(k, in.Target)
	}
	if in.Spec != nil {
		in.Unmet = c.unmetBy(c.shapeAt(k, in.Target))
	}
	if in.Entry.GetEachMachine() {
		if sh := c.shapeAt(k, in.Target); sh.fault != "" {
			return in, sh.fault
		}
		in.Allowed = c.allowed(k, in.Target)
	}
	return in, ""
}

func (c *Core) orchestratorMachine(id string) orchestrator.Machine {
	m := c.st.Machine(id)
	if m == nil {
		return orchestrator.Machine{Name: id}
	}
	return orchestrator.Machine{Known: true, Name: m.GetName(), Condition: c.condition(id), Draining: m.GetDrain() != nil,
		StopData: m.GetDrain().GetStopData(), StopAll: m.GetDrain().GetOverdue() && m.GetDrain().GetStopAtDeadline()}
}

// allowed lists the machines that a stack with one replica on each wants one on.
func (c *Core) allowed(k state.StackKey, revision uint64) []string {
	return c.allowedBy(c.shapeAt(k, revision))
}

func (c *Core) allowedBy(sh shape) []string {
	var out []string
	for _, m := range c.st.Machines() {
		if m.GetDrain() == nil && meets(m, sh.anyone().Require) {
			out = append(out, m.GetId())
		}
	}
	return out
}

func meets(m *argosyv1.Machine, require []placement.Expr) bool { return unmet(m, require) == nil }

// unmet is the first rule that a machine does not meet, nil when it meets all.
func unmet(m *argosyv1.Machine, require []placement.Expr) *placement.Expr {
	labels := func(key string) (string, bool) {
		if key == placement.Machine {
			return m.GetName(), true
		}
		if placement.Own(key) {
			v := ownLabels(m)[key]
			return v, v != ""
		}
		v, ok := m.GetLabels()[key]
		return v, ok
	}
	if i := slices.IndexFunc(require, func(e placement.Expr) bool { return !e.Eval(labels) }); i >= 0 {
		return &require[i]
	}
	return nil
}

// unmetBy puts into words what machines do not meet of a shape.
func (c *Core) unmetBy(sh shape) func(machine string) string {
	return func(machine string) string {
		m := c.st.Machine(machine)
		if m == nil || sh.fault != "" {
			return ""
		}
		if e := unmet(m, sh.anyone().Require); e != nil {
			return "require " + e.Words()
		}
		return ""
	}
}

// seen is what was seen lately of a replica's current incarnation.
func (c *Core) seen(now time.Time, r *argosyv1.Replica) orchestrator.Seen {
	i := incarnationOf(r, r.GetIncarnation())
	o, at, ok := c.disp.Seen(r.GetMachine(), i)
	if !ok || now.Sub(at) >= c.timing.Unreachable {
		return orchestrator.Seen{}
	}
	return orchestrator.Seen{State: o.GetState(), Revision: o.GetRevision(), Restart: o.GetRestart(), Message: o.GetMessage(),
		For:   now.Sub(c.disp.Since(r.GetMachine(), i)),
		Ended: slices.ContainsFunc(o.GetMembers(), func(m *argosyv1.MemberObservation) bool { return m.GetRestarts() > 0 })}
}

// gone reports whether nothing is left of an incarnation on a machine. Of the one that the machine should run, or is just
// removing, only its own word counts; an earlier one is gone when a full report does not name it.
func (c *Core) gone(k state.Key, incarnation uint64, machine string) bool {
	r := c.st.Replica(k)
	i := incarnationOf(r, incarnation)
	if c.disp.Gone(machine, i) {
		return true
	}
	if r.GetMachine() == machine && r.GetIncarnation() == incarnation {
		return false
	}
	return c.disp.Absent(machine, i)
}

// incarnationOf names an incarnation of a replica, as machines do.
func incarnationOf(r *argosyv1.Replica, n uint64) dispatcher.Incarnation {
	return dispatcher.Incarnation{Key: state.KeyOf(r.GetKey()), AppUID: r.GetAppUid(), N: n}
}

// retry tries replicas again that are on no machine.
func (s *stepping) retry() {
	for _, k := range sortedSet(s.c.pending, state.Key.Compare) {
		if r := s.c.st.Replica(k); r != nil && !s.changed.Has(k) {
			s.again(r)
		}
	}
}

// nextIncarnation is above every incarnation that a replica with this key ever had.
func (s *stepping) nextIncarnation(k state.AppKey) uint64 {
	app := s.c.st.App(k.Tenant, k.App)
	return s.c.st.Above(max(app.GetIncarnationFloor(), s.floors[k]))
}

// lower notes that the record of an incarnation goes.
func (s *stepping) lower(r *argosyv1.Replica) {
	k := state.KeyOf(r.GetKey()).AppKey()
	if app := s.c.st.App(k.Tenant, k.App); app.GetUid() == r.GetAppUid() && r.GetIncarnation() > app.GetIncarnationFloor() {
		s.floors[k] = max(s.floors[k], min(r.GetIncarnation(), math.MaxInt64))
	}
}
