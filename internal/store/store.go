package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Store is an ordered key space. Its methods may be called from many goroutines.
type Store interface {
	// Get reads single keys at one revision. Keys that do not exist are left out of the answer.
	Get(ctx context.Context, keys ...string) (Snapshot, error)
	// List reads every key with a prefix at one revision, ordered by key.
	List(ctx context.Context, prefix string) (Snapshot, error)
	// Commit applies all operations of a transaction or none and returns the revision it made. It fails with
	// [ErrDeposed], a [*ConflictError], or an error that wraps [ErrUnavailable], after which the transaction may or may
	// not have been applied.
	Commit(ctx context.Context, txn Txn) (int64, error)
	// Watch yields every change to keys with a prefix from a revision on (that revision included), a batch for each
	// transaction that touched one, in order. It ends when ctx does, or after yielding an error: one that wraps
	// [ErrCompacted] when from is too old, in which case the reader lists again.
	Watch(ctx context.Context, prefix string, from int64) iter.Seq2[Batch, error]
}

// KV is a key with its value. ModRevision is the revision of the transaction that last wrote it.
type KV struct {
	Key         string
	Value       []byte
	ModRevision int64
}

// Snapshot is what a range of keys held at one revision.
type Snapshot struct {
	Revision int64
	KVs      []KV
}

// Txn is a set of operations that happen together or not at all. No key may appear in Ops twice.
type Txn struct {
	// Term guards the transaction: the ModRevision of the term key that the writer's leadership made. Zero writes
	// without leadership; only bootstrap, election and tests may.
	Term int64
	If   []Compare
	Ops  []Op
}

// Compare holds iff the key was last written at ModRevision; zero means that it must not exist.
type Compare struct {
	Key         string
	ModRevision int64
}

// Op writes a key, or deletes it when Value is nil. An empty value is a value.
type Op struct {
	Key   string
	Value []byte
}

// Batch is what one transaction changed.
type Batch struct {
	Revision int64
	Events   []Event
}

// Event is a key's new value, nil when it was deleted.
type Event struct {
	Key   string
	Value []byte
}

var (
	// ErrDeposed says that the term of a transaction is over: another server leads.
	ErrDeposed = errors.New("this server no longer leads")
	// ErrCompacted says that the store no longer holds the history back to the revision asked for.
	ErrCompacted = errors.New("the store's history no longer reaches back to this revision")
	// ErrFull says that the store has no room. It is unavailable for writing until it has.
	ErrFull error = fullError{}
	// ErrUnavailable says that the store did not answer in time or has no majority.
	ErrUnavailable = errors.New("the cluster's store does not answer")
)

type fullError struct{}

func (fullError) Error() string {
	return "the cluster's store is full, and takes no changes until it has room again: see 'argosy servers'"
}
func (fullError) Is(target error) bool { return target == ErrUnavailable }

// ConflictError says which comparison of a transaction did not hold.
type ConflictError struct {
	Key string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s was changed meanwhile", e.Key)
}
