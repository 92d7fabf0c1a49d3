package core

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/placement"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// changeMachines looks for changes of machines, each tried on top of the plan.
func (s *shortfall) changeMachines() {
	t := s.f.p.trial
	mark := t.Mark()
	s.vacate()
	verdicts := t.Explain(*s.lines[0].refused.Request)
	t.Back(mark)
	s.machineBack(only(verdicts, scheduler.CauseLost, scheduler.CauseUnreachable, scheduler.CauseHung, scheduler.CauseUnconnected, scheduler.CauseDraining))
	s.relabel(only(verdicts, scheduler.CauseRequire))
	s.freePort(only(verdicts, scheduler.CausePort))
	s.freeOn(only(verdicts, scheduler.CauseCPU, scheduler.CauseMemory))
	s.newMachine()
}

// only picks the machines that some causes alone keep from fitting.
func only(verdicts []scheduler.MachineVerdict, causes ...scheduler.Cause) []scheduler.MachineVerdict {
	var out []scheduler.MachineVerdict
	for _, v := range verdicts {
		if !v.Fits && !slices.ContainsFunc(v.Misses, func(m scheduler.Miss) bool { return !slices.Contains(causes, m.Cause) }) {
			out = append(out, v)
		}
	}
	return out
}

// vacate takes away what the waiting replicas would give up.
func (s *shortfall) vacate() {
	for _, l := range s.lines {
		for _, p := range l.vacates {
			s.f.p.trial.Remove(p)
		}
	}
}

// fitsAfter reports whether all that wait fit after a change.
func (s *shortfall) fitsAfter(change func(t *scheduler.Trial)) bool {
	t := s.f.p.trial
	mark := t.Mark()
	defer t.Back(mark)
	change(t)
	s.vacate()
	batch := make([]scheduler.Request, len(s.lines))
	for i, l := range s.lines {
		batch[i] = *l.refused.Request
	}
	return !slices.ContainsFunc(t.Decide(s.f.p.v.now, batch), func(d scheduler.Decision) bool { return !d.Placed() })
}

// fitsWithMachine is fitsAfter one machine is other than it is.
func (s *shortfall) fitsWithMachine(id string, change func(m *scheduler.Machine)) bool {
	m, ok := s.f.p.trial.Machine(id)
	if !ok {
		return false
	}
	change(&m)
	return s.fitsAfter(func(t *scheduler.Trial) { t.SetMachine(m) })
}

// machineBack looks for a machine that only has to be ready again.
func (s *shortfall) machineBack(list []scheduler.MachineVerdict) {
	for _, v := range list[:min(len(list), maxTriedEach)] {
		if !s.fitsWithMachine(v.MachineID, func(m *scheduler.Machine) { m.Condition = scheduler.Ready }) {
			continue
		}
		s.add(&argosyv1.Remedy{Kind: argosyv1.RemedyKind_REMEDY_KIND_MACHINE_BACK, Machine: v.Machine,
			Text: fmt.Sprintf("%s is ready again: it is %s", v.Machine, v.Misses[0].Text())})
		return
	}
}

// relabel looks for the machine on which fewest labels have to change.
func (s *shortfall) relabel(list []scheduler.MachineVerdict) {
	type candidate struct {
		v      scheduler.MachineVerdict
		change placement.Labels
	}
	var candidates []candidate
	for _, v := range list {
		m, _ := s.f.p.trial.Machine(v.MachineID)
		if change, ok := placement.Meet(s.lines[0].refused.Request.Shape.Require, labelsOf(&m)); ok && settable(change) {
			candidates = append(candidates, candidate{v, change})
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.change.Size(), b.change.Size()), cmp.Compare(a.v.Load, b.v.Load))
	})
	for _, c := range candidates[:min(len(candidates), maxTriedEach)] {
		if !s.fitsWithMachine(c.v.MachineID, func(m *scheduler.Machine) { m.Labels = changed(m.Labels, c.change) }) {
			continue
		}
		s.add(&argosyv1.Remedy{Kind: argosyv1.RemedyKind_REMEDY_KIND_LABEL, Machine: c.v.Machine,
			SetLabels: c.change.Set, RemoveLabels: c.change.Remove,
			Text: "label " + c.v.Machine + " " + strings.Join(labelArgs(c.change), " ")})
		return
	}
}

