package external

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	// leaseSeconds is how long a leader that etcd does not hear keeps others waiting. Etcd itself takes up to half a second
	// more to notice.
	leaseSeconds = 4
	retryPause   = 200 * time.Millisecond
)

// candidacy is one stay in the election. It lasts as long as its lease, or until it is left.
type candidacy struct {
	session  *concurrency.Session
	election *concurrency.Election
	lost     chan struct{} // closed when it is over
	over     sync.Once
}

func (c *candidacy) end() { c.over.Do(func() { close(c.lost) }) }

func (c *candidacy) alive() bool {
	select {
	case <-c.lost:
		return false
	case <-c.session.Done():
		return false
	default:
		return true
	}
}

// leave gives the place in the election back.
func (c *candidacy) leave(client *clientv3.Client) {
	c.end()
	c.session.Orphan()
	ctx, cancel := context.WithTimeout(client.Ctx(), time.Second)
	defer cancel()
	_, _ = client.Revoke(ctx, c.session.Lease()) // otherwise it runs out by itself
}

// Await returns when this server holds the election, with a channel that is closed when it no longer does. While etcd does not
// answer it tries again.
func (e *Etcd) Await(ctx context.Context) (<-chan struct{}, error) {
	said := false
	for {
		lost, err := e.campaign(ctx)
		switch {
		case err == nil:
			return lost, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case e.life.Err() != nil:
			return nil, fmt.Errorf("waiting to lead: %w", store.ErrUnavailable)
		}
		if !said {
			said = true
			e.cfg.Log.Warn("etcd does not take part in choosing who leads; trying again", "error", explained(e.cfg, err))
		}
		select {
		case <-ctx.Done():
		case <-e.life.Done():
		case <-time.After(retryPause):
		}
	}
}

// campaign stands for election until it is won, or cannot be.
func (e *Etcd) campaign(ctx context.Context) (<-chan struct{}, error) {
	e.mu.Lock()
	held := e.held
	e.mu.Unlock()
	if held != nil {
		if held.alive() && e.holds(ctx, held) {
			return held.lost, nil
		}
		held.leave(e.client)
	}
	c, err := e.stand(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.held = c
	e.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.session.Ctx(), cancel) // a candidate without a lease would wait for a place that it has lost
	defer stop()
	if err := c.election.Campaign(ctx, e.name); err != nil {
		c.leave(e.client)
		return nil, err
	}
	if !c.alive() {
		return nil, errors.New("the lease ran out at the moment when it was this server's turn")
	}
	return c.lost, nil
}

// stand takes a lease to stand for election with.
func (e *Etcd) stand(ctx context.Context) (*candidacy, error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	lease, err := e.client.Grant(ctx, leaseSeconds)
	if err != nil {
		return nil, err
	}
	session, err := concurrency.NewSession(e.client, concurrency.WithLease(lease.ID), concurrency.WithTTL(leaseSeconds), concurrency.WithContext(e.life))
	if err != nil {
		return nil, err
	}
	c := &candidacy{session: session, election: concurrency.NewElection(session, store.ElectionKey), lost: make(chan struct{})}
	e.wg.Go(func() {
		<-session.Done()
		c.end()
	})
	return c, nil
}

// holds asks whether a candidacy that was won is still the oldest: somebody may have removed its key.
func (e *Etcd) holds(ctx context.Context, c *candidacy) bool {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	res, err := c.election.Leader(ctx)
	return err == nil && len(res.Kvs) > 0 && c.election.Key() != "" && string(res.Kvs[0].Key) == c.election.Key()
}

// Resign has another server lead, if there is one that waits; this one waits behind it from then on.
func (e *Etcd) Resign() {
	e.mu.Lock()
	held := e.held
	e.mu.Unlock()
	if held != nil {
		held.leave(e.client)
	}
}

// Leading says whether this server holds the election, as far as it knows. That alone permits nothing: see [store.Txn].
func (e *Etcd) Leading() bool { return e.Leader() == e.name }

// Leader is the id of the server that holds the election, empty when none does or etcd does not answer.
func (e *Etcd) Leader() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader
}

// LeaderChanged returns a channel that is closed when another leads, or nobody.
func (e *Etcd) LeaderChanged() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

func (e *Etcd) setLeader(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id == e.leader {
		return
	}
	e.leader = id
	close(e.changed)
	e.changed = make(chan struct{})
}

// followLeader keeps in mind who leads.
func (e *Etcd) followLeader() {
	for e.life.Err() == nil {
		if err := e.followOnce(); err != nil {
			e.setLeader("")
			select {
			case <-e.life.Done():
			case <-time.After(retryPause):
			}
		}
	}
}

// followOnce reads who leads and returns when that may have changed, or when etcd no longer says.
func (e *Etcd) followOnce() error {
	ctx, cancel := context.WithCancel(e.life)
	defer cancel()
	asked, done := context.WithTimeout(ctx, openTime)
	defer done()
	res, err := e.client.Get(asked, store.ElectionKey+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		return err
	}
	leader := ""
	if len(res.Kvs) > 0 {
		leader = string(res.Kvs[0].Value)
	}
	e.setLeader(leader)
	for answer := range e.client.Watch(clientv3.WithRequireLeader(ctx), store.ElectionKey+"/", clientv3.WithPrefix(), clientv3.WithRev(res.Header.Revision+1)) {
		if err := answer.Err(); err != nil {
			return err
		}
		if len(answer.Events) > 0 {
			return nil
		}
	}
	return store.ErrUnavailable
}
