package leases_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	table "github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/leases"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

func TestDrop(t *testing.T) {
	begun := time.Unix(1_700_000_000, 0)
	const after = 10 * time.Minute
	sight := func(id string, h leasev1.Holding, age time.Duration) *leasev1.Sight {
		return &leasev1.Sight{Claim: id, Holding: h, Age: int64(age)}
	}
	held, released, fenced := leasev1.Holding_HOLDING_HELD, leasev1.Holding_HOLDING_RELEASED, leasev1.Holding_HOLDING_FENCED
	has := map[claims.ID]bool{"there": true, "comes again": true}
	sights := []*leasev1.Sight{sight("there", released, time.Hour), sight("held", held, 3*time.Second), sight("silent", held, time.Hour), sight("released", released, 0),
		sight("fenced", fenced, 0), sight("of a later release", 99, 0), sight("comes again", released, time.Hour)}
	gone := map[claims.ID]time.Time{}
	for _, step := range []struct {
		at   time.Duration
		want []claims.ID
	}{
		{0, nil},
		{after - time.Second, nil},
		{after, []claims.ID{"silent", "released", "fenced"}},
	} {
		delete(has, "comes again")
		if step.at == after-time.Second {
			has["comes again"] = true // so that its time begins anew
		}
		var drop []claims.ID
		drop, gone = leases.Drop(begun.Add(step.at), after, func(id claims.ID) bool { return has[id] }, sights, gone)
		if !slices.Equal(drop, step.want) {
			t.Errorf("after %v: %v, and %v is expected", step.at, drop, step.want)
		}
	}
	if len(gone) != 6 {
		t.Errorf("what is remembered follows the table: %v", gone)
	}
	if _, gone = leases.Drop(begun, after, func(claims.ID) bool { return false }, nil, gone); len(gone) != 0 {
		t.Errorf("nothing is remembered of what is not in the table: %v", gone)
	}
	for range 1000 {
		sights = append(sights, sight("many", released, 0))
	}
	drop, _ := leases.Drop(begun.Add(after), after, func(claims.ID) bool { return false }, sights, map[claims.ID]time.Time{"many": begun})
	if len(drop) != 256 {
		t.Errorf("%d are dropped at once", len(drop))
	}
}

// A record whose volume was deleted long ago goes, and the others stay.
func TestKeeperDrops(t *testing.T) {
	dir, err := os.MkdirTemp("", "argosy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	kept := table.Table{Serial: 1, Config: claims.Config{Epoch: claims.Epoch{Generation: 1, Revision: 3}, Members: []claims.Witness{"s1"}}}
	for _, id := range []claims.ID{"acme/shop/db.1/data", "default/shop/db.1/data", "default/shop/db.2/data"} {
		kept.Records = append(kept.Records, table.Record{Claim: id, Machine: "m1", Session: "one", Token: claims.Token{Generation: 1, Revision: 7}, State: table.Released})
	}
	text, err := table.Encode(kept)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.MkdirAll(filepath.Join(dir, "w"), 0o700), os.WriteFile(filepath.Join(dir, "w", "leases-1"), text, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	beside(t, dir, "s1")
	st := memory.New()
	put(t, st, store.LeasesKey, &storev1.Leases{Epoch: &argosyv1.FencingToken{Generation: 1, Revision: 3}, Members: []string{"s1"}})
	shared := func(number uint32) (string, *argosyv1.Volume) {
		k := &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "db", Number: number}
		return store.VolumeKey(k, "data"), &argosyv1.Volume{Replica: k, Name: "data", Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED}
	}
	for n := range uint32(2) {
		key, v := shared(n + 1)
		put(t, st, key, v)
	}
	var later atomic.Int64
	k := leases.New(leases.Config{Socket: filepath.Join(dir, "s"), Store: st, Server: "s1", Leading: func() bool { return true },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = k.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	has := func(want ...string) func() bool {
		return func() bool {
			var list []string
			for _, s := range k.Status().Report.GetSights() {
				list = append(list, s.GetClaim())
			}
			later.Add(int64(time.Minute)) // each look is a minute later
			return slices.Equal(list, want)
		}
	}
	until(t, "the claim of a tenant that never had a volume goes", has("default/shop/db.1/data", "default/shop/db.2/data"))
	key, _ := shared(2)
	if _, err := st.Commit(t.Context(), store.Txn{Ops: []store.Op{store.Delete(key)}}); err != nil {
		t.Fatal(err)
	}
	until(t, "and that of a volume that was deleted", has("default/shop/db.1/data"))
}