func labelsOf(m *scheduler.Machine) func(string) (string, bool) {
	return func(key string) (string, bool) {
		if key == placement.Machine {
			return m.Name, true
		}
		v, ok := m.Labels[key]
		return v, ok
	}
}

// settable reports whether labels can have these values: an expression may ask for others.
func settable(change placement.Labels) bool {
	for key, v := range change.Set {
		if placement.Own(key) || len(v) > 63 || strings.Trim(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/@-") != "" {
			return false
		}
	}
	return true
}

func changed(labels map[string]string, change placement.Labels) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, change.Set)
	for _, key := range change.Remove {
		delete(out, key)
	}
	return out
}

// labelArgs spells a change as `argosy machines label` takes it.
func labelArgs(change placement.Labels) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(change.Set)) {
		out = append(out, key+"="+change.Set[key])
	}
	for _, key := range change.Remove {
		out = append(out, key+"-")
	}
	return out
}

// freePort looks for a machine on which one replica of another stack holds the ports.
func (s *shortfall) freePort(list []scheduler.MachineVerdict) {
	own := schedulerStack(s.stack.key)
	for _, v := range list[:min(len(list), maxTriedEach)] {
		h, ok := v.Misses[0].Detail.(scheduler.Holder)
		if !ok || h.Foreign || h.Outside != "" || h.Replica == (scheduler.Replica{}) || h.Replica.Stack == own {
			continue
		}
		held := s.f.bookings(h.Replica, v.MachineID)
		if !s.fitsAfter(func(t *scheduler.Trial) {
			for _, p := range held {
				t.Remove(p)
			}
		}) {
			continue
		}
		key := keyOf(h.Replica)
		s.add(&argosyv1.Remedy{Kind: argosyv1.RemedyKind_REMEDY_KIND_FREE_PORT, Machine: v.Machine, Holder: key.Proto(),
			Text: fmt.Sprintf("%s leaves %s: it has port %s", h.Replica, v.Machine, h.Port)})
		return
	}
}

func keyOf(r scheduler.Replica) state.Key {
	return state.Key{Tenant: r.Stack.Tenant, App: r.Stack.App, Stack: r.Stack.Name, Number: uint32(r.Number)}
}

// bookings lists what a replica occupies on a machine, or will after the plan.
func (f *forecaster) bookings(r scheduler.Replica, machine string) []scheduler.Placed {
	var out []scheduler.Placed
	for _, p := range f.p.v.core.placed[keyOf(r)] {
		if p.Machine == machine {
			out = append(out, p)
		}
	}
	for _, l := range f.lines[machine] {
		if l.request != nil && l.request.Replica == r {
			out = append(out, scheduler.Placed{Replica: r, Incarnation: l.request.Incarnation, Machine: machine})
		}
	}
	return out
}

// freeOn looks for the machine on which least has to become free. Nothing fits anywhere else, so all that wait go there.
func (s *shortfall) freeOn(list []scheduler.MachineVerdict) {
	t := s.f.p.trial
	type candidate struct {
		v        scheduler.MachineVerdict
		short    scheduler.Resources
		capacity scheduler.Resources // less the reserve: what is used, and what must be free
	}
	need := s.need()
	var candidates []candidate
	mark := t.Mark()
	s.vacate()
	for _, v := range list {
		used, free := t.Used(v.MachineID)
		short := scheduler.Resources{CPU: max(need.CPU-free.CPU, 0), Memory: max(need.Memory-free.Memory, 0)}
		candidates = append(candidates, candidate{v, short, plus(used, plus(free, short))})
	}
	t.Back(mark)
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(share(a.short, need), share(b.short, need)), cmp.Compare(a.v.Load, b.v.Load))
	})
	for _, c := range candidates[:min(len(candidates), maxTriedEach)] {
		if !s.fitsWithMachine(c.v.MachineID, func(m *scheduler.Machine) { m.Capacity = plus(m.Reserve, c.capacity) }) {
			continue
		}
		s.add(&argosyv1.Remedy{Kind: argosyv1.RemedyKind_REMEDY_KIND_FREE_ON_MACHINE, Machine: c.v.Machine, CpuMilli: c.short.CPU,
			Memory: c.short.Memory, Text: fmt.Sprintf("%s more free on %s", amounts(c.short), c.v.Machine)})
		return
	}
}

