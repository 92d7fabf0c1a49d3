package core

import (
	"fmt"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// Unit is what systemd shows of a member that is one, in its own words. The container's State says the same in ours: one that
// is active is Running and Healthy, one on its way Running and CheckStarting, one that failed Exited with a code.
type Unit struct {
	Name string // on the machine: mysql@3.service
	// Load, Active, Sub and Result are systemd's: loaded, active, running, success; empty before it was looked at.
	Load, Active, Sub, Result string
	// Restarts is how often systemd started it again by itself.
	Restarts   uint32
	Invocation string
	// Unmet: systemd did not start it because a condition of its file does not hold.
	Unmet bool
}

// settled gives what systemd has forgotten. It unloads a unit that ended well as soon as nothing refers to it, and then knows
// no more that it ran; but one that was started, and is inactive without having failed, ended well.
func settled(c *Container, mem *MemberMemory) *Container {
	if c == nil || c.Unit == nil || c.State != Created || mem.ContainerID != c.ContainerID {
		return c
	}
	ended := *c
	ended.State, ended.StartedAt, ended.FinishedAt = Exited, c.CreatedAt, c.CreatedAt
	return &ended
}

// name is what the member is called on the machine; empty when it is no unit.
func (m *member) name() string {
	switch {
	case m.unit != nil:
		return unitfile.ForReplica(m.unit.GetName(), m.id.Number)
	case m.c != nil && m.c.Unit != nil:
		return m.c.Unit.Name
	}
	return ""
}

// isUnit says whether the member is a unit, wanted or found.
func (m *member) isUnit() bool { return m.name() != "" }

// starts says whether the unit is to be started by its agent.
func (m *member) starts() bool { return m.unit != nil && !m.unit.GetNotStarted() }

// startedHere says whether its agent has started the unit as it is now.
func (m *member) startedHere() bool { return m.c != nil && m.mem.ContainerID == m.c.ContainerID }

// makeUnit has the unit's file written once nothing else on the machine that is Argosy's has its name.
func (m *member) makeUnit(s Step, why string) Step {
	if m.c != nil {
		return m.settle(m.c, why)
	}
	for _, r := range m.r.group.replicas {
		for _, o := range r.members {
			if o != m && o.c != nil && o.name() == m.name() {
				return s.wait(time.Time{}, fmt.Sprintf("waits for %s of incarnation %d to be gone", m.name(), r.id.Incarnation))
			}
		}
	}
	return s.do(Create, "%s", why)
}

// unwritten says which of the replica's units systemd does not know yet: none starts before all are there.
func (m *member) unwritten() string {
	for _, o := range m.r.members {
		if o.unit != nil && (o.c == nil || !o.current(o.c)) {
			if o.mem.Fault != "" && o.mem.FaultOf == o.def {
				return fmt.Sprintf("waits for %s: %s", o.name(), o.mem.Fault)
			}
			return fmt.Sprintf("waits for %s to be written", o.name())
		}
	}
	return ""
}

// ordered says which unit of the replica systemd orders before m and was not started yet. Of jobs that it does not have at the
// same time it cannot know the order.
func (m *member) ordered() string {
	for _, name := range m.c.After {
		o := m.r.member(name)
		if o == nil || o == m || !o.starts() || o.c == nil || m.before(o) {
			continue
		}
		if o.c.State == Created || o.c.State == Running && o.c.Health == CheckStarting {
			return fmt.Sprintf("waits for %s to start", o.name())
		}
	}
	return ""
}

// before says whether o comes after m too: in a circle nobody waits, and systemd says which it breaks.
func (m *member) before(o *member) bool {
	for _, name := range o.c.After {
		if name == m.id.Member {
			return true
		}
	}
	return false
}

// unitObstacle says what must happen before a unit may start, beside what holds for all members.
func (m *member) unitObstacle() string {
	if w := m.unwritten(); w != "" {
		return w
	}
	return m.ordered()
}

// unitsFirst says which unit a container of the replica still waits for: those that are started are, before the containers
// are. One that failed holds nobody up; a container that needs it says so with depends_on.
func (m *member) unitsFirst() string {
	for _, o := range m.r.members {
		switch {
		case !o.starts():
		case o.c == nil || !o.current(o.c):
			return fmt.Sprintf("waits for unit %s to be written", o.name())
		case o.c.State == Created, o.c.State == Running && o.c.Health == CheckStarting && o.c.Unit.Sub != "auto-restart":
			return fmt.Sprintf("waits for unit %s to start", o.name())
		}
	}
	return ""
}

// keepUnit watches a unit that is active or on its way.
func (m *member) keepUnit(s Step) Step {
	if m.unit.GetNotStarted() && m.startedHere() {
		s.ContainerID, s.Grace = m.c.ContainerID, -1
		return s.do(Stop, "it is not to be started any more")
	}
	return Step{}
}

// restartUnit decides about a unit that ended.
func (m *member) restartUnit(s Step, now time.Time) Step {
	s.ContainerID = m.c.ContainerID
	if m.unit.GetNotStarted() {
		return Step{}
	}
	attempt := 0
	if m.startedHere() {
		v, n, at := m.afterExit(now)
		if v != restartLater {
			return Step{}
		}
		if at.After(now) {
			return s.wait(at, m.ended())
		}
		attempt = n
	}
	if w := m.obstacle(); w != "" {
		return s.wait(time.Time{}, w)
	}
	s.Attempt = attempt
	return s.do(Start, "%s", m.ended())
}

// unitVerdict says what the end of a unit means. What the file says of restarts is systemd's affair and was its doing
// before; this is about what systemd leaves. A service that ended well is done, unless its file says Restart=always: then
// somebody stopped it. One that failed is started again, unless its file says Restart=no. All other types are there to be
// active.
func (m *member) unitVerdict() verdict {
	if !strings.HasSuffix(m.name(), ".service") {
		return restartLater
	}
	said := ""
	if file, _ := unitfile.Parse(m.unit.GetName(), m.unit.GetContent()); file != nil {
		for _, s := range file.Values("Service", "Restart") {
			said = s.Value
		}
	}
	switch {
	case m.c.ExitCode == 0 && said != "always":
		return completed
	case m.c.ExitCode != 0 && said == "no":
		return failed
	}
	return restartLater
}

// endedUnit says how a unit ended.
func (m *member) endedUnit() string {
	switch {
	case m.c.Unit.Unmet:
		return "a condition of its file does not hold, so systemd did not start it"
	case m.c.Error != "":
		return m.c.Error
	case !m.startedHere():
		return "is to be started"
	}
	return "ended"
}

// observeUnit is observeContainer for a unit.
func (m *member) observeUnit() (argosyv1.MemberState, time.Time, string) {
	c := m.c
	switch {
	case c.State == Created && m.unit.GetNotStarted(), c.State == Exited && c.ExitCode == 0 && m.unit.GetNotStarted():
		return argosyv1.MemberState_MEMBER_STATE_CREATED, c.CreatedAt, ""
	case c.State == Created:
		return argosyv1.MemberState_MEMBER_STATE_WAITING, c.CreatedAt, m.obstacle()
	case c.State == Running && c.Unit.Active == "deactivating":
		return argosyv1.MemberState_MEMBER_STATE_STOPPING, c.StartedAt, "systemd stops it"
	case c.State == Running && c.Unit.Sub == "auto-restart":
		return argosyv1.MemberState_MEMBER_STATE_BACKOFF, c.StartedAt, strings.TrimSpace(c.Error + "; systemd starts it again, as its file says")
	case c.State == Running && c.Health == CheckStarting:
		return argosyv1.MemberState_MEMBER_STATE_STARTING, c.StartedAt, "activating (" + c.Unit.Sub + ")"
	case c.State == Running:
		return argosyv1.MemberState_MEMBER_STATE_RUNNING, c.StartedAt, ""
	case m.unit.GetNotStarted():
		return argosyv1.MemberState_MEMBER_STATE_FAILED, c.FinishedAt, m.ended()
	}
	state, since, message := m.observeExit()
	if state == argosyv1.MemberState_MEMBER_STATE_COMPLETED && c.Unit.Unmet {
		message = m.ended()
	}
	return state, since, message
}

// observation is what is told of a unit in systemd's words, which has none for one that it was not asked about.
func (u *Unit) observation(pid int) *argosyv1.UnitObservation {
	if u == nil || u.Load == "" {
		return nil
	}
	return &argosyv1.UnitObservation{
		Name: u.Name, LoadState: u.Load, ActiveState: u.Active, SubState: u.Sub, Result: u.Result, Restarts: u.Restarts,
		MainPid: uint32(max(pid, 0)), InvocationId: u.Invocation,
	}
}

// blind says why nothing can be known of a group now; ok is false when it can.
func (g *group) blind(seen Seen) (trouble string, ok bool) {
	engine, units := false, false
	for _, r := range g.replicas {
		engine = engine || len(r.a.GetContainers()) > 0
		units = units || len(r.a.GetUnits()) > 0
		for _, m := range r.members {
			if m.c != nil {
				engine, units = engine || m.c.Unit == nil, units || m.c.Unit != nil
			}
		}
	}
	if !engine && !units { // nobody knows any more what it was
		engine, units = true, true
	}
	switch {
	case engine && !seen.Known:
		if seen.Trouble != "" {
			return seen.Trouble, true
		}
		return "the container engine has not been asked yet", true
	case units && seen.UnitsUnknown:
		if seen.UnitsTrouble != "" {
			return seen.UnitsTrouble, true
		}
		return "systemd has not been asked yet", true
	}
	return "", false
}

// Blind says whether nothing can be known now of what is wanted and seen, all of one replica.
func Blind(wanted []*argosyv1.Assignment, seen Seen) bool {
	mem := Memory{}
	groups := gather(wanted, seen, &mem)
	if len(groups) == 0 {
		return !seen.Known || seen.UnitsUnknown
	}
	for _, g := range groups {
		if _, blind := g.blind(seen); blind {
			return true
		}
	}
	return false
}
