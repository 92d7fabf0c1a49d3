package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/upkeep"
)

// A store that is full refuses changes and says so, goes on answering how the servers are, and has room again without
// anybody's doing: what filled it is gone, so its file has much to give back.
func TestFullStoreMendsItself(t *testing.T) {
	t.Parallel()
	const quota = 24 << 20
	c := own(t, t.TempDir(), func(cfg *Config) { cfg.StoreQuota = quota })
	c.apply(t, spec("kept", 1))
	value := bytes.Repeat([]byte{'v'}, 1<<20)
	var err error
	for i := 0; err == nil && i < 200; i++ {
		key := fmt.Sprintf("/churn/%d", i%3) // few keys, written again and again
		_, err = c.server.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: value}}})
	}
	if !errors.Is(err, store.ErrFull) || !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("beyond the quota: %v", err)
	}
	res, err := c.servers().ListServers(t.Context(), connect.NewRequest(&argosyv1.ListServersRequest{}))
	if err != nil || len(res.Msg.Servers) != 1 || !res.Msg.Servers[0].Health.StoreFull || res.Msg.Servers[0].Health.StoreQuota != quota {
		t.Errorf("a full store is shown as %v, %v", res, err)
	}
	now := time.Now()
	st := tending{tended: map[string]time.Time{}}
	for i := range 10 {
		if err := c.server.tend(t.Context(), now, &st); err != nil {
			t.Fatal(err)
		}
		if sp := c.server.member.Space(); !sp.Full {
			break
		} else if i == 9 {
			t.Fatalf("after ten steps: %+v", sp)
		}
	}
	sp := c.server.member.Space()
	if sp.Size > quota/2 {
		t.Errorf("its file still takes %d bytes", sp.Size)
	}
	until(t, "changes are taken again", func(ctx context.Context) error {
		_, err := c.local.apps.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: spec("next", 1)}))
		return err
	})
}

func TestRoomLevel(t *testing.T) {
	member := func(size int64) upkeep.Member { return upkeep.Member{Size: size << 20, Quota: 100 << 20} }
	for _, c := range []struct {
		name  string
		store upkeep.Store
		want  string
	}{
		{"nobody", upkeep.Store{}, "the store has room"},
		{"room", upkeep.Store{Members: []upkeep.Member{member(79)}}, "the store has room"},
		{"the worst counts", upkeep.Store{Members: []upkeep.Member{member(1), member(80)}}, "the store is nearly full"},
		{"full", upkeep.Store{Full: true, Members: []upkeep.Member{member(1)}}, "the store is full"},
	} {
		if got, _ := roomLevel(c.store); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func (c *cluster) servers() argosyv1connect.ServerServiceClient {
	return argosyv1connect.NewServerServiceClient(c.local.hc, c.local.base)
}

// A server has another defragment its file, and nobody has that of the one that leads.
func TestDefragmentAnother(t *testing.T) {
	t.Parallel()
	s := threeServers(t)
	s.servers[0].apply(t, spec("kept", 1))
	lead, others := s.leader()
	if err := lead.server.defragment(t.Context(), others[0].server.id); err != nil {
		t.Error(err)
	}
	wantError(t, others[0].server.defragment(t.Context(), lead.server.id), connect.CodeFailedPrecondition, "the others need it")
	members := lead.server.storeMembers(t.Context(), nil)
	if len(members) != 3 {
		t.Fatalf("%+v", members)
	}
	for _, m := range members {
		if !m.Well || m.Size == 0 || m.Quota == 0 || m.Leads != (m.Name == lead.server.id) {
			t.Errorf("%+v", m)
		}
	}
	lead.apply(t, spec("next", 1))
}