// newMachine tries one machine for all that wait, else one for each.
func (s *shortfall) newMachine() {
	r := s.lines[0].refused.Request
	if s.stack.entry.GetEachMachine() || slices.ContainsFunc(s.lines, func(l *planLine) bool { return l.refused.Request.Pin.Machine != "" }) {
		return
	}
	// One that joins is taken for one that runs units, as nearly all do.
	own := map[string]string{placement.Systemd: "any"}
	m := scheduler.Machine{Name: "a new machine", Labels: own}
	labels, ok := placement.Meet(r.Shape.Require, labelsOf(&m))
	if !ok || !settable(labels) {
		return
	}
	m.Labels = changed(own, labels)
	residents, theirs := s.residents(&m)
	n := len(s.lines)
	for _, machines := range slices.Compact([]int{1, n}) {
		free := s.need()
		if machines > 1 {
			free = s.needOfOne()
		}
		m.Capacity = plus(free, theirs)
		if !s.fitsAfter(func(t *scheduler.Trial) {
			for i := range machines {
				m.ID = fmt.Sprintf("\x00%d", i) // like no other
				t.SetMachine(m)
				for j, r := range residents {
					r.Machine, r.Incarnation = m.ID, 1
					r.Replica.Number = -1 - i*len(residents) - j
					t.Add(r)
				}
			}
		}) {
			continue
		}
		text := "one more machine with " + amounts(free) + " free"
		if machines > 1 {
			text = fmt.Sprintf("%d more machines with %s free each", machines, amounts(free))
		}
		if len(labels.Set) > 0 {
			text += " and the labels " + strings.Join(labelArgs(labels), " ")
		}
		s.add(&argosyv1.Remedy{Kind: argosyv1.RemedyKind_REMEDY_KIND_NEW_MACHINE, Machines: uint32(machines), CpuMilli: free.CPU,
			Memory: free.Memory, SetLabels: labels.Set, Text: text})
		return
	}
}

// residents is what a machine that joins gets before anything that waits: the stacks that run on each machine; and what they
// need together.
func (s *shortfall) residents(m *scheduler.Machine) (list []scheduler.Placed, need scheduler.Resources) {
	p := s.f.p
	joined, own := &argosyv1.Machine{Name: m.Name, Labels: m.Labels, SystemdVersion: m.Labels[placement.Systemd]}, state.AppKey{Tenant: p.app.GetTenant(), App: p.app.GetName()}
	add := func(k state.StackKey, sh shape) {
		if sh.fault == "" && meets(joined, sh.anyone().Require) {
			list = append(list, scheduler.Placed{Replica: scheduler.Replica{Stack: schedulerStack(k)}, Shape: sh.Shape})
			need = plus(need, sh.Need)
		}
	}
	for k := range p.v.core.each {
		if k.AppKey() != own {
			add(k, p.v.core.shapeAt(k, p.v.App(k.Tenant, k.App).GetRevision()))
		}
	}
	for _, st := range p.stackList {
		if st.entry.GetEachMachine() {
			add(st.key, st.sh)
		}
	}
	return list, need
}

// need is what all that wait need together, in the index's units.
func (s *shortfall) need() scheduler.Resources {
	one, n := s.needOfOne(), int64(len(s.lines))
	return scheduler.Resources{CPU: n * one.CPU, Memory: n * one.Memory}
}

func (s *shortfall) needOfOne() scheduler.Resources {
	const page = 4096
	need := s.lines[0].refused.Request.Shape.Need
	return scheduler.Resources{CPU: max(need.CPU, 0), Memory: (max(need.Memory, 0) + page - 1) / page * page}
}

func plus(a, b scheduler.Resources) scheduler.Resources {
	return scheduler.Resources{CPU: a.CPU + b.CPU, Memory: a.Memory + b.Memory}
}

// share is the larger part of a need that is short.
func share(short, need scheduler.Resources) float64 {
	return max(float64(short.CPU)/float64(max(need.CPU, 1)), float64(short.Memory)/float64(max(need.Memory, 1)))
}

func amounts(r scheduler.Resources) string {
	var parts []string
	if r.CPU > 0 {
		parts = append(parts, scheduler.FormatCPU(r.CPU)+" cpu")
	}
	if r.Memory > 0 {
		parts = append(parts, scheduler.FormatMemory(r.Memory))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, " and ")
}
