package executor

import (
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// Expect says what an earlier agent knew. Of those that the engine does not show any more and nobody wants, Changed is told
// that they are gone; what was healthy in a life that goes on stays so until the engine has a verdict.
func (x *Executor) Expect(last []*argosyv1.ReplicaObservation) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range last {
		k := core.KeyOf(o.GetKey())
		x.earlier[k] = append(x.earlier[k], o)
		x.dirty[k] = true
		for _, m := range o.GetMembers() {
			if m.GetState() == argosyv1.MemberState_MEMBER_STATE_RUNNING && m.GetContainerId() != "" && m.GetSince() != nil {
				x.proved[m.GetContainerId()] = m.GetSince().AsTime()
			}
		}
	}
}

func (x *Executor) remember(id core.ID, o *argosyv1.ReplicaObservation) {
	if x.told[id.Key] == nil {
		x.told[id.Key] = map[core.ID]*argosyv1.ReplicaObservation{}
	}
	x.told[id.Key][id] = o
}

// differences observes a group and returns pairs of what was told and what is to be told now.
func (x *Executor) differences(now time.Time, k core.Key, wanted []*argosyv1.Assignment, seen core.Seen) [][2]*argosyv1.ReplicaObservation {
	var changes [][2]*argosyv1.ReplicaObservation
	present := map[core.ID]bool{}
	for _, o := range core.Observe(now, wanted, seen, x.memory) {
		id := core.ID{Key: k, AppUID: o.GetAppUid(), Incarnation: o.GetIncarnation()}
		present[id] = true
		before := x.told[k][id]
		if core.Same(before, o) {
			continue
		}
		changes = append(changes, [2]*argosyv1.ReplicaObservation{before, o})
		x.remember(id, o)
	}
	if core.Blind(wanted, seen) {
		return changes
	}
	for _, before := range x.earlier[k] {
		id := core.ID{Key: k, AppUID: before.GetAppUid(), Incarnation: before.GetIncarnation()}
		if !present[id] {
			changes = append(changes, [2]*argosyv1.ReplicaObservation{before, nil})
		}
	}
	delete(x.earlier, k)
	for id, before := range x.told[k] {
		if !present[id] {
			changes = append(changes, [2]*argosyv1.ReplicaObservation{before, nil})
			delete(x.told[k], id)
		}
	}
	if len(x.told[k]) == 0 {
		delete(x.told, k)
		x.memory.Forget(func(id core.ID) bool { return id.Key != k })
	}
	return changes
}

// Observations returns what was last told of every replica.
func (x *Executor) Observations() []*argosyv1.ReplicaObservation {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []*argosyv1.ReplicaObservation
	for _, group := range x.told {
		for _, o := range group {
			all = append(all, o)
		}
	}
	return all
}
