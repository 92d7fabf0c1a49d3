package scheduler

import (
	"cmp"
	"slices"
	"sort"

	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// naive is what the package promises, written as plainly as can be: lists,
// scanned whole for every question. Properties compare the Scheduler with it.
type naive struct {
	machines map[string]Machine
	placed   map[string]Placed // by placedName
}

func newNaive() *naive { return &naive{machines: map[string]Machine{}, placed: map[string]Placed{}} }

func (n *naive) add(p Placed) { n.placed[placedName(p)] = p }

func (n *naive) remove(p Placed) { delete(n.placed, placedName(p)) }

func placedName(p Placed) string {
	return p.Machine + " " + p.Replica.Stack.Tenant + ":" + p.Replica.String() + " " + string(rune('a'+p.Incarnation))
}

func (n *naive) on(id string) (list []Placed) {
	for _, p := range n.placed {
		if p.Machine == id {
			list = append(list, p)
		}
	}
	return list
}

func (n *naive) has(id string, st Stack) bool {
	return slices.ContainsFunc(n.on(id), func(p Placed) bool { return p.Replica.Stack == st })
}

// pages rounds what is needed up.
func pages(b int64) int64 { return (max(b, 0) + 4095) / 4096 }

// used and usable are cpu and pages.
func (n *naive) used(id string) (cpu, mem int64) {
	for _, p := range n.on(id) {
		cpu += max(p.Shape.Need.CPU, 0)
		mem += pages(p.Shape.Need.Memory)
	}
	return cpu, mem
}

func usable(m Machine) (cpu, mem int64) {
	left := func(c, r int64) int64 { return max(max(c, 0)-max(r, 0), 0) }
	return left(m.Capacity.CPU, m.Reserve.CPU), left(m.Capacity.Memory, m.Reserve.Memory) / 4096
}

func (n *naive) free(m Machine) (cpu, mem int64) {
	cpu, mem = usable(m)
	c, b := n.used(m.ID)
	return max(cpu-c, 0), max(mem-b, 0)
}

func labelsOf(m Machine) func(string) (string, bool) {
	return func(k string) (string, bool) {
		if k == "machine" {
			return m.Name, true
		}
		v, ok := m.Labels[k]
		return v, ok
	}
}

// cause is the first thing that keeps m from taking the request.
func (n *naive) cause(m Machine, r Request) Cause {
	switch m.Condition {
	case Hung:
		return CauseHung
	case Unconnected:
		return CauseUnconnected
	case Draining:
		return CauseDraining
	case Unreachable:
		return CauseUnreachable
	case Lost:
		return CauseLost
	}
	for _, e := range r.Shape.Require {
		if !e.Eval(labelsOf(m)) {
			return CauseRequire
		}
	}
	for _, st := range r.Shape.Together {
		if !n.has(m.ID, st) {
			return CauseTogether
		}
	}
	for _, u := range r.Shape.Units {
		for _, name := range u.Beside {
			if !brings(r.Shape, name) && !slices.ContainsFunc(n.on(m.ID), func(p Placed) bool {
				return p.Replica.Stack.Tenant == r.Replica.Stack.Tenant && brings(p.Shape, name)
			}) {
				return CauseTogether
			}
		}
	}
	for _, p := range n.on(m.ID) {
		if slices.Contains(r.Shape.Apart, p.Replica.Stack) || slices.Contains(p.Shape.Apart, r.Replica.Stack) {
			return CauseApart
		}
	}
	for _, want := range r.Shape.Ports {
		for _, p := range n.on(m.ID) {
			if slices.ContainsFunc(p.Shape.Ports, func(o Port) bool { return portsClash(want, o) }) {
				return CausePort
			}
		}
		if slices.ContainsFunc(m.Ports, func(o TakenPort) bool { return portsClash(want, o.Port) }) {
			return CausePort
		}
	}
	for _, p := range n.on(m.ID) {
		if unitsClash(r, p) {
			return CauseUnit
		}
	}
	cpu, mem := n.free(m)
	if r.Shape.Need.CPU > cpu {
		return CauseCPU
	}
	if pages(r.Shape.Need.Memory) > mem {
		return CauseMemory
	}
	return CauseNone
}

func brings(s *Shape, name string) bool {
	return slices.ContainsFunc(s.Units, func(u Unit) bool { return u.Name == name })
}

// unitsClash tells whether what comes has a unit that cannot be beside one of what is there.
func unitsClash(r Request, p Placed) bool {
	own := r.Replica.Stack.Tenant == p.Replica.Stack.Tenant
	rules := func(u Unit, globs ...string) unitfile.Rules {
		return unitfile.Rules{Name: u.Name, Conflicts: slices.Concat(globs, u.Conflicts)}
	}
	for _, u := range r.Shape.Units {
		for _, o := range p.Shape.Units {
			if u.Name == o.Name {
				return true
			}
			if _, ok := unitfile.Compatible(rules(u, u.Replaces...), rules(o, o.Replaces...)); own && !ok {
				return true
			}
		}
	}
	return false
}

func portsClash(a, b Port) bool {
	proto := func(p Port) string { return cmp.Or(p.Protocol, "tcp") }
	if a.Port == 0 || a.Port != b.Port || proto(a) != proto(b) {
		return false
	}
	// As text: none and :: are everything, 0.0.0.0 is every IPv4 address.
	for _, x := range [][2]Port{{a, b}, {b, a}} {
		switch x[0].IP.String() {
		case "invalid IP", "::", x[1].IP.String():
			return true
		case "0.0.0.0":
			if x[1].IP.Is4() {
				return true
			}
		}
	}
	return false
}

func (n *naive) domainCount(m Machine, st Stack, key string) int {
	mv, mok := labelsOf(m)(key)
	count := 0
	for _, p := range n.placed {
		o, known := n.machines[p.Machine]
		if !known || o.Condition == Draining || o.Condition == Lost || p.Replica.Stack != st {
			continue
		}
		if key == "machine" {
			if p.Machine == m.ID {
				count++
			}
			continue
		}
		if v, ok := labelsOf(o)(key); v == mv && ok == mok {
			count++
		}
	}
	return count
}

// rank lists what orders machines that fit; lower is better.
func (n *naive) rank(m Machine, r Request) []int64 {
	pref := 0
	for _, p := range r.Shape.Prefer {
		if p.When.Eval(labelsOf(m)) {
			pref += p.Weight
		}
	}
	rank := []int64{int64(-pref)}
	for _, key := range r.Shape.Spread {
		rank = append(rank, int64(n.domainCount(m, r.Replica.Stack, key)))
	}
	load := int64(n.load(m))
	if r.Shape.Strategy == Pack {
		load = -load
	}
	cpu, mem := usable(m)
	return append(rank, load, -int64(sizeOf(amount{uint32(cpu), uint32(mem)})))
}

func (n *naive) load(m Machine) uint32 {
	x := machine{}
	x.describe(m)
	x.usedCPU, x.usedMem = n.used(m.ID)
	x.account()
	return x.load
}

// choose returns the id of the best machine, "" if none fits, how many fit,
// and how many were rejected for each cause.
func (n *naive) choose(r Request) (best string, fit int, counts [causes]int32) {
	var bestRank []int64
	for _, id := range n.ids() {
		m := n.machines[id]
		if c := n.cause(m, r); c != CauseNone {
			counts[c]++
			continue
		}
		fit++
		if rank := n.rank(m, r); bestRank == nil || slices.Compare(rank, bestRank) < 0 {
			best, bestRank = id, rank
		}
	}
	return best, fit, counts
}

func (n *naive) ids() []string {
	ids := make([]string, 0, len(n.machines))
	for id := range n.machines {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}

// nearest is the smallest shortage among machines short of cpu or memory, in
// thousandths of a per cent of the need.
func (n *naive) nearestShortage(r Request) (smallest uint32, any bool) {
	for _, m := range n.machines {
		if c := n.cause(m, r); c != CauseCPU && c != CauseMemory {
			continue
		}
		cpu, mem := n.free(m)
		_, ratio := shortage(amount{uint32(cpu), uint32(mem)}, demandAmount(r.Shape.Need))
		if !any || ratio < smallest {
			smallest, any = ratio, true
		}
	}
	return smallest, any
}
