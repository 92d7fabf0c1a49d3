package history

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/filelayout"
	"github.com/argosy-cluster/argosy/internal/state"
)

const (
	// MaxKept is how many transitions a database keeps, and a little more, beside those that say what still holds.
	MaxKept = 500_000
	// batch is how many transitions one transaction takes in or looks through to drop.
	batch = 1_000
	// openTime is how long another process may take to let go of the database.
	openTime = 5 * time.Second
)

// all holds transitions by number, 8 bytes, big endian. index holds, for everything that a question may name, the numbers
// of what concerns it: the name, a zero byte, the number.
var (
	allBucket    = []byte("transitions")
	indexBucket  = []byte("index")
	prunedBucket = []byte("pruned") // see edge
)

// DB is a database of transitions. Its methods may be called from many goroutines.
type DB struct {
	bolt *bbolt.DB
	kept int

	mu          sync.Mutex // guards subscribers
	subscribers map[chan struct{}]struct{}

	waiting atomic.Int32  // how many wait for what the store has by now: meanwhile nothing is gathered
	hurry   chan struct{} // ends a gathering that has begun
}

// Open opens a database, making it if it is not there. One process at a time may have it open.
func Open(path string) (*DB, error) { return open(path, MaxKept) }

func open(path string, kept int) (*DB, error) {
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTime})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("the history %s is in use by another server: stop it first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the history %s: %w", path, err)
	}
	err = b.Update(func(tx *bbolt.Tx) error {
		if err := layouts().Settle(tx); err != nil {
			return err
		}
		for _, name := range [][]byte{allBucket, indexBucket, prunedBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the history %s: %w", path, err), b.Close())
	}
	return &DB{bolt: b, kept: kept, subscribers: map[chan struct{}]struct{}{}, hurry: make(chan struct{}, 1)}, nil
}

// layouts are those of the file. A step is appended when what is in it changes its shape.
func layouts() filelayout.Known { return filelayout.Known{What: "the history"} }

// Close ends the use of the database.
func (db *DB) Close() error { return db.bolt.Close() }

// Add keeps transitions, which must have numbers. Those it has already are left as they are.
func (db *DB) Add(transitions ...*argosyv1.Transition) error {
	if len(transitions) == 0 {
		return nil
	}
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		all, index := tx.Bucket(allBucket), tx.Bucket(indexBucket)
		for _, t := range transitions {
			key := number(t.Seq)
			if t.Seq == 0 || all.Get(key) != nil {
				continue
			}
			value, err := proto.Marshal(t)
			if err != nil {
				return err
			}
			if err := all.Put(key, value); err != nil {
				return err
			}
			for _, name := range names(t) {
				if err := index.Put(indexKey(name, t.Seq), nil); err != nil {
					return err
				}
			}
		}
		return db.pruneBeyond(tx)
	})
	if err != nil {
		return fmt.Errorf("writing history: %w", err)
	}
	db.notify()
	return nil
}

// names are what a transition can be found by.
func names(t *argosyv1.Transition) []string {
	tenant := t.Tenant
	app := t.App
	var out []string
	if k := t.Replica; k != nil {
		tenant, app = k.GetTenant(), k.GetApp()
		out = append(out, replicaName(state.KeyOf(k)))
	}
	if app != "" {
		out = append(out, appName(tenant, app))
	}
	if t.Machine != "" {
		out = append(out, machineName(t.Machine))
	}
	// What belongs to no tenant concerns the cluster, and everybody may know that a machine joined.
	return append(out, tenantName(tenant))
}

func replicaName(k state.Key) string {
	return strings.Join([]string{"replica", k.Tenant, k.App, k.Stack, fmt.Sprint(k.Number)}, "\x01")
}
func appName(tenant, app string) string { return strings.Join([]string{"app", tenant, app}, "\x01") }
func machineName(id string) string      { return "machine\x01" + id }
func tenantName(tenant string) string   { return "tenant\x01" + tenant }

func number(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func indexKey(name string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(name), 0), seq)
}

// Query says which transitions are wanted. Empty fields want everything.
type Query struct {
	// Tenant whose transitions are wanted, together with those of the cluster itself.
	Tenant  string
	App     string
	Replica *state.Key
	// Machine is a machine's id.
	Machine string
	// After is the number that the wanted ones come after.
	After uint64
	Since time.Time
	// Until is the last instant whose transitions are wanted.
	Until time.Time
	// Tail wants only the last so many, Limit the first so many; 0 is no bound.
	Tail, Limit int
}

