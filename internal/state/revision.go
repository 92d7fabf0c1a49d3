package state

import (
	"slices"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// revision is a revision with lookups by name. It is immutable like its record.
type revision struct {
	record     *argosyv1.Revision
	stacks     map[string]*argosyv1.StackSpec
	containers map[string]*argosyv1.ContainerSpec
	units      map[string]*argosyv1.Unit
}

func newRevision(r *argosyv1.Revision) *revision {
	out := &revision{record: r, stacks: map[string]*argosyv1.StackSpec{}, containers: map[string]*argosyv1.ContainerSpec{}, units: map[string]*argosyv1.Unit{}}
	for _, s := range r.GetSpec().GetStacks() {
		out.stacks[s.GetName()] = s
	}
	for _, c := range r.GetSpec().GetContainers() {
		out.containers[c.GetName()] = c
	}
	for _, u := range r.GetSpec().GetUnits() {
		out.units[u.GetName()] = u
	}
	return out
}

// StackSpec finds a stack in a spec, nil when it has none of that name.
func StackSpec(spec *argosyv1.AppSpec, name string) *argosyv1.StackSpec {
	i := slices.IndexFunc(spec.GetStacks(), func(s *argosyv1.StackSpec) bool { return s.GetName() == name })
	if i < 0 {
		return nil
	}
	return spec.GetStacks()[i]
}

// ContainersOf lists a stack's containers in the stack's order. Names that the spec does not declare are left out.
func ContainersOf(spec *argosyv1.AppSpec, stack *argosyv1.StackSpec) []*argosyv1.ContainerSpec {
	out := make([]*argosyv1.ContainerSpec, 0, len(stack.GetContainers()))
	for _, name := range stack.GetContainers() {
		for _, c := range spec.GetContainers() {
			if c.GetName() == name {
				out = append(out, c)
				break
			}
		}
	}
	return out
}

// UnitsOf lists a stack's units in the stack's order. Names that the spec does not declare are left out.
func UnitsOf(spec *argosyv1.AppSpec, stack *argosyv1.StackSpec) []*argosyv1.Unit {
	var out []*argosyv1.Unit
	for _, name := range stack.GetUnits() {
		i := slices.IndexFunc(spec.GetUnits(), func(u *argosyv1.Unit) bool { return u.GetName() == name })
		if i >= 0 {
			out = append(out, spec.GetUnits()[i])
		}
	}
	return out
}

// Entry finds what a spec says about how many of a stack are needed, nil when it says nothing.
func Entry(spec *argosyv1.AppSpec, stack string) *argosyv1.ClusterEntry {
	for _, e := range spec.GetCluster() {
		if e.GetStack() == stack {
			return e
		}
	}
	return nil
}
