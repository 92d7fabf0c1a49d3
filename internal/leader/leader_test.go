package leader_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// pipe is a stream whose machine's side is a pair of channels.
type pipe struct {
	ctx  context.Context
	up   chan *argosyv1.SessionRequest
	down chan *argosyv1.SessionResponse
}

func newPipe(ctx context.Context) *pipe {
	return &pipe{ctx: ctx, up: make(chan *argosyv1.SessionRequest), down: make(chan *argosyv1.SessionResponse)}
}

func (p *pipe) Send(m *argosyv1.SessionResponse) error {
	select {
	case p.down <- m:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *pipe) Receive() (*argosyv1.SessionRequest, error) {
	select {
	case m := <-p.up:
		return m, nil
	case <-p.ctx.Done():
		return nil, io.EOF
	}
}

func hello(session string) *argosyv1.SessionRequest {
	return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Hello{Hello: &argosyv1.Hello{BootId: "b", SessionId: session}}}
}

func report(full bool, list ...*argosyv1.ReplicaObservation) *argosyv1.SessionRequest {
	return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: &argosyv1.Report{Full: full, Replicas: list}}}
}

// cluster is a leader over a store in memory, inside a bubble of virtual time.
type cluster struct {
	t     *testing.T
	ctx   context.Context
	store *memory.Store
	l     *leader.Leader
	slow  *atomic.Bool // the next commit takes 5 s
}

// slowStore is a store whose next commit takes a while when slow says so.
type slowStore struct {
	*memory.Store
	slow *atomic.Bool
}

func (s slowStore) Commit(ctx context.Context, t store.Txn) (int64, error) {
	if s.slow.CompareAndSwap(true, false) {
		time.Sleep(5 * time.Second)
	}
	return s.Store.Commit(ctx, t)
}

func run(t *testing.T, test func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		defer func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("leading ended with %v", err)
			}
			synctest.Wait()
		}()
		s := memory.New()
		slow := &atomic.Bool{}
		l := leader.New(leader.Config{Store: slowStore{s, slow}, Election: store.Alone{}, ServerID: "s1", Log: slog.New(slog.DiscardHandler)})
		go func() { ended <- l.Run(ctx) }()
		synctest.Wait()
		if !l.Leading() {
			t.Fatal("it does not lead")
		}
		test(&cluster{t, ctx, s, l, slow})
	})
}

func (c *cluster) put(key string, m proto.Message) {
	c.t.Helper()
	err := c.l.Propose(c.ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
		op, err := store.Put(key, m)
		return leader.Proposal{Ops: []store.Op{op}}, err
	})
	if err != nil {
		c.t.Fatalf("putting %s: %v", key, err)
	}
}

func (c *cluster) machine(id string) {
	c.t.Helper()
	c.put(store.MachineKey(id), &argosyv1.Machine{Id: id, Name: id, Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 8 << 30}})
}

