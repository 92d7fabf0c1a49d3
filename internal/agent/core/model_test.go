package core_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// model is an engine in memory: it does what steps ask for, at once, unless told to fail.
type model struct {
	now        time.Time
	wanted     map[core.Key]*argosyv1.Assignment
	seen       core.Seen
	memory     core.Memory
	containers map[string]*core.Container
	checks     map[string]bool // containers that have a health check
	next       int
	// fail gives an error for a step, or nil.
	fail func(core.Step) error
	// starts lists what was started, for properties.
	starts []core.Container
}

var epoch = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

func newModel() *model {
	m := &model{now: epoch, wanted: map[core.Key]*argosyv1.Assignment{}, containers: map[string]*core.Container{}, checks: map[string]bool{}}
	m.seen.Known, m.memory.Complete = true, true
	m.fail = func(core.Step) error { return nil }
	return m
}

func (m *model) list() []*argosyv1.Assignment {
	var out []*argosyv1.Assignment
	for _, k := range slices.SortedFunc(maps.Keys(m.wanted), core.Key.Compare) {
		out = append(out, m.wanted[k])
	}
	return out
}

func (m *model) look() core.Seen {
	s := m.seen
	s.Containers = nil
	for _, id := range slices.Sorted(maps.Keys(m.containers)) {
		s.Containers = append(s.Containers, *m.containers[id])
	}
	return s
}

func (m *model) decide() []core.Step { return core.Decide(m.now, m.list(), m.look(), m.memory) }

func (m *model) observe() []*argosyv1.ReplicaObservation {
	return core.Observe(m.now, m.list(), m.look(), m.memory)
}

// do carries out a step from beginning to end.
func (m *model) do(s core.Step) error {
	m.memory.Begin(m.now, s)
	err := m.fail(s)
	if err == nil {
		err = m.act(s)
	}
	m.memory.Done(m.now, s, err)
	return err
}

func (m *model) act(s core.Step) error {
	c := m.containers[s.ContainerID]
	if s.ContainerID != "" && c == nil {
		return &core.Fault{Kind: core.FaultGone, Message: "no such container"}
	}
	switch s.Kind {
	case core.Create:
		m.next++
		id := fmt.Sprintf("c%02d", m.next)
		m.containers[id] = &core.Container{
			ContainerID: id, Owner: s.ID, Member: s.Member, Definition: s.Definition, Revision: s.Assignment.GetRevision(), Restart: s.Assignment.GetRestart(),
			After: dependencies(s.Spec), State: core.Created, CreatedAt: m.now, Claims: s.Lease.Label(),
		}
		m.checks[id] = s.Spec.GetHealthcheck() != nil
		if s.Unit != nil {
			c := m.containers[id]
			name := unitfile.ForReplica(s.Unit.GetName(), s.Number)
			c.Unit, c.After = &core.Unit{Name: name, Load: "loaded", Active: "inactive"}, afterOf(s.Unit)
			for _, o := range m.containers {
				if o != c && o.Unit != nil && o.Unit.Name == name {
					return fmt.Errorf("there is a unit %s already", name)
				}
			}
		}
	case core.Start:
		if c.Vanished != 0 {
			return nil // for the engine it runs
		}
		if c.Unit != nil {
			becomes(c, "active", m.now)
			m.starts = append(m.starts, *c)
			return nil
		}
		c.State, c.StartedAt, c.FinishedAt, c.ExitCode, c.Address = core.Running, m.now, time.Time{}, 0, "10.64.0."+strings.TrimPrefix(c.ContainerID, "c")
		c.Health = core.NoCheck
		if m.checks[c.ContainerID] {
			c.Health = core.CheckStarting
		}
		m.starts = append(m.starts, *c)
	case core.Stop:
		if c.Alive() {
			c.State, c.FinishedAt, c.ExitCode = core.Exited, m.now, 143
			if c.Unit != nil {
				ended(c, 0)
			}
		}
	case core.Remove:
		if c.Alive() || c.Vanished != 0 && !s.Force {
			return fmt.Errorf("removing a running container")
		}
		delete(m.containers, c.ContainerID)
	}
	return nil
}

