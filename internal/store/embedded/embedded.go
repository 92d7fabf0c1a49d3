package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"github.com/argosy-cluster/argosy/internal/store"
)

// Config says how to run a member.
type Config struct {
	// Dir is the member's own directory. It is made when it does not exist.
	Dir string
	// Name is the member's name among its peers: the server's id. It must not change while Dir exists.
	Name string
	Log  *slog.Logger
	// Peers is nil for a cluster of one.
	Peers *Peers
	// Quota is how large the member's database may grow, in bytes; 0 means DefaultQuota.
	Quota int64
	// Alone makes this member the only one of its cluster, with everything that it holds. The others are given up: they
	// must never run again.
	Alone bool
}

// Peers says how members of a larger cluster reach each other, always over mutual TLS.
type Peers struct {
	// Listen and Advertise are host:port.
	Listen, Advertise string
	// Initial members of a new cluster, or those of the one that is joined: name to host:port, this one included. Where
	// the directory holds a member already, what it holds counts.
	Initial map[string]string
	// Join means that the cluster exists and this member was added to it.
	Join bool
	// Files in PEM form. They are read again for each handshake, so a renewed certificate needs no restart.
	CertFile, KeyFile, CAFile string
	// ServerName is the common name that certificates of servers have, and no others.
	ServerName string
}

// Member is a running member of etcd. Make it with [Start].
type Member struct {
	etcd    *embed.Etcd
	client  *clientv3.Client
	release func()
	quota   int64
	failed  chan error
	ended   chan struct{} // closed by Stop
	gaveUp  atomic.Bool   // fail was called
	stop    sync.Once
	// changing holds an element while the members are changed from here.
	changing chan struct{}
}

const (
	// A cluster of one has nobody to wait for: it elects itself after a few short ticks.
	aloneTick, aloneElection = 40, 200 // milliseconds
	peersTick, peersElection = 100, 1000

	maxRequest  = 10 << 20 // bytes: a whole transaction of the store with the heads of its fields, and the most that etcd recommends
	compaction  = "10m"    // history that watches can be resumed from
	defragFrom  = 256      // MiB that are worth freeing at start
	startPeriod = 2 * time.Minute
)

// Start runs the member in a directory and waits until it answers: in a cluster of one a moment, otherwise until a
// majority has started. The context bounds the start only.
func Start(ctx context.Context, c Config) (*Member, error) {
	if c.Name == "" || c.Dir == "" {
		return nil, errors.New("an embedded store needs a name and a directory")
	}
	c.Quota = cmp.Or(c.Quota, DefaultQuota)
	release, err := claimDir(c.Dir, c.Name)
	if err != nil {
		return nil, err
	}
	m := &Member{release: release, quota: c.Quota, failed: make(chan error, 1), ended: make(chan struct{}), changing: make(chan struct{}, 1)}
	ctx, cancel := context.WithTimeout(ctx, startPeriod)
	defer cancel()
	if err := m.start(ctx, c); err != nil {
		m.Stop()
		return nil, fmt.Errorf("starting the store in %s: %w", c.Dir, err)
	}
	return m, nil
}

func (m *Member) start(ctx context.Context, c Config) error {
	cfg, err := etcdConfig(c, m.fail)
	if err != nil {
		return err
	}
	begun := startEtcd(cfg)
	select {
	case b := <-begun:
		if m.etcd, err = b.etcd, b.err; err != nil {
			return m.cause(err)
		}
	case err := <-m.failed:
		m.abandon(begun)
		return err
	}
	select {
	case <-m.etcd.Server.ReadyNotify():
	case <-m.etcd.Server.StopNotify():
		return errors.New("it stopped while starting")
	case err := <-m.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("it was not ready in time: %w (are enough of the other servers running?)", ctx.Err())
	}
	m.client = v3client.New(m.etcd.Server)
	go m.watchStop()
	return nil
}

// watchStop tells of an end that nobody here asked for, such as that of a member that the others removed.
func (m *Member) watchStop() {
	select {
	case <-m.ended:
	case <-m.etcd.Server.StopNotify():
		select {
		case <-m.ended:
		default:
			m.fail(errors.New("the store stopped: the other servers have removed this one, or it cannot go on; its log says which"))
		}
	}
}

// begun is how a start of etcd ended.
type begun struct {
	etcd *embed.Etcd
	err  error
}

// startEtcd starts etcd. What etcd does with a directory it cannot use (it panics, or ends the goroutine after logging a
// fatal message) does not take the process along.
func startEtcd(cfg *embed.Config) <-chan begun {
	done := make(chan begun, 1)
	go func() {
		b := begun{err: errors.New("etcd gave up without a word")}
		defer func() {
			if r := recover(); r != nil {
				b.err = fmt.Errorf("etcd cannot use it: %v", r)
			}
			done <- b
		}()
		b.etcd, b.err = embed.StartEtcd(cfg)
	}()
	return done
}

// cause is why etcd did not start: what it said when it gave up, if it did.
func (m *Member) cause(err error) error {
	select {
	case err = <-m.failed:
	default:
	}
	return err
}

// abandon leaves a start of etcd alone that gave up midway, and may wait for ever for what it itself holds. The directory
// stays taken until it ends.
func (m *Member) abandon(start <-chan begun) {
	release := m.release
	m.release = func() {}
	go func() {
		if b := <-start; b.etcd != nil {
			b.etcd.Close()
		}
		release()
	}()
}

