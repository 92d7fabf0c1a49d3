package leader_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// turn is an election that a test decides.
type turn struct{ come chan struct{} }

func (e turn) Await(ctx context.Context) (<-chan struct{}, error) {
	select {
	case <-e.come:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A server that does not lead takes beats. When it leads, the same stream becomes the leader's session, and it knows how
// long each machine had been silent: the one that has been for long is lost soon, and nobody else is.
func TestInherits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := memory.New()
		e := turn{make(chan struct{})}
		l := leader.New(leader.Config{Store: s, Election: e, ServerID: "s1", Log: slog.New(slog.DiscardHandler),
			Greet: func(id string) *argosyv1.Welcome { return &argosyv1.Welcome{MachineId: id} }})
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			synctest.Wait()
		}()
		made, err := store.Put(store.ClusterKey, &storev1.Cluster{Settings: &argosyv1.ClusterSettings{
			UnreachableAfter: durationpb.New(5 * time.Second), Liveness: durationpb.New(15 * time.Second)}})
		if err != nil {
			t.Fatal(err)
		}
		ops := []store.Op{made}
		for _, id := range []string{"m1", "m2", "m3", "m4", "m5"} {
			op, err := store.Put(store.MachineKey(id), &argosyv1.Machine{Id: id, Name: id, Condition: argosyv1.MachineCondition_MACHINE_CONDITION_READY,
				Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 8 << 30}})
			if err != nil {
				t.Fatal(err)
			}
			ops = append(ops, op)
		}
		if _, err := s.Commit(ctx, store.Txn{Ops: ops}); err != nil {
			t.Fatal(err)
		}
		c := &cluster{t: t, ctx: ctx, store: s, l: l}
		pipes := map[string]*pipe{}
		for _, id := range []string{"m1", "m2", "m3", "m4"} { // m5 was never heard of here
			p, _ := c.connect(id, "a")
			pipes[id] = p
			if w := next(c, p, (*argosyv1.SessionResponse).GetWelcome); w.GetLeader() {
				t.Fatal("it does not lead and says so")
			}
		}
		synctest.Wait()
		if l.Machines() != 4 {
			t.Errorf("%d machines are connected", l.Machines())
		}
		for range 12 {
			time.Sleep(time.Second)
			for _, id := range []string{"m1", "m2", "m3"} { // m4 is silent
				pipes[id].up <- &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{}}}
			}
		}
		close(e.come)
		for _, id := range []string{"m1", "m2", "m3"} {
			if w := next(c, pipes[id], (*argosyv1.SessionResponse).GetWelcome); !w.GetLeader() || w.GetTerm() != 1 {
				t.Errorf("%s is greeted with %v", id, w)
			}
			pipes[id].up <- report(true)
		}
		synctest.Wait()
		lost := func() (out []string) {
			if err := l.Read(func(_ time.Time, v *leader.View) {
				for _, m := range v.Machines() {
					if v.MachineStatus(m).Condition == argosyv1.MachineCondition_MACHINE_CONDITION_LOST {
						out = append(out, m.Id)
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			return out
		}
		if got := lost(); len(got) != 0 {
			t.Errorf("%v are lost at once", got)
		}
		for range 5 {
			time.Sleep(time.Second)
			for _, id := range []string{"m1", "m2", "m3"} {
				pipes[id].up <- &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{}}}
			}
		}
		synctest.Wait()
		if got := lost(); !slices.Equal(got, []string{"m4"}) {
			t.Errorf("17 s after m4 was last heard, and 5 s after the change, %v are lost", got)
		}
	})
}
