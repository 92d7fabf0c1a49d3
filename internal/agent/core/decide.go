package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Decide returns the next step of every member that has one, in the order of keys and members. A member that can do
// nothing now gets a Wait with the reason; one that is as wanted gets nothing.
func Decide(now time.Time, wanted []*argosyv1.Assignment, seen Seen, mem Memory) []Step {
	var steps []Step
	for _, g := range gather(wanted, seen, &mem) {
		if _, blind := g.blind(seen); blind {
			continue
		}
		for _, r := range g.replicas {
			steps = append(steps, r.decide(now)...)
		}
	}
	return steps
}

func (r *replica) decide(now time.Time) []Step {
	if r.a == nil && !r.group.mem.Complete {
		return nil
	}
	var steps []Step
	for _, m := range r.members {
		if m.mem.Doing != 0 {
			continue
		}
		s := m.decide(now)
		if s.Kind == 0 {
			continue
		}
		steps = append(steps, s)
	}
	if len(r.members) == 0 && r.a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
		if s := r.clean(now); s.Kind != 0 {
			steps = append(steps, s)
		}
	}
	return steps
}

// clean is the last step of a replica that is to be removed.
func (r *replica) clean(now time.Time) Step {
	id := MemberID{ID: r.id}
	mm := r.group.mem.Member(id)
	if mm.Doing != 0 || mm.Cleaned {
		return Step{}
	}
	s := Step{MemberID: id, Assignment: r.a}
	if mm.rests(now) {
		return s.wait(mm.RetryAt, mm.Fault)
	}
	// A step that was begun while it was still wanted may yet make a volume or a container.
	for other, om := range r.group.mem.Members {
		if other.ID == r.id && om.Doing != 0 {
			return s.wait(time.Time{}, "a step of it is still under way")
		}
	}
	if held := r.held(); held != "" {
		return s.wait(time.Time{}, held)
	}
	s.Kind, s.Reason = Clean, "its containers are gone"
	for _, o := range r.group.replicas {
		if o != r && len(o.members) > 0 && r.a.GetRemoveVolumes() && o.a == nil {
			return s.wait(time.Time{}, fmt.Sprintf("what is left of incarnation %d has its volumes", o.id.Incarnation))
		}
	}
	s.RemoveVolumes = r.a.GetRemoveVolumes()
	// A later incarnation that is to run here owns the volumes now.
	for _, o := range r.group.replicas {
		if s.RemoveVolumes && o != r && o.a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			s.RemoveVolumes = false
			s.Reason += fmt.Sprintf("; its volumes belong to incarnation %d now", o.id.Incarnation)
		}
	}
	return s
}

func (m *member) step() Step {
	return Step{MemberID: m.id, Assignment: m.r.a, Spec: m.spec, Unit: m.unit, Definition: m.def}
}

func (s Step) wait(at time.Time, reason string) Step {
	s.Kind, s.At, s.Reason = Wait, at, reason
	return s
}

func (s Step) do(kind StepKind, format string, args ...any) Step {
	s.Kind, s.Reason = kind, fmt.Sprintf(format, args...)
	return s
}

func (m *member) decide(now time.Time) Step {
	s := m.step()
	if c, lease := m.losing(); c != nil {
		s.ContainerID, s.Grace = c.ContainerID, m.grace()
		return s.do(Stop, "the lease of volume %s ends", lease.Volume)
	}
	if m.mem.rests(now) && m.mem.FaultOf == m.def {
		return s.wait(m.mem.RetryAt, m.mem.Fault)
	}
	if len(m.extra) > 0 {
		return m.settle(m.extra[0], "another container of the same member is the right one")
	}
	switch {
	case !m.wanted() && m.c == nil:
		return Step{}
	case !m.wanted():
		return m.settle(m.c, m.unwantedBecause())
	case m.c == nil:
		return m.make(s, "there is none")
	case !m.current(m.c):
		return m.replace(s)
	}
	switch m.c.State {
	case Created:
		return m.start(s)
	case Running, Paused:
		return m.keep(s)
	case Exited:
		return m.restart(s, now)
	case Dead:
		return m.settle(m.c, "the engine calls it dead")
	default:
		return s.wait(time.Time{}, "the engine is removing its container")
	}
}

