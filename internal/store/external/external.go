package external

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	// openTime bounds each thing that is tried when an etcd is opened.
	openTime = 5 * time.Second
	// limitTime bounds the trial of large requests, which send a few MiB.
	limitTime = 20 * time.Second
	// maxSend is the largest request that is sent: a whole transaction of the store with the heads of its fields.
	maxSend = 10 << 20
	// lookEvery is how often it is asked how etcd's database is.
	lookEvery = 10 * time.Second
)

// Etcd is an etcd that somebody else runs. Make it with [Open].
type Etcd struct {
	name   string
	cfg    Config
	client *clientv3.Client // within the prefix

	life   context.Context // ends with Stop
	end    context.CancelFunc
	failed chan error
	wg     sync.WaitGroup
	stop   sync.Once

	mu      sync.Mutex
	held    *candidacy    // the last one, nil before the first
	leader  string        // who leads, as last seen; empty when nobody does
	changed chan struct{} // closed when leader changes, and replaced
	space   store.Space
	applied uint64
}

// Open connects to etcd and makes sure that it can be worked with. The context bounds the opening only.
func Open(ctx context.Context, c Config) (*Etcd, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := c.tls()
	if err != nil {
		return nil, err
	}
	if err := reach(ctx, c, tlsConfig); err != nil {
		return nil, err
	}
	var options []grpc.DialOption
	if tlsConfig != nil {
		options = append(options, grpc.WithTransportCredentials(fresh{credentials.NewTLS(tlsConfig), c}))
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints, TLS: tlsConfig, Username: c.User, Password: password, Logger: zap.NewNop(),
		DialTimeout: openTime, DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		MaxCallSendMsgSize: maxSend,
		MaxUnaryRetries:    20, // half a second, in which a connection to another member is there
		DialOptions:        options,
	})
	if err != nil {
		return nil, explained(c, err)
	}
	e := &Etcd{name: c.Name, cfg: c, client: client, failed: make(chan error), changed: make(chan struct{})}
	client.KV = namespace.NewKV(client.KV, c.Prefix)
	client.Watcher = namespace.NewWatcher(client.Watcher, c.Prefix)
	client.Lease = namespace.NewLease(client.Lease, c.Prefix)
	if err := e.suits(ctx); err != nil {
		_ = client.Close() // only says that its own context is over
		return nil, err
	}
	e.life, e.end = context.WithCancel(context.Background())
	e.wg.Go(e.followLeader)
	e.wg.Go(e.lookAtSpace)
	return e, nil
}

// Client is the client within the prefix. It is closed by Stop.
func (e *Etcd) Client() *clientv3.Client { return e.client }

// Failed never receives anything: what is wrong with an etcd elsewhere may be right again at any moment.
func (e *Etcd) Failed() <-chan error { return e.failed }

// Stop gives up what this server leads, so that another one need not wait, and closes the client. It may be called more
// than once.
func (e *Etcd) Stop() {
	e.stop.Do(func() {
		e.mu.Lock()
		held := e.held
		e.mu.Unlock()
		if held != nil {
			held.leave(e.client)
		}
		e.end()
		e.wg.Wait()
		_ = e.client.Close() // only says that its own context is over
	})
}

// Compact drops the store's history before a revision, unless etcd has done that by itself. It is the history of all who use
// this etcd, and authentication leaves it to etcd's administrators.
func (e *Etcd) Compact(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	_, err := e.client.Get(ctx, store.TermKey, clientv3.WithRev(revision), clientv3.WithCountOnly())
	if err == nil {
		_, err = e.client.Compact(ctx, revision)
	}
	switch {
	case err == nil, isAny(err, rpctypes.ErrCompacted):
		return nil
	case isAny(err, rpctypes.ErrPermissionDenied):
		return errors.New("nobody drops the history that etcd keeps, and this server's user may not: start etcd's members with --auto-compaction-mode=periodic --auto-compaction-retention=10m, before their files are full")
	}
	return fmt.Errorf("dropping etcd's history: %w", err)
}

// Space is how etcd's database was when it was asked last. It asks nobody.
func (e *Etcd) Space() store.Space {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.space
}

// Size is the size of etcd's database in bytes.
func (e *Etcd) Size() int64 { return e.Space().Size }

// Applied is the number of the last entry of etcd's log that the member which was asked last has applied.
func (e *Etcd) Applied() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.applied
}

// lookAtSpace asks again and again how etcd's database is.
func (e *Etcd) lookAtSpace() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for _, endpoint := range e.cfg.Endpoints {
			st, err := e.status(e.life, endpoint)
			if err == nil {
				e.keepStatus(st)
				break
			}
		}
		select {
		case <-e.life.Done():
			return
		case <-tick.C:
		}
	}
}

func (e *Etcd) keepStatus(st *clientv3.StatusResponse) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.space = store.Space{Size: st.DbSize, InUse: st.DbSizeInUse, Quota: st.DbSizeQuota, Full: saysFull(st.Errors)}
	e.applied = st.RaftAppliedIndex
}

func (e *Etcd) status(ctx context.Context, endpoint string) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	return e.client.Status(ctx, endpoint)
}
