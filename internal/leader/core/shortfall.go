package core

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// shortfall is the waiting replicas of one stack.
type shortfall struct {
	f     *forecaster
	stack *planStack
	lines []*planLine // never empty
	out   *argosyv1.Shortfall
}

// shortfalls says of each stack of which something waits why, and what would help. Changes of the manifest are tried by
// planning anew, without the trial; then the plan is put into the trial again and the others are tried on top of it.
func (f *forecaster) shortfalls() {
	var list []*shortfall
	byStack := map[*planStack]*shortfall{}
	for _, l := range f.p.lines {
		if l.refused == nil {
			continue
		}
		f.waiting.Add(state.KeyOf(l.change.Key))
		s := byStack[l.stack]
		if s == nil {
			s = &shortfall{f: f, stack: l.stack, out: describe(l)}
			byStack[l.stack] = s
			list = append(list, s)
			f.out.Shortfalls = append(f.out.Shortfalls, s.out)
		}
		s.lines = append(s.lines, l)
		s.out.Numbers = append(s.out.Numbers, l.change.Key.Number)
	}
	if len(list) == 0 {
		return
	}
	if len(list) > maxAdvised {
		f.leftOut("what would help was looked for only for the first %d of %d stacks that wait", maxAdvised, len(list))
		list = list[:maxAdvised]
	}
	f.p.trial.End()
	for _, s := range list {
		s.changeManifest()
	}
	if f.replanned > maxReplanned {
		f.leftOut("not every change of the manifest was tried: those before planned more than %d replicas anew", maxReplanned)
	}
	f.p.decide()
	for _, s := range list {
		s.changeMachines()
		slices.SortStableFunc(s.out.Remedies, func(a, b *argosyv1.Remedy) int {
			return cmp.Or(cmp.Compare(effort(a.Kind), effort(b.Kind)), cmp.Compare(a.GivenUp, b.GivenUp), cmp.Compare(a.Kind, b.Kind))
		})
	}
}

// effort sorts kinds of remedies: what only takes a word, what takes another manifest, what takes hardware.
func effort(k argosyv1.RemedyKind) int {
	switch k {
	case argosyv1.RemedyKind_REMEDY_KIND_MACHINE_BACK, argosyv1.RemedyKind_REMEDY_KIND_LABEL, argosyv1.RemedyKind_REMEDY_KIND_FREE_PORT:
		return 0
	case argosyv1.RemedyKind_REMEDY_KIND_MEMORY, argosyv1.RemedyKind_REMEDY_KIND_CPU, argosyv1.RemedyKind_REMEDY_KIND_SCALE:
		return 1
	}
	return 2
}

// describe says why one replica waits.
func describe(l *planLine) *argosyv1.Shortfall {
	out := &argosyv1.Shortfall{Stack: l.stack.key.Stack}
	reason := &l.refused.Reason
	for _, o := range reason.Missing {
		out.Rules = append(out.Rules, &argosyv1.RuleCount{Rule: "together with " + o.String(), Machines: uint32(reason.Rejected.Machines)})
	}
	out.Machines = uint32(reason.Rejected.Machines)
	out.Rules = append(out.Rules, ruleCounts(reason.Rejected)...)
	if near := reason.Rejected.Near; len(near) > 0 {
		out.Nearest = &argosyv1.Nearest{Machine: near[0].Machine, Rule: near[0].Cause.String(), Text: near[0].Text(),
			ShortCpuMilli: near[0].Short.CPU, ShortMemory: near[0].Short.Memory}
	}
	return out
}

const (
	memoryStep   = 1 << 20
	leastMemory  = 6 << 20 // what Docker takes at the least
	cpuStep      = 10
	leastCPU     = 10
	thousandths  = 1000
	maxTriedEach = 8 // machines, for each kind of remedy
)

// changeManifest looks for changes of the manifest.
func (s *shortfall) changeManifest() {
	if s.stack.spec == nil {
		return
	}
	spec := proto.CloneOf(s.f.p.spec)
	s.smaller(spec, resource{argosyv1.RemedyKind_REMEDY_KIND_MEMORY, leastMemory, memoryStep, s.out.GetNearest().GetShortMemory(),
		(*argosyv1.Resources).GetReserveMemory, setMemory})
	s.smaller(spec, resource{argosyv1.RemedyKind_REMEDY_KIND_CPU, leastCPU, cpuStep, s.out.GetNearest().GetShortCpuMilli(),
		(*argosyv1.Resources).GetReserveCpuMilli, setCPU})
	if !s.stack.entry.GetEachMachine() {
		s.fewer(spec)
	}
}

// resource is what a container may reserve less of.
type resource struct {
	kind        argosyv1.RemedyKind
	least, step int64
	short       int64 // of what the nearest machine has
	reserved    func(*argosyv1.Resources) int64
	set         func(r *argosyv1.Resources, v int64)
}

