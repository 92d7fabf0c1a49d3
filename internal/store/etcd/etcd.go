package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/argosy-cluster/argosy/internal/store"
)

// Times after which a store without a majority is called unavailable, unless the caller's context says sooner. Listing
// a million keys takes about three seconds.
const (
	answerTime = 10 * time.Second
	listTime   = 60 * time.Second
	// remoteTime is answerTime of an etcd elsewhere: as long as its lease lets a leader lead that it does not hear.
	remoteTime = 4 * time.Second
)

// Store keeps everything in etcd. It owns nothing: whoever made the client closes it.
type Store struct {
	client *clientv3.Client
	remote bool
}

// New returns the store that a client leads to. The cluster has to take transactions of [store.MaxTxnOps] operations
// and [store.MaxTxnBytes] bytes, which an embedded one does.
func New(client *clientv3.Client) *Store { return &Store{client: client} }

// NewRemote returns the store that a client leads to over the network, where an etcd that is gone shows by its silence only.
func NewRemote(client *clientv3.Client) *Store { return &Store{client: client, remote: true} }

func (s *Store) answerTime() time.Duration {
	if s.remote {
		return remoteTime
	}
	return answerTime
}

// Get reads single keys.
func (s *Store) Get(ctx context.Context, keys ...string) (store.Snapshot, error) {
	ctx, cancel, err := within(ctx, s.answerTime())
	if err != nil {
		return store.Snapshot{}, err
	}
	defer cancel()
	var snap store.Snapshot
	for first := true; first || len(keys) > 0; first = false {
		n := min(len(keys), store.MaxTxnOps)
		ops := make([]clientv3.Op, n)
		for i, key := range keys[:n] {
			// What follows the first answer is read at its revision.
			ops[i] = clientv3.OpGet(key, clientv3.WithRev(snap.Revision))
		}
		keys = keys[n:]
		resp, err := s.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return store.Snapshot{}, failure(ctx, "reading", err)
		}
		if first {
			snap.Revision = resp.Header.Revision
		}
		for _, r := range resp.Responses {
			snap.KVs = appendKVs(snap.KVs, r.GetResponseRange().GetKvs())
		}
	}
	return snap, nil
}

// List reads every key with a prefix, in one request: each page of several would cost etcd the whole rest of the range.
func (s *Store) List(ctx context.Context, prefix string) (store.Snapshot, error) {
	if s.remote { // what is not there is not worth a minute
		if _, err := s.Get(ctx, store.TermKey); err != nil {
			return store.Snapshot{}, err
		}
	}
	ctx, cancel, err := within(ctx, listTime)
	if err != nil {
		return store.Snapshot{}, err
	}
	defer cancel()
	resp, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return store.Snapshot{}, failure(ctx, "listing "+prefix, err)
	}
	return store.Snapshot{Revision: resp.Header.Revision, KVs: appendKVs(nil, resp.Kvs)}, nil
}

// Commit applies a transaction.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if err := txn.Check(); err != nil {
		return 0, err
	}
	ctx, cancel, err := within(ctx, s.answerTime())
	if err != nil {
		return 0, err
	}
	defer cancel()
	compares := txn.If
	if txn.Term != 0 {
		compares = append([]store.Compare{{Key: store.TermKey, ModRevision: txn.Term}}, compares...)
	}
	ifs := make([]clientv3.Cmp, len(compares))
	elses := make([]clientv3.Op, len(compares))
	for i, c := range compares {
		ifs[i] = clientv3.Compare(clientv3.ModRevision(c.Key), "=", c.ModRevision)
		// When a comparison fails, the same transaction reads which.
		elses[i] = clientv3.OpGet(c.Key, clientv3.WithKeysOnly())
	}
	thens := make([]clientv3.Op, len(txn.Ops))
	for i, op := range txn.Ops {
		if op.Value == nil {
			thens[i] = clientv3.OpDelete(op.Key)
			continue
		}
		thens[i] = clientv3.OpPut(op.Key, string(op.Value))
	}
	resp, err := s.client.Txn(ctx).If(ifs...).Then(thens...).Else(elses...).Commit()
	if err != nil {
		return 0, failure(ctx, "writing", err)
	}
	if !resp.Succeeded {
		return 0, whichFailed(txn.Term != 0, compares, resp)
	}
	return resp.Header.Revision, nil
}

