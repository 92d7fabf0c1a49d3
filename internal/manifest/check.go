package manifest

import (
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// check finds what is wrong between the parts of an app, once every file is read. When a file could not be read,
// what seems missing may be in it, so nothing is reported as missing.
func (d *draft) check(r *reader) {
	if !d.saidApp && !d.incomplete && d.version.at.n != nil {
		r.fault(value{f: d.version.at.f, n: d.version.at.key}, "the manifest has no %s", quoted("app")).Advise("add `app: NAME`")
	}
	if n := len(d.containers.list); n > MaxContainers {
		r.stop(d.containers.places[MaxContainers], "the app has %d containers; %d are allowed", n, MaxContainers)
		return
	}
	for _, c := range d.containers.list {
		c.finishEnvironment(r)
		c.finishResources(r)
		c.finishPorts(r)
		c.finishFiles(r, d)
		c.finishDependencies(r, d)
	}
	for _, u := range d.units.list {
		u.check(r)
	}
	d.checkCycles(r)
	for _, s := range d.stacks.list {
		if r.stopped {
			return
		}
		s.check(r, d)
	}
	d.checkTogether(r)
	d.checkCluster(r)
	d.checkShared(r)
	d.checkMachinePorts(r)
	d.checkMachineUnits(r)
	d.checkGlobalUnits(r)
	for _, c := range d.configs.list {
		c.check(r)
	}
	if d.incomplete {
		return
	}
	if len(d.stacks.list) == 0 && d.saidApp && len(r.faults.Kept()) == 0 {
		r.fault(d.app.at, "the app has no stacks, so nothing would run").Advise("say below stacks which containers belong together, and below cluster how many there are")
	}
	for _, c := range d.containers.list {
		if !c.used {
			r.fault(c.at, "container %s is in no stack, so it would never run", c.spec.Name).Advise("name it in the containers of a stack")
		}
	}
	for _, u := range d.units.list {
		if !u.used {
			r.fault(u.at, "unit %s is in no stack, so it would never run", u.spec.Name).Advise("name it in the units of a stack")
		}
	}
}

// compare bounds the work of checks that compare many things with many.
func (r *reader) compare(at value, n int) bool {
	if r.compared += n; r.compared > maxComparison {
		r.stop(at, "the manifest has too many things that refer to each other: split it into several apps")
	}
	return !r.stopped
}

// finishDependencies checks the names in depends_on, and what is waited for.
func (c *container) finishDependencies(r *reader, d *draft) {
	for i, dep := range c.depends {
		c.spec.DependsOn = append(c.spec.DependsOn, dep.is)
		name := dep.is.Container
		if name == c.spec.Name {
			r.fault(dep.at, "container %s depends on itself", name)
			continue
		}
		if slices.ContainsFunc(c.depends[:i], func(o placed[*argosyv1.Dependency]) bool { return o.is.Container == name }) {
			r.fault(dep.at, "%s is here twice", quoted(name))
			continue
		}
		other, ok := d.containers.get(name)
		if !ok {
			if _, unit := d.units.get(name); !unit && !d.incomplete {
				r.fault(dep.at, "there is no container %s", quoted(name)).Near(name, slices.Concat(d.containers.names, d.units.names))
			}
			continue
		}
		switch test := other.spec.Healthcheck.GetTest(); {
		case dep.is.Condition == argosyv1.Condition_CONDITION_HEALTHY && len(test) > 0 && test[0] == "NONE":
			r.fault(dep.at, "container %s waits for %s to be healthy, which has its healthcheck disabled", c.spec.Name, name).
				Advise("give %s a healthcheck, or wait with condition: service_started", name)
		case dep.is.Condition == argosyv1.Condition_CONDITION_HEALTHY && len(test) == 0:
			r.note(dep.at, "container %s waits for %s to be healthy, and the manifest gives %s no healthcheck: its image must have one", c.spec.Name, name, name)
		case dep.is.Condition == argosyv1.Condition_CONDITION_COMPLETED && other.restartsAlways():
			r.fault(dep.at, "container %s waits for %s to complete, which is restarted whenever it ends", c.spec.Name, name).
				Advise("give %s restart: on-failure", name)
		}
	}
}

func (c *container) restartsAlways() bool {
	switch c.spec.Restart.GetMode() {
	case argosyv1.RestartMode_RESTART_MODE_NO, argosyv1.RestartMode_RESTART_MODE_ON_FAILURE:
		return false
	}
	return true
}

// checkCycles reports each circle of depends_on once, at the dependency that closes it.
func (d *draft) checkCycles(r *reader) {
	cycles(len(d.containers.list), func(i int) []placed[string] {
		var out []placed[string]
		for _, dep := range d.containers.list[i].depends {
			out = append(out, placed[string]{dep.is.Container, dep.at})
		}
		return out
	}, d.containers.index, func(names []string, at value) {
		r.fault(at, "containers wait for each other in a circle: %s", strings.Join(names, " → ")).Advise("take one depends_on out")
	}, d.containers.names)
}

// cycles walks a graph of names depth first and reports the edge that closes each circle, with the names around it. It
// keeps its own stack, so that a long chain cannot exhaust the goroutine's.
func cycles(n int, edges func(int) []placed[string], index map[string]int, report func([]string, value), names []string) {
	const unseen, open, done = 0, 1, 2
	type frame struct {
		node int
		left []placed[string]
	}
	state := make([]byte, n)
	for start := range n {
		if state[start] != unseen {
			continue
		}
		state[start] = open
		path := []frame{{start, edges(start)}}
		for len(path) > 0 {
			top := &path[len(path)-1]
			if len(top.left) == 0 {
				state[top.node] = done
				path = path[:len(path)-1]
				continue
			}
			edge := top.left[0]
			top.left = top.left[1:]
			next, known := index[edge.is]
			switch {
			case !known || next == top.node:
			case state[next] == unseen:
				state[next] = open
				path = append(path, frame{next, edges(next)})
			case state[next] == open:
				var around []string
				for i := len(path) - 1; i >= 0; i-- {
					around = append(around, names[path[i].node])
					if path[i].node == next {
						break
					}
				}
				slices.Reverse(around)
				report(shorten(append(around, names[next])), edge.at)
			}
		}
	}
}

// shorten keeps the ends of a long list.
func shorten(names []string) []string {
	if len(names) <= 8 {
		return names
	}
	return append(append(slices.Clone(names[:4]), "…"), names[len(names)-3:]...)
}

// check finds what is wrong within a stack and between its members.
func (s *stack) check(r *reader, d *draft) {
	if len(s.members)+len(s.units) == 0 && !r.stopped && s.whole && s.listed == 0 {
		r.fault(s.at, "stack %s has no containers and no units", s.spec.Name).Advise("name what is in it: containers: [web]")
	}
	if n := len(s.members) + len(s.units); n > MaxMembers && len(s.members) <= MaxMembers && len(s.units) <= MaxMembers {
		r.fault(s.at, "a stack of %d members is too large; %d are allowed", n, MaxMembers)
	}
	ports := hostPorts{}
	for _, m := range s.members {
		if slices.Contains(s.spec.Containers, m.is) {
			r.fault(m.at, "container %s is in the stack twice", quoted(m.is))
			continue
		}
		s.spec.Containers = append(s.spec.Containers, m.is)
		c, ok := d.containers.get(m.is)
		if !ok {
			if !d.incomplete {
				f := r.fault(m.at, "there is no container %s", quoted(m.is))
				if _, unit := d.units.get(m.is); unit {
					f.Advise("it is a unit: name it in units")
				} else {
					f.Near(m.is, d.containers.names).Advise("declare it below containers")
				}
			}
			continue
		}
		c.used = true
		if !r.compare(m.at, len(c.spec.Mounts)+len(c.spec.Ports)) {
			return
		}
		s.checkVolumes(r, c)
		s.checkPorts(r, c, ports)
	}
	s.checkUnits(r, d)
	s.checkApart(r, d)
	for _, m := range s.members {
		if c, ok := d.containers.get(m.is); ok {
			s.checkDependencies(r, d, c)
		}
	}
	for i, v := range s.volumes.list {
		if !v.used && !d.incomplete {
			r.note(s.volumes.places[i], "volume %s is mounted by no container of stack %s", v.spec.Name, s.spec.Name)
		}
	}
	if s.spec.Placement == nil {
		s.spec.Placement = &argosyv1.Placement{}
	}
	s.checkPlacement(r, d)
}

// checkUnits finds the units of a stack.
func (s *stack) checkUnits(r *reader, d *draft) {
	for _, m := range s.units {
		if slices.Contains(s.spec.Units, m.is) {
			r.fault(m.at, "unit %s is in the stack twice", quoted(m.is))
			continue
		}
		if text := sameUnit(append(s.spec.Units, m.is)); text != "" {
			r.fault(m.at, "%s", text).Advise("take one of them out, or put them into stacks of their own")
		}
		s.spec.Units = append(s.spec.Units, m.is)
		if u, ok := d.units.get(m.is); ok {
			u.used = true
		} else if !d.incomplete {
			f := r.fault(m.at, "there is no unit %s", quoted(m.is))
			if _, is := d.containers.get(m.is); is {
				f.Advise("it is a container: name it in containers")
			} else {
				f.Near(m.is, d.units.names).Advise("declare it below units")
			}
		}
	}
}

func (s *stack) checkVolumes(r *reader, c *container) {
	var shared placed[*argosyv1.Mount] // the first of a shared volume
	for _, m := range c.mounts {
		if m.is.Type != argosyv1.MountType_MOUNT_TYPE_VOLUME {
			continue
		}
		if v, ok := s.volumes.get(m.is.Source); ok {
			switch v.used = true; {
			case v.driver == driverLocal:
			case shared.is == nil:
				shared = m
			case shared.is.Source != m.is.Source:
				r.faultIn(m.at, 0, len(m.is.Source), "container %s mounts shared volume %s beside %s, which is shared too (line %d): it can be held back for the lease of one only", c.spec.Name, m.is.Source, shared.is.Source, shared.at.n.Line).
					Advise("keep both in one volume, or mount %s in another container of stack %s", m.is.Source, s.spec.Name)
			}
			continue
		}
		r.faultIn(m.at, 0, len(m.is.Source), "stack %s, which has container %s, has no volume %s", s.spec.Name, c.spec.Name, quoted(m.is.Source)).
			Near(m.is.Source, s.volumes.names).Advise("declare it: volumes: {%s: {size: 1GiB}} at stack %s", printable(m.is.Source), s.spec.Name)
	}
}

func (s *stack) checkPorts(r *reader, c *container, taken hostPorts) {
	for _, list := range c.ports {
		for _, p := range list.is {
			if other, conflict := taken.take(p, portUse{list.at, c.spec.Name}); conflict {
				if other.whose == c.spec.Name {
					r.fault(list.at, "container %s publishes the machine's port %d twice", c.spec.Name, p.Published)
					break
				}
				r.fault(list.at, "container %s wants the machine's port %d, which container %s of the same stack has (line %d)",
					c.spec.Name, p.Published, other.whose, other.at.n.Line).Advise("only one of them can have it")
				break
			}
		}
	}
}

func (s *stack) checkDependencies(r *reader, d *draft, c *container) {
	for _, dep := range c.depends {
		if !dep.is.Required || slices.Contains(s.spec.Containers, dep.is.Container) || slices.Contains(s.spec.Units, dep.is.Container) {
			continue
		}
		_, known := d.containers.get(dep.is.Container)
		if _, unit := d.units.get(dep.is.Container); known || unit {
			r.fault(dep.at, "container %s depends on %s, which is not in stack %s", c.spec.Name, dep.is.Container, s.spec.Name).
				Advise("add %s to the stack, or say required: false", dep.is.Container)
		}
	}
}

// checkPlacement finds references to stacks that are not there, and wishes that exclude each other.
func (s *stack) checkPlacement(r *reader, d *draft) {
	own := func(name string) string { return strings.TrimPrefix(name, d.app.is+"/") }
	known := func(p placed[string]) {
		name := own(p.is)
		if _, ok := d.stacks.get(name); !ok && !strings.Contains(name, "/") && !d.incomplete {
			r.fault(p.at, "there is no stack %s", quoted(name)).Near(name, d.stacks.names).Advise("a stack of another app is written APP/STACK")
		}
	}
	if p := s.spec.Placement; len(p.Require)+len(p.Prefer)+len(p.Spread)+len(s.apart)+len(s.with) > maxDepends {
		r.fault(s.at, "the placement of stack %s has more than %d rules", s.spec.Name, maxDepends)
		return
	}
	for _, p := range s.apart {
		known(p)
	}
	for _, p := range s.with {
		known(p)
		if own(p.is) == s.spec.Name {
			r.fault(p.at, "stack %s can only run where it runs already, so it never runs", s.spec.Name)
		}
		if slices.ContainsFunc(s.apart, func(o placed[string]) bool { return own(o.is) == own(p.is) }) {
			r.fault(p.at, "stack %s is to be together with %s and apart from it", s.spec.Name, p.is)
		}
	}
}

// checkTogether reports stacks that wait for each other before any of them can be placed.
func (d *draft) checkTogether(r *reader) {
	cycles(len(d.stacks.list), func(i int) []placed[string] {
		out := slices.Clone(d.stacks.list[i].with)
		for j := range out {
			out[j].is = strings.TrimPrefix(out[j].is, d.app.is+"/")
		}
		return out
	}, d.stacks.index, func(names []string, at value) {
		r.fault(at, "stacks can only run where the others run already: %s", strings.Join(names, " → ")).Advise("take one together_with out")
	}, d.stacks.names)
}

// checkCluster compares stacks with how many of them there are to be.
func (d *draft) checkCluster(r *reader) {
	if d.incomplete {
		return
	}
	for i, name := range d.cluster.names {
		if _, ok := d.stacks.get(name); !ok {
			f := r.fault(d.cluster.places[i], "there is no stack %s", quoted(name)).Near(name, d.stacks.names)
			if _, is := d.containers.get(name); is {
				f.Advise("it is a container: declare a stack that has it")
			}
		}
	}
	for i, name := range d.stacks.names {
		if _, ok := d.cluster.get(name); !ok {
			r.fault(d.stacks.places[i], "cluster does not say how many of stack %s there are", name).Advise("add `%s: 1` below cluster; 0 is none", name)
		}
	}
}

// checkMachinePorts finds host ports that two stacks want on the same machine when one of them runs on all machines: the
// other then has none left.
func (d *draft) checkMachinePorts(r *reader) {
	everywhere := hostPorts{}
	for pass := range 2 {
		for _, e := range d.cluster.list {
			s, ok := d.stacks.get(e.spec.Stack)
			if !ok || s.spec.Placement == nil || (!e.spec.EachMachine && e.spec.Count == 0) {
				continue
			}
			all := s.everywhere(e)
			if all != (pass == 0) {
				continue
			}
			if !s.checkEverywhere(r, d, everywhere, all) {
				return
			}
		}
	}
}

// checkEverywhere compares the host ports of one stack with those taken on every machine.
func (s *stack) checkEverywhere(r *reader, d *draft, everywhere hostPorts, all bool) bool {
	for _, name := range s.spec.Containers {
		c, ok := d.containers.get(name)
		if !ok {
			continue
		}
		if !r.compare(s.at, len(c.spec.Ports)) {
			return false
		}
		for _, list := range c.ports {
			for _, p := range list.is {
				other, taken := everywhere.find(p)
				if taken && other.whose != s.spec.Name {
					r.fault(s.at, "stack %s wants port %d of its machines, and stack %s has it on each machine", s.spec.Name, p.Published, other.whose).
						Advise("publish another port, or keep %s from some machines with placement: {require: […]}", other.whose)
					break
				}
				if all && !taken {
					everywhere.take(p, portUse{list.at, s.spec.Name})
				}
			}
		}
	}
	return true
}

// checkMachineUnits finds units that two stacks want on each machine: a unit that is no template is there once.
func (d *draft) checkMachineUnits(r *reader) {
	everywhere := map[string]string{}
	for pass := range 2 {
		for _, e := range d.cluster.list {
			s, ok := d.stacks.get(e.spec.Stack)
			if !ok || s.spec.Placement == nil || (!e.spec.EachMachine && e.spec.Count == 0) || s.everywhere(e) != (pass == 0) {
				continue
			}
			for _, name := range s.spec.Units {
				other, taken := everywhere[name]
				switch {
				case isTemplate(name):
				case taken && other != s.spec.Name:
					r.fault(s.at, "stack %s has unit %s, and stack %s has it on each machine", s.spec.Name, quoted(name), other).
						Advise("a unit is on its machine once: take it out of one of them, or make it a template, NAME@.service")
				case pass == 0:
					everywhere[name] = s.spec.Name
				}
			}
		}
	}
}

func isTemplate(name string) bool { return unitfile.ForReplica(name, 1) != name }

// everywhere says whether the stack runs on every machine, whatever its labels.
func (s *stack) everywhere(e *entryOf) bool {
	return e.spec.EachMachine && len(s.spec.Placement.Require) == 0 && len(s.apart) == 0 && len(s.with) == 0
}
