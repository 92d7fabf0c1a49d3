package core

import (
	"cmp"
	"maps"
	"slices"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/definition"
)

// group is everything on this machine that shares a Key: assignments and containers of all incarnations. Groups do not
// influence each other.
type group struct {
	key      Key
	replicas []*replica // by ID
	mem      *Memory
	// claims are by volume and token; unguarded is why none is to be had.
	claims    []Claim
	unguarded string
	// unconnected is why no container may start; empty when they may.
	unconnected string
}

// replica is one incarnation within its group.
type replica struct {
	id      ID
	a       *argosyv1.Assignment // nil: nobody wants it
	members []*member            // in the order of the assignment, then those that nobody wants, by name
	group   *group
}

// member is a member of an incarnation, wanted or found.
type member struct {
	id MemberID
	// Of a member that is wanted one of these is there; of any other, neither.
	spec *argosyv1.ContainerSpec
	unit *argosyv1.Unit
	def  string
	// ending is the spec of a member that is not wanted any more, as far as one is known: how it is to be stopped.
	ending *argosyv1.ContainerSpec
	// c is the container that counts: the one as wanted, else the newest. nil when there is none. extra are the others.
	c     *Container
	extra []*Container
	mem   *MemberMemory
	r     *replica
}

// gather sorts assignments and containers into groups, ordered by key.
func gather(wanted []*argosyv1.Assignment, seen Seen, mem *Memory) []*group {
	groups := map[Key]*group{}
	replicas := map[ID]*replica{}
	at := func(id ID) *replica {
		if r := replicas[id]; r != nil {
			return r
		}
		g := groups[id.Key]
		if g == nil {
			g = newGroup(id.Key, seen, mem)
			groups[id.Key] = g
		}
		r := &replica{id: id, group: g}
		g.replicas = append(g.replicas, r)
		replicas[id] = r
		return r
	}
	for _, a := range wanted {
		if a != nil {
			at(IDOf(a)).a = a
		}
	}
	for _, c := range seen.Claims {
		if groups[c.Key] == nil {
			groups[c.Key] = newGroup(c.Key, seen, mem)
		}
	}
	containers := slices.Clone(seen.Containers)
	slices.SortStableFunc(containers, newestFirst)
	found := map[ID]map[string][]*Container{}
	for i := range containers {
		c := &containers[i]
		at(c.Owner)
		if found[c.Owner] == nil {
			found[c.Owner] = map[string][]*Container{}
		}
		found[c.Owner][c.Member] = append(found[c.Owner][c.Member], c)
	}
	for id, r := range replicas {
		r.fill(found[id], mem)
	}
	sorted := make([]*group, 0, len(groups))
	for _, k := range slices.SortedFunc(maps.Keys(groups), Key.Compare) {
		g := groups[k]
		slices.SortFunc(g.replicas, func(a, b *replica) int { return a.id.Compare(b.id) })
		sorted = append(sorted, g)
	}
	return sorted
}

func newGroup(k Key, seen Seen, mem *Memory) *group {
	g := &group{key: k, mem: mem, unguarded: seen.Unguarded, unconnected: seen.Unconnected}
	for _, c := range seen.Claims {
		if c.Key == k {
			g.claims = append(g.claims, c)
		}
	}
	slices.SortFunc(g.claims, func(a, b Claim) int { return cmp.Or(cmp.Compare(a.Volume, b.Volume), a.Token.Compare(b.Token)) })
	return g
}

func newestFirst(a, b Container) int {
	if d := b.CreatedAt.Compare(a.CreatedAt); d != 0 {
		return d
	}
	switch {
	case a.ContainerID < b.ContainerID:
		return -1
	case a.ContainerID > b.ContainerID:
		return 1
	}
	return 0
}

// fill makes the members of r out of its assignment and of the containers found, by member.
func (r *replica) fill(found map[string][]*Container, mem *Memory) {
	known := map[string]bool{}
	add := func(name string, spec *argosyv1.ContainerSpec, unit *argosyv1.Unit) {
		if known[name] {
			return
		}
		known[name] = true
		id := MemberID{r.id, name}
		m := &member{id: id, spec: spec, unit: unit, mem: mem.Member(id), r: r}
		switch {
		case spec != nil:
			m.def = definition.Of(spec, r.a.GetConfigs())
		case unit != nil:
			m.def = definition.OfUnit(unit)
		}
		m.choose(found[name])
		m.c = settled(m.c, m.mem)
		r.members = append(r.members, m)
	}
	if r.a.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
		for _, spec := range r.a.GetContainers() {
			add(spec.GetName(), spec, nil)
		}
		for _, u := range r.a.GetUnits() {
			add(u.GetName(), nil, u)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		add(name, nil, nil)
	}
	for _, m := range r.members {
		for _, spec := range r.a.GetContainers() {
			if m.spec == nil && spec.GetName() == m.id.Member {
				m.ending = spec
			}
		}
	}
}

func (m *member) choose(found []*Container) {
	for _, c := range found { // newest first
		switch {
		case m.c == nil:
			m.c = c
		case m.wanted() && m.current(c) && !m.current(m.c):
			m.extra = append(m.extra, m.c)
			m.c = c
		default:
			m.extra = append(m.extra, c)
		}
	}
}

// current says whether c is as wanted and can be used.
func (m *member) current(c *Container) bool {
	return c != nil && m.wanted() && c.Definition == m.def && c.Claims == m.tokens() && c.Restart == m.r.a.GetRestart() && c.ContainerID != m.mem.Broken
}

func (m *member) wanted() bool { return m.spec != nil || m.unit != nil }

// grace is how long the member has to stop; negative means what its container was created with.
func (m *member) grace() time.Duration {
	for _, spec := range []*argosyv1.ContainerSpec{m.spec, m.ending} {
		if spec.GetStopGracePeriod() != nil {
			return max(spec.GetStopGracePeriod().AsDuration(), 0)
		}
	}
	return -1
}

// alive says whether any process of the member may exist. A start that is under way may make one at any time, however long ago
// it was asked for.
func (m *member) alive() bool {
	if m.c != nil && m.c.Alive() || m.mem.Doing == Start {
		return true
	}
	return slices.ContainsFunc(m.extra, func(c *Container) bool { return c.Alive() })
}

// after names the members that m depends on.
func (m *member) after() []string {
	if m.spec == nil {
		if m.c != nil {
			return m.c.After
		}
		return nil
	}
	names := make([]string, len(m.spec.GetDependsOn()))
	for i, d := range m.spec.GetDependsOn() {
		names[i] = d.GetContainer()
	}
	return names
}

func (r *replica) member(name string) *member {
	for _, m := range r.members {
		if m.id.Member == name {
			return m
		}
	}
	return nil
}

// completionAwaited says whether another member waits for name to end well.
func (r *replica) completionAwaited(name string) bool {
	for _, m := range r.members {
		for _, d := range m.spec.GetDependsOn() {
			if d.GetContainer() == name && d.GetCondition() == argosyv1.Condition_CONDITION_COMPLETED {
				return true
			}
		}
	}
	return false
}