// whichFailed names the first comparison that did not hold, the term's before all others.
func whichFailed(term bool, compares []store.Compare, resp *clientv3.TxnResponse) error {
	for i, c := range compares {
		var rev int64
		if i < len(resp.Responses) {
			if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
				rev = kvs[0].ModRevision
			}
		}
		if rev == c.ModRevision {
			continue
		}
		if term && i == 0 {
			return store.ErrDeposed
		}
		return &store.ConflictError{Key: c.Key}
	}
	return errors.New("etcd refused a transaction all of whose comparisons hold")
}

// Watch yields changes. See [store.Store].
func (s *Store) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		// Leaving the loop ends the watch.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// etcd takes revision 0 for "from now on".
		begin := func() clientv3.WatchChan {
			return s.client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(max(from, 1)))
		}
		for answer, err := range s.answers(ctx, begin) {
			if err == nil {
				err = answer.Err()
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(store.Batch{}, watchFailure(prefix, from, err))
				return
			}
			for batch := range batches(answer.Events) {
				if !yield(batch, nil) || ctx.Err() != nil {
					return
				}
			}
		}
		if ctx.Err() == nil {
			yield(store.Batch{}, fmt.Errorf("watching %s: %w", prefix, store.ErrUnavailable))
		}
	}
}

// silence is how long a remote etcd may say nothing before it is asked whether it is there, and that again how long it may take.
const silence = 2 * time.Second

// answers are those of a watch. The client hides it when etcd is gone, and tries again for ever, even to begin: whoever watches
// has to know. What is under way ends with ctx.
func (s *Store) answers(ctx context.Context, begin func() clientv3.WatchChan) iter.Seq2[clientv3.WatchResponse, error] {
	return func(yield func(clientv3.WatchResponse, error) bool) {
		var watch clientv3.WatchChan
		var begun chan clientv3.WatchChan
		var quiet <-chan time.Time
		if s.remote {
			begun = make(chan clientv3.WatchChan, 1)
			go func() { begun <- begin() }()
			tick := time.NewTicker(silence)
			defer tick.Stop()
			quiet = tick.C
		} else {
			watch = begin()
		}
		heard := false
		for {
			select {
			case watch = <-begun:
			case answer, ok := <-watch:
				if heard = true; !ok || !yield(answer, nil) {
					return
				}
			case <-quiet:
				if heard {
					heard = false
					continue
				}
				asked, cancel := context.WithTimeout(ctx, silence)
				_, err := s.client.Get(asked, store.TermKey, clientv3.WithCountOnly())
				cancel()
				if err != nil && (!yield(clientv3.WatchResponse{}, err) || ctx.Err() != nil) {
					return
				}
			}
		}
	}
}

// batches cuts events where the revision changes. etcd never splits a transaction over two responses unless it is asked
// to fragment, which this client does not.
func batches(events []*clientv3.Event) iter.Seq[store.Batch] {
	return func(yield func(store.Batch) bool) {
		for len(events) > 0 {
			rev, n := events[0].Kv.ModRevision, 1
			for n < len(events) && events[n].Kv.ModRevision == rev {
				n++
			}
			batch := store.Batch{Revision: rev, Events: make([]store.Event, n)}
			for i, e := range events[:n] {
				batch.Events[i] = store.Event{Key: string(e.Kv.Key)}
				if e.Type == mvccpb.Event_PUT {
					batch.Events[i].Value = notNil(e.Kv.Value)
				}
			}
			if !yield(batch) {
				return
			}
			events = events[n:]
		}
	}
}

func watchFailure(prefix string, from int64, err error) error {
	if errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("watching %s from revision %d: %w", prefix, from, store.ErrCompacted)
	}
	return fmt.Errorf("watching %s: %w: %w", prefix, store.ErrUnavailable, err)
}

// failure tells what was asked wrongly, which asking again would not cure, from a store that does not answer.
func failure(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, ctx.Err())
	}
	if errors.Is(err, rpctypes.ErrNoSpace) {
		return fmt.Errorf("%s: %w", what, store.ErrFull)
	}
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		switch known.Code() {
		case codes.InvalidArgument, codes.OutOfRange, codes.PermissionDenied, codes.Unauthenticated, codes.DataLoss:
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
}

func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, cancel, nil
}

func appendKVs(to []store.KV, from []*mvccpb.KeyValue) []store.KV {
	for _, kv := range from {
		to = append(to, store.KV{Key: string(kv.Key), Value: notNil(kv.Value), ModRevision: kv.ModRevision})
	}
	return to
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