// setMemory and setCPU change what is reserved as the manifest would: by the limit, unless that is said apart from it.
func setMemory(r *argosyv1.Resources, v int64) {
	if memoryByLimit(r) {
		r.LimitMemory, r.DefaultMemory = v, false
	}
	r.ReserveMemory = v
}

func setCPU(r *argosyv1.Resources, v int64) {
	if cpuByLimit(r) {
		r.LimitCpuMilli, r.DefaultCpu = v, false
	}
	r.ReserveCpuMilli = v
}

func memoryByLimit(r *argosyv1.Resources) bool {
	return r.GetDefaultMemory() || r.GetLimitMemory() == r.GetReserveMemory()
}

func cpuByLimit(r *argosyv1.Resources) bool {
	return r.GetDefaultCpu() || r.GetLimitCpuMilli() == r.GetReserveCpuMilli()
}

// smaller looks for what the container that reserves most may reserve instead.
func (s *shortfall) smaller(spec *argosyv1.AppSpec, of resource) {
	var ct *argosyv1.ContainerSpec
	for _, c := range state.ContainersOf(spec, s.stack.spec) {
		if ct == nil || of.reserved(c.GetResources()) > of.reserved(ct.GetResources()) {
			ct = c
		}
	}
	was := ct.GetResources()
	before := of.reserved(was)
	if ct == nil || was == nil || before <= of.least {
		return
	}
	after, ok := most(of.least, before, before-of.short, of.step, func(v int64) bool {
		ct.Resources = proto.CloneOf(was)
		of.set(ct.Resources, v)
		defer func() { ct.Resources = was }()
		return s.fitsWith(spec)
	})
	if !ok || s.f.replanned > maxReplanned {
		return
	}
	s.add(&argosyv1.Remedy{Kind: of.kind, Container: ct.GetName(), Before: before, After: after,
		Text: reservation(of.kind, ct, before, after)})
}

func reservation(kind argosyv1.RemedyKind, ct *argosyv1.ContainerSpec, before, after int64) string {
	key, word := "cpus", scheduler.FormatCPU
	byLimit := cpuByLimit(ct.GetResources())
	if kind == argosyv1.RemedyKind_REMEDY_KIND_MEMORY {
		key, word, byLimit = "mem_limit", scheduler.FormatMemory, memoryByLimit(ct.GetResources())
	}
	if !byLimit {
		key = map[string]string{"cpus": "reserved cpus", "mem_limit": "reserved memory"}[key]
	}
	return key + " of " + ct.GetName() + " " + word(before) + " → " + word(after)
}

// fewer looks for the most replicas that fit.
func (s *shortfall) fewer(spec *argosyv1.AppSpec) {
	entry := state.Entry(spec, s.stack.key.Stack)
	was := entry.GetCount()
	count, ok := most(1, int64(was), int64(was)-int64(len(s.lines)), 1, func(v int64) bool {
		entry.Count = uint32(v)
		defer func() { entry.Count = was }()
		return s.fitsWith(spec)
	})
	if !ok || s.f.replanned > maxReplanned {
		return
	}
	s.add(&argosyv1.Remedy{Kind: argosyv1.RemedyKind_REMEDY_KIND_SCALE, Before: int64(was), After: count,
		Text: fmt.Sprintf("scale %s to %d", s.stack.key.Stack, count)})
}

func (s *shortfall) add(r *argosyv1.Remedy) {
	if r.Before > 0 {
		r.GivenUp = uint32((r.Before - r.After) * thousandths / r.Before)
	}
	s.out.Remedies = append(s.out.Remedies, r)
}

// fitsWith reports whether nothing of the stack waits with another manifest, and nothing else that did not before.
func (s *shortfall) fitsWith(spec *argosyv1.AppSpec) bool {
	f := s.f
	if f.replanned > maxReplanned {
		return false
	}
	p, err := f.p.v.plan(f.p.app.GetTenant(), spec, nil)
	if err != nil {
		return false
	}
	p.trial.End()
	f.replanned += 1 + len(p.lines)
	for _, l := range p.lines {
		if l.refused != nil && (l.stack.key == s.stack.key || !f.waiting.Has(state.KeyOf(l.change.Key))) {
			return false
		}
	}
	return f.replanned <= maxReplanned
}

// most finds the largest multiple of step, at least least and below before, that works, given that before does not. It
// tries guess first, and is sure that one step more does not work.
func most(least, before, guess, step int64, works func(int64) bool) (int64, bool) {
	low, high := (least+step-1)/step, (before+step-1)/step // works, and does not
	if low >= high || !works(low*step) {
		return 0, false
	}
	first := []int64{guess / step, guess/step + 1}
	for high-low > 1 {
		next := (low + high) / 2
		if len(first) > 0 {
			if low < first[0] && first[0] < high {
				next = first[0]
			}
			first = first[1:]
		}
		if works(next * step) {
			low = next
		} else {
			high = next
		}
	}
	return low * step, true
}
