package migration

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Bounds of one transaction of a step.
const (
	batchOps   = 500
	batchBytes = 1 << 20
)

// Born is the record of a new store, none for layout 1, which needs none.
func (k Known) Born(version string, now time.Time) ([]store.Op, error) {
	if k.Newest() == 1 {
		return nil, nil
	}
	op, err := store.Put(store.LayoutKey, &storev1.Layout{Number: k.Newest(), Since: timestamppb.New(now), Version: version})
	return []store.Op{op}, err
}

// Run brings the store to a layout, step by step, for the leader of a term. It goes on where an earlier leader was
// interrupted. While it runs, nobody else may write.
func (k Known) Run(ctx context.Context, s store.Store, term int64, to uint32, version string, now time.Time) error {
	if to > k.Newest() {
		return fmt.Errorf("argosy %s cannot bring the store to layout %d", version, to)
	}
	for {
		l, rev, err := Read(ctx, s)
		if err != nil {
			return err
		}
		if err := k.Check(l, version); err != nil {
			return err
		}
		if l.To == 0 && l.Number >= to {
			return nil
		}
		next := &storev1.Layout{Number: l.Number, To: l.Number + 1, Since: timestamppb.New(now), Version: version}
		if l.To != 0 {
			if err := step(ctx, s, term, k.Steps[l.Number-k.Oldest]); err != nil {
				return fmt.Errorf("changing the store's layout from %d to %d: %w", l.Number, l.To, err)
			}
			next.Number, next.To = l.To, 0
		}
		op, err := store.Put(store.LayoutKey, next)
		if err != nil {
			return err
		}
		if _, err := s.Commit(ctx, store.Txn{Term: term, If: []store.Compare{{Key: store.LayoutKey, ModRevision: rev}}, Ops: []store.Op{op}}); err != nil {
			return fmt.Errorf("writing the store's layout: %w", err)
		}
	}
}

// step shows all records to a step and commits what it makes of them.
func step(ctx context.Context, s store.Store, term int64, st Step) error {
	for _, prefix := range st.Prefixes {
		snap, err := s.List(ctx, prefix)
		if err != nil {
			return err
		}
		txn, size := store.Txn{Term: term}, 0
		for _, kv := range snap.KVs {
			ops, err := st.Change(kv)
			if err != nil {
				return fmt.Errorf("the record at %s: %w", kv.Key, err)
			}
			if len(ops) == 0 {
				continue
			}
			own := 0
			for _, op := range ops {
				own += len(op.Key) + len(op.Value)
			}
			if len(txn.Ops) > 0 && (len(txn.Ops)+len(ops) > batchOps || size+own > batchBytes) {
				if _, err := s.Commit(ctx, txn); err != nil {
					return err
				}
				txn, size = store.Txn{Term: term}, 0
			}
			txn.If = append(txn.If, store.Compare{Key: kv.Key, ModRevision: kv.ModRevision})
			txn.Ops, size = append(txn.Ops, ops...), size+own
		}
		if len(txn.Ops) > 0 {
			if _, err := s.Commit(ctx, txn); err != nil {
				return err
			}
		}
	}
	return nil
}
