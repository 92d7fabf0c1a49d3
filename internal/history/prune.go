package history

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// edge is up to where history was dropped. Of what has a number up to it there is only what still held there; beyond it all is
// there, and so whatever is asked of a time after at.
type edge struct {
	seq uint64
	at  time.Time // zero while nothing was dropped
}

var edgeKey = []byte("edge")

func edgeOf(tx *bbolt.Tx) edge {
	if v := tx.Bucket(prunedBucket).Get(edgeKey); len(v) == 16 {
		return edge{binary.BigEndian.Uint64(v), time.Unix(0, int64(binary.BigEndian.Uint64(v[8:])))}
	}
	if k, _ := tx.Bucket(allBucket).Cursor().First(); k != nil {
		return edge{seq: binary.BigEndian.Uint64(k) - 1}
	}
	return edge{}
}

func (e edge) put(tx *bbolt.Tx) error {
	return tx.Bucket(prunedBucket).Put(edgeKey, binary.BigEndian.AppendUint64(number(e.seq), uint64(e.at.UnixNano())))
}

// pruneBeyond drops the oldest beyond what is kept, a batch at most. Numbers are dense but for rare gaps, so their span bounds
// their count and is known without counting.
func (db *DB) pruneBeyond(tx *bbolt.Tx) error {
	last, _ := tx.Bucket(allBucket).Cursor().Last()
	if last == nil {
		return nil
	}
	kept, newest, e := uint64(db.kept), binary.BigEndian.Uint64(last), edgeOf(tx)
	if newest <= e.seq || newest-e.seq <= kept+kept/100 { // a batch at a time, not each time one
		return nil
	}
	_, err := prune(tx, e, newest-kept, time.Now())
	return err
}

// Prune drops what happened longer than age before now, a batch in each transaction, so that nobody waits for long. A time that
// is yet to come is a clock's mistake and keeps nothing.
func (db *DB) Prune(ctx context.Context, now time.Time, age time.Duration) error {
	for ctx.Err() == nil {
		more := false
		err := db.bolt.Update(func(tx *bbolt.Tx) (err error) {
			e := edgeOf(tx)
			upTo := older(tx, e, now, now.Add(-age))
			if upTo == e.seq {
				return nil
			}
			more, err = prune(tx, e, upTo, now)
			return err
		})
		if err != nil {
			return fmt.Errorf("dropping old history: %w", err)
		}
		if !more {
			return nil
		}
	}
	return ctx.Err()
}

// older is the number up to which, from the edge on, everything happened before a time; a batch at most. What a machine told late
// has a high number and an old time: it is dropped when its turn comes.
func older(tx *bbolt.Tx, e edge, now, before time.Time) (upTo uint64) {
	upTo = e.seq
	c := tx.Bucket(allBucket).Cursor()
	n := 0
	for k, v := c.Seek(number(e.seq + 1)); k != nil && n < batch; k, v = c.Next() {
		t := &argosyv1.Transition{}
		if proto.Unmarshal(v, t) == nil {
			if at := t.GetAt().AsTime(); !at.Before(before) && !at.After(now) {
				return upTo
			}
		}
		upTo = binary.BigEndian.Uint64(k)
		n++
	}
	return upTo
}

// prune drops what has a number up to upTo and does not say what still holds there; it moves the edge by a batch at most, and says
// whether it could go on.
func prune(tx *bbolt.Tx, e edge, upTo uint64, now time.Time) (more bool, err error) {
	all, index := tx.Bucket(allBucket), tx.Bucket(indexBucket)
	f, looked := newFolding(), 0
	var old []*argosyv1.Transition
	c := all.Cursor()
	for k, v := c.First(); k != nil && binary.BigEndian.Uint64(k) <= upTo; k, v = c.Next() {
		seq := binary.BigEndian.Uint64(k)
		if seq > e.seq {
			if looked == batch {
				more = true
				break
			}
			looked++
			e.seq = seq
		}
		t := &argosyv1.Transition{}
		if proto.Unmarshal(v, t) != nil {
			t = &argosyv1.Transition{}
		}
		t.Seq = seq
		f.take(t)
		old = append(old, t)
		if at := t.GetAt().AsTime(); at.After(e.at) && !at.After(now) {
			e.at = at
		}
	}
	still := f.needed()
	for _, t := range old {
		if still[t.GetSeq()] {
			continue
		}
		for _, name := range names(t) {
			if err := index.Delete(indexKey(name, t.GetSeq())); err != nil {
				return false, err
			}
		}
		if err := all.Delete(number(t.GetSeq())); err != nil {
			return false, err
		}
	}
	return more || looked == batch, e.put(tx)
}

// needed are the numbers of the transitions that say what holds.
func (f *folding) needed() map[uint64]bool {
	still := map[uint64]bool{}
	for _, incarnations := range f.replicas {
		for _, p := range incarnations {
			still[p.decision], still[p.sight], still[p.removal] = true, true, true
			for _, seq := range p.members {
				still[seq] = true
			}
		}
	}
	for _, t := range f.machines {
		still[t.GetSeq()] = true
	}
	return still
}

// Since is the time from which on everything is known, zero when nothing is.
func (db *DB) Since() (since time.Time, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		if since = edgeOf(tx).at; !since.IsZero() {
			return nil
		}
		_, v := tx.Bucket(allBucket).Cursor().First()
		if v == nil {
			return nil
		}
		t := &argosyv1.Transition{}
		if err := proto.Unmarshal(v, t); err != nil {
			return err
		}
		since = t.GetAt().AsTime()
		return nil
	})
	return since, err
}