func etcdConfig(c Config, fail func(error)) (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(c.Dir, etcdDir)
	cfg.Name = c.Name
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(c.Log, fail))
	cfg.LogLevel = "info"

	// The client is in process.
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, nil
	cfg.EnableGRPCGateway = false

	cfg.MaxTxnOps = store.MaxTxnOps
	cfg.MaxRequestBytes = maxRequest
	cfg.QuotaBackendBytes = c.Quota
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, compaction
	cfg.BootstrapDefragThresholdMegabytes = defragFrom
	cfg.SnapshotCount = 5000
	cfg.MaxLearners = 4 // newcomers that may catch up at the same time
	cfg.ForceNewCluster = c.Alone

	if c.Peers == nil {
		cfg.TickMs, cfg.ElectionMs = aloneTick, aloneElection
		cfg.SnapshotCatchUpEntries = 32 // log kept in memory for followers, of which there are none
		cfg.ListenPeerUrls = nil
		cfg.AdvertisePeerUrls = []url.URL{alonePeer()}
		cfg.InitialCluster = c.Name + "=" + cfg.AdvertisePeerUrls[0].String()
		return cfg, nil
	}
	return cfg, c.Peers.apply(cfg, c.Name)
}

func (p *Peers) apply(cfg *embed.Config, name string) error {
	if p.CertFile == "" || p.KeyFile == "" || p.CAFile == "" || p.ServerName == "" {
		return errors.New("members of a store speak only with certificates: certificate, key, CA and the servers' common name are needed")
	}
	if p.Initial[name] != p.Advertise {
		return fmt.Errorf("the list of first members has %q for %s, which advertises %q: they have to be equal", p.Initial[name], name, p.Advertise)
	}
	cfg.TickMs, cfg.ElectionMs = peersTick, peersElection
	cfg.SnapshotCatchUpEntries = 500
	listen := p.Listen
	if strings.HasPrefix(listen, ":") {
		listen = "0.0.0.0" + listen // etcd wants every address written out
	}
	cfg.ListenPeerUrls = []url.URL{{Scheme: "https", Host: listen}}
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "https", Host: p.Advertise}}
	cfg.InitialCluster = ""
	for peer, addr := range p.Initial {
		if cfg.InitialCluster != "" {
			cfg.InitialCluster += ","
		}
		cfg.InitialCluster += peer + "=https://" + addr
	}
	if p.Join {
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	cfg.TlsMinVersion = "TLS1.3"
	tls := &cfg.PeerTLSInfo
	tls.CertFile, tls.KeyFile, tls.TrustedCAFile = p.CertFile, p.KeyFile, p.CAFile
	tls.ClientCertAuth = true
	tls.AllowedCNs = []string{p.ServerName}
	// Servers are known by their common name; a member that is reached through another address than it comes from would
	// be turned away otherwise.
	tls.SkipClientSANVerify = true
	return nil
}

// Client is the member's client in process. It is closed by Stop.
func (m *Member) Client() *clientv3.Client { return m.client }

// Failed receives an error when the member can no longer work, such as on a full disk. The server has to end: what is in
// memory may not be on disk.
func (m *Member) Failed() <-chan error { return m.failed }

func (m *Member) fail(err error) {
	m.gaveUp.Store(true)
	select {
	case m.failed <- err:
	default:
	}
}

// Stop ends the member cleanly. It may be called more than once.
func (m *Member) Stop() {
	m.stop.Do(func() {
		close(m.ended)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if m.client != nil {
				_ = m.client.Close() // only says that its own context is over
			}
			if m.etcd != nil {
				m.etcd.Close()
			}
			m.release()
		}()
		var limit <-chan time.Time
		if m.gaveUp.Load() {
			limit = time.After(gaveUpTime)
		}
		select {
		case <-done:
		case <-limit:
		}
	})
}

// gaveUpTime is how long Stop waits for a store that gave up. What etcd was at may hold its locks for ever.
const gaveUpTime = 3 * time.Second

// Leading says whether this member leads raft now. That alone permits nothing: see [store.Txn].
func (m *Member) Leading() bool {
	return m.etcd.Server.Leader() == m.etcd.Server.MemberID()
}

// Await returns when this member leads raft, with a channel that is closed when it no longer does.
func (m *Member) Await(ctx context.Context) (<-chan struct{}, error) {
	for {
		changed := m.etcd.Server.LeaderChangedNotify()
		if m.Leading() {
			return m.untilLost(changed), nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.ended:
			return nil, fmt.Errorf("waiting to lead: %w", store.ErrUnavailable)
		case <-changed:
		}
	}
}

// lostLook is how often a member that leads looks whether it still does: etcd tells that another leads, and not that nobody does
// since the majority is away.
const lostLook = 250 * time.Millisecond

// untilLost closes its channel when the member does not lead any more.
func (m *Member) untilLost(changed <-chan struct{}) <-chan struct{} {
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		look := time.NewTicker(lostLook)
		defer look.Stop()
		for {
			select {
			case <-m.ended:
				return
			case <-look.C:
			case <-changed:
				changed = m.etcd.Server.LeaderChangedNotify()
			}
			if !m.Leading() {
				return
			}
		}
	}()
	return lost
}
