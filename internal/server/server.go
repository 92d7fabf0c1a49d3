package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/fence"
	"github.com/argosy-cluster/argosy/internal/history"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
	"github.com/argosy-cluster/argosy/internal/image/remote"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/leases"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/peers"
	"github.com/argosy-cluster/argosy/internal/server/metrics"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/external"
	"github.com/argosy-cluster/argosy/internal/store/migration"
	"github.com/argosy-cluster/argosy/internal/tracing"
	"github.com/argosy-cluster/argosy/internal/version"
)

// Config says how to run a server. DataDir and Log must be set.
type Config struct {
	// DataDir holds everything that the server keeps. It is made when it does not exist.
	DataDir string
	// Listen is the one TLS port, host:port; empty means every address and the default port.
	Listen string
	// Advertise is where machines and users reach this server, host:port; empty means the first address of this host
	// that is not its own alone.
	Advertise []string
	// PeerListen is where other servers' stores reach this one's, host:port; empty means every address and the default port.
	// Nothing listens there as long as the server is alone.
	PeerListen string
	// PeerAdvertise is how they dial it, host:port; empty means the host of the first of Advertise and the port of
	// PeerListen.
	PeerAdvertise string
	// Socket is the local administrator's Unix socket; empty means the default.
	Socket string
	// WitnessSocket is where the witness beside this server answers it; empty means witness.sock beside Socket.
	WitnessSocket string
	// WitnessAdvertise is where guards reach that witness, host:port; empty means the host of the first of Advertise and the default
	// port.
	WitnessAdvertise string
	// FenceDir is the directory of fence programs; empty means defaults.FenceDir.
	FenceDir string
	// FleetAPI are the places where fleet's API is served: unix:///PATH, or host:port with TLS.
	FleetAPI []string
	// Name is the server's name; empty means the one that it joined with, or the host's.
	Name string
	// StoreQuota is how large the store's file may grow, in bytes; 0 means embedded.DefaultQuota.
	StoreQuota int64
	// External is the etcd that the store is in, where that is not this server's own.
	External external.Config
	// Compaction is how old the history is that the leader has an external etcd drop, 0 for none.
	Compaction time.Duration
	// HistoryAge is how long this server keeps what happened, 0 for as long as there is room.
	HistoryAge time.Duration
	// Settings hold for a cluster that is made now; an existing one keeps its own.
	Settings *argosyv1.ClusterSettings
	// Ready is called once when the server answers everything. May be nil.
	Ready func()
	Log   *slog.Logger

	// made is when a cluster that is made now was made, zero for now: tests have old ones.
	made time.Time
	// layouts and version are this release's own where they are not set: tests have others.
	layouts migration.Known
	version string
	// opened, when not nil, is called with the server before it serves: tests change what nobody else may.
	opened func(*Server)
}

// DefaultSettings are those of a new cluster.
func DefaultSettings() *argosyv1.ClusterSettings {
	return &argosyv1.ClusterSettings{
		NetworkRange:     defaults.NetworkRange,
		UnreachableAfter: durationpb.New(5 * time.Second),
		Liveness:         durationpb.New(defaults.Liveness),
		Beat:             durationpb.New(time.Second),
		Domain:           "argosy.internal",
	}
}

// Server is a running server. Its fields do not change once it serves.
type Server struct {
	cfg         Config
	id          string
	log         *slog.Logger
	store       store.Store
	cluster     *auth.Cluster
	directory   *auth.Directory
	source      *auth.Source // what machines and users are shown
	inner       *auth.Source // what other servers are shown
	making      sync.Mutex   // held while they are made
	storeTrusts []uint32     // the authorities that were there when the store was opened; nil when it listens for nobody
	noting      sync.Map     // who is just being noted to have renewed
	unitFacts   unitFacts
	leader      *leader.Leader
	history     *history.DB
	images      *blobs.Store
	resolver    remote.Resolver
	attachments attachments
	relays      atomic.Int64 // streams of bytes that are passed on now
	forwards    forwards
	base        base             // one of the next two
	member      *embedded.Member // nil with an external store
	external    *external.Etcd   // nil with a store of its own
	entered     atomic.Bool      // the store, which is external, has this server's record
	book        *peers.Book
	witness     *leases.Keeper
	fences      fence.Fencer
	fenceRuns   atomic.Int32     // programs that may be under way now
	transport   *peers.Transport // to other servers
	probes      probes
	parting     parting
	metrics     *metrics.Set
	tracer      *tracing.Tracer
	scheduleSet chan struct{} // receives when the schedule of backups changed
	reopen      chan struct{} // receives when the store has to be opened for other servers
	migrated    atomic.Pointer[layoutChange]
}

