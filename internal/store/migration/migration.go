package migration

import (
	"context"
	"fmt"
	"strings"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Step changes a store of one layout into the next.
type Step struct {
	// What is said of it in history, such as `volumes have a key of their own`.
	What string
	// Prefixes of the records that it is shown, one after another.
	Prefixes []string
	// Change is what becomes of a record: operations on it and on others, none when it is as it should be already. It is
	// shown records that it wrote itself, and asked about the same one more than once.
	Change func(kv store.KV) ([]store.Op, error)
}

// Known is what a release knows: the oldest layout that it can work with, and the steps from there on.
type Known struct {
	Oldest uint32
	Steps  []Step
}

// Own is what this release knows.
func Own() Known { return Known{Oldest: 1} }

// Newest is the layout of a new cluster.
func (k Known) Newest() uint32 { return k.Oldest + uint32(len(k.Steps)) }

// Range is what servers say of themselves.
func (k Known) Range() Range { return Range{k.Oldest, k.Newest()} }

// Range is the layouts that a server can work with.
type Range struct{ Oldest, Newest uint32 }

// RangeOf is a range as another server tells it. Releases that tell none know layout 1.
func RangeOf(oldest, newest uint32) Range {
	if oldest == 0 && newest == 0 {
		return Range{1, 1}
	}
	return Range{oldest, newest}
}

func (r Range) has(layout uint32) bool { return r.Oldest <= layout && layout <= r.Newest }

func (r Range) String() string {
	if r.Oldest == r.Newest {
		return fmt.Sprintf("layout %d only", r.Oldest)
	}
	return fmt.Sprintf("layouts %d to %d", r.Oldest, r.Newest)
}

// Read reads how the store is laid out, and at which revision that was written; 0 where nobody wrote it.
func Read(ctx context.Context, s store.Store) (*storev1.Layout, int64, error) {
	snap, err := s.Get(ctx, store.LayoutKey)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the store's layout: %w", err)
	}
	if len(snap.KVs) == 0 {
		return &storev1.Layout{Number: 1}, 0, nil
	}
	l, err := Decode(snap.KVs[0].Value)
	return l, snap.KVs[0].ModRevision, err
}

// Decode reads the record; nil stands for a store without it.
func Decode(value []byte) (*storev1.Layout, error) {
	l := &storev1.Layout{Number: 1}
	if value == nil {
		return l, nil
	}
	if err := store.Decode(store.KV{Key: store.LayoutKey, Value: value}, l); err != nil {
		return nil, err
	}
	if l.Number == 0 || l.To != 0 && l.To != l.Number+1 {
		return nil, fmt.Errorf("the store's layout cannot be %d on the way to %d: restore the cluster from a backup", l.Number, l.To)
	}
	return l, nil
}

// UnknownError says that a server cannot work with a layout.
type UnknownError struct {
	Layout  uint32 // of the store
	By      string // the version of the server that made it so
	Version string // of the server that does not know it
	Knows   Range
}

func (e *UnknownError) Error() string {
	if e.Layout < e.Knows.Oldest {
		return fmt.Sprintf("the cluster's store has layout %d, and argosy %s knows %s: an earlier release has to change it first. Run the last one that knows layout %d on all servers, and upgrade to this one when 'argosy servers' says layout %d",
			e.Layout, e.Version, e.Knows, e.Layout, e.Knows.Oldest)
	}
	by := "a later release"
	if e.By != "" {
		by = "argosy " + e.By
	}
	return fmt.Sprintf("the cluster's store has layout %d, made by %s, and argosy %s knows %s: install %s or later here", e.Layout, by, e.Version, e.Knows, by)
}

// Fits says whether a server with a range can work with the store as it is.
func Fits(r Range, l *storev1.Layout, version string) error {
	for _, n := range []uint32{max(l.To, l.Number), l.Number} {
		if !r.has(n) {
			return &UnknownError{Layout: n, By: l.Version, Version: version, Knows: r}
		}
	}
	return nil
}

// Check says whether this release can work with the store as it is.
func (k Known) Check(l *storev1.Layout, version string) error { return Fits(k.Range(), l, version) }

// Server is what is known of a server of the cluster.
type Server struct {
	Name string
	// Silent is why it did not say what it knows; empty when it did.
	Silent string
	Knows  Range
}

// Plan is what is to be done.
type Plan struct {
	// To is the layout that the store is to have, 0 when it is to stay as it is.
	To uint32
	// Waits is what the change to the next layout waits for, a plain sentence; empty when it waits for nothing, or none is
	// due.
	Waits string
}

// Decide says which layout the store is to have. A change that was begun is ended, whoever is away: all servers knew that
// layout then.
func (k Known) Decide(l *storev1.Layout, servers []Server) Plan {
	to := k.Newest()
	if to <= l.Number {
		return Plan{}
	}
	if l.To != 0 {
		return Plan{To: l.To}
	}
	var waits []string
	for _, s := range servers {
		switch {
		case s.Silent != "":
			waits = append(waits, fmt.Sprintf("server %s, which does not answer (%s): start it, or remove it with 'argosy servers remove %s' if it is gone for good", s.Name, s.Silent, s.Name))
		case !s.Knows.has(l.Number + 1):
			waits = append(waits, fmt.Sprintf("server %s, which is of an earlier release: upgrade it", s.Name))
		default:
			to = min(to, s.Knows.Newest)
		}
	}
	switch {
	case len(waits) > 0:
		return Plan{Waits: fmt.Sprintf("the store's layout %d becomes %d once all servers know that; it waits for %s", l.Number, l.Number+1, strings.Join(waits, "; "))}
	case len(servers) == 0:
		return Plan{}
	}
	return Plan{To: to}
}