func (c *cluster) app(count uint32) {
	c.t.Helper()
	err := c.l.Propose(c.ctx, func(_ time.Time, v *leader.View) (leader.Proposal, error) {
		n := v.App("default", "shop").GetRevision() + 1
		app, err := store.Put(store.AppKey("default", "shop"), &argosyv1.App{Tenant: "default", Name: "shop", Uid: "u", Revision: n})
		if err != nil {
			return leader.Proposal{}, err
		}
		rev, err := store.Put(store.RevisionKey("default", "shop", n), &argosyv1.Revision{Tenant: "default", App: "shop", AppUid: "u", Number: n,
			Spec: &argosyv1.AppSpec{Name: "shop", Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: "web:1",
				Resources: &argosyv1.Resources{ReserveCpuMilli: 10, ReserveMemory: 1 << 20}}},
				Stacks:  []*argosyv1.StackSpec{{Name: "web", Containers: []string{"web"}}},
				Cluster: []*argosyv1.ClusterEntry{{Stack: "web", Count: count}}}})
		return leader.Proposal{Ops: []store.Op{app, rev}}, err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// connect opens a session for a machine and says hello.
func (c *cluster) connect(id, session string) (p *pipe, ended chan error) {
	ctx, cancel := context.WithCancel(c.ctx)
	p = newPipe(ctx)
	ended = make(chan error, 1)
	go func() {
		ended <- c.l.Session(ctx, id, p)
		cancel()
	}()
	p.up <- hello(session)
	return p, ended
}

// next takes messages until one is of the kind that is asked for.
func next[M any](c *cluster, p *pipe, get func(*argosyv1.SessionResponse) *M) *M {
	c.t.Helper()
	for {
		select {
		case m := <-p.down:
			if got := get(m); got != nil {
				return got
			}
		case <-time.After(time.Minute):
			c.t.Fatal("nothing came for a minute")
		}
	}
}

func (c *cluster) status(number uint32) (s *argosyv1.ReplicaStatus) {
	err := c.l.Read(func(_ time.Time, v *leader.View) {
		if r := v.Replica(state.Key{Tenant: "default", App: "shop", Stack: "web", Number: number}); r != nil {
			s = v.Status(r)
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// TestAssignedAndSeen: what is applied reaches the machine, and what the machine shows reaches the reader.
func TestAssignedAndSeen(t *testing.T) {
	run(t, func(c *cluster) {
		c.machine("m1")
		p, _ := c.connect("m1", "a")
		next(c, p, (*argosyv1.SessionResponse).GetWelcome)
		p.up <- report(true)
		next(c, p, (*argosyv1.SessionResponse).GetAssignments)
		sub := c.l.Subscribe()
		defer sub.Close()
		if ch := sub.Take(); !ch.All {
			t.Error("the first change is not everything")
		}
		begin := time.Now()
		c.app(1)
		a := next(c, p, (*argosyv1.SessionResponse).GetAssignments)
		if len(a.GetSet()) != 1 || a.GetSet()[0].GetContainers()[0].GetImage() != "web:1" {
			t.Fatalf("assigned %v", a)
		}
		if d := time.Since(begin); d > 5*time.Millisecond {
			t.Errorf("it took %s to be assigned", d)
		}
		if s := c.status(1); s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_PENDING || s.GetMessage() == "" {
			t.Errorf("before anybody saw it: %v", s)
		}
		p.up <- report(false, &argosyv1.ReplicaObservation{Key: a.GetSet()[0].GetKey(), AppUid: "u", Incarnation: 1, Revision: 1,
			State: argosyv1.ReplicaState_REPLICA_STATE_READY})
		synctest.Wait()
		if s := c.status(1); s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_READY || !s.GetUpToDate() {
			t.Errorf("after it was seen: %v", s)
		}
		<-sub.C
		if ch := sub.Take(); !ch.Replicas.Has(state.Key{Tenant: "default", App: "shop", Stack: "web", Number: 1}) || ch.Seq == 0 {
			t.Errorf("the change was not told: %v", ch)
		}
		time.Sleep(6 * time.Second)
		if s := c.status(1); s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED || s.GetAge().AsDuration() < 5*time.Second {
			t.Errorf("after silence: %v", s)
		}
	})
}

// TestSlowMachineDelaysNobody: a machine that reads nothing has no influence on another, and gets the newest when it reads.
func TestSlowMachineDelaysNobody(t *testing.T) {
	run(t, func(c *cluster) {
		c.machine("m1")
		c.machine("m2")
		slow, _ := c.connect("m1", "a")
		quick, _ := c.connect("m2", "b")
		slow.up <- report(true)
		quick.up <- report(true)
		next(c, quick, (*argosyv1.SessionResponse).GetAssignments)
		for n := uint32(1); n <= 40; n++ {
			c.app(2 * n)
			next(c, quick, (*argosyv1.SessionResponse).GetAssignments)
		}
		got := next(c, slow, (*argosyv1.SessionResponse).GetAssignments)
		if !got.GetFull() || len(got.GetSet()) < 30 {
			t.Errorf("the slow machine got full=%v and %d assignments", got.GetFull(), len(got.GetSet()))
		}
	})
}

// TestSecondSession: the same machine twice is refused, and reported.
func TestSecondSession(t *testing.T) {
	run(t, func(c *cluster) {
		c.machine("m1")
		first, _ := c.connect("m1", "a")
		next(c, first, (*argosyv1.SessionResponse).GetWelcome)
		second, ended := c.connect("m1", "b")
		if r := next(c, second, (*argosyv1.SessionResponse).GetRefusal); r.GetFinal() {
			t.Error("the refusal is final")
		}
		if err := <-ended; err != nil {
			t.Errorf("the refused session ended with %v", err)
		}
		first.up <- report(true)
		synctest.Wait()
		snap, err := c.store.List(c.ctx, store.History)
		if err != nil || len(snap.KVs) != 1 {
			t.Fatalf("history has %d entries: %v", len(snap.KVs), err)
		}
		ev := &argosyv1.Transition{}
		if err := store.Decode(snap.KVs[0], ev); err != nil || ev.GetKind() != argosyv1.TransitionKind_TRANSITION_KIND_SECURITY {
			t.Errorf("history says %v %v", ev, err)
		}
		third, _ := c.connect("m1", "a")
		next(c, third, (*argosyv1.SessionResponse).GetWelcome)
		stranger, _ := c.connect("m9", "x")
		if r := next(c, stranger, (*argosyv1.SessionResponse).GetRefusal); !r.GetFinal() {
			t.Error("a machine that is not in the cluster may come again")
		}
	})
}

// TestDeposed: when another server takes over, sessions end and proposals fail; leading again, everything is as it was.
func TestDeposed(t *testing.T) {
	run(t, func(c *cluster) {
		c.machine("m1")
		p, ended := c.connect("m1", "a")
		next(c, p, (*argosyv1.SessionResponse).GetWelcome)
		go func() {
			for {
				select {
				case <-p.down:
				case <-p.ctx.Done():
					return
				}
			}
		}()
		synctest.Wait()
		if _, _, err := store.AcquireTerm(c.ctx, c.store, "s2", time.Now()); err != nil {
			t.Fatal(err)
		}
		err := c.l.Propose(c.ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
			op, err := store.Put(store.MachineKey("m2"), &argosyv1.Machine{Id: "m2", Name: "m2"})
			return leader.Proposal{Ops: []store.Op{op}}, err
		})
		if !errors.Is(err, store.ErrDeposed) && !errors.Is(err, leader.ErrNotLeading) {
			t.Errorf("a deposed leader's proposal: %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("the session ended as if nothing had happened")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		err = c.l.Read(func(_ time.Time, v *leader.View) {
			if v.Machine("m1") == nil || v.Machine("m2") != nil {
				t.Error("after leading again the machines are not those of the store")
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestUsageIsWatched: machines report often while somebody watches, whichever terms come and go, and ten seconds longer.
func TestUsageIsWatched(t *testing.T) {
	run(t, func(c *cluster) {
		c.machine("m1")
		heard := make(chan time.Duration, 10)
		connect := func(session string) (ended chan error) {
			p, ended := c.connect("m1", session)
			go func() {
				beat := time.NewTicker(time.Second)
				defer beat.Stop()
				for {
					select {
					case m := <-p.down:
						if u := m.GetUsagePace(); u != nil {
							heard <- u.GetInterval().AsDuration()
						}
					case <-beat.C:
						p.up <- &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{}}}
					case <-p.ctx.Done():
						return
					}
				}
			}()
			return ended
		}
		hears := func(after time.Duration, want ...time.Duration) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			var got []time.Duration
			for len(heard) > 0 {
				got = append(got, <-heard)
			}
			if !slices.Equal(got, want) {
				t.Errorf("the machine was told %v, want %v", got, want)
			}
		}
		ended := connect("a")
		hears(time.Minute)
		first, second := c.l.WatchUsage(), c.l.WatchUsage()
		hears(0, 2*time.Second)
		first()
		first()
		hears(time.Minute)
		if _, _, err := store.AcquireTerm(c.ctx, c.store, "s2", time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Error("the session outlived its leader")
		}
		time.Sleep(time.Second)
		connect("a")
		hears(time.Second, 2*time.Second)
		second()
		hears(9999 * time.Millisecond)
		hears(time.Millisecond, 0)
	})
}

// TestUnanswered: a commit whose outcome is unknown is told as such, and the leader begins anew from the store.
func TestUnanswered(t *testing.T) {
	run(t, func(c *cluster) {
		once := true
		c.store.Inject(func(call memory.Call) memory.Fault {
			if call == memory.Commit && once {
				once = false
				return memory.Unanswered
			}
			return memory.None
		})
		err := c.l.Propose(c.ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
			op, err := store.Put(store.MachineKey("m1"), &argosyv1.Machine{Id: "m1", Name: "m1"})
			return leader.Proposal{Ops: []store.Op{op}}, err
		})
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("proposal: %v", err)
		}
		time.Sleep(time.Second)
		if err := c.l.Read(func(_ time.Time, v *leader.View) {
			if v.Machine("m1") == nil {
				t.Error("what was committed is not seen")
			}
		}); err != nil {
			t.Error(err)
		}
	})
}

// TestProposals: they are serialised, an error of one concerns nobody else, and a conflict is told.
func TestProposals(t *testing.T) {
	run(t, func(c *cluster) {
		bad := errors.New("no")
		if err := c.l.Propose(c.ctx, func(time.Time, *leader.View) (leader.Proposal, error) { return leader.Proposal{}, bad }); !errors.Is(err, bad) {
			t.Errorf("its own error: %v", err)
		}
		err := c.l.Propose(c.ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
			return leader.Proposal{If: []store.Compare{{Key: store.TokenKey("x"), ModRevision: 7}}, Ops: []store.Op{{Key: store.TokenKey("x"), Value: []byte{}}}}, nil
		})
		var conflict *store.ConflictError
		if !errors.As(err, &conflict) {
			t.Errorf("a conflict: %v", err)
		}
		errs := make(chan error)
		for i := range 50 {
			go func() {
				errs <- c.l.Propose(c.ctx, func(_ time.Time, v *leader.View) (leader.Proposal, error) {
					n := len(v.Machines()) + 1
					op, err := store.Put(store.MachineKey(fmt.Sprint("m", n)), &argosyv1.Machine{Id: fmt.Sprint("m", n), Name: fmt.Sprint("by", i)})
					return leader.Proposal{Ops: []store.Op{op}}, err
				})
			}()
		}
		for range 50 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if err := c.l.Read(func(_ time.Time, v *leader.View) {
			if len(v.Machines()) != 50 {
				t.Errorf("there are %d machines", len(v.Machines()))
			}
		}); err != nil {
			t.Error(err)
		}
	})
}

// TestProposalsTogether: proposals about different apps that wait are committed in one transaction; one that writes what another does, or
// is about the same app, sees that one's outcome first, and so does one that may look at anything.
func TestProposalsTogether(t *testing.T) {
	run(t, func(c *cluster) {
		c.slow.Store(true)
		about := func(app string) state.AppKey { return state.AppKey{Tenant: "t", App: app} }
		type asked struct {
			name  string
			about state.AppKey
			key   string // written
			saw   int    // tokens
			at    int64  // the store's revision right after
		}
		list := []*asked{
			{name: "first", about: about("a"), key: "1"},
			{name: "of another app", about: about("b"), key: "2"},
			{name: "refused", about: about("c")},
			{name: "of a third", about: about("d"), key: "3"},
			{name: "the first app again", about: about("a"), key: "4"},
			{name: "writes what is written", about: about("e"), key: "4"},
			{name: "about anything", key: "5"},
			{name: "last", about: about("f"), key: "6"},
		}
		refused := errors.New("no")
		done := make(chan error)
		go func() { // has the others wait
			done <- c.l.Propose(c.ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
				op, err := store.Put(store.MachineKey("slow"), &argosyv1.Machine{Id: "slow"})
				return leader.Proposal{Ops: []store.Op{op}}, err
			})
		}()
		time.Sleep(time.Second)
		for _, a := range list {
			go func() {
				err := c.l.ProposeAbout(c.ctx, a.about, func(_ time.Time, v *leader.View) (leader.Proposal, error) {
					if a.saw = len(v.Tokens()); a.key == "" {
						return leader.Proposal{}, refused
					}
					op, err := store.Put(store.TokenKey(a.key), &storev1.Token{})
					return leader.Proposal{Ops: []store.Op{op}}, err
				})
				if (a.key == "") != errors.Is(err, refused) {
					t.Errorf("%s: %v", a.name, err)
				}
				done <- nil
			}()
			time.Sleep(100 * time.Millisecond) // of the bubble: they come in this order
		}
		for range len(list) + 1 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		snap, err := c.store.List(c.ctx, store.Root)
		if err != nil {
			t.Fatal(err)
		}
		at := map[string]int64{}
		for _, kv := range snap.KVs {
			at[kv.Key] = kv.ModRevision
		}
		for _, a := range list {
			a.at = at[store.TokenKey(a.key)]
		}
		if list[0].at != list[1].at || list[1].at != list[3].at || list[3].at >= list[4].at || list[6].at <= list[5].at || list[7].at <= list[6].at {
			t.Errorf("committed at %v", at)
		}
		for i, saw := range []int{0, 0, 0, 0, 3, 4, 4, 5} {
			if list[i].saw != saw {
				t.Errorf("%s saw %d records, and not %d", list[i].name, list[i].saw, saw)
			}
		}
	})
}

// A process that stood still finds in its sockets what machines said long ago: it begins anew instead of believing it.
func TestAProcessThatStoodStillBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var stood atomic.Int64
		s := memory.New()
		l := leader.New(leader.Config{Store: s, Election: store.Alone{}, ServerID: "s1", Log: slog.New(slog.DiscardHandler),
			Now: func() time.Time { return time.Now().Add(time.Duration(stood.Load())) }})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = l.Run(ctx)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		synctest.Wait()
		c := &cluster{t: t, ctx: ctx, store: s, l: l}
		c.put(store.MachineKey("m1"), &argosyv1.Machine{Id: "m1", Name: "m1"})
		p := newPipe(ctx)
		over := make(chan error, 1)
		go func() { over <- l.Session(ctx, "m1", p) }()
		go func() {
			for {
				select {
				case <-p.down:
				case <-ctx.Done():
					return
				}
			}
		}()
		p.up <- hello("a")
		p.up <- report(true)
		time.Sleep(10 * time.Second) // it does not stand still, and so nothing ends
		synctest.Wait()
		first := c.number()
		select {
		case err := <-over:
			t.Fatalf("the session ended: %v", err)
		default:
		}

		stood.Store(int64(4 * time.Second))
		p.up <- &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{Number: 1}}}
		if err := <-over; !errors.Is(err, leader.ErrNotLeading) {
			t.Errorf("the session ends with %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := c.number(); n != first+1 {
			t.Errorf("the term is %d after %d", n, first)
		}
	})
}

// number is that of the term.
func (c *cluster) number() (n uint64) {
	c.t.Helper()
	if err := c.l.Read(func(_ time.Time, v *leader.View) { n = v.Number() }); err != nil {
		c.t.Fatal(err)
	}
	return n
}
