package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/protocol"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
)

// errReopen ends a life of the server that has to open its store for others.
var errReopen = errors.New("the store has to be opened for other servers")

// sharedFile says that the store has other members, or shall have: it then listens for them.
const sharedFile = "shared.json"

type sharedStore struct {
	Peer string `json:"peer"` // where others reach this member, host:port
}

func (s *Server) storeDir() string   { return filepath.Join(s.cfg.DataDir, "etcd") }
func (s *Server) keyFile() string    { return filepath.Join(s.cfg.DataDir, "keys") }
func (s *Server) sharedPath() string { return filepath.Join(s.cfg.DataDir, sharedFile) }

// shared reports whether the store listens for other members.
func (s *Server) shared() bool {
	if s.cfg.External.Given() {
		return false
	}
	_, err := os.Stat(s.sharedPath())
	return err == nil
}

// joinedName is the name that a server joined with, or the host's.
func joinedName(dir string) (string, error) {
	if m, err := join.Load(dir); err == nil && m.Name != "" {
		return m.Name, nil
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding this host's name: %w", err)
	}
	return name, nil
}

// completePeers fills in where the stores of other servers reach this one's.
func (c Config) completePeers() (Config, error) {
	if c.PeerListen == "" {
		c.PeerListen = ":" + defaults.PeerPort
	}
	_, port, err := net.SplitHostPort(c.PeerListen)
	if err != nil || port == "" || port == "0" {
		return c, fmt.Errorf("--peer-listen %q is not host:port, such as :%s", c.PeerListen, defaults.PeerPort)
	}
	if c.PeerAdvertise == "" {
		host, _, err := net.SplitHostPort(c.Advertise[0])
		if err != nil {
			return c, fmt.Errorf("%q is not host:port: %w", c.Advertise[0], err)
		}
		c.PeerAdvertise = net.JoinHostPort(host, port)
	}
	if c.PeerAdvertise, err = advertised(c.PeerAdvertise, port); err != nil {
		return c, fmt.Errorf("--peer-advertise: %w", err)
	}
	return c, nil
}

