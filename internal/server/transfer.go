package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/external"
)

// A backup holds a snapshot of etcd, whichever store the cluster has: one of a server's own can be restored into an external
// one, and the other way round.

// Bounds of one transaction of a copy, well below the store's.
const (
	copyOps   = 1000
	copyBytes = 4 << 20
)

// snapshot writes the store as etcd's snapshot and returns its size.
func (s *Server) snapshot(ctx context.Context, to io.Writer) (int64, error) {
	if s.member != nil {
		return s.member.Snapshot(ctx, to)
	}
	// An external etcd's own snapshot would hold what is not this cluster's, and take its administrator.
	snap, err := s.store.List(ctx, store.Root)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp(s.cfg.DataDir, ".backup-*")
	if err != nil {
		return 0, fmt.Errorf("setting the store aside for the backup: %w", err)
	}
	n, err := packed(ctx, dir, snap, to)
	return n, errors.Join(err, os.RemoveAll(dir))
}

// packed writes records as etcd's snapshot, by way of a member that lives as long as that takes.
func packed(ctx context.Context, dir string, snap store.Snapshot, to io.Writer) (int64, error) {
	m, err := embedded.Start(ctx, embedded.Config{Dir: dir, Name: "backup", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer m.Stop()
	var n int64
	err = store.While(ctx, m.Failed(), func(ctx context.Context) (err error) {
		if err := put(ctx, etcd.New(m.Client()), snap.KVs); err != nil {
			return fmt.Errorf("setting the store aside for the backup: %w", err)
		}
		n, err = m.Snapshot(ctx, to)
		return err
	})
	if err != nil {
		return 0, err // what was given up may write to n still
	}
	return n, nil
}

// put writes records that are not there yet, in as few transactions as fit.
func put(ctx context.Context, to store.Store, kvs []store.KV) error {
	var txn store.Txn
	size := 0
	flush := func() error {
		if len(txn.Ops) == 0 {
			return nil
		}
		_, err := to.Commit(ctx, txn)
		txn, size = store.Txn{}, 0
		return err
	}
	for _, kv := range kvs {
		if n := len(kv.Key) + len(kv.Value); len(txn.Ops) == copyOps || size+n > copyBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		size += 3*len(kv.Key) + len(kv.Value)
		txn.If = append(txn.If, store.Compare{Key: kv.Key})
		txn.Ops = append(txn.Ops, store.Op{Key: kv.Key, Value: kv.Value})
	}
	return flush()
}

// openEmpty connects to the external etcd that a backup is restored into. It must hold nothing below the prefix.
func openEmpty(ctx context.Context, c external.Config, log *slog.Logger) (*external.Etcd, error) {
	c.Name, c.Log = "restore", log
	e, err := external.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	snap, err := etcd.New(e.Client()).List(ctx, store.Root)
	if err == nil && len(snap.KVs) > 0 {
		text, key := "a cluster", c.Prefix+store.Root
		if !slices.ContainsFunc(snap.KVs, func(kv store.KV) bool { return kv.Key == store.ClusterKey }) {
			text = "what is left of a restore that was interrupted"
		}
		err = fmt.Errorf("etcd holds %s below %q: a backup is restored into an empty place. Give another --store-prefix, or remove what is there with 'etcdctl del --prefix %s'", text, key, key)
	}
	if err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// moveOut copies what the restored store holds into an external one and marks the directory accordingly. The cluster's record
// comes last: without it there is no cluster.
func (re *restoring) moveOut(ctx context.Context, from store.Store, to *external.Etcd) error {
	snap, err := from.List(ctx, store.Root)
	if err != nil {
		return err
	}
	cluster := func(kv store.KV) bool { return kv.Key == store.ClusterKey }
	i := slices.IndexFunc(snap.KVs, cluster)
	if i < 0 {
		return errors.New("the store holds no cluster")
	}
	last := snap.KVs[i]
	out := etcd.New(to.Client())
	if err := put(ctx, out, slices.DeleteFunc(snap.KVs, cluster)); err != nil {
		return fmt.Errorf("copying the store into etcd: %w", err)
	}
	if err := put(ctx, out, []store.KV{last}); err != nil {
		return fmt.Errorf("copying the store into etcd: %w", err)
	}
	id, err := clusterOf(last.Value)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(re.dir, externalFile), []byte(id+"\n"), 0o600)
}
