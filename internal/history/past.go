package history

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Past is what is known of one incarnation of a replica at some time.
type Past struct {
	Key         state.Key
	Incarnation uint64
	Machine     string // id; empty while it had none
	// State is what its agent had said last (starting, ready, failed …); assigned before that, pending without a machine,
	// unknown while its machine was silent, and then Last is what had been seen before.
	State, Last string
	Since       time.Time // when the state began
	Cause       string    // of the state
	Removing    bool      // it was to be removed
	DecidedAt   time.Time
	Reason      string // why it was given that machine, or had to wait

	// The numbers of the transitions that say so, 0 for none: that it was decided, what was seen last, that it was to be removed;
	// and by member what was seen of it last.
	decision, sight, removal uint64
	members                  map[string]uint64
}

// At says what ran where at q.Until, of what q chooses by tenant, app or replica. What an agent reported late counts at the
// time at which it happened. It keeps no more in memory than its answer and what machines went through.
func (db *DB) At(ctx context.Context, q Query) ([]Past, error) {
	q = Query{Tenant: q.Tenant, App: q.App, Replica: q.Replica, Until: q.Until}
	var machines []*argosyv1.Transition
	if q.App != "" || q.Replica != nil { // else what happened to machines is among the rest
		on := map[string]bool{}
		err := db.walk(ctx, q, func(t *argosyv1.Transition) bool {
			on[t.Machine] = on[t.Machine] || t.Machine != ""
			return true
		})
		for machine := range on {
			err = errors.Join(err, db.walk(ctx, Query{Machine: machine, Until: q.Until}, func(t *argosyv1.Transition) bool {
				if t.Kind == argosyv1.TransitionKind_TRANSITION_KIND_MACHINE {
					machines = append(machines, t)
				}
				return true
			}))
		}
		if err != nil {
			return nil, err
		}
		slices.SortFunc(machines, func(a, b *argosyv1.Transition) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	f := newFolding()
	err := db.walk(ctx, q, func(t *argosyv1.Transition) bool {
		for len(machines) > 0 && machines[0].Seq < t.Seq {
			f.take(machines[0])
			machines = machines[1:]
		}
		f.take(t)
		return true
	})
	for _, t := range machines {
		f.take(t)
	}
	return f.result(), err
}

// folding makes of transitions, in the order in which they were committed, what held after them.
type folding struct {
	replicas map[state.Key]map[uint64]*Past
	machines map[string]*argosyv1.Transition // the last that said how it stands
}

func newFolding() *folding {
	return &folding{replicas: map[state.Key]map[uint64]*Past{}, machines: map[string]*argosyv1.Transition{}}
}

func (f *folding) result() []Past {
	var out []Past
	for _, incarnations := range f.replicas {
		for _, p := range incarnations {
			if m := f.machines[p.Machine]; m != nil && (m.GetTo() == "unreachable" || m.GetTo() == "lost") {
				p.Last, p.State, p.Since, p.Cause = p.State, "unknown", m.GetAt().AsTime(), "its machine was "+m.GetTo()
			}
			out = append(out, *p)
		}
	}
	slices.SortFunc(out, func(a, b Past) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.Incarnation, b.Incarnation))
	})
	return out
}

func (f *folding) take(t *argosyv1.Transition) {
	switch t.GetKind() {
	case argosyv1.TransitionKind_TRANSITION_KIND_ASSIGNMENT:
		f.decided(t)
	case argosyv1.TransitionKind_TRANSITION_KIND_REPLICA:
		f.seen(t)
	case argosyv1.TransitionKind_TRANSITION_KIND_MEMBER:
		if p := f.replicas[state.KeyOf(t.GetReplica())][t.GetIncarnation()]; p != nil {
			p.members[t.GetMember()] = t.GetSeq()
		}
	case argosyv1.TransitionKind_TRANSITION_KIND_MACHINE:
		f.machine(t)
	case argosyv1.TransitionKind_TRANSITION_KIND_APP:
		if t.GetTo() == "deleted" {
			for k := range f.replicas {
				if k.Tenant == t.GetTenant() && k.App == t.GetApp() {
					delete(f.replicas, k)
				}
			}
		}
	}
}

func (f *folding) decided(t *argosyv1.Transition) {
	k := state.KeyOf(t.GetReplica())
	of := f.replicas[k]
	switch t.GetTo() {
	case "assigned", "pending":
		if of == nil {
			of = map[uint64]*Past{}
			f.replicas[k] = of
		}
		// What waited has its place, and what has to wait is nowhere; other incarnations go on until they are seen to be gone.
		for inc, p := range of {
			if p.Machine == "" {
				delete(of, inc)
			}
		}
		p := &Past{Key: k, Incarnation: t.GetIncarnation(), State: t.GetTo(), Since: t.GetAt().AsTime(), Cause: t.GetCause(),
			DecidedAt: t.GetAt().AsTime(), Reason: t.GetCause(), decision: t.GetSeq(), members: map[string]uint64{}}
		if t.GetTo() == "assigned" {
			p.Machine = t.GetMachine()
		}
		of[p.Incarnation] = p
	case "to be removed":
		if p := of[t.GetIncarnation()]; p != nil && p.Machine == t.GetMachine() {
			p.Removing, p.removal = true, t.GetSeq()
		}
	case "gone":
		if t.GetFrom() == "to be removed" {
			delete(f.replicas, k)
		}
	}
}

// seen takes in what an agent saw. It may be committed late, but of one incarnation in order.
func (f *folding) seen(t *argosyv1.Transition) {
	k := state.KeyOf(t.GetReplica())
	p := f.replicas[k][t.GetIncarnation()]
	switch {
	case p == nil:
	case t.GetTo() == "gone":
		delete(f.replicas[k], t.GetIncarnation())
	case t.GetTo() != "":
		p.State, p.Since, p.Cause, p.sight = t.GetTo(), t.GetAt().AsTime(), t.GetCause(), t.GetSeq()
	}
}

func (f *folding) machine(t *argosyv1.Transition) {
	switch t.GetTo() {
	case "draining": // how it is when it is back; or that somebody wishes it, which does not say that it is seen
		if t.GetFrom() == "unreachable" || t.GetFrom() == "lost" {
			f.machines[t.GetMachine()] = t
		}
	case "ready", "unreachable", "lost":
		f.machines[t.GetMachine()] = t
	case "removed":
		delete(f.machines, t.GetMachine())
		for _, of := range f.replicas {
			for inc, p := range of {
				if p.Machine == t.GetMachine() {
					delete(of, inc)
				}
			}
		}
	}
}
