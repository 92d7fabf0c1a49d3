package memory

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/argosy-cluster/argosy/internal/store"
)

// Store keeps everything in memory. Make it with [New].
//
// Invariants: keys is sorted and holds exactly the keys of records; log holds, in order, a batch for every revision
// above compacted that changed something; revision is that of the last batch, or 1.
type Store struct {
	mu        sync.Mutex
	revision  int64
	compacted int64
	records   map[string]record
	keys      []string
	log       []store.Batch
	changed   chan struct{} // closed and replaced by each change
	fault     func(Call) Fault
}

type record struct {
	value       []byte
	modRevision int64
}

// Call names a method of the store.
type Call int

// The calls that can be made to fail.
const (
	Get Call = iota
	List
	Commit
	Watch
)

// Fault is how a call fails.
type Fault int

const (
	// None lets a call through.
	None Fault = iota
	// Refused: the call does nothing and the caller is told [store.ErrUnavailable].
	Refused
	// Unanswered: the call is carried out, and the caller is told [store.ErrUnavailable] all the same.
	Unanswered
)

// New returns an empty store. Its revision is 1, as that of a new etcd.
func New() *Store {
	return &Store{revision: 1, records: map[string]record{}, changed: make(chan struct{})}
}

// Inject has every call ask decide how to fail; nil stops that. A watch asks when it starts and before each batch, and
// is woken by Inject itself. Decide is called with the store locked and must not call it.
func (s *Store) Inject(decide func(Call) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = decide
	s.wake()
}

// Get reads single keys.
func (s *Store) Get(ctx context.Context, keys ...string) (store.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter(ctx, Get); err != nil {
		return store.Snapshot{}, err
	}
	snap := store.Snapshot{Revision: s.revision}
	for _, key := range keys {
		if r, ok := s.records[key]; ok {
			snap.KVs = append(snap.KVs, r.kv(key))
		}
	}
	return snap, nil
}

// List reads every key with a prefix.
func (s *Store) List(ctx context.Context, prefix string) (store.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter(ctx, List); err != nil {
		return store.Snapshot{}, err
	}
	snap := store.Snapshot{Revision: s.revision}
	first, _ := slices.BinarySearch(s.keys, prefix)
	for _, key := range s.keys[first:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		snap.KVs = append(snap.KVs, s.records[key].kv(key))
	}
	return snap, nil
}

// Commit applies a transaction.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if err := txn.Check(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, unavailable(err)
	}
	fault := s.faultOf(Commit)
	if fault == Refused {
		return 0, unavailable(nil)
	}
	rev, err := s.commit(txn)
	if fault == Unanswered {
		return 0, unavailable(nil)
	}
	return rev, err
}

func (s *Store) commit(txn store.Txn) (int64, error) {
	if txn.Term != 0 && s.records[store.TermKey].modRevision != txn.Term {
		return 0, store.ErrDeposed
	}
	for _, c := range txn.If {
		if s.records[c.Key].modRevision != c.ModRevision {
			return 0, &store.ConflictError{Key: c.Key}
		}
	}
	batch := store.Batch{Revision: s.revision + 1}
	for _, op := range txn.Ops {
		if op.Value == nil {
			if _, ok := s.records[op.Key]; !ok {
				continue
			}
			s.remove(op.Key)
			batch.Events = append(batch.Events, store.Event{Key: op.Key})
			continue
		}
		value := slices.Clone(op.Value)
		if value == nil {
			value = []byte{}
		}
		s.put(op.Key, record{value: value, modRevision: batch.Revision})
		batch.Events = append(batch.Events, store.Event{Key: op.Key, Value: value})
	}
	if len(batch.Events) == 0 {
		return s.revision, nil
	}
	s.revision = batch.Revision
	s.log = append(s.log, batch)
	s.wake()
	return s.revision, nil
}

// Watch yields changes. See [store.Store].
func (s *Store) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		next := max(from, 1)
		for ctx.Err() == nil {
			batch, changed, err := s.next(prefix, &next)
			switch {
			case err != nil:
				yield(store.Batch{}, err)
				return
			case len(batch.Events) > 0:
				if !yield(batch, nil) {
					return
				}
			default:
				select {
				case <-ctx.Done():
				case <-changed:
				}
			}
		}
	}
}

// next returns the first batch from *from on that touches a key with the prefix, and moves *from behind what it looked
// at. Without one it returns the channel that the next change closes.
func (s *Store) next(prefix string, from *int64) (store.Batch, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faultOf(Watch) != None {
		return store.Batch{}, nil, unavailable(nil)
	}
	if *from <= s.compacted {
		return store.Batch{}, nil, fmt.Errorf("watching %s from revision %d: %w", prefix, *from, store.ErrCompacted)
	}
	first, _ := slices.BinarySearchFunc(s.log, *from, func(b store.Batch, rev int64) int {
		return cmp.Compare(b.Revision, rev)
	})
	for _, b := range s.log[first:] {
		*from = b.Revision + 1
		var events []store.Event
		for _, e := range b.Events {
			if strings.HasPrefix(e.Key, prefix) {
				events = append(events, store.Event{Key: e.Key, Value: slices.Clone(e.Value)})
			}
		}
		if len(events) > 0 {
			return store.Batch{Revision: b.Revision, Events: events}, nil, nil
		}
	}
	return store.Batch{}, s.changed, nil
}

// Compact forgets history up to a revision, that one included. Watches that have not come so far end with
// [store.ErrCompacted].
func (s *Store) Compact(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted = max(s.compacted, min(revision, s.revision))
	first, _ := slices.BinarySearchFunc(s.log, s.compacted+1, func(b store.Batch, rev int64) int {
		return cmp.Compare(b.Revision, rev)
	})
	s.log = slices.Clone(s.log[first:])
}

func (s *Store) put(key string, r record) {
	if _, ok := s.records[key]; !ok {
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, i, key)
	}
	s.records[key] = r
}

func (s *Store) remove(key string) {
	i, _ := slices.BinarySearch(s.keys, key)
	s.keys = slices.Delete(s.keys, i, i+1)
	delete(s.records, key)
}

func (s *Store) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// enter fails a read as ctx or the injected fault says. What a read finds out is lost with its answer, so a call that
// is carried out and one that is not are the same.
func (s *Store) enter(ctx context.Context, c Call) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	if s.faultOf(c) != None {
		return unavailable(nil)
	}
	return nil
}

func (s *Store) faultOf(c Call) Fault {
	if s.fault == nil {
		return None
	}
	return s.fault(c)
}

func (r record) kv(key string) store.KV {
	return store.KV{Key: key, Value: slices.Clone(r.value), ModRevision: r.modRevision}
}

func unavailable(cause error) error {
	if cause == nil {
		return store.ErrUnavailable
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, cause)
}
