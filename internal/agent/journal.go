package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/database"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// gather is how long changes are gathered into one transaction; gatherTimes as long as the last one took where that is longer, up to
	// gatherMost, so that a disk that is slow, or busy with what happens, is not kept busy by what is written about it.
	gather      = 20 * time.Millisecond
	gatherTimes = 5
	gatherMost  = 250 * time.Millisecond
	// maxUnrecorded bounds what waits for a disk that does not take it.
	maxUnrecorded = 20000
)

// journal makes what happened durable, in order, and tells when it is.
type journal struct {
	db       *database.DB
	machine  string
	memories func(core.Key) map[core.MemberID]core.MemberMemory
	recorded func()
	log      *slog.Logger
	wake     chan struct{}

	mu sync.Mutex
	// last is the last known state of each incarnation. States that say "unknown" are not kept: they are about the eyes, not
	// about what is looked at.
	last    map[core.ID]*argosyv1.ReplicaObservation
	waiting []*argosyv1.Transition
	states  map[core.ID]*argosyv1.ReplicaObservation
	gone    map[core.ID]*argosyv1.ReplicaObservation
}

func newJournal(db *database.DB, machine string, log *slog.Logger, last []*argosyv1.ReplicaObservation) *journal {
	j := &journal{db: db, machine: machine, log: log, wake: make(chan struct{}, 1), last: map[core.ID]*argosyv1.ReplicaObservation{},
		states: map[core.ID]*argosyv1.ReplicaObservation{}, gone: map[core.ID]*argosyv1.ReplicaObservation{}}
	for _, o := range last {
		j.last[idOf(o)] = o
	}
	return j
}

func idOf(o *argosyv1.ReplicaObservation) core.ID {
	return core.ID{Key: core.KeyOf(o.GetKey()), AppUID: o.GetAppUid(), Incarnation: o.GetIncarnation()}
}

// changed takes in that a replica looks different; after is nil when nothing is left of it.
func (j *journal) changed(before, after *argosyv1.ReplicaObservation) {
	if after != nil && after.GetState() == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	if after == nil {
		id := idOf(before)
		if last := j.last[id]; last != nil {
			j.add(core.Transitions(now, last, nil))
		}
		delete(j.last, id)
		delete(j.states, id)
		j.gone[id] = before
	} else {
		id := idOf(after)
		j.add(core.Transitions(now, j.last[id], after))
		j.last[id], j.states[id] = after, after
		delete(j.gone, id)
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// engine takes in that the machine's engine does not answer, or with an empty text that it does again.
func (j *journal) engine(trouble string) {
	j.troubled(trouble, "engine silent", "engine answers", "the Docker Engine answers again")
}

// network takes in that containers cannot be connected or do not reach others, or with an empty text that they can and do.
func (j *journal) network(trouble string) {
	j.troubled(trouble, "network broken", "network whole", "its containers can be connected")
}

// troubled notes that a part of the machine has a trouble, or with an empty text that it is well again.
func (j *journal) troubled(trouble, ill, well, again string) {
	t := &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE, At: timestamppb.Now(), From: ill, To: well, Cause: again}
	if trouble != "" {
		t.From, t.To, t.Cause = well, ill, trouble
	}
	j.mu.Lock()
	j.add([]*argosyv1.Transition{t})
	j.mu.Unlock()
	j.poke()
}

func (j *journal) add(list []*argosyv1.Transition) {
	for _, t := range list {
		t.Machine = j.machine
	}
	j.waiting = append(j.waiting, list...)
}

// run records until ctx ends, and once more then.
func (j *journal) run(ctx context.Context) {
	failing, took := false, time.Duration(0)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-j.wake:
			pause(ctx, min(max(gather, gatherTimes*took), gatherMost))
		}
		began := time.Now()
		err := j.flush()
		took = time.Since(began)
		if err != nil {
			if !failing {
				j.log.Error("what happens cannot be recorded; trying again", "error", err)
			}
			pause(ctx, time.Second)
			j.poke()
		}
		failing = err != nil
	}
}

func (j *journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// flush records everything that waits.
func (j *journal) flush() error {
	j.mu.Lock()
	if len(j.waiting)+len(j.states)+len(j.gone) == 0 {
		j.mu.Unlock()
		return nil
	}
	b := database.Batch{Transitions: j.waiting, Memories: map[core.MemberID]core.MemberMemory{}}
	states, gone := j.states, j.gone
	j.waiting, j.states, j.gone = nil, map[core.ID]*argosyv1.ReplicaObservation{}, map[core.ID]*argosyv1.ReplicaObservation{}
	j.mu.Unlock()

	for _, o := range gone {
		b.Gone = append(b.Gone, o)
	}
	for id, o := range states {
		b.States = append(b.States, o)
		for mid, m := range j.memories(id.Key) {
			if mid.ID == id {
				b.Memories[mid] = m
			}
		}
	}
	if _, err := j.db.Record(b); err != nil {
		j.putBack(b.Transitions, states, gone)
		return err
	}
	if len(b.Transitions) > 0 {
		j.recorded()
	}
	return nil
}

func (j *journal) putBack(transitions []*argosyv1.Transition, states, gone map[core.ID]*argosyv1.ReplicaObservation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting = append(transitions, j.waiting...)
	if n := len(j.waiting) - maxUnrecorded; n > 0 {
		j.waiting = j.waiting[n:]
		j.log.Error("the oldest of what could not be recorded was dropped", "transitions", n)
	}
	for id, o := range states {
		if j.states[id] == nil && j.gone[id] == nil {
			j.states[id] = o
		}
	}
	for id, o := range gone {
		if j.states[id] == nil {
			j.gone[id] = o
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