// Run runs a server until ctx is done or it can no longer work. It stops nothing that machines run.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	if cfg.Ready != nil {
		cfg.Ready = sync.OnceFunc(cfg.Ready)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	if err := checkRestored(cfg.DataDir); err != nil {
		return err
	}
	tracer, err := tracing.New(ctx, "argosy-server", version.Version, os.Getenv)
	if err != nil {
		return err
	}
	defer tracer.Close()
	for {
		err := run(ctx, cfg, tracer)
		if !errors.Is(err, errReopen) || ctx.Err() != nil {
			return err
		}
		cfg.Log.Info("opening the store for other servers")
	}
}

// run is one life of a server. It ends with errReopen when the store has to be opened anew.
func run(ctx context.Context, cfg Config, tracer *tracing.Tracer) error {
	id, err := serverID(filepath.Join(cfg.DataDir, "server-id"))
	if err != nil {
		return err
	}
	s := &Server{cfg: cfg, id: id, log: cfg.Log, tracer: tracer, attachments: attachments{patience: attachTime}, reopen: make(chan struct{}, 1), scheduleSet: make(chan struct{}, 1)}
	if err := s.startBase(ctx); err != nil {
		return err
	}
	defer s.base.Stop()
	return store.While(ctx, s.base.Failed(), s.live)
}

// live is what a server does with its store, until ctx is done.
func (s *Server) live(ctx context.Context) error {
	if s.store = etcd.New(s.base.Client()); s.external != nil {
		s.store = etcd.NewRemote(s.base.Client())
	}
	if err := store.Answered(ctx, s.storeSilent, s.checkLayout); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	defer s.images.Close()
	defer s.history.Close()
	s.witness = s.newWitness()
	s.fences = fence.Programs{Dir: s.cfg.FenceDir}
	s.metrics = metrics.New(version.Version, s.picture)
	s.leader = leader.New(leader.Config{
		Meter: s.metrics,
		Store: s.store, Election: s.base, ServerID: s.id, Log: s.log, Diff: manifest.Diff, Stored: s.stored, Greet: s.greet,
		Prepare:    s.prepare,
		SealSecret: func(m *argosyv1.Machine, sec *storev1.Secret) ([]byte, error) { return s.seal(auth.KindSecret, m, sec) },
		SealCredential: func(m *argosyv1.Machine, sec *storev1.Secret) ([]byte, error) {
			return s.seal(auth.KindRegistry, m, sec)
		},
	})
	if s.cfg.opened != nil {
		s.cfg.opened(s)
	}
	return s.serve(ctx)
}

func (c Config) born() time.Time {
	if c.made.IsZero() {
		return time.Now()
	}
	return c.made
}

// serverID is the server's id, made the first time.
func serverID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		id := strings.TrimSpace(string(b))
		if len(id) != 32 {
			return "", fmt.Errorf("%s does not hold a server's id: restore it from a backup", path)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the server's id: %w", err)
	}
	id, err := auth.NewID()
	if err != nil {
		return "", err
	}
	// Written aside, so that a crash leaves an id or none, and not half of one.
	if err := os.WriteFile(path+".new", []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the server's id: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("writing the server's id: %w", err)
	}
	return id, nil
}

// storeSilent tells what a server that starts waits for.
func (s *Server) storeSilent(err error) {
	s.log.Warn("the store cannot be read yet; it is asked until it can", "error", err)
}

// open makes or loads what the server keeps beside the store.
func (s *Server) open(ctx context.Context) (err error) {
	born, err := s.cfg.layouts.Born(s.cfg.version, s.cfg.born())
	if err != nil {
		return err
	}
	if err := store.Answered(ctx, s.storeSilent, func(ctx context.Context) (err error) {
		s.cluster, err = auth.Bootstrap(ctx, s.store, s.keyFile(), s.cfg.Settings, s.cfg.born(), born...)
		return err
	}); err != nil {
		return err
	}
	if err := s.keepCluster(); err != nil {
		return err
	}
	s.book = peers.NewBook(s.store)
	s.transport = s.toServers()
	s.directory = auth.NewDirectory(s.store)
	if s.history, err = history.Open(filepath.Join(s.cfg.DataDir, "history.db")); err != nil {
		return err
	}
	if s.images, err = blobs.Open(filepath.Join(s.cfg.DataDir, "images"), blobs.Options{}); err != nil {
		return errors.Join(err, s.history.Close())
	}
	return nil
}

