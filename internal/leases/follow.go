package leases

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/store"
)

// wanted is what the witness is to know, and what of that it has to be told.
type wanted struct {
	poke chan struct{}

	mu sync.Mutex
	// guards are keys of guards, by machine; nil before the store was read.
	guards           map[string]lease.Pin
	machines, config bool // to be told
}

func newWanted() wanted { return wanted{poke: make(chan struct{}, 1)} }

func (w *wanted) nudge() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// due says whether there is something to tell.
func (w *wanted) due() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.config || w.machines
}

// again has everything told anew.
func (w *wanted) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.machines, w.config = true, true
}

// take says what is to be told, and forgets that it is.
func (w *wanted) take() (list *leasev1.Machines, machines, config bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	machines, config = w.machines && w.guards != nil, w.config
	w.machines, w.config = w.machines && !machines, false
	if !machines {
		return nil, false, config
	}
	list = &leasev1.Machines{}
	known := map[lease.Pin]bool{}
	for _, id := range slices.Sorted(maps.Keys(w.guards)) {
		pin := w.guards[id]
		if known[pin] {
			continue // two machines with one key: a copy. The first keeps it, and the other is known by none
		}
		known[pin] = true
		list.Machines = append(list.Machines, &leasev1.Machine{Id: id, Key: pin[:]})
	}
	return list, true, config
}

// machine takes in a machine's record, nil for one that is gone; begin says that all of them follow.
func (w *wanted) machine(begin bool, key string, value []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if begin {
		w.guards, w.machines = map[string]lease.Pin{}, true
		return
	}
	id := strings.TrimPrefix(key, store.Machines)
	m := &argosyv1.Machine{}
	old, had := w.guards[id]
	pin, err := lease.Pin{}, error(nil)
	if value != nil {
		if err = store.Decode(store.KV{Key: key, Value: value}, m); err == nil {
			pin, err = lease.PinOf(m.GetGuardKey())
		}
	}
	if value == nil || err != nil {
		delete(w.guards, id)
		w.machines = w.machines || had
		return
	}
	w.guards[id] = pin
	w.machines = w.machines || !had || old != pin
}

// lease notes that the set of servers may have changed. What it is now is read when the witness is told.
func (w *wanted) lease(bool, string, []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.config = true
}

// follow tells take of every record below a prefix, and of every change, until ctx is done.
func (k *Keeper) follow(ctx context.Context, prefix string, take func(begin bool, key string, value []byte)) {
	for ctx.Err() == nil {
		if err := k.followOnce(ctx, prefix, take); err != nil && ctx.Err() == nil {
			k.cfg.Log.Debug("what the witness has to know is read again", "below", prefix, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

func (k *Keeper) followOnce(ctx context.Context, prefix string, take func(bool, string, []byte)) error {
	snap, err := k.cfg.Store.List(ctx, prefix)
	if err != nil {
		return err
	}
	take(true, prefix, nil)
	for _, kv := range snap.KVs {
		take(false, kv.Key, kv.Value)
	}
	k.wanted.nudge()
	for batch, err := range k.cfg.Store.Watch(ctx, prefix, snap.Revision+1) {
		if err != nil {
			return err
		}
		for _, e := range batch.Events {
			take(false, e.Key, e.Value)
		}
		if k.wanted.due() {
			k.wanted.nudge()
		}
	}
	return ctx.Err()
}

// configIn reads the set of servers out of the store, nil when there is none yet.
func configIn(snap store.Snapshot) (*claims.Config, error) {
	for _, kv := range snap.KVs {
		if kv.Key != store.LeasesKey {
			continue
		}
		r := &storev1.Leases{}
		if err := store.Decode(kv, r); err != nil {
			return nil, err
		}
		c := ConfigOf(r)
		return &c, c.Validate()
	}
	return nil, nil
}

// ConfigOf is the set of servers in a record; the zero Config when it is nil.
func ConfigOf(r *storev1.Leases) claims.Config {
	return claims.Config{Epoch: claims.Epoch{Generation: r.GetEpoch().GetGeneration(), Revision: r.GetEpoch().GetRevision()},
		Members: witnesses(r.GetMembers()), Next: witnesses(r.GetNext())}
}

func witnesses(list []string) []claims.Witness {
	var out []claims.Witness
	for _, id := range list {
		out = append(out, claims.Witness(id))
	}
	return out
}

// SightsOf is what a server's witness sees of claims, for the leader.
func SightsOf(server string, s Status) claims.Sights {
	r := s.Report
	out := claims.Sights{Seen: map[claims.ID]claims.Seen{}}
	switch c := lease.ConfigFrom(r.GetConfig()); {
	case r == nil:
		out.Mute = s.Why
	case c.Epoch.IsZero():
		out.Mute = "the leader's witness was not told yet which servers decide about leases"
	case r.GetSilent():
		out.Mute = "the leader's witness is new and has no vote yet, for " + claims.Tenths(time.Duration(r.GetLeft()))
	case !c.Has(claims.Witness(server)):
		out.Mute = "the leader's witness is not yet among those that decide about leases"
	}
	for _, sight := range r.GetSights() {
		seen := claims.Seen{Machine: claims.Machine(sight.GetMachine()), Session: claims.Session(sight.GetSession()), Age: time.Duration(sight.GetAge()),
			Token: lease.StampFrom(sight.GetToken())}
		switch sight.GetHolding() {
		case leasev1.Holding_HOLDING_HELD:
		case leasev1.Holding_HOLDING_RELEASED:
			seen.Gone = "released"
		case leasev1.Holding_HOLDING_FENCED:
			seen.Gone = "fenced"
		default:
			out.Mute = cmp.Or(out.Mute, fmt.Sprintf("the leader's witness is of a later release, and says of %s what this one does not know", sight.GetClaim()))
		}
		out.Seen[claims.ID(sight.GetClaim())] = seen
	}
	return out
}
