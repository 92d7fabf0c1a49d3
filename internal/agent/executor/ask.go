package executor

import (
	"maps"
	"slices"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// Containers returns all containers as last seen.
func (x *Executor) Containers() []core.Container {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Values(x.containers))
}

// Member finds the container of a member: the one of the wanted incarnation, else the newest.
func (x *Executor) Member(k core.Key, member string) (core.Container, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var best core.Container
	a := x.wanted[k]
	better := func(c core.Container) bool {
		if best.ContainerID == "" {
			return true
		}
		if a != nil {
			id := core.IDOf(a)
			if (c.Owner == id) != (best.Owner == id) {
				return c.Owner == id
			}
		}
		return c.CreatedAt.After(best.CreatedAt)
	}
	for id := range x.byKey[k] {
		if c := x.containers[id]; c.Member == member && better(c) {
			best = c
		}
	}
	return best, best.ContainerID != ""
}

// Wanted returns the assignments that are in force.
func (x *Executor) Wanted() []*argosyv1.Assignment {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Values(x.wanted))
}

// Memories returns what is to be kept over a restart about one replica, by member.
func (x *Executor) Memories(k core.Key) map[core.MemberID]core.MemberMemory {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := map[core.MemberID]core.MemberMemory{}
	for id, m := range x.memory.Members {
		if id.Key == k {
			out[id] = *m
		}
	}
	return out
}

// Assignment returns what is wanted of a replica, nil when nothing is.
func (x *Executor) Assignment(k core.Key) *argosyv1.Assignment {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.wanted[k]
}

// Complete says that wanted is everything and the engine was seen, so that what neither speaks of is nobody's.
func (x *Executor) Complete() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.memory.Complete && x.engine.known && x.systemd.known
}