func (s *Server) hosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	for _, a := range append(slices.Clone(s.cfg.Advertise), s.cfg.PeerAdvertise) {
		if host, _, err := net.SplitHostPort(a); err == nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// seal opens a secret of the store and closes it again for one machine.
func (s *Server) seal(kind string, m *argosyv1.Machine, sec *storev1.Secret) ([]byte, error) {
	where := auth.SecretContext(kind, sec.Tenant, sec.Name, sec.Version)
	value, err := s.cluster.Keyring().Decrypt(sec.Encrypted, where)
	if err != nil {
		return nil, err
	}
	if kind == auth.KindRegistry {
		value = auth.NewSecret(credentialText(sec.Username, value.Reveal()))
	}
	return auth.SealTo(m.SealingKey, value, where)
}

// credentialText is how a machine gets a registry's user name and password: user:password, as in HTTP.
func credentialText(user string, password []byte) []byte {
	return append([]byte(user+":"), password...)
}

// encrypt fills a record with its value as it is kept in the store.
func (s *Server) encrypt(kind string, sec *storev1.Secret, value []byte) {
	sec.Encrypted = s.cluster.Keyring().Encrypt(auth.NewSecret(value), auth.SecretContext(kind, sec.Tenant, sec.Name, sec.Version))
}

// serve runs everything that lasts as long as the server.
func (s *Server) serve(ctx context.Context) error {
	tcp, unix, err := s.listen()
	if err != nil {
		return err
	}
	secure, local := s.httpServers()
	doors, err := s.fleetDoors(secure.Handler)
	if err != nil {
		return errors.Join(err, tcp.Close(), unix.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	open := []*http.Server{secure, local}
	for _, d := range doors {
		open = append(open, d.srv)
		g.Go(d.serve)
	}
	g.Go(func() error { return ignoreDone(ctx, s.leader.Run(ctx)) })
	g.Go(func() error { return ignoreDone(ctx, s.directory.Run(ctx)) })
	g.Go(func() error { return ignoreDone(ctx, s.book.Run(ctx)) })
	g.Go(func() error { return ignoreDone(ctx, s.keepMembers(ctx)) })
	g.Go(func() error { return ignoreDone(ctx, s.witness.Run(ctx)) })
	g.Go(func() error { return ignoreDone(ctx, s.keepLeases(ctx)) })
	g.Go(func() error { return ignoreDone(ctx, s.keepFences(ctx)) })
	g.Go(func() error { return s.followCluster(ctx) })
	g.Go(func() error { return s.keepCertificates(ctx) })
	g.Go(func() error { return s.keepAuthority(ctx) })
	g.Go(func() error { return s.keepLayout(ctx) })
	g.Go(func() error { return ignoreDone(ctx, s.keepImageNames(ctx)) })
	g.Go(func() error { return s.tendStore(ctx) })
	g.Go(func() error { return s.keepExternal(ctx) })
	g.Go(func() error { return ignoreDone(ctx, s.history.Follow(ctx, s.store, s.fillHistory, s.log)) })
	g.Go(func() error { return ignoreClosed(secure.ServeTLS(tcp, "", "")) })
	g.Go(func() error { return ignoreClosed(local.Serve(unix)) })
	g.Go(func() error { return s.housekeeping(ctx) })
	g.Go(func() error { return ignoreDone(ctx, s.keepSchedule(ctx)) })
	g.Go(func() error {
		select {
		case <-s.reopen:
			return errReopen
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		<-ctx.Done()
		closeSoon(open...)
		s.transport.CloseIdleConnections()
		return nil
	})
	g.Go(func() error { return ignoreDone(ctx, s.register(ctx)) })
	return g.Wait()
}

// shutdownTime is how long requests may take to end. Streams of machines never end by themselves.
const shutdownTime = time.Second

func closeSoon(servers ...*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
	}
}

func ignoreDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// refusesServer tells an answer that will not change from what goes by: nobody leads, or the leader died while it was asked, or
// somebody else wrote first.
func refusesServer(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeAborted, connect.CodeCanceled, connect.CodeDeadlineExceeded, connect.CodeUnknown, connect.CodeInternal:
		return false
	}
	return true
}

// whereabouts are where this server and its witness are, as other servers are told.
func (s *Server) whereabouts() *argosyv1.EnterRequest {
	own := &argosyv1.EnterRequest{Name: s.cfg.Name, Addresses: s.cfg.Advertise, Version: s.cfg.version,
		OldestLayout: s.cfg.layouts.Oldest, NewestLayout: s.cfg.layouts.Newest()}
	if s.shared() {
		own.PeerAddress = s.cfg.PeerAdvertise
	}
	if key := s.witness.Status().Report.GetKey(); len(key) > 0 {
		own.WitnessAddress, own.WitnessKey = s.cfg.WitnessAdvertise, key
	}
	return own
}

// register says where this server is, and then that it is ready.
func (s *Server) register(ctx context.Context) error {
	for {
		err := s.announce(ctx, s.whereabouts())
		if err == nil {
			break
		}
		if refusesServer(rpcError(err)) {
			return fmt.Errorf("registering this server: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := s.noteEntered(); err != nil {
		return err
	}
	s.log.Info("the server is ready", "cluster", s.cluster.ID(), "server", s.id, "addresses", s.cfg.Advertise, "socket", s.cfg.Socket)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // fails only where no systemd waits for it
	if s.cfg.Ready != nil {
		s.cfg.Ready()
	}
	<-ctx.Done()
	return nil
}