func (m *member) unwantedBecause() string {
	if m.r.a != nil {
		if m.r.a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			return "the replica is to be removed"
		}
		return fmt.Sprintf("revision %d has no such member", m.r.a.GetRevision())
	}
	for _, o := range m.r.group.replicas {
		if o.a != nil {
			return fmt.Sprintf("incarnation %d took its place", o.id.Incarnation)
		}
	}
	return "nothing assigned to this machine wants it"
}

// make moves a member without a container towards having one.
func (m *member) make(s Step, why string) Step {
	if m.unit != nil {
		return m.makeUnit(s, why)
	}
	if missing := m.missingSecrets(); missing != "" {
		return s.wait(time.Time{}, missing)
	}
	if m.mem.Image != imageKey(m.spec) {
		return s.do(Pull, "needs its image")
	}
	if w := cmp.Or(m.notConnected(), m.unarmed()); w != "" {
		return s.wait(time.Time{}, w)
	}
	if m.mem.Prepared != preparation(m.r.a, m.spec) {
		return s.do(Prepare, "needs its volumes and files")
	}
	if m.c != nil {
		return m.settle(m.c, why)
	}
	s.Lease = m.armed()
	return s.do(Create, "%s", why)
}

// replace puts a new container in the place of one that is not as wanted. Everything the new one needs is made ready
// before the old one is stopped, and what depends on it stops first when that is to be replaced as well.
func (m *member) replace(s Step) Step {
	why := fmt.Sprintf("revision %d changed its definition", m.r.a.GetRevision())
	switch {
	case m.c.ContainerID == m.mem.Broken:
		why = "its container cannot be started any more"
	case m.c.Claims != m.tokens():
		why = "it was made for another token"
	case m.c.Definition == m.def:
		why = fmt.Sprintf("restart %d was asked for", m.r.a.GetRestart())
	}
	return m.make(s, why)
}

// settle stops and removes c, one step at a time, in the reverse of the order of starting.
func (m *member) settle(c *Container, why string) Step {
	s := m.step()
	s.ContainerID, s.Grace = c.ContainerID, m.grace()
	switch {
	case c.State == Removing:
		return s.wait(time.Time{}, "the engine is removing its container")
	case !c.Alive() || c.State == Dead:
		s.Force = c.Vanished != 0
		return s.do(Remove, "%s", why)
	}
	if c == m.c {
		if first := m.stopsAfter(); first != "" {
			return s.wait(time.Time{}, first+" stops first")
		}
	}
	return s.do(Stop, "%s", why)
}

// stopsAfter names the members that depend on m, still live and are to be stopped too. It is empty when a circle of
// dependencies would keep everybody waiting.
func (m *member) stopsAfter() string {
	leaving := func(o *member) bool { return o.c != nil && o.c.Alive() && !o.current(o.c) }
	blockers := func(x *member) []string {
		var names []string
		for _, o := range m.r.members {
			first := slices.Contains(o.after(), x.id.Member) || x.isUnit() && !o.isUnit()
			if o != x && leaving(o) && first {
				names = append(names, o.id.Member)
			}
		}
		return names
	}
	free := slices.ContainsFunc(m.r.members, func(o *member) bool { return leaving(o) && len(blockers(o)) == 0 })
	if !free {
		return ""
	}
	return strings.Join(blockers(m), ", ")
}

// start starts a container that never ran, once everything is there.
func (m *member) start(s Step) Step {
	if m.unit.GetNotStarted() {
		return Step{}
	}
	if w := m.obstacle(); w != "" {
		return s.wait(time.Time{}, w)
	}
	if m.unit == nil && m.mem.Prepared != preparation(m.r.a, m.spec) {
		return s.do(Prepare, "needs its volumes and files")
	}
	s.ContainerID = m.c.ContainerID
	return s.do(Start, "created and everything it needs is there")
}

