package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/peers"
	"github.com/argosy-cluster/argosy/internal/store"
)

// makeCertificates makes the server's certificates anew, at each start and when something about them changes: its addresses may
// have changed, and it costs nothing. There are two while the cluster changes to another authority: machines and users, who
// have perhaps not followed yet, are shown one of the earlier; other servers, who have, one of the new.
func (s *Server) makeCertificates() error {
	s.making.Lock()
	defer s.making.Unlock()
	trusted := s.cluster.TrustedCAs()
	inner, err := s.makeCertificate(s.cluster.IssueServer, trusted[0], trusted[1:]...)
	if err != nil {
		return err
	}
	if err := (auth.Files{Dir: s.cfg.DataDir}).Save(inner); err != nil { // the store reads it from there
		return err
	}
	shown, err := s.makeCertificate(s.cluster.IssueShown, s.cluster.ShownCA())
	if err != nil {
		return err
	}
	if s.source == nil {
		s.source, s.inner = auth.NewSource(shown), auth.NewSource(inner)
		return nil
	}
	s.source.Set(shown)
	s.inner.Set(inner)
	if s.transport != nil {
		s.transport.Renew()
	}
	return nil
}

func (s *Server) makeCertificate(issue func(csr []byte, id string, hosts []string, now time.Time) ([]byte, error), ca []byte, also ...[]byte) (*auth.Credential, error) {
	key, csr, err := auth.NewKey()
	if err != nil {
		return nil, err
	}
	der, err := issue(csr, s.id, s.hosts(), time.Now())
	if err != nil {
		return nil, err
	}
	return auth.NewCredential(key, der, ca, also...)
}

// toServers is for connections to other servers.
func (s *Server) toServers() *peers.Transport {
	config := auth.ClientTLS(s.inner, s.cluster.Verifier())
	return peers.NewTransport(func() *http.Transport { return join.NewTransport(config) })
}

// certificateLook is how often the server looks whether its certificate is due. It does so by the clock on the wall: one that
// was asleep for months has a certificate soon after.
const certificateLook = 30 * time.Second

// keepCertificates makes the server's certificates anew before they end.
func (s *Server) keepCertificates(ctx context.Context) error {
	tick := time.NewTicker(certificateLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !auth.ShouldRenew(time.Now().Round(0), s.source.Current().Certificate) {
			continue
		}
		if err := s.makeCertificates(); err != nil {
			s.log.Error("the server's certificate cannot be renewed", "error", err)
		}
	}
}

const clusterRetry = time.Second

// followCluster goes by the cluster's record whenever it changes: whom to trust, and by whom to be signed.
func (s *Server) followCluster(ctx context.Context) error {
	for {
		err := s.watchCluster(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrCompacted) {
			s.log.Error("the cluster's record cannot be followed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(clusterRetry):
		}
	}
}

func (s *Server) watchCluster(ctx context.Context) error {
	snap, err := s.store.Get(ctx, store.ClusterKey)
	if err != nil {
		return err
	}
	for _, kv := range snap.KVs {
		if err := s.takeCluster(kv.Value); err != nil {
			return err
		}
	}
	for batch, err := range s.store.Watch(ctx, store.ClusterKey, snap.Revision+1) {
		if err != nil {
			return err
		}
		for _, e := range batch.Events {
			if e.Key != store.ClusterKey || e.Value == nil {
				continue
			}
			if err := s.takeCluster(e.Value); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// takeCluster takes in the cluster's record. It is on disk first: when others are told that this server trusts an authority, it does so
// after its next start, too, before it can ask anybody.
func (s *Server) takeCluster(raw []byte) error {
	if bytes.Equal(raw, s.cluster.Record()) {
		return nil
	}
	if err := auth.WriteFile(auth.RecordPath(s.cfg.DataDir), raw); err != nil {
		return fmt.Errorf("keeping which cluster this is: %w", err)
	}
	if err := s.cluster.Follow(raw); err != nil {
		return err
	}
	s.log.Info("the cluster's authorities have changed", "trusted", s.cluster.Trusts())
	return s.makeCertificates()
}

// trustsOfStore are the authorities that the store trusts: those that were there when it was opened. One that listens for nobody
// trusts nobody either.
func (s *Server) trustsOfStore() []uint32 {
	if s.storeTrusts == nil {
		return s.cluster.Trusts()
	}
	return s.storeTrusts
}

// reopenStore opens the store anew if that makes it trust something else.
func (s *Server) reopenStore() {
	if sameNumbers(s.cluster.Trusts(), s.trustsOfStore()) {
		return
	}
	select {
	case s.reopen <- struct{}{}:
	default:
	}
}

// seen notes that somebody has a certificate of a later authority than was known. Only that proves that it arrived.
func (s *Server) seen(id auth.Identity, cert *x509.Certificate) {
	known, ok := s.directory.Authority(id)
	shown := s.cluster.NumberOf(cert)
	if !ok || shown <= known || !s.leader.Leading() {
		return
	}
	if _, busy := s.noting.LoadOrStore(id.String(), true); busy {
		return
	}
	go func() {
		defer s.noting.Delete(id.String())
		ctx, cancel := context.WithTimeout(context.Background(), leaderPatience)
		defer cancel()
		if err := s.noteShown(ctx, id, shown); err != nil {
			s.log.Warn("it could not be noted who has renewed; the next request will tell", "who", id.String(), "error", err)
		}
	}()
}

func (s *Server) noteShown(ctx context.Context, id auth.Identity, shown uint32) error {
	return s.leader.Propose(ctx, func(_ time.Time, v *leader.View) (leader.Proposal, error) {
		var ops []store.Op
		var err error
		switch id.Kind {
		case auth.Machine:
			if m := v.Machine(id.ID); m != nil && m.Authority < shown {
				next := proto.CloneOf(m)
				next.Authority = shown
				ops, err = puts(record{store.MachineKey(id.ID), next})
			}
		case auth.User:
			if u := v.User(id.ID); u != nil && u.Authority < shown {
				next := proto.CloneOf(u)
				next.Authority = shown
				ops, err = puts(record{store.UserKey(id.ID), next})
			}
		}
		return leader.Proposal{Ops: ops}, err
	})
}
