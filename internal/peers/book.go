package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Book keeps the servers' records at hand, also while the store does not answer.
type Book struct {
	store store.Store

	mu      sync.Mutex
	servers map[string]*storev1.Server
}

// NewBook makes an empty one.
func NewBook(s store.Store) *Book { return &Book{store: s, servers: map[string]*storev1.Server{}} }

// retry is the time between attempts to follow a store that does not answer.
const retry = 500 * time.Millisecond

// Run keeps the book equal to the store until ctx is done.
func (b *Book) Run(ctx context.Context) error {
	for {
		err := b.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrCompacted) {
			return fmt.Errorf("following the list of servers: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retry):
		}
	}
}

func (b *Book) follow(ctx context.Context) error {
	snap, err := b.store.List(ctx, store.Servers)
	if err != nil {
		return err
	}
	b.mu.Lock()
	clear(b.servers)
	b.mu.Unlock()
	for _, kv := range snap.KVs {
		b.take(kv.Key, kv.Value)
	}
	for batch, err := range b.store.Watch(ctx, store.Servers, snap.Revision+1) {
		if err != nil {
			return err
		}
		for _, e := range batch.Events {
			b.take(e.Key, e.Value)
		}
	}
	return ctx.Err()
}

// take takes in a record, nil for one that is gone. One that cannot be read leads nowhere.
func (b *Book) take(key string, value []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := strings.TrimPrefix(key, store.Servers)
	s := &storev1.Server{}
	if value == nil || store.Decode(store.KV{Key: key, Value: value}, s) != nil {
		delete(b.servers, id)
		return
	}
	b.servers[id] = s
}

// Server is a server's record, nil when there is none.
func (b *Book) Server(id string) *storev1.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.servers[id]
}

// All are all servers' records, by id.
func (b *Book) All() []*storev1.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*storev1.Server, 0, len(b.servers))
	for _, s := range b.servers {
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y *storev1.Server) int { return strings.Compare(x.GetId(), y.GetId()) })
	return out
}