// keep watches a running container.
func (m *member) keep(s Step) Step {
	if m.unit != nil {
		return m.keepUnit(s)
	}
	if m.missingSecrets() == "" && m.mem.Prepared != preparation(m.r.a, m.spec) {
		return s.do(Prepare, "its files may have changed")
	}
	if d := m.recreatedSince(); d != "" && m.obstacle() == "" {
		s.ContainerID, s.Grace = m.c.ContainerID, m.grace()
		return s.do(Stop, "%s was recreated", d)
	}
	return Step{}
}

// restart decides about a container that ended.
func (m *member) restart(s Step, now time.Time) Step {
	if m.unit != nil {
		return m.restartUnit(s, now)
	}
	s.ContainerID = m.c.ContainerID
	recreated := m.recreatedSince()
	verdict, attempt, at := m.afterExit(now)
	if recreated == "" && verdict != restartLater {
		return Step{}
	}
	if recreated != "" {
		attempt, at = 0, time.Time{}
	}
	if at.After(now) {
		return s.wait(at, m.ended())
	}
	if w := m.obstacle(); w != "" {
		return s.wait(time.Time{}, w)
	}
	if m.c.Vanished != 0 {
		return m.make(s, m.ended())
	}
	if m.mem.Prepared != preparation(m.r.a, m.spec) {
		return s.do(Prepare, "needs its volumes and files")
	}
	s.Attempt = attempt
	if recreated != "" {
		return s.do(Start, "%s was recreated", recreated)
	}
	return s.do(Start, "%s", m.ended())
}

type verdict int

const (
	restartLater verdict = iota + 1
	completed
	failed
)

// afterExit says what a container's end means: to be started again as the attempt-th time in a row, at at or later;
// completed; or failed for good.
func (m *member) afterExit(now time.Time) (v verdict, attempt int, at time.Time) {
	policy, code := m.spec.GetRestart(), m.c.ExitCode
	mode := policy.GetMode()
	restarts := uint32(0)
	attempt = 1
	if m.mem.ContainerID == m.c.ContainerID {
		restarts = m.mem.Restarts
		if m.c.FinishedAt.Sub(m.c.StartedAt) < steady {
			attempt = m.mem.Attempt + 1
		}
	}
	again := true
	if m.unit != nil {
		if v := m.unitVerdict(); v != restartLater {
			return v, 0, time.Time{}
		}
		mode = argosyv1.RestartMode_RESTART_MODE_ALWAYS
	}
	switch mode {
	case argosyv1.RestartMode_RESTART_MODE_NO:
		again = false
	case argosyv1.RestartMode_RESTART_MODE_ON_FAILURE:
		again = code != 0 && (policy.GetMaxAttempts() == 0 || restarts < policy.GetMaxAttempts())
	case argosyv1.RestartMode_RESTART_MODE_UNSPECIFIED:
		again = code != 0 || !m.r.completionAwaited(m.id.Member)
	}
	switch {
	case again:
		at = m.c.FinishedAt.Add(restartDelay(attempt))
		if m.c.FinishedAt.After(now) { // the clock was set back: do not wait for it to catch up
			at = now
		}
		return restartLater, attempt, at
	case code == 0:
		return completed, 0, time.Time{}
	default:
		return failed, 0, time.Time{}
	}
}

// ended says in words how a container's last life ended.
func (m *member) ended() string {
	switch {
	case m.c.Unit != nil:
		return m.endedUnit()
	case m.c.Vanished != 0:
		return m.c.vanished()
	case m.c.OOMKilled:
		return "was killed because it reached its memory limit"
	case m.c.Error != "" && m.c.StartedAt.IsZero():
		return m.c.Error
	case m.c.ExitCode > 128 && m.c.ExitCode < 128+65:
		return fmt.Sprintf("exited with code %d (signal %d)", m.c.ExitCode, m.c.ExitCode-128)
	}
	return fmt.Sprintf("exited with code %d", m.c.ExitCode)
}

// recreatedSince names a dependency, marked restart, whose container is younger than m's last start.
func (m *member) recreatedSince() string {
	for _, d := range m.spec.GetDependsOn() {
		o := m.r.member(d.GetContainer())
		if d.GetRestart() && o != nil && o.c != nil && o.current(o.c) && !m.c.StartedAt.IsZero() && o.c.CreatedAt.After(m.c.StartedAt) {
			return d.GetContainer()
		}
	}
	return ""
}
