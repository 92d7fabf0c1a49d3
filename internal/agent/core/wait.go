package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// missingSecrets says which secrets of the member the cluster does not have.
func (m *member) missingSecrets() string {
	var names []string
	for _, f := range m.spec.GetSecrets() {
		have := slices.ContainsFunc(m.r.a.GetSecrets(), func(s *argosyv1.SealedSecret) bool { return s.GetName() == f.GetSource() })
		if !have && !slices.Contains(names, f.GetSource()) {
			names = append(names, f.GetSource())
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("secret %s does not exist; set it with: argosy secret set %s", names[0], names[0])
	}
	return fmt.Sprintf("secrets %s do not exist; set each with: argosy secret set NAME", strings.Join(names, ", "))
}

// notConnected says why a container of the member cannot be connected; empty when it can, and for a unit.
func (m *member) notConnected() string {
	if m.spec == nil {
		return ""
	}
	return m.r.group.unconnected
}

// obstacle says what must happen before m may start; empty when nothing.
func (m *member) obstacle() string {
	if missing := m.missingSecrets(); missing != "" {
		return missing
	}
	// One writer: whatever another incarnation of this replica runs here has the same volumes.
	for _, o := range m.r.group.replicas {
		if o == m.r {
			continue
		}
		for _, om := range o.members {
			if om.alive() {
				return fmt.Sprintf("waits for %s of incarnation %d to stop", om.id.Member, o.id.Incarnation)
			}
		}
	}
	if m.unit != nil {
		return m.unitObstacle()
	}
	if w := cmp.Or(m.notConnected(), m.unarmed()); w != "" {
		return w
	}
	for _, d := range m.spec.GetDependsOn() {
		if w := m.awaits(d); w != "" {
			return w
		}
	}
	return m.unitsFirst()
}

// awaits says what m still waits for from one dependency.
func (m *member) awaits(d *argosyv1.Dependency) string {
	name := d.GetContainer()
	o := m.r.member(name)
	if o == nil || !o.wanted() {
		if d.GetRequired() {
			return fmt.Sprintf("depends on %s, which the stack does not have", name)
		}
		return ""
	}
	if o.c == nil || !o.current(o.c) {
		if !d.GetRequired() && o.mem.Fault != "" && o.mem.FaultOf == o.def {
			return ""
		}
		return fmt.Sprintf("waits for %s to be created", name)
	}
	over := ""
	if o.c.State == Exited {
		if v, _, _ := o.afterExit(o.c.FinishedAt); v != restartLater {
			over = o.ended() + " and is not started again"
		}
	}
	var met bool
	var waiting string
	switch d.GetCondition() {
	case argosyv1.Condition_CONDITION_HEALTHY:
		met, waiting = o.c.State == Running && o.c.Health == Healthy, "to be healthy"
		if o.c.State == Running && o.c.Health == NoCheck {
			over = "has no health check"
		}
	case argosyv1.Condition_CONDITION_COMPLETED:
		met, waiting = o.c.State == Exited && o.c.ExitCode == 0 && !o.c.StartedAt.IsZero(), "to complete"
	default:
		met, waiting = o.c.State == Running && (o.unit == nil || o.c.Health == Healthy), "to start"
		// A task that already ended well did start.
		met = met || o.c.State == Exited && o.c.ExitCode == 0 && over != ""
	}
	switch {
	case met:
		return ""
	case over != "" && !d.GetRequired():
		return ""
	case over != "":
		return fmt.Sprintf("waits for %s %s, but %s %s", name, waiting, name, over)
	}
	return fmt.Sprintf("waits for %s %s", name, waiting)
}
