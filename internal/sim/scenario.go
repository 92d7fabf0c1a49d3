package sim

import (
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Scenario is a life of a cluster that follows from a seed: it is built, changed and broken for a while, then healed.
type Scenario struct {
	*World
	specs map[string]*argosyv1.AppSpec
	// storage is which stacks have a shared volume, by app/stack: a volume stays where it is.
	storage map[string]int
}

// NewScenario prepares one.
func NewScenario(cfg Config) *Scenario {
	return &Scenario{World: New(cfg), specs: map[string]*argosyv1.AppSpec{}, storage: map[string]int{}}
}

// Play runs the scenario to its end and reports what was broken.
func (s *Scenario) Play() []string {
	s.StartLeader()
	s.Run(time.Second)
	if guarded, p := guardedLife(s.cfg.Seed); guarded || s.cfg.Guarded {
		s.Guard(p)
		s.tally.Guarded = 1
	}
	n := 3 + s.rng.IntN(4)
	for i := range n {
		labels := map[string]string{"zone": []string{"core", "edge"}[i%2]}
		s.AddMachine(fmt.Sprintf("m%d", i+1), labels, 2000+int64(s.rng.IntN(3))*1000, (2+int64(s.rng.IntN(3)))<<30)
	}
	s.Run(4 * time.Second)
	// How many faults begin between two things that people do: none in some lives, in others so many that several are always
	// in force.
	most := []int{0, 1, 2, 4}[s.rng.IntN(4)]
	end := s.now.Add(s.span(30*time.Second, 3*time.Minute))
	for s.now.Before(end) && len(s.broken) == 0 {
		s.act()
		for range s.rng.IntN(most + 1) {
			s.trouble()
		}
		s.Run(s.span(time.Millisecond, 8*time.Second))
		s.check()
	}
	if len(s.broken) == 0 {
		s.heal()
		s.CheckSettled()
	}
	if len(s.broken) == 0 {
		s.CheckQuiet()
	}
	s.tally.Seeds, s.tally.Time, s.tally.Machines = 1, s.Since(), s.Since()*time.Duration(len(s.machines))
	return s.broken
}

// Tally is what happened.
func (s *Scenario) Tally() *Tally { return &s.tally }

// trouble lets a fault begin, whichever it is.
func (s *Scenario) trouble() {
	kinds := faults
	if !s.guarded {
		kinds = KillGuard
	}
	f, m := Fault(s.rng.IntN(int(kinds))), s.machines[s.rng.IntN(len(s.machines))]
	s.Inject(f, m, s.span(time.Second, 40*time.Second))
}

// act does something that people or fate do.
func (s *Scenario) act() {
	m := s.machines[s.rng.IntN(len(s.machines))]
	kinds := 15
	if s.guarded {
		kinds++
	}
	switch s.rng.IntN(kinds) {
	case 0, 1, 2:
		s.apply()
	case 3, 4:
		s.scale()
	case 5, 6:
		s.restart()
	case 7:
		s.delete()
	case 8:
		zone := []string{"core", "edge"}[s.rng.IntN(2)]
		s.trace("label %s zone=%s", m.Name, zone)
		s.Label(m, map[string]string{"zone": zone}, s.said("label"))
	case 9:
		if len(s.machines) > 3 && s.chance(0.3) && !m.removed {
			s.trace("remove machine %s", m.Name)
			s.RemoveMachine(m, s.said("remove"))
		}
	case 10:
		s.plan()
	case 11:
		// A pause in which everything settles.
		s.Run(s.span(10*time.Second, 40*time.Second))
	case 12, 13:
		s.drain(m)
	case 14:
		// Most of the machines at once, and somebody who believes that one of them is gone.
		if s.chance(0.5) {
			s.trace("most machines leave the network")
			for _, m := range s.machines[:len(s.machines)/2+1] {
				s.Inject(Partition, m, s.span(time.Second, 40*time.Second))
			}
		}
		s.after(s.span(5*time.Second, 30*time.Second), func() { s.DeclareLost(m, s.said("declare lost")) })
	case 15:
		s.changeServers()
	}
}

// drain drains a machine in one of the ways there are, or takes that back.
func (s *Scenario) drain(m *Machine) {
	if s.chance(0.3) {
		s.trace("activate %s", m.Name)
		s.Activate(m, s.said("activate"))
		return
	}
	var deadline time.Duration
	if s.chance(0.5) {
		deadline = s.span(time.Second, 40*time.Second)
	}
	stop, data := deadline > 0 && s.chance(0.5), s.chance(0.3)
	s.trace("drain %s within %s, stop %t, stop data %t", m.Name, deadline, stop, data)
	s.Drain(m, deadline, stop, data, s.said("drain"))
}

func (s *Scenario) appName() string { return []string{"shop", "blog", "wiki"}[s.rng.IntN(3)] }

// apply applies a spec that is made anew or changed at random.
func (s *Scenario) apply() {
	name := s.appName()
	spec := s.specs[name]
	if spec == nil || s.chance(0.2) {
		spec = s.spec(name)
	} else {
		spec = proto.CloneOf(spec)
		s.alter(spec)
	}
	s.commit(spec)
}

func (s *Scenario) commit(spec *argosyv1.AppSpec) {
	s.specs[spec.GetName()] = spec
	s.trace("apply %s: %s", spec.GetName(), shortly(spec))
	s.Apply(state.DefaultTenant, spec, s.said("apply"))
}

func shortly(spec *argosyv1.AppSpec) string {
	text := ""
	for _, c := range spec.GetContainers() {
		text += fmt.Sprintf("%s=%s %s/%d ", c.GetName(), c.GetImage(), fmt.Sprint(c.GetResources().GetReserveCpuMilli()), c.GetResources().GetReserveMemory()>>20)
	}
	for _, e := range spec.GetCluster() {
		text += fmt.Sprintf("%s:%d", e.GetStack(), e.GetCount())
		if e.GetEachMachine() {
			text += "each"
		}
		text += " "
	}
	return text
}

// spec makes an app of up to three stacks.
func (s *Scenario) spec(name string) *argosyv1.AppSpec {
	spec := &argosyv1.AppSpec{Name: name}
	for i := range 1 + s.rng.IntN(3) {
		stack := &argosyv1.StackSpec{Name: fmt.Sprintf("s%d", i), Placement: &argosyv1.Placement{}}
		for j := range 1 + s.rng.IntN(2) {
			ct := s.container(fmt.Sprintf("c%d%d", i, j))
			if j > 0 {
				ct.DependsOn = []*argosyv1.Dependency{{Container: fmt.Sprintf("c%d0", i), Condition: argosyv1.Condition_CONDITION_STARTED, Required: true}}
			}
			spec.Containers = append(spec.Containers, ct)
			stack.Containers = append(stack.Containers, ct.Name)
		}
		if s.chance(0.3) {
			u := s.unit(name, stack.Name)
			spec.Units, stack.Units = append(spec.Units, u), append(stack.Units, u.Name)
		}
		entry := &argosyv1.ClusterEntry{Stack: stack.Name, Count: uint32(s.rng.IntN(6))}
		first := spec.Containers[len(spec.Containers)-len(stack.Containers)]
		switch kind := s.rng.IntN(6); {
		case s.guarded && s.share(name, stack, first, entry):
		case kind == 0:
			entry.EachMachine, entry.Count = true, 0
		case kind <= 2:
			stack.Volumes = []*argosyv1.VolumeSpec{{Name: "data", Class: argosyv1.VolumeClass_VOLUME_CLASS_LOCAL}}
			first.Mounts = []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}}
		case kind == 3:
			first.Ports = []*argosyv1.PublishedPort{{Published: uint32(80 + s.rng.IntN(3)), Target: 80}}
		}
		if s.chance(0.3) {
			stack.Placement.Require = []string{"zone == " + []string{"core", "edge"}[s.rng.IntN(2)]}
			stack.Placement.MoveWhenUnmet = s.chance(0.5)
		}
		if s.chance(0.4) {
			stack.Placement.Spread = []string{"machine"}
		}
		spec.Stacks = append(spec.Stacks, stack)
		spec.Cluster = append(spec.Cluster, entry)
	}
	return spec
}

