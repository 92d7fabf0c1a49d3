package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/backup"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/migration"
	"github.com/argosy-cluster/argosy/internal/version"
)

// Recovered is what a recovery found.
type Recovered struct {
	Cluster string `json:"cluster"`
	Server  string `json:"server"`
	// Generation is the cluster's from now on: machines take nothing from leaders of an earlier one.
	Generation uint64 `json:"generation"`
	// Revision is the store's: how much this server knew.
	Revision int64 `json:"revision"`
	// Given are the names of the servers that were given up.
	Given []string `json:"given_up"`
	// Kept is how many replicas were about to be removed together with their volumes, which now stay.
	Kept int `json:"volumes_kept"`
	// Backup is what it was restored from; nil for a directory that had a store.
	Backup *backup.Summary `json:"backup,omitempty"`
}

// Recover makes the server in a data directory, which does not run, the only one of its cluster, with everything that it
// knows. It is for when a majority of servers is lost for good: what only they knew is lost with them.
func Recover(ctx context.Context, dataDir string, log *slog.Logger) (*Recovered, error) {
	if there, err := isThere(filepath.Join(dataDir, externalFile)); err != nil || there {
		return nil, errors.Join(fmt.Errorf("the store of the server in %s is an external etcd, which whoever runs it brings back: servers go on by themselves then. If what it held is lost, or older than what machines have seen, restore a backup into an empty prefix with 'argosy server recover --from FILE --store-endpoints …'", dataDir), err)
	}
	dir := filepath.Join(dataDir, "etcd")
	if there, err := embedded.Exists(dir); err != nil || !there {
		return nil, errors.Join(fmt.Errorf("there is no server's store in %s: name the directory of one with --data-dir, or restore it from a backup", dataDir), err)
	}
	id, err := serverID(filepath.Join(dataDir, "server-id"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dataDir, "keys")); err != nil {
		return nil, fmt.Errorf("the store cannot be used without the servers' key: %w", err)
	}
	member, err := embedded.Start(ctx, embedded.Config{Dir: dir, Name: id, Log: log, Alone: true})
	if err != nil {
		return nil, fmt.Errorf("starting the store: %w", err)
	}
	defer member.Stop()
	var r *Recovered
	err = store.While(ctx, member.Failed(), func(ctx context.Context) (err error) {
		if err := member.Disarm(ctx); err != nil {
			return err
		}
		r, err = takeOver(ctx, etcd.New(member.Client()), id, "", time.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	// From now on it starts as a server alone does.
	if err := os.Remove(filepath.Join(dataDir, sharedFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("forgetting that there were other servers: %w", err)
	}
	return r, nil
}

// nextGeneration is above every generation that the cluster was in, even in lives that this store knows nothing of: there may
// have been any number of restores from the backup that it is from. Seconds grow faster than anybody restores.
func nextGeneration(number uint64, now time.Time) uint64 {
	return max(number+1, uint64(max(now.Unix(), 0)))
}

// takeOver writes that the cluster goes on with one server, in the next generation, and why. Nobody else can write now.
func takeOver(ctx context.Context, s store.Store, id, cause string, now time.Time) (*Recovered, error) {
	snap, err := s.Get(ctx, store.ClusterKey, store.GenerationKey)
	if err != nil {
		return nil, err
	}
	layout, _, err := migration.Read(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := migration.Own().Check(layout, version.Version); err != nil {
		return nil, err
	}
	r := &Recovered{Server: id}
	cluster, generation := &storev1.Cluster{}, &storev1.Generation{}
	txn := store.Txn{}
	for _, kv := range snap.KVs {
		txn.If = append(txn.If, store.Compare{Key: kv.Key, ModRevision: kv.ModRevision})
		switch kv.Key {
		case store.ClusterKey:
			err = errors.Join(err, store.Decode(kv, cluster))
		case store.GenerationKey:
			err = errors.Join(err, store.Decode(kv, generation))
		}
	}
	if err != nil || cluster.GetSettings() == nil {
		return nil, errors.Join(errors.New("the store holds no cluster: this server never was in one, or had not caught up"), err)
	}
	r.Cluster, r.Generation = cluster.GetSettings().GetClusterId(), nextGeneration(generation.Number, now)
	if r.Kept, err = keepVolumes(ctx, s); err != nil {
		return nil, err
	}
	records, err := s.List(ctx, store.Servers)
	if err != nil {
		return nil, err
	}
	for _, kv := range records.KVs {
		srv := &storev1.Server{}
		if err := store.Decode(kv, srv); err == nil && srv.Id == id {
			r.Server = srv.Name
			continue
		}
		r.Given = append(r.Given, srv.Name)
		txn.Ops = append(txn.Ops, store.Delete(kv.Key))
	}
	if cause == "" {
		cause = "recovered by server " + r.Server
	}
	if len(r.Given) > 0 {
		cause += " without " + strings.Join(r.Given, ", ")
	}
	op, err := store.Put(store.GenerationKey, &storev1.Generation{Number: r.Generation, Cause: cause, Floor: r.Generation})
	if err != nil {
		return nil, err
	}
	txn.Ops = append(txn.Ops, op)
	if r.Revision, err = s.Commit(ctx, txn); err != nil {
		return nil, fmt.Errorf("writing that the cluster goes on alone: %w", err)
	}
	return r, nil
}

// keepVolumes takes back that volumes shall go with replicas that are being removed. The store may be older than what is on
// the machines: the volumes may belong to a new app of the same name by now, whose data nobody wanted to be removed.
func keepVolumes(ctx context.Context, s store.Store) (kept int, err error) {
	snap, err := s.List(ctx, store.Replicas)
	if err != nil {
		return 0, err
	}
	var txn store.Txn
	for _, kv := range snap.KVs {
		r := &argosyv1.Replica{}
		if err := store.Decode(kv, r); err != nil || !r.RemoveVolumes {
			continue // one that cannot be read removes nothing
		}
		next := proto.CloneOf(r)
		next.RemoveVolumes = false
		op, err := store.Put(kv.Key, next)
		if err != nil {
			return kept, err
		}
		txn.If, txn.Ops = append(txn.If, store.Compare{Key: kv.Key, ModRevision: kv.ModRevision}), append(txn.Ops, op)
		if kept++; len(txn.Ops) == keepBatch {
			if _, err := s.Commit(ctx, txn); err != nil {
				return kept, fmt.Errorf("keeping volumes: %w", err)
			}
			txn = store.Txn{}
		}
	}
	if len(txn.Ops) > 0 {
		if _, err := s.Commit(ctx, txn); err != nil {
			return kept, fmt.Errorf("keeping volumes: %w", err)
		}
	}
	return kept, nil
}

// keepBatch is how many replicas one transaction changes.
const keepBatch = 500
