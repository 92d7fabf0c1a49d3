package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/peers"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/external"
)

// base is what the store stands on: this server's own member of etcd, or an etcd elsewhere.
type base interface {
	store.Election
	peers.Guide
	Client() *clientv3.Client
	// Leading says whether it is this server that leads, as far as is known here.
	Leading() bool
	Space() store.Space
	Size() int64
	Applied() uint64
	// Failed receives an error when the server has to end.
	Failed() <-chan error
	Stop()
}

// externalFile says that the store is an external etcd, and which cluster's: a server that is started without saying so would
// begin a cluster of its own.
const externalFile = "external-store"

// startBase starts this server's member of the store, or connects to the etcd that is named.
func (s *Server) startBase(ctx context.Context) error {
	external := s.cfg.External.Given()
	marked, err := isThere(filepath.Join(s.cfg.DataDir, externalFile))
	if err != nil {
		return err
	}
	if !external {
		if marked {
			return fmt.Errorf("the store of this server is an external etcd: start it with --store-endpoints and what goes with them, as before; %s says so", filepath.Join(s.cfg.DataDir, externalFile))
		}
		if err := s.startStore(ctx); err != nil {
			return err
		}
		s.base = s.member
		return nil
	}
	if own, err := embedded.Exists(s.storeDir()); err != nil || own {
		return errors.Join(fmt.Errorf("this server has a store of its own in %s: to have the cluster in an external etcd, restore a backup of it there ('argosy server recover --help')", s.storeDir()), err)
	}
	return s.connectStore(ctx, marked)
}

func isThere(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// connectStore connects to an external etcd, if the cluster that is kept there is this server's.
func (s *Server) connectStore(ctx context.Context, entered bool) error {
	cfg := s.cfg.External
	cfg.Name, cfg.Log = s.id, s.log
	e, err := external.Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connecting to the store: %w", err)
	}
	if err := s.belongs(ctx, etcd.New(e.Client()), entered); err != nil {
		e.Stop()
		return err
	}
	s.external, s.base = e, e
	return nil
}

// belongs makes sure that this server and the cluster below the prefix, if there is one, belong together.
func (s *Server) belongs(ctx context.Context, st store.Store, entered bool) error {
	own, err := os.ReadFile(auth.RecordPath(s.cfg.DataDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading which cluster this is: %w", err)
	}
	snap, err := st.Get(ctx, store.ClusterKey, store.ServerKey(s.id))
	if err != nil {
		return err
	}
	there, known := "", false
	for _, kv := range snap.KVs {
		if kv.Key != store.ClusterKey {
			known = true
			continue
		}
		if there, err = clusterOf(kv.Value); err != nil {
			return err
		}
	}
	if len(own) == 0 {
		return s.mayBegin(there)
	}
	mine, err := clusterOf(own)
	switch {
	case err != nil:
		return err
	case there == "":
		return fmt.Errorf("this server is of cluster %s, and etcd holds no cluster below %q: are --store-endpoints and --store-prefix right? If what was there is lost, restore a backup ('argosy server recover --help')", mine, s.cfg.External.Prefix)
	case there != mine:
		return fmt.Errorf("this server is of cluster %s, and etcd holds cluster %s below %q: are --store-endpoints and --store-prefix right?", mine, there, s.cfg.External.Prefix)
	case !known && entered:
		return fmt.Errorf("this server was removed from the cluster: empty %s before it joins anew", s.cfg.DataDir)
	}
	return nil
}

// mayBegin refuses a cluster that is there to a server that has no part in it. One that was interrupted as it made the cluster
// has its keys.
func (s *Server) mayBegin(there string) error {
	keys, err := isThere(s.keyFile())
	if err != nil || there == "" || keys {
		return err
	}
	return fmt.Errorf("etcd holds cluster %s below %q already, and this server is not of it: have it join with 'argosy join --server', or give a new cluster another --store-prefix", there, s.cfg.External.Prefix)
}

func clusterOf(record []byte) (string, error) {
	c := &storev1.Cluster{}
	if err := store.Decode(store.KV{Key: store.ClusterKey, Value: record}, c); err != nil {
		return "", err
	}
	return c.GetSettings().GetClusterId(), nil
}

// noteEntered keeps in mind that this server is in a cluster whose store is external.
func (s *Server) noteEntered() error {
	if s.external == nil {
		return nil
	}
	s.entered.Store(true)
	path, text := filepath.Join(s.cfg.DataDir, externalFile), []byte(s.cluster.ID()+"\n")
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := auth.WriteFile(path, text); err != nil {
		return fmt.Errorf("noting that the store is external: %w", err)
	}
	return nil
}

// members are the store's, or with an external one the servers that have entered the cluster: whose loss counts.
func (s *Server) members() []embedded.Info {
	if s.member != nil {
		return s.member.Members()
	}
	var out []embedded.Info
	for _, srv := range s.servers() {
		if len(srv.GetAddresses()) > 0 {
			out = append(out, embedded.Info{Name: srv.Id})
		}
	}
	return out
}

// yieldTo has the server of a member lead. With an external store it is whoever has waited longest.
func (s *Server) yieldTo(ctx context.Context, m embedded.Info) error {
	if s.member != nil {
		return s.member.HandOver(ctx, m.ID)
	}
	s.external.Resign()
	return nil
}

// keepExternal does what is to be done about an external store: it ends this server when it was removed from the cluster, and
// while it leads drops history that is old.
func (s *Server) keepExternal(ctx context.Context) error {
	if s.external == nil {
		return nil
	}
	look := time.NewTicker(membersEvery)
	defer look.Stop()
	var compact <-chan time.Time
	if s.cfg.Compaction > 0 {
		tick := time.NewTicker(s.cfg.Compaction)
		defer tick.Stop()
		compact = tick.C
	}
	var before int64 // the store's revision one round ago, 0 if this server did not lead then
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			if s.entered.Load() && s.book.Server(s.id) == nil && s.removed(ctx) {
				return fmt.Errorf("this server was removed from the cluster: empty %s before it joins anew", s.cfg.DataDir)
			}
		case <-compact:
			before = s.compactExternal(ctx, before)
		}
	}
}

// removed asks the store, since the book is empty for a moment whenever it is read anew.
func (s *Server) removed(ctx context.Context) bool {
	snap, err := s.store.Get(ctx, store.ServerKey(s.id))
	return err == nil && len(snap.KVs) == 0
}

// compactExternal drops history before a revision and returns the present one, 0 unless this server leads.
func (s *Server) compactExternal(ctx context.Context, before int64) int64 {
	if !s.leader.Leading() {
		return 0
	}
	snap, err := s.store.Get(ctx, store.TermKey)
	if err == nil && before > 0 {
		err = s.external.Compact(ctx, before)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("the store's history is not dropped", "error", err)
		}
		return 0
	}
	return snap.Revision
}

var errExternal = errors.New("the store of this cluster is an external etcd")

// resigned is what a server that led answers once another is to lead.
func resigned() error {
	return fmt.Errorf("%w: this server led, and another leads now: ask again", leader.ErrNotLeading)
}
