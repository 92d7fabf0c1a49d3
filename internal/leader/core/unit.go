package core

import (
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Unit is operations that belong together: they are committed in one transaction.
type Unit struct {
	If   []store.Compare
	Ops  []store.Op
	acks []ack
}

// ack is what a machine is told once the unit is committed.
type ack struct {
	machine string
	seq     uint64
}

// Txn is units packed into one transaction.
type Txn struct {
	store.Txn
	acks []ack
}

// MaxOps is how many operations units are packed together up to.
const MaxOps = 512

// Pack puts units into as few transactions as possible, in order. A key is never twice in one.
func (c *Core) Pack(units []Unit) []Txn {
	var out []Txn
	var keys map[string]struct{}
	for _, u := range units {
		if len(u.Ops) == 0 {
			continue
		}
		n := len(out) - 1
		if n < 0 || len(out[n].Ops)+len(u.Ops) > MaxOps || len(u.If) > 0 || len(out[n].If) > 0 || overlaps(keys, u) {
			out = append(out, Txn{Txn: store.Txn{Term: c.cfg.Term, If: u.If}})
			keys = map[string]struct{}{}
			n++
		}
		out[n].Ops = append(out[n].Ops, u.Ops...)
		out[n].acks = append(out[n].acks, u.acks...)
		for _, op := range u.Ops {
			keys[op.Key] = struct{}{}
		}
	}
	return out
}

func overlaps(keys map[string]struct{}, u Unit) bool {
	for _, op := range u.Ops {
		if _, ok := keys[op.Key]; ok {
			return true
		}
	}
	return false
}

// Committed takes in a transaction that was committed at a revision.
func (c *Core) Committed(now time.Time, revision int64, t Txn) {
	c.st.Committed(revision, t.Ops)
	for _, a := range t.acks {
		c.disp.Ack(a.machine, a.seq)
	}
	c.settle()
}

// ErrClash says that a proposal writes what one before it writes, and is to be decided once that is committed.
var ErrClash = errors.New("another proposal writes the same")

// Propose asks for a change of the state as it is: the unit that decide's proposal comes to. Beside are those that were decided on the same
// state and are committed with it: it fails with [ErrClash] when one of them writes what it writes.
func (c *Core) Propose(now time.Time, decide func(now time.Time, v *View) (Proposal, error), beside ...Unit) (Unit, error) {
	p, err := decide(now, c.View(now))
	if err != nil {
		return Unit{}, err
	}
	for _, b := range beside {
		if clash(b.Ops, p.Ops) {
			return Unit{}, ErrClash
		}
	}
	u := c.unit()
	u.If, u.Ops = p.If, p.Ops
	for _, t := range p.Transitions {
		u.note(proto.CloneOf(t))
	}
	out := u.seal(now)
	return out, u.err
}

func clash(a, b []store.Op) bool {
	return slices.ContainsFunc(a, func(x store.Op) bool {
		return slices.ContainsFunc(b, func(y store.Op) bool { return x.Key == y.Key })
	})
}

// Proposal is a change that somebody asks for. Its operations are committed in one transaction together with its
// transitions, which are numbered and, where they have no time, dated.
type Proposal struct {
	If          []store.Compare
	Ops         []store.Op
	Transitions []*argosyv1.Transition
}

// building is a unit that is being put together.
type building struct {
	Unit
	c     *Core
	notes []*argosyv1.Transition
	err   error
}

func (c *Core) unit() *building { return &building{c: c} }

func (b *building) put(key string, m proto.Message) {
	op, err := store.Put(key, m)
	if err != nil {
		b.err = err
		return
	}
	b.Ops = append(b.Ops, op)
}

func (b *building) delete(key string) { b.Ops = append(b.Ops, store.Delete(key)) }

func (b *building) note(t *argosyv1.Transition) { b.notes = append(b.notes, t) }

// noteReplica notes what the leader decided about a replica.
func (b *building) noteReplica(k state.Key, incarnation uint64, machine, from, to, cause string) {
	b.note(&argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_ASSIGNMENT, Replica: k.Proto(),
		Incarnation: incarnation, Machine: machine, Tenant: k.Tenant, App: k.App, From: from, To: to, Cause: cause})
}

// notePlace notes that a replica was given a machine, or has to wait for one, with the reason.
func (b *building) notePlace(k state.Key, r *argosyv1.Replica, from, to string) {
	b.noteReplica(k, r.GetIncarnation(), r.GetMachine(), from, to, r.GetReason().GetSummary())
	b.notes[len(b.notes)-1].Verdicts = r.GetReason().GetVerdicts()
}

// seal numbers and dates the transitions and finishes the unit. One that cannot be encoded is dropped whole.
func (b *building) seal(now time.Time) Unit {
	for _, t := range b.notes {
		b.c.seq++
		t.Seq = b.c.seq
		if t.At == nil {
			t.At = timestamppb.New(now)
		}
		if r := t.GetReplica(); r != nil && t.GetTenant() == "" {
			t.Tenant, t.App = r.GetTenant(), r.GetApp()
		}
		b.put(store.HistoryKey(t.Seq), t)
	}
	b.notes = nil
	if b.err != nil {
		b.c.complain("a decision could not be written: %v", b.err)
		return Unit{}
	}
	return b.Unit
}
