package database

import (
	"encoding/json"
	"fmt"
	"strconv"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
)

// Batch is what changed, to be recorded at once.
type Batch struct {
	// Transitions in the order they happened; Record gives them their numbers.
	Transitions []*argosyv1.Transition
	// States that they led to. Gone are those of which nothing is left.
	States []*argosyv1.ReplicaObservation
	Gone   []*argosyv1.ReplicaObservation
	// Memories of the members of the replicas in States.
	Memories map[core.MemberID]core.MemberMemory
}

var (
	keyLast    = []byte("outbox/last")    // number of the last transition ever recorded
	keyDropped = []byte("outbox/dropped") // how many the marker at the outbox's head stands for
)

// Record makes a batch durable and returns the number of the last transition.
func (d *DB) Record(b Batch) (last uint64, err error) {
	err = d.update("record what happened", func(tx *bolt.Tx) error {
		meta, outbox := tx.Bucket(bucketMeta), tx.Bucket(bucketOutbox)
		last = readNumber(meta.Get(keyLast))
		for _, t := range b.Transitions {
			last++
			t.OutboxSeq = last
			raw, err := proto.Marshal(t)
			if err != nil {
				return err
			}
			if err := outbox.Put(number(last), raw); err != nil {
				return err
			}
		}
		if err := meta.Put(keyLast, number(last)); err != nil {
			return err
		}
		if err := d.bound(tx, last); err != nil {
			return err
		}
		return putStates(tx, b)
	})
	return last, err
}

func putStates(tx *bolt.Tx, b Batch) error {
	states, memory := tx.Bucket(bucketStates), tx.Bucket(bucketMemory)
	for _, o := range b.Gone {
		key := incarnationKey(o.GetKey(), o.GetAppUid(), o.GetIncarnation())
		if err := states.Delete(key); err != nil {
			return err
		}
		for _, m := range o.GetMembers() {
			if err := memory.Delete(append(key, "\x00"+m.GetName()...)); err != nil {
				return err
			}
		}
	}
	for _, o := range b.States {
		raw, err := proto.Marshal(o)
		if err != nil {
			return err
		}
		if err := states.Put(incarnationKey(o.GetKey(), o.GetAppUid(), o.GetIncarnation()), raw); err != nil {
			return err
		}
	}
	for id, m := range b.Memories {
		key := append(incarnationKey(id.Key.Proto(), id.AppUID, id.Incarnation), "\x00"+id.Member...)
		if m.Failures == 0 && m.Restarts == 0 && m.Broken == "" {
			if err := memory.Delete(key); err != nil {
				return err
			}
			continue
		}
		raw, err := json.Marshal(kept{id, m})
		if err != nil {
			return err
		}
		if err := memory.Put(key, raw); err != nil {
			return err
		}
	}
	return nil
}

type kept struct {
	ID     core.MemberID
	Memory core.MemberMemory
}

func incarnationKey(k *argosyv1.ReplicaKey, uid string, incarnation uint64) []byte {
	return append(replicaKey(k), "\x00"+uid+"\x00"+strconv.FormatUint(incarnation, 10)...)
}

// bound drops the oldest transitions of an outbox that is too long and puts one in the place of the last dropped that says
// how many there were.
func (d *DB) bound(tx *bolt.Tx, last uint64) error {
	outbox, meta := tx.Bucket(bucketOutbox), tx.Bucket(bucketMeta)
	c := outbox.Cursor()
	k, _ := c.First()
	if k == nil || last-readNumber(k) < d.maxOutbox {
		return nil
	}
	dropped := readNumber(meta.Get(keyDropped))
	if dropped > 0 { // the head is the marker itself, which stands for what it says
		dropped--
	}
	// A tenth more than needed goes, so that a full outbox does not write its marker anew for every transition.
	until := last - d.maxOutbox + 1 + d.maxOutbox/10
	var marker argosyv1.Transition
	for k, v := c.First(); k != nil && readNumber(k) <= until; k, v = c.First() { // a deletion moves the cursor

		if err := proto.Unmarshal(v, &marker); err != nil {
			return err
		}
		dropped++
		if err := c.Delete(); err != nil {
			return err
		}
	}
	gap := &argosyv1.Transition{
		OutboxSeq: until, At: marker.GetAt(), Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE, Machine: marker.GetMachine(),
		To:    "dropped",
		Cause: fmt.Sprintf("dropped %d transitions up to here: no server took them, and the machine keeps at most %d", dropped, d.maxOutbox),
	}
	raw, err := proto.Marshal(gap)
	if err != nil {
		return err
	}
	if err := outbox.Put(number(until), raw); err != nil {
		return err
	}
	return meta.Put(keyDropped, number(dropped))
}

// Pending returns at most limit transitions that are not acknowledged, with numbers above after, in order.
func (d *DB) Pending(after uint64, limit int) (list []*argosyv1.Transition, err error) {
	err = d.view("read the outbox", func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketOutbox).Cursor()
		for k, v := c.Seek(number(after + 1)); k != nil && len(list) < limit; k, v = c.Next() {
			t := &argosyv1.Transition{}
			if err := proto.Unmarshal(v, t); err != nil {
				return err
			}
			list = append(list, t)
		}
		return nil
	})
	return list, err
}

// Acknowledge removes all transitions up to and including seq. A number that this database never gave out means that an
// earlier one was lost and the cluster remembers more: then nothing here was taken, and what waits gets numbers above seq.
func (d *DB) Acknowledge(seq uint64) error {
	return d.update("take note of an acknowledgement", func(tx *bolt.Tx) error {
		if last := readNumber(tx.Bucket(bucketMeta).Get(keyLast)); seq > last {
			return renumber(tx, seq)
		}
		c := tx.Bucket(bucketOutbox).Cursor()
		for k, _ := c.First(); k != nil && readNumber(k) <= seq; k, _ = c.First() {
			if err := c.Delete(); err != nil {
				return err
			}
			if err := tx.Bucket(bucketMeta).Delete(keyDropped); err != nil {
				return err
			}
		}
		return nil
	})
}

// renumber gives everything in the outbox numbers that follow base.
func renumber(tx *bolt.Tx, base uint64) error {
	outbox := tx.Bucket(bucketOutbox)
	var list []*argosyv1.Transition
	err := outbox.ForEach(func(_, raw []byte) error {
		t := &argosyv1.Transition{}
		list = append(list, t)
		return proto.Unmarshal(raw, t)
	})
	if err != nil {
		return err
	}
	if err := tx.DeleteBucket(bucketOutbox); err != nil {
		return err
	}
	if outbox, err = tx.CreateBucket(bucketOutbox); err != nil {
		return err
	}
	for _, t := range list {
		base++
		t.OutboxSeq = base
		raw, err := proto.Marshal(t)
		if err != nil {
			return err
		}
		if err := outbox.Put(number(base), raw); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keyLast, number(base))
}

// Last returns the states recorded last and what is remembered of failures.
func (d *DB) Last() (states []*argosyv1.ReplicaObservation, memory map[core.MemberID]*core.MemberMemory, err error) {
	memory = map[core.MemberID]*core.MemberMemory{}
	err = d.view("read the last states", func(tx *bolt.Tx) error {
		err := tx.Bucket(bucketStates).ForEach(func(_, raw []byte) error {
			o := &argosyv1.ReplicaObservation{}
			states = append(states, o)
			return proto.Unmarshal(raw, o)
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketMemory).ForEach(func(_, raw []byte) error {
			var k kept
			if err := json.Unmarshal(raw, &k); err != nil {
				return err
			}
			memory[k.ID] = &k.Memory
			return nil
		})
	})
	return states, memory, err
}
