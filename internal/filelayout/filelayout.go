// Package filelayout numbers how a process lays out a file of its own, and changes a file of an earlier release into what
// this one writes, in the one transaction that also notes it:
//
//	known := filelayout.Known{What: "the agent's database", Steps: steps}
//	db.Update(func(tx *bbolt.Tx) error { return known.Settle(tx) })
//
// A file without a number has layout 1, a new one the newest. One of a later release is refused and left as it is.
package filelayout

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// Step changes a file of one layout into the next.
type Step func(tx *bbolt.Tx) error

// Known is what a release knows of a file: the steps from layout 1 on.
type Known struct {
	// What the file is, for people: `the history`.
	What  string
	Steps []Step
}

var (
	bucket = []byte("layout")
	key    = []byte("number")
)

// Newest is the layout that files have once they are settled.
func (k Known) Newest() uint64 { return 1 + uint64(len(k.Steps)) }

// NewerError says that a file is of a later release.
type NewerError struct {
	What          string
	Layout, Knows uint64
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s has layout %d, of a later release, and this one knows layouts up to %d: install the release that ran here last, or a later one",
		e.What, e.Layout, e.Knows)
}

// Settle brings a file to the newest layout, or fails and leaves it as it is. It is called before anything else is done to
// the file.
func (k Known) Settle(tx *bbolt.Tx) error {
	was, err := k.read(tx)
	if err != nil {
		return err
	}
	if was == k.Newest() && tx.Bucket(bucket) != nil {
		return nil
	}
	if was > k.Newest() {
		return &NewerError{k.What, was, k.Newest()}
	}
	for n := was; n < k.Newest(); n++ {
		if err := k.Steps[n-1](tx); err != nil {
			return fmt.Errorf("changing %s from layout %d to %d: %w", k.What, n, n+1, err)
		}
	}
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return err
	}
	return b.Put(key, binary.BigEndian.AppendUint64(nil, k.Newest()))
}

func (k Known) read(tx *bbolt.Tx) (uint64, error) {
	b := tx.Bucket(bucket)
	if b == nil {
		if first, _ := tx.Cursor().First(); first == nil {
			return k.Newest(), nil // a new file
		}
		return 1, nil
	}
	v := b.Get(key)
	if len(v) != 8 || binary.BigEndian.Uint64(v) == 0 {
		return 0, fmt.Errorf("%s does not say which layout it has: it is damaged", k.What)
	}
	return binary.BigEndian.Uint64(v), nil
}
