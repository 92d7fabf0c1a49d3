package core

import (
	"bytes"
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	condReady       = argosyv1.MachineCondition_MACHINE_CONDITION_READY
	condUnreachable = argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE
	condLost        = argosyv1.MachineCondition_MACHINE_CONDITION_LOST
	condDraining    = argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING
	condUnknown     = argosyv1.MachineCondition_MACHINE_CONDITION_UNSPECIFIED
)

// answers reports whether a machine in a condition is heard of.
func answers(c argosyv1.MachineCondition) bool { return c == condReady || c == condDraining }

// judge judges all machines by their silence.
func (c *Core) judge(now time.Time) {
	if c.timing.Unreachable == 0 {
		c.settings()
	}
	list := c.st.Machines()
	beats := make([]orchestrator.Beats, len(list))
	for i, m := range list {
		since, ok := c.known[m.GetId()]
		if !ok {
			since = now
			c.known[m.GetId()] = now
		}
		beats[i] = orchestrator.Beats{ID: m.GetId(), Recorded: m.GetCondition(), Draining: m.GetDrain() != nil,
			Last: c.disp.LastHeard(m.GetId()), Since: since}
	}
	v := orchestrator.Conditions(now, c.timing, beats)
	c.pause(v.Paused)
	c.judgeAt = v.Next
	if c.judgeAt.IsZero() {
		c.judgeAt = now.Add(c.timing.Unreachable)
	}
	for _, m := range list {
		if at := deadline(m); !at.IsZero() && !now.Before(at) {
			c.machines.Add(m.GetId())
		} else if !at.IsZero() && at.Before(c.judgeAt) {
			c.judgeAt = at
		}
	}
	for _, verdict := range v.Machines {
		old := c.verdicts[verdict.ID]
		c.verdicts[verdict.ID] = verdict
		if old.Condition == verdict.Condition {
			continue
		}
		if answers(old.Condition) && verdict.Condition == condUnreachable || old.Condition == condUnreachable && answers(verdict.Condition) {
			c.notes = append(c.notes, c.machineTransition(verdict.ID, old.Condition, verdict.Condition, cmp.Or(verdict.Message, "heard of again")))
		}
		c.foresight = true
		c.change.Machines.Add(verdict.ID)
		c.machines.Add(verdict.ID)
		c.tellScheduler(verdict.ID)
		c.touchMachine(verdict.ID)
	}
	if c.disp.Held() && c.heardAll(now) {
		c.disp.Release()
	}
}

// pause takes in why nothing is moved off silent machines, empty when it is.
func (c *Core) pause(why string) {
	if why == c.paused {
		return
	}
	if why != "" {
		c.complain("%s", why)
	}
	switch {
	case c.paused == "":
		c.notes = append(c.notes, &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE,
			From: "rescheduling", To: "paused", Cause: why})
	case why == "":
		c.notes = append(c.notes, &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE,
			From: "paused", To: "rescheduling", Cause: "no longer are more than half of the machines silent"})
	}
	c.paused, c.foresight = why, true
	// Whoever waits for a silent machine says why it is not moved.
	for _, m := range c.st.Machines() {
		if c.verdicts[m.GetId()].Condition == condUnreachable {
			c.touchMachine(m.GetId())
		}
	}
}

// heardAll reports whether every machine that counts has reported in full, or had time to.
func (c *Core) heardAll(now time.Time) bool {
	if now.Sub(c.since) >= c.timing.Unreachable {
		return true
	}
	for _, m := range c.st.Machines() {
		if _, reported := c.disp.Connected(m.GetId()); !reported && m.GetCondition() != condLost {
			return false
		}
	}
	return true
}

// condition is how a machine stands. It is lost only once that is written.
func (c *Core) condition(id string) argosyv1.MachineCondition {
	v := c.verdicts[id].Condition
	if v == condLost && c.st.Machine(id).GetCondition() != condLost {
		return condUnreachable
	}
	return v
}

