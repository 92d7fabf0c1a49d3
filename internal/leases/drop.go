package leases

import (
	"sync"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	// dropAfter is for how long the store has to have had no volume of a claim before its record goes, and its holder not to have been
	// heard of it. It is longer than any lease, and as long as somebody may take to see that a volume was deleted by mistake.
	dropAfter = 10 * time.Minute
	// dropEvery is how often it is looked for such records.
	dropEvery = time.Minute
	// mostDropped is how many go at once.
	mostDropped = 256
)

// Drop decides which records of a witness's table can go, so that it does not grow for ever: those of claims that the store has had
// no volume of for so long, and that nobody may hold any more. The witness sees to the latter by itself, and keeps a floor under the
// tokens, so that a mistake here costs somebody a grant at most. gone is since when claims have had no volume, as it was returned
// before.
func Drop(now time.Time, after time.Duration, has func(claims.ID) bool, sights []*leasev1.Sight, gone map[claims.ID]time.Time) (drop []claims.ID, next map[claims.ID]time.Time) {
	next = map[claims.ID]time.Time{}
	for _, s := range sights {
		id := claims.ID(s.GetClaim())
		if has(id) {
			continue
		}
		since, known := gone[id]
		if !known {
			since = now
		}
		next[id] = since
		held := s.GetHolding() != leasev1.Holding_HOLDING_RELEASED && s.GetHolding() != leasev1.Holding_HOLDING_FENCED
		if now.Sub(since) >= after && !(held && time.Duration(s.GetAge()) < after) && len(drop) < mostDropped {
			drop = append(drop, id)
		}
	}
	return drop, next
}

// volumes are the claims that the store has a volume of.
type volumes struct {
	mu   sync.Mutex
	ids  map[string]claims.ID // by key; nil before the store was read
	have map[claims.ID]bool
	gone map[claims.ID]time.Time
	at   time.Time // when it was looked for records that can go
}

// volume takes in a volume's record, nil for one that is gone; begin says that all of them follow.
func (v *volumes) volume(begin bool, key string, value []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if begin {
		v.ids, v.have = map[string]claims.ID{}, map[claims.ID]bool{}
		return
	}
	delete(v.have, v.ids[key])
	delete(v.ids, key)
	m := &argosyv1.Volume{}
	if value == nil {
		return
	}
	if err := store.Decode(store.KV{Key: key, Value: value}, m); err != nil || !state.Shared(m) {
		return
	}
	r := m.GetReplica()
	id := claims.IDOf(r.GetTenant(), r.GetApp(), r.GetStack(), r.GetNumber(), m.GetName())
	v.ids[key], v.have[id] = id, true
}

// due says which records of the witness's table can go, where it is time to look for such.
func (v *volumes) due(now time.Time, sights []*leasev1.Sight) (drop []claims.ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ids == nil || now.Sub(v.at) < dropEvery {
		return nil
	}
	v.at = now
	drop, v.gone = Drop(now, dropAfter, func(id claims.ID) bool { return v.have[id] }, sights, v.gone)
	return drop
}
