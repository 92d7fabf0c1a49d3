package database

import (
	"strconv"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
)

var keyComplete = []byte("complete")

func replicaKey(k *argosyv1.ReplicaKey) []byte {
	return []byte(k.GetTenant() + "\x00" + k.GetApp() + "\x00" + k.GetStack() + "\x00" + strconv.FormatUint(uint64(k.GetNumber()), 10))
}

// Assign keeps assignments: a full set replaces all, otherwise removed go first and set is added. It is on disk when Assign
// returns.
func (d *DB) Assign(full bool, set []*argosyv1.Assignment, removed []*argosyv1.ReplicaKey) error {
	return d.update("keep assignments", func(tx *bolt.Tx) error {
		if full {
			if err := tx.DeleteBucket(bucketAssignments); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(bucketAssignments); err != nil {
				return err
			}
			if err := tx.Bucket(bucketMeta).Put(keyComplete, []byte{1}); err != nil {
				return err
			}
		}
		b := tx.Bucket(bucketAssignments)
		for _, k := range removed {
			if err := b.Delete(replicaKey(k)); err != nil {
				return err
			}
		}
		for _, a := range set {
			raw, err := proto.Marshal(a)
			if err != nil {
				return err
			}
			if err := b.Put(replicaKey(a.GetKey()), raw); err != nil {
				return err
			}
		}
		return nil
	})
}

// Assignments returns what was kept. complete says that a full set was ever kept, so that the list is all there is.
func (d *DB) Assignments() (list []*argosyv1.Assignment, complete bool, err error) {
	err = d.view("read assignments", func(tx *bolt.Tx) error {
		complete = len(tx.Bucket(bucketMeta).Get(keyComplete)) > 0
		return tx.Bucket(bucketAssignments).ForEach(func(_, raw []byte) error {
			a := &argosyv1.Assignment{}
			if err := proto.Unmarshal(raw, a); err != nil {
				return err
			}
			list = append(list, a)
			return nil
		})
	})
	return list, complete, err
}