// machineUnits writes what changed about machines: that they are lost or back, and what their agents said.
func (c *Core) machineUnits(now time.Time) []Unit {
	var units []Unit
	if len(c.notes) > 0 {
		u := c.unit()
		for _, t := range c.notes[:min(len(c.notes), MaxOps)] {
			u.note(t)
		}
		c.notes = c.notes[min(len(c.notes), MaxOps):]
		units = append(units, u.seal(now))
	}
	for _, id := range sortedSet(c.machines, strings.Compare) {
		if u := c.machineUnit(now, id); len(u.Ops) > 0 {
			units = append(units, u)
		}
	}
	clear(c.machines)
	for _, i := range c.intruders {
		u := c.unit()
		u.note(&argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY, Machine: i.Machine,
			From: "one session", To: "second session refused", Cause: i.Why})
		units = append(units, u.seal(now))
	}
	c.intruders = nil
	return units
}

func (c *Core) machineUnit(now time.Time, id string) Unit {
	u := c.unit()
	m := c.st.Machine(id)
	if m == nil {
		return u.Unit
	}
	next := proto.CloneOf(m)
	if h := c.hellos[id]; h != nil {
		takeHello(next, h)
		delete(c.hellos, id)
	}
	c.takeGuard(next)
	switch v := c.verdicts[id]; {
	case v.Condition == condLost && m.GetCondition() != condLost:
		next.Condition = condLost
		u.note(c.machineTransition(id, condUnreachable, condLost, v.Message))
	case answers(v.Condition) && m.GetCondition() == condLost:
		next.Condition = condReady
		u.note(c.machineTransition(id, condLost, v.Condition, "its agent is back"))
	}
	c.drained(now, next, u)
	if !proto.Equal(m, next) {
		u.put(store.MachineKey(id), next)
	}
	return u.seal(now)
}

func (c *Core) machineTransition(id string, from, to argosyv1.MachineCondition, cause string) *argosyv1.Transition {
	return &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE, Machine: id,
		From: orchestrator.Word(from), To: orchestrator.Word(to), Cause: cause}
}

// takeHello takes over what an agent says of its machine, within reason.
func takeHello(m *argosyv1.Machine, h *argosyv1.Hello) {
	take := func(dst *string, src string) {
		if src != "" && len(src) <= 256 {
			*dst = src
		}
	}
	take(&m.BootId, h.GetBootId())
	take(&m.AgentVersion, h.GetAgentVersion())
	take(&m.EngineVersion, h.GetEngineVersion())
	if v := h.GetSystemdVersion(); len(v) <= 64 {
		m.SystemdVersion = v // empty too: a machine can lose it
	}
	if addr, err := netip.ParseAddr(h.GetAddress()); err == nil && !addr.IsUnspecified() && !addr.IsMulticast() && addr.Zone() == "" {
		m.Address = addr.Unmap().String()
	}
	if c := h.GetCapacity(); state.CheckCapacity(c) == nil {
		m.Capacity = c
	}
	if len(h.GetSealingKey()) == 32 && !bytes.Equal(h.GetSealingKey(), m.GetSealingKey()) {
		m.SealingKey = h.GetSealingKey()
	}
}

// takeGuard takes over the key of a machine's guard, by which all witnesses then know it. A key is one machine's.
func (c *Core) takeGuard(next *argosyv1.Machine) {
	key := c.disp.Storage(next.GetId()).GetGuard().GetKey()
	if len(key) == 0 || bytes.Equal(key, next.GetGuardKey()) {
		return
	}
	if m := c.st.GuardOf(key); m != nil {
		c.complain("machine %s: its guard has the key of %s's, so it gets no leases: is one a copy of the other? Remove the guard's key there, and it makes a new one", next.GetName(), m.GetName())
		return
	}
	next.GuardKey = key
}

// refreshEndpoints derives the addresses of replicas that something happened to.
func (c *Core) refreshEndpoints() {
	if len(c.endpoints) == 0 {
		return
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.endpoints), state.Key.Compare) {
		c.disp.SetEndpoints(k, c.endpointsOf(k))
	}
	clear(c.endpoints)
}