// startStore starts this server's member of the store. A newcomer that was told members of which there are others by now is
// told again.
func (s *Server) startStore(ctx context.Context) error {
	for {
		peers, err := s.recall(ctx)
		if err != nil {
			return err
		}
		s.member, err = embedded.Start(ctx, embedded.Config{Dir: s.storeDir(), Name: s.id, Log: s.log, Peers: peers, Quota: s.cfg.StoreQuota})
		if err == nil {
			return nil
		}
		err = fmt.Errorf("starting the store: %w", err)
		if peers == nil || !peers.Join || ctx.Err() != nil {
			return err
		}
		if begun, existsErr := embedded.Exists(s.storeDir()); begun || existsErr != nil {
			return errors.Join(err, existsErr)
		}
		s.log.Info("the store's members have changed meanwhile; entering again", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// recall makes ready what the store of a server with others needs before it starts: a certificate, and whom to ask. Of a
// server alone that is nothing.
func (s *Server) recall(ctx context.Context) (*embedded.Peers, error) {
	raw, err := os.ReadFile(auth.RecordPath(s.cfg.DataDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which cluster this is: %w", err)
	}
	if s.cluster, err = auth.LoadCluster(raw, s.keyFile()); err != nil {
		return nil, err
	}
	if err = s.makeCertificates(); err != nil {
		return nil, err
	}
	if !s.shared() {
		return nil, nil
	}
	s.storeTrusts = s.cluster.Trusts()
	files := auth.Files{Dir: s.cfg.DataDir}
	p := &embedded.Peers{Listen: s.cfg.PeerListen, Advertise: s.cfg.PeerAdvertise, Initial: map[string]string{s.id: s.cfg.PeerAdvertise},
		CertFile: files.Path(), KeyFile: files.Path(), CAFile: files.CAPath(), ServerName: auth.ServerName}
	exists, err := embedded.Exists(s.storeDir())
	if err != nil {
		return nil, fmt.Errorf("looking for the store: %w", err)
	}
	if !exists {
		p.Join = true
		p.Initial, err = s.enterFresh(ctx)
	}
	return p, err
}

// enterPatience is how long a newcomer asks to be let in before it gives up, to be started again.
const enterPatience = 2 * time.Minute

// enterFresh has the other servers make room for this one's store and returns the members.
func (s *Server) enterFresh(ctx context.Context) (map[string]string, error) {
	m, err := join.Load(s.cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("this server has lost its store and does not know where the others are (%w): empty %s and join it again with a new token", err, s.cfg.DataDir)
	}
	ctx, cancel := context.WithTimeout(ctx, enterPatience)
	defer cancel()
	transport := s.toServers()
	defer transport.CloseIdleConnections()
	req := &argosyv1.EnterRequest{Name: s.cfg.Name, Addresses: s.cfg.Advertise, PeerAddress: s.cfg.PeerAdvertise, Fresh: true,
		Version: s.cfg.version, OldestLayout: s.cfg.layouts.Oldest, NewestLayout: s.cfg.layouts.Newest()}
	said := ""
	for {
		var failures []error
		for _, addr := range m.Servers {
			if slices.Contains(s.cfg.Advertise, addr) {
				continue
			}
			res, err := argosyv1connect.NewServerServiceClient(&http.Client{Transport: transport}, "https://"+addr, protocol.Client(s.cfg.version)).Enter(ctx, connect.NewRequest(req))
			if err == nil {
				return res.Msg.Members, nil
			}
			if c := connect.CodeOf(err); c == connect.CodePermissionDenied || c == connect.CodeUnauthenticated || c == connect.CodeInvalidArgument {
				return nil, fmt.Errorf("entering the cluster: %s", plainError(err))
			}
			failures = append(failures, fmt.Errorf("%s: %s", addr, plainError(err)))
		}
		err := errors.Join(failures...)
		if err != nil && err.Error() != said {
			said = err.Error()
			s.log.Info("waiting to be let into the cluster", "because", said)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("entering the cluster: %w; %w", ctx.Err(), err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// keepCluster keeps the cluster's record beside the store, so that this server can make its certificate before the store
// starts, and the certificate where the store reads it.
func (s *Server) keepCluster() error {
	path := auth.RecordPath(s.cfg.DataDir)
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, s.cluster.Record()) {
		if err := auth.WriteFile(path, s.cluster.Record()); err != nil {
			return fmt.Errorf("keeping which cluster this is: %w", err)
		}
	}
	s.source, s.inner = nil, nil
	return s.makeCertificates()
}

// openToOthers has the store listen for other members. It fails with an error that says to ask again, unless it does so
// already: the server opens its store anew first.
func (s *Server) openToOthers(ctx context.Context) error {
	if s.shared() {
		return nil
	}
	// What does not work is found out while this server still does without.
	l, err := net.Listen("tcp", s.cfg.PeerListen)
	if err != nil {
		return refused("this server cannot open its store for others (%w): free the port, or give another with --peer-listen", err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("trying the port for other servers: %w", err)
	}
	if err := s.member.Move(ctx, s.member.Own(), s.cfg.PeerAdvertise); err != nil {
		return err
	}
	b, err := json.Marshal(sharedStore{Peer: s.cfg.PeerAdvertise})
	if err != nil {
		return err
	}
	if err := auth.WriteFile(s.sharedPath(), append(b, '\n')); err != nil {
		return fmt.Errorf("noting that the store has other members: %w", err)
	}
	select {
	case s.reopen <- struct{}{}:
	default:
	}
	return fmt.Errorf("%w: this server opens its store for others: ask again", store.ErrUnavailable)
}

// greet is what a machine is told while another server leads.
func (s *Server) greet(machine string) *argosyv1.Welcome {
	w := &argosyv1.Welcome{Settings: s.cluster.Settings(), MachineId: machine, Authorities: s.cluster.AuthorityDigests()}
	for _, srv := range s.book.All() {
		w.Servers = append(w.Servers, srv.GetAddresses()...)
	}
	return w
}

// keepAddresses keeps where the other servers are, for a start without a store.
func (s *Server) keepAddresses() error {
	m, err := join.Load(s.cfg.DataDir)
	if err != nil {
		m = &join.Membership{Cluster: s.cluster.ID(), Name: s.cfg.Name}
	}
	var list []string
	for _, srv := range s.book.All() {
		list = append(list, srv.GetAddresses()...)
	}
	if len(list) == 0 || strings.Join(list, ",") == strings.Join(m.Servers, ",") {
		return nil
	}
	m.Servers = list
	return join.Save(s.cfg.DataDir, m)
}