// unit is a template or has one name, which no machine has twice.
func (s *Scenario) unit(app, stack string) *argosyv1.Unit {
	name := app + "-" + stack + []string{"@", ""}[s.rng.IntN(2)] + ".service"
	return &argosyv1.Unit{Name: name, Content: s.unitText(), Resources: &argosyv1.Resources{ReserveCpuMilli: 50, ReserveMemory: 16 << 20}}
}

func (s *Scenario) unitText() string {
	text := "[Unit]\nDescription=" + []string{"a", "b"}[s.rng.IntN(2)] + "\n[Service]\nExecStart=/bin/sleep infinity\n"
	if s.chance(0.2) {
		text += "[X-Fleet]\nConflicts=*-s" + strconv.Itoa(s.rng.IntN(3)) + "@*.service\n"
	}
	return text
}

func (s *Scenario) container(name string) *argosyv1.ContainerSpec {
	ct := &argosyv1.ContainerSpec{Name: name, Image: s.image(), Resources: &argosyv1.Resources{
		ReserveCpuMilli: 50 + int64(s.rng.IntN(4))*100, ReserveMemory: (32 + int64(s.rng.IntN(4))*64) << 20}}
	if s.chance(0.4) {
		ct.Healthcheck = &argosyv1.Healthcheck{Test: []string{"CMD", "true"}}
	}
	return ct
}

