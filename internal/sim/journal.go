package sim

import (
	"maps"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
)

// journal is what package agent does so that what happened is on disk before it is told.
type journal struct {
	last    map[agent.ID]*argosyv1.ReplicaObservation
	waiting []*argosyv1.Transition
	states  map[agent.ID]*argosyv1.ReplicaObservation
	gone    map[agent.ID]bool
	busy    bool // recording, or about to
}

func newJournal(last map[agent.ID]*argosyv1.ReplicaObservation) journal {
	return journal{last: maps.Clone(last), states: map[agent.ID]*argosyv1.ReplicaObservation{}, gone: map[agent.ID]bool{}}
}

// changed takes in that a replica looks different; after is nil when nothing is left of it.
func (j *journal) changed(m *Machine, before, after *argosyv1.ReplicaObservation) {
	if after == nil {
		id := idOf(before)
		if last := j.last[id]; last != nil {
			j.waiting = append(j.waiting, agent.Transitions(m.clock.now(), last, nil)...)
		}
		delete(j.last, id)
		delete(j.states, id)
		j.gone[id] = true
		return
	}
	id := idOf(after)
	j.waiting = append(j.waiting, agent.Transitions(m.clock.now(), j.last[id], after)...)
	j.last[id], j.states[id] = after, after
	delete(j.gone, id)
}

func idOf(o *argosyv1.ReplicaObservation) agent.ID {
	return agent.ID{Key: agent.KeyOf(o.GetKey()), AppUID: o.GetAppUid(), Incarnation: o.GetIncarnation()}
}

const (
	gather     = 20 * time.Millisecond
	writeAgain = time.Second
)

// writeDown records what the journal holds soon, again and again until the disk takes it.
func (m *Machine) writeDown(a *agentProcess) {
	if a.journal.busy {
		return
	}
	a.journal.busy = true
	a.after(gather, func() { m.flush(a) })
}

func (m *Machine) flush(a *agentProcess) {
	j := &a.journal
	waiting, states, gone := j.waiting, j.states, j.gone
	j.waiting, j.states, j.gone = nil, map[agent.ID]*argosyv1.ReplicaObservation{}, map[agent.ID]bool{}
	memory := a.memories(states)
	m.write(a, func(d *disk) {
		for _, t := range waiting {
			d.last++
			t.OutboxSeq, t.Machine = d.last, m.ID
			d.outbox = append(d.outbox, t)
		}
		for id := range gone {
			delete(d.states, id)
		}
		maps.DeleteFunc(d.memory, func(id agent.MemberID, _ agent.MemberMemory) bool { return gone[id.ID] || states[id.ID] != nil })
		maps.Copy(d.states, states)
		maps.Copy(d.memory, memory)
	}, func(err error) {
		if err != nil {
			j.putBack(waiting, states, gone)
			a.after(writeAgain, func() { m.flush(a) })
			return
		}
		j.busy = false
		if len(j.waiting)+len(j.states)+len(j.gone) > 0 {
			m.writeDown(a)
		}
		m.send(a)
	})
}

func (j *journal) putBack(waiting []*argosyv1.Transition, states map[agent.ID]*argosyv1.ReplicaObservation, gone map[agent.ID]bool) {
	j.waiting = append(waiting, j.waiting...)
	for id, o := range states {
		if j.states[id] == nil && !j.gone[id] {
			j.states[id] = o
		}
	}
	for id := range gone {
		if j.states[id] == nil {
			j.gone[id] = true
		}
	}
}

// memories is what is worth keeping of the members of some replicas. What comes back from a file has no monotonic reading.
func (a *agentProcess) memories(of map[agent.ID]*argosyv1.ReplicaObservation) map[agent.MemberID]agent.MemberMemory {
	out := map[agent.MemberID]agent.MemberMemory{}
	for id, mm := range a.memory.Members {
		if of[id.ID] == nil || mm.Failures == 0 && mm.Restarts == 0 && mm.Broken == "" {
			continue
		}
		out[id] = agent.MemberMemory{Failures: mm.Failures, Fault: mm.Fault, FaultOf: mm.FaultOf, FaultAt: mm.FaultAt.Round(0),
			RetryAt: mm.RetryAt.Round(0), ContainerID: mm.ContainerID, Restarts: mm.Restarts, Attempt: mm.Attempt, Broken: mm.Broken}
	}
	return out
}
