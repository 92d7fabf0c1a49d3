package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Directory looks up whether the holder of a certificate is still somebody: whether its record exists, names the key of
// the certificate, and for users, tenant and role. Of a server only the record has to exist: it makes its certificates itself.
//
// While Run runs, lookups are answered from memory, also while the store does not answer; only what memory does not
// confirm is asked of the store. Removing a record works as soon as the watch has brought it.
type Directory struct {
	store store.Store

	mu    sync.Mutex
	known map[string]holder // by key in the store
}

type holder struct {
	digest       []byte
	tenant, role string
	authority    uint32
}

// NewDirectory reads the records of a store.
func NewDirectory(s store.Store) *Directory { return &Directory{store: s, known: map[string]holder{}} }

var directoryPrefixes = []string{store.Machines, store.Users, store.Servers}

// readHolder reads a record of a machine, a user or a server.
func readHolder(key string, value []byte) (holder, error) {
	kv := store.KV{Key: key, Value: value}
	if strings.HasPrefix(key, store.Users) {
		u := &storev1.User{}
		err := store.Decode(kv, u)
		return holder{digest: u.GetKeyDigest(), tenant: u.GetTenant(), role: u.GetRole(), authority: max(1, u.GetAuthority())}, err
	}
	if strings.HasPrefix(key, store.Servers) {
		return holder{}, store.Decode(kv, &storev1.Server{})
	}
	m := &argosyv1.Machine{}
	err := store.Decode(kv, m)
	return holder{digest: m.GetKeyDigest(), authority: max(1, m.GetAuthority())}, err
}

// UnknownError says that the holder of a good certificate is not, or no longer, who it names.
type UnknownError struct{ text string }

func (e *UnknownError) Error() string { return e.text }

// Complete fills in what the certificate does not say. It fails with an [*UnknownError], or because the store does not
// answer.
func (d *Directory) Complete(ctx context.Context, id Identity, keyDigest []byte) (Identity, error) {
	var key string
	switch id.Kind {
	case Machine:
		key = store.MachineKey(id.ID)
	case User:
		key = store.UserKey(id.ID)
	case Server:
		key, keyDigest = store.ServerKey(id.ID), nil
	default:
		return id, nil
	}
	h, ok := d.remembered(key)
	if !ok || !bytes.Equal(h.digest, keyDigest) {
		snap, err := d.store.Get(ctx, key)
		if err != nil {
			return Identity{}, fmt.Errorf("looking up %s: %w", id, err)
		}
		if len(snap.KVs) == 0 {
			return Identity{}, gone(id)
		}
		if h, err = readHolder(key, snap.KVs[0].Value); err != nil {
			return Identity{}, err
		}
	}
	if !bytes.Equal(h.digest, keyDigest) {
		return Identity{}, replaced(id)
	}
	id.Tenant, id.Role = h.tenant, Role(h.role)
	return id, nil
}

func gone(id Identity) error {
	switch id.Kind {
	case Server:
		return &UnknownError{fmt.Sprintf("server %s was removed from the cluster: to bring it back, empty its data directory and join it again with a new token", id.ID)}
	case Machine:
		return &UnknownError{fmt.Sprintf("machine %s was removed from the cluster: to bring it back, join it again with a new token", id.ID)}
	}
	return &UnknownError{fmt.Sprintf("user %s was removed: ask an administrator for a token and run `argosy login`", id.ID)}
}

func replaced(id Identity) error {
	if id.Kind == Machine {
		return &UnknownError{fmt.Sprintf("machine %s joined again with another key: this certificate is no longer its own", id.ID)}
	}
	return &UnknownError{fmt.Sprintf("user %s logged in again elsewhere, which ended this login: run `argosy login` with a new token", id.ID)}
}

// Authority is the number of the latest authority whose certificate a machine or user has shown, as far as is remembered.
func (d *Directory) Authority(id Identity) (number uint32, ok bool) {
	var h holder
	switch id.Kind {
	case Machine:
		h, ok = d.remembered(store.MachineKey(id.ID))
	case User:
		h, ok = d.remembered(store.UserKey(id.ID))
	}
	return h.authority, ok
}

func (d *Directory) remembered(key string) (holder, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, ok := d.known[key]
	return h, ok
}

const directoryRetry = time.Second

// Run keeps what is remembered equal to the store until ctx is done.
func (d *Directory) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(directoryPrefixes))
	for _, prefix := range directoryPrefixes {
		go func() { errs <- d.keepUp(ctx, prefix) }()
	}
	err := <-errs
	cancel()
	for range directoryPrefixes[1:] {
		<-errs
	}
	return err
}

func (d *Directory) keepUp(ctx context.Context, prefix string) error {
	for {
		err := d.follow(ctx, prefix)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrCompacted) {
			return fmt.Errorf("following who belongs to the cluster: %w", err)
		}
		timer := time.NewTimer(directoryRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (d *Directory) follow(ctx context.Context, prefix string) error {
	snap, err := d.store.List(ctx, prefix)
	if err != nil {
		return err
	}
	d.replace(prefix, snap)
	for batch, err := range d.store.Watch(ctx, prefix, snap.Revision+1) {
		if err != nil {
			return err
		}
		d.apply(batch)
	}
	return ctx.Err()
}

func (d *Directory) replace(prefix string, snap store.Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.known, func(key string, _ holder) bool { return strings.HasPrefix(key, prefix) })
	for _, kv := range snap.KVs {
		if h, err := readHolder(kv.Key, kv.Value); err == nil {
			d.known[kv.Key] = h
		}
	}
}

func (d *Directory) apply(batch store.Batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range batch.Events {
		h, err := readHolder(e.Key, e.Value)
		if e.Value == nil || err != nil {
			// A record that cannot be read vouches for nobody.
			delete(d.known, e.Key)
			continue
		}
		d.known[e.Key] = h
	}
}

// Lookup is what an [Authenticator] needs of a directory.
type Lookup interface {
	Complete(ctx context.Context, id Identity, keyDigest []byte) (Identity, error)
}

var _ Lookup = (*Directory)(nil)
