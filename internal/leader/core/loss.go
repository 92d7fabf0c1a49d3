package core

import (
	"cmp"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/placement"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// fate is what becomes of a replica whose machine is lost.
type fate uint8

const (
	fateIgnored fate = iota // nobody wants it there any more
	fateMoves               // is placed elsewhere, if it fits
	fateData                // waits: a volume of it is there
	fateBelongs             // waits: one belongs to each machine
)

// victim is a replica on a machine that is lost.
type victim struct {
	key         state.Key
	incarnation uint64
	shape       *scheduler.Shape
	fate        fate
	own         bool // it is of the plan's app
}

// domain is what is lost at once.
type domain struct {
	label, value string
	machines     []string // ids
}

// losses tries the loss of each machine that has something of the app, and of each value of the labels.
func (f *forecaster) losses(labels []string) {
	var domains []domain
	known := f.p.v.Machines()
	for _, m := range known {
		switch f.p.v.core.condition(m.GetId()) {
		case condLost:
			continue
		case condUnreachable:
			f.silent++
		}
		f.counted++
		domains = append(domains, domain{placement.Machine, f.p.v.MachineName(m.GetId()), []string{m.GetId()}})
	}
	slices.SortStableFunc(domains, func(a, b domain) int { return strings.Compare(a.value, b.value) })
	asked := []string{placement.Machine}
	for _, label := range labels[:min(len(labels), MaxLossLabels)] {
		if slices.Contains(asked, label) {
			continue
		}
		asked = append(asked, label)
		domains = append(domains, byLabel(known, label)...)
	}
	left := 0
	for _, d := range domains {
		if d.machines = slices.DeleteFunc(d.machines, func(id string) bool { return f.p.v.core.condition(id) == condLost }); !f.concerned(d) {
			continue
		}
		if f.replaced > maxReplaced {
			left++
			continue
		}
		f.out.Losses = append(f.out.Losses, f.lose(d))
	}
	if left > 0 {
		f.leftOut("%d losses were not tried: those before moved more than %d replicas", left, maxReplaced)
	}
	f.survival(asked)
}

func byLabel(machines []*argosyv1.Machine, label string) []domain {
	values := map[string]int{}
	var out []domain
	for _, m := range machines {
		value, ok := m.GetLabels()[label]
		if !ok {
			continue
		}
		i, ok := values[value]
		if !ok {
			i = len(out)
			values[value] = i
			out = append(out, domain{label: label, value: value})
		}
		out[i].machines = append(out[i].machines, m.GetId())
	}
	slices.SortFunc(out, func(a, b domain) int { return strings.Compare(a.value, b.value) })
	return out
}

// concerned reports whether something of the app is there.
func (f *forecaster) concerned(d domain) bool {
	return slices.ContainsFunc(d.machines, func(id string) bool { return len(f.lines[id]) > 0 })
}

// lose tries one loss. What was there stays booked on the lost machines, as it does in truth while they may still run it.
func (f *forecaster) lose(d domain) *argosyv1.Loss {
	out := &argosyv1.Loss{Label: d.label, Value: d.value, Machines: uint32(len(d.machines)), Halted: f.halted(d)}
	var victims []victim
	for _, id := range d.machines {
		victims = append(victims, f.victims(id)...)
	}
	slices.SortFunc(victims, func(a, b victim) int { return a.key.Compare(b.key) })
	placed := map[state.Key]*scheduler.Decision{}
	if out.Halted == "" {
		placed = f.moveAway(d, victims)
	}
	stacks := map[string]*argosyv1.StackLoss{}
	for _, v := range victims {
		if !v.own || v.fate == fateIgnored {
			continue
		}
		s := stacks[v.key.Stack]
		if s == nil {
			s = &argosyv1.StackLoss{Stack: v.key.Stack}
			stacks[v.key.Stack] = s
			out.Stacks = append(out.Stacks, s)
		}
		tell(s, &v, placed[v.key], out.Halted != "")
	}
	return out
}

// tell puts what becomes of one replica into its stack's list.
func tell(s *argosyv1.StackLoss, v *victim, d *scheduler.Decision, halted bool) {
	n := v.key.Number
	switch {
	case v.fate == fateBelongs:
		s.BelongThere = append(s.BelongThere, n)
	case v.fate == fateData:
		s.WaitForData = append(s.WaitForData, n)
	case halted:
		s.Halted = append(s.Halted, n)
	case d != nil && d.Placed():
		s.Moved = append(s.Moved, n)
	default:
		if s.DoNotFit = append(s.DoNotFit, n); s.Why == "" && d != nil {
			s.Why = d.Reason.String()
		}
	}
}

// halted says why nothing would be moved, empty when it would be.
func (f *forecaster) halted(d domain) string {
	silent := f.silent
	for _, id := range d.machines {
		if f.p.v.core.condition(id) != condUnreachable {
			silent++
		}
	}
	return orchestrator.Paused(silent, f.counted)
}

// moveAway decides what the leader would, everybody's replicas together, and takes it back.
func (f *forecaster) moveAway(d domain, victims []victim) map[state.Key]*scheduler.Decision {
	t := f.p.trial
	mark := t.Mark()
	defer t.Back(mark)
	for _, id := range d.machines {
		if m, ok := t.Machine(id); ok {
			m.Condition = scheduler.Lost
			t.SetMachine(m)
		}
	}
	var batch []scheduler.Request
	var keys []state.Key
	for _, v := range victims {
		if v.fate == fateMoves {
			batch = append(batch, scheduler.Request{Replica: schedulerReplica(v.key), Incarnation: v.incarnation + 1, Shape: v.shape})
			keys = append(keys, v.key)
		}
	}
	f.replaced += len(batch)
	decisions := t.Decide(f.p.v.now, batch)
	out := make(map[state.Key]*scheduler.Decision, len(decisions))
	for i := range decisions {
		out[keys[i]] = &decisions[i]
	}
	return out
}

// victims lists what is on a machine after the plan.
func (f *forecaster) victims(id string) []victim {
	var out []victim
	for _, l := range f.lines[id] {
		v := victim{key: state.KeyOf(l.change.Key), shape: l.stack.sh.of(state.KeyOf(l.change.Key)), own: true, fate: fateMoves}
		v.incarnation = f.p.v.Replica(v.key).GetIncarnation() + 1
		switch {
		case l.stack.spec == nil:
			v.fate = fateIgnored
		case l.stack.entry.GetEachMachine():
			v.fate = fateBelongs
		case slices.ContainsFunc(l.stack.spec.GetVolumes(), func(v *argosyv1.VolumeSpec) bool { return !state.SharedSpec(v) }) || f.p.v.core.pinOf(v.key).Machine != "":
			v.fate = fateData
		}
		out = append(out, v)
	}
	app := state.AppKey{Tenant: f.p.app.GetTenant(), App: f.p.app.GetName()}
	for _, r := range f.p.v.MachineReplicas(id) {
		if k := state.KeyOf(r.GetKey()); k.AppKey() != app {
			out = append(out, f.p.v.core.victim(k, r))
		}
	}
	return out
}

// victim is a replica of another app, as the leader would treat it now.
func (c *Core) victim(k state.Key, r *argosyv1.Replica) victim {
	v := victim{key: k, incarnation: r.GetIncarnation()}
	app := c.st.App(k.Tenant, k.App)
	rev := c.st.AppRevision(k.Tenant, k.App, 0)
	if r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE || app == nil || app.GetDeleting() || c.st.AppFault(k.AppKey()) != nil ||
		state.StackSpec(rev.GetSpec(), k.Stack) == nil {
		return v
	}
	sh := c.shapeAt(k.StackKey(), app.GetRevision())
	v.shape = sh.of(v.key)
	switch {
	case sh.fault != "":
	case c.each.Has(k.StackKey()):
		v.fate = fateBelongs
	case c.pinOf(k).Machine != "":
		v.fate = fateData
	default:
		v.fate = fateMoves
	}
	return v
}

// survival sums up the losses by stack and label.
func (f *forecaster) survival(labels []string) {
	type at struct{ stack, label string }
	sums := map[at]*argosyv1.Survival{}
	for _, st := range f.p.stackList {
		for _, label := range labels {
			if st.spec == nil {
				continue
			}
			s := &argosyv1.Survival{Stack: st.key.Stack, Label: label}
			sums[at{st.key.Stack, label}] = s
			f.out.Survival = append(f.out.Survival, s)
		}
	}
	for _, l := range f.p.lines {
		for _, label := range labels {
			if s := sums[at{l.stack.key.Stack, label}]; s != nil && l.machine != "" {
				s.Placed++
			}
		}
	}
	for _, loss := range f.out.Losses {
		for _, sl := range loss.Stacks {
			s := sums[at{sl.Stack, loss.Label}]
			if s == nil {
				continue
			}
			s.Survives = (s.Losses == 0 || s.Survives) && homeless(sl) == 0
			s.Losses++
			if s.StackLoss == nil || worse(sl, s.StackLoss) {
				s.Worst, s.StackLoss = loss.Value, sl
			}
		}
	}
}

// homeless is how many have no place for the time being.
func homeless(s *argosyv1.StackLoss) int { return len(s.DoNotFit) + len(s.WaitForData) + len(s.Halted) }

func worse(a, b *argosyv1.StackLoss) bool {
	return cmp.Or(cmp.Compare(homeless(a), homeless(b)), cmp.Compare(len(a.DoNotFit), len(b.DoNotFit)),
		cmp.Compare(len(a.Moved)+len(a.BelongThere), len(b.Moved)+len(b.BelongThere))) > 0
}