// afterOf are the units that a unit's file has before it.
func afterOf(u *argosyv1.Unit) []string {
	var names []string
	file, _ := unitfile.Parse(u.GetName(), u.GetContent())
	for _, s := range file.Values("Unit", "After") {
		names = append(names, strings.Fields(s.Value)...)
	}
	return names
}

// becomes gives a unit a state of systemd's.
func becomes(c *core.Container, active string, now time.Time) {
	if c.StartedAt.IsZero() || !c.Alive() {
		c.StartedAt = now
	}
	c.State, c.Health, c.ExitCode, c.FinishedAt, c.Error = core.Running, core.CheckStarting, 0, time.Time{}, ""
	c.Unit.Active, c.Unit.Sub, c.Unit.Result, c.Unit.Unmet = active, active, "success", false
	switch active {
	case "active":
		c.Health, c.Unit.Sub = core.Healthy, "running"
	case "auto-restart":
		c.Unit.Active, c.Unit.Restarts, c.Error, c.ExitCode = "activating", c.Unit.Restarts+1, "exited with code 1", 1
	case "forgotten": // it ended well, and systemd unloaded it
		c.State, c.Health, c.StartedAt, c.Unit.Active, c.Unit.Sub = core.Created, core.NoCheck, time.Time{}, "inactive", "dead"
	case "unmet":
		c.State, c.Health, c.FinishedAt, c.Unit.Active, c.Unit.Sub, c.Unit.Unmet = core.Exited, core.NoCheck, now, "inactive", "dead", true
	}
}

// ended is what systemd shows of a unit that ended.
func ended(c *core.Container, code int) {
	c.Health, c.ExitCode = core.NoCheck, code
	c.Unit.Active, c.Unit.Sub, c.Unit.Result = "inactive", "dead", "success"
	if code != 0 {
		c.Unit.Active, c.Unit.Sub, c.Unit.Result, c.Error = "failed", "failed", "exit-code", fmt.Sprintf("exited with code %d", code)
	}
}

func dependencies(spec *argosyv1.ContainerSpec) []string {
	var names []string
	for _, d := range spec.GetDependsOn() {
		names = append(names, d.GetContainer())
	}
	return names
}

// run takes steps until nothing but waiting is left, and returns what it did.
func (m *model) run() string {
	var out strings.Builder
	for range 200 {
		acted := false
		for _, s := range m.decide() {
			if s.Kind == core.Wait {
				continue
			}
			acted = true
			err := m.do(s)
			fmt.Fprintln(&out, describe(s))
			if err != nil {
				fmt.Fprintf(&out, "  failed: %v\n", err)
			}
		}
		if !acted {
			for _, s := range m.decide() {
				fmt.Fprintln(&out, m.waiting(s))
			}
			return out.String()
		}
	}
	return out.String() + "…does not end\n"
}

func describe(s core.Step) string {
	text := s.String()
	if s.ContainerID != "" {
		text = strings.Replace(text, ":", " "+s.ContainerID+":", 1)
	}
	if s.Kind == core.Stop && s.Grace >= 0 {
		text += fmt.Sprintf(" (grace %s)", s.Grace)
	}
	if s.Attempt > 0 {
		text += fmt.Sprintf(" (attempt %d)", s.Attempt)
	}
	if s.Force {
		text += " (by force)"
	}
	if s.RemoveVolumes {
		text += " (with volumes)"
	}
	return text
}

func (m *model) waiting(s core.Step) string {
	text := s.String()
	if !s.At.IsZero() {
		text += fmt.Sprintf(" (%s)", s.At.Sub(m.now))
	}
	return text
}

// find finds the newest container of a member: "lamp.1/mysql".
func (m *model) find(name string) *core.Container {
	var best *core.Container
	for _, id := range slices.Sorted(maps.Keys(m.containers)) {
		c := m.containers[id]
		if fmt.Sprintf("%s.%d/%s", c.Owner.Stack, c.Owner.Number, c.Member) == name {
			best = c
		}
	}
	return best
}