func (q *Query) has(t *argosyv1.Transition) bool {
	tenant, app := t.Tenant, t.App
	if k := t.Replica; k != nil {
		tenant, app = k.GetTenant(), k.GetApp()
		if q.Replica != nil && state.KeyOf(k) != *q.Replica {
			return false
		}
	} else if q.Replica != nil {
		return false
	}
	return (q.Tenant == "" || tenant == "" || tenant == q.Tenant) && (q.App == "" || app == q.App) &&
		(q.Machine == "" || t.Machine == q.Machine) && t.Seq > q.After &&
		(q.Since.IsZero() || !t.At.AsTime().Before(q.Since)) && (q.Until.IsZero() || !t.At.AsTime().After(q.Until))
}

// narrowest is the name whose index holds all that is wanted, empty when only reading everything does.
func (q *Query) narrowest() string {
	switch {
	case q.Replica != nil:
		return replicaName(*q.Replica)
	case q.App != "" && q.Tenant != "":
		return appName(q.Tenant, q.App)
	case q.Machine != "":
		return machineName(q.Machine)
	}
	return ""
}

// Query returns what is wanted, oldest first.
func (db *DB) Query(ctx context.Context, q Query) ([]*argosyv1.Transition, error) {
	var out []*argosyv1.Transition
	err := db.walk(ctx, q, func(t *argosyv1.Transition) (more bool) {
		out = append(out, t)
		full := q.Tail > 0 && len(out) == q.Tail || q.Tail == 0 && q.Limit > 0 && len(out) == q.Limit
		return !full
	})
	if err != nil {
		return nil, err
	}
	if q.Tail > 0 {
		slices.Reverse(out)
	}
	return out, nil
}

// walk visits what is wanted in order, the newest first when q.Tail is set, until visit wants no more.
func (db *DB) walk(ctx context.Context, q Query, visit func(t *argosyv1.Transition) (more bool)) error {
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		all := tx.Bucket(allBucket)
		walk := func(seq []byte) (more bool, err error) {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			t := &argosyv1.Transition{}
			value := all.Get(seq)
			if value == nil {
				return true, nil
			}
			if err := proto.Unmarshal(value, t); err != nil {
				return false, fmt.Errorf("transition %d cannot be read: %w", binary.BigEndian.Uint64(seq), err)
			}
			return !q.has(t) || visit(t), nil
		}
		if name := q.narrowest(); name != "" {
			return walkIndex(tx.Bucket(indexBucket).Cursor(), name, q, walk)
		}
		return walkAll(all.Cursor(), q, walk)
	})
	if err != nil {
		return fmt.Errorf("reading history: %w", err)
	}
	return nil
}

// walkAll visits numbers after q.After: upwards, or downwards from the newest when only the last are wanted.
func walkAll(c *bbolt.Cursor, q Query, visit func(seq []byte) (bool, error)) error {
	k, _ := c.Seek(number(q.After + 1))
	next := c.Next
	if q.Tail > 0 {
		k, _ = c.Last()
		next = c.Prev
	}
	for ; k != nil && binary.BigEndian.Uint64(k) > q.After; k, _ = next() {
		if more, err := visit(k); !more || err != nil {
			return err
		}
	}
	return nil
}

// walkIndex does the same with the numbers of one name.
func walkIndex(c *bbolt.Cursor, name string, q Query, visit func(seq []byte) (bool, error)) error {
	prefix := append([]byte(name), 0)
	k, _ := c.Seek(indexKey(name, q.After+1))
	next := c.Next
	if q.Tail > 0 {
		if k, _ = c.Seek(append([]byte(name), 1)); k == nil {
			k, _ = c.Last()
		} else {
			k, _ = c.Prev()
		}
		next = c.Prev
	}
	for ; k != nil && bytes.HasPrefix(k, prefix) && len(k) == len(prefix)+8; k, _ = next() {
		seq := k[len(prefix):]
		if binary.BigEndian.Uint64(seq) <= q.After {
			return nil
		}
		if more, err := visit(seq); !more || err != nil {
			return err
		}
	}
	return nil
}

// Last is the number of the newest transition, 0 when there is none.
func (db *DB) Last() (seq uint64, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(allBucket).Cursor().Last(); k != nil {
			seq = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return seq, err
}

// First is the number of the oldest transition, 0 when there is none.
func (db *DB) First() (seq uint64, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(allBucket).Cursor().First(); k != nil {
			seq = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return seq, err
}

// Subscribe returns a channel that receives after transitions were added, at least once after the last, and a function
// that ends it.
func (db *DB) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	db.mu.Lock()
	db.subscribers[c] = struct{}{}
	db.mu.Unlock()
	return c, func() {
		db.mu.Lock()
		delete(db.subscribers, c)
		db.mu.Unlock()
	}
}

func (db *DB) notify() {
	db.mu.Lock()
	defer db.mu.Unlock()
	for c := range db.subscribers {
		select {
		case c <- struct{}{}:
		default: // it has not yet looked at an earlier one
		}
	}
}