func (s *Scenario) image() string {
	switch {
	case s.chance(0.05):
		return "missing:1"
	case s.chance(0.05):
		return "failing:1"
	}
	return fmt.Sprintf("image:%d", s.rng.IntN(4))
}

// alter changes something of a spec.
func (s *Scenario) alter(spec *argosyv1.AppSpec) {
	ct := spec.Containers[s.rng.IntN(len(spec.Containers))]
	if len(spec.Units) > 0 && s.chance(0.2) {
		spec.Units[s.rng.IntN(len(spec.Units))].Content = s.unitText()
		return
	}
	switch s.rng.IntN(5) {
	case 0, 1:
		ct.Image = s.image()
	case 2:
		ct.Resources.ReserveMemory = (32 + int64(s.rng.IntN(20))*64) << 20
	case 3:
		e := spec.Cluster[s.rng.IntN(len(spec.Cluster))]
		e.EachMachine, e.Count = !e.EachMachine && !s.shares(spec.GetName(), e.GetStack()), 0
		if !e.EachMachine {
			e.Count = uint32(s.rng.IntN(5))
		}
	case 4:
		st := spec.Stacks[s.rng.IntN(len(spec.Stacks))]
		st.Placement.Require = nil
		if s.chance(0.5) {
			st.Placement.Require = []string{"zone == " + []string{"core", "edge"}[s.rng.IntN(2)]}
		}
	}
}

func (s *Scenario) scale() {
	spec := s.specs[s.appName()]
	if spec == nil {
		return
	}
	spec = proto.CloneOf(spec)
	e := spec.Cluster[s.rng.IntN(len(spec.Cluster))]
	if !e.EachMachine {
		e.Count = uint32(s.rng.IntN(8))
	}
	s.commit(spec)
}

func (s *Scenario) restart() {
	spec := s.specs[s.appName()]
	if spec == nil {
		return
	}
	k := state.StackKey{Tenant: state.DefaultTenant, App: spec.GetName(), Stack: spec.GetStacks()[s.rng.IntN(len(spec.GetStacks()))].GetName()}
	number := uint32(s.rng.IntN(3))
	s.trace("restart %s.%d", k, number)
	s.World.Restart(k, number, s.said("restart"))
}

func (s *Scenario) delete() {
	name, volumes := s.appName(), s.chance(0.5)
	if s.specs[name] == nil {
		return
	}
	s.trace("delete %s, volumes %v", name, volumes)
	delete(s.specs, name)
	s.World.Delete(state.AppKey{Tenant: state.DefaultTenant, App: name}, volumes, s.said("delete"))
}

// plan plans a change and looks whether planning changed anything.
func (s *Scenario) plan() {
	v, spec := s.View(), s.spec(s.appName())
	if v == nil {
		return
	}
	before, err := v.Plan(state.DefaultTenant, spec)
	if err != nil {
		s.violate("a plan failed: %v", err)
		return
	}
	after, err := v.Plan(state.DefaultTenant, spec)
	if err != nil || !proto.Equal(before, after) {
		s.violate("planning twice gives two plans: %v, then %v: %v", before, after, err)
	}
	for _, c := range before.GetChanges() {
		if c.GetReason().GetSummary() == "" {
			s.violate("no silent refusal: a plan says %s of %s and not why", c.GetKind(), state.KeyOf(c.GetKey()))
		}
	}
}

// settleTime is how long a healed cluster may take: twice the longest back-off after a failure, and a rolling update.
const settleTime = 6 * time.Minute

// heal ends all faults and gives everything time.
func (s *Scenario) heal() {
	s.trace("faults end")
	s.Heal()
	for _, m := range s.machines {
		s.Boot(m)
		if m.agent == nil {
			s.after(s.span(0, time.Second), m.startAgent)
		}
	}
	s.election()
	s.Run(settleTime)
	s.check()
}
