package kill

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/test/robustness"
)

var (
	rounds = flag.Int("rounds", 20, "how often TestKill kills")
	seed   = flag.Uint64("seed", 0, "what TestKill kills, in which order; 0 takes one by the clock")
	report = flag.String("report", "", "a file that TestKill adds a line about its run to; logs of a run that failed go beside it")
)

const (
	apps     = 3 // each changed by every client
	clients  = 3 // one at each server
	most     = 3 // replicas of an app
	perEpoch = 25
	// mostWait and mostAway bound how long after the last sign of work a process is killed, and how long it is away.
	mostWait = time.Second
	mostAway = 500 * time.Millisecond
)

// TestKill (invariants 3 and 4): whatever is killed at whatever instant, no change that was acknowledged is lost, and when all is
// quiet exactly what is wanted runs; nothing is left of what was deleted.
func TestKill(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: make kill ROUNDS=%d SEED=%d", *rounds, s)
	k := &run{t: t, cluster: newCluster(t), seed: s, rng: rand.New(rand.NewPCG(s, 0)), kills: map[string]int{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	k.begin()
	var traffic sync.WaitGroup
	for n := range clients {
		traffic.Go(func() { k.client(ctx, n, rand.New(rand.NewPCG(s, uint64(n)+1))) })
	}
	begun := time.Now()
	for n := 0; n < *rounds && !t.Failed(); n++ {
		k.round()
		if (n+1)%perEpoch == 0 || n+1 == *rounds {
			k.quiet.Lock() // clients end what they are at
			k.settle()
			k.quiet.Unlock()
			t.Logf("%d killed after %s, %d changes acknowledged", k.killed, time.Since(begun).Round(time.Second), k.acknowledged)
		}
	}
	stop()
	traffic.Wait()
	k.tell(time.Since(begun))
}

// run is one run.
type run struct {
	t       testing.TB
	cluster *cluster
	seed    uint64
	rng     *rand.Rand

	// quiet is held for reading by a client that asks, and for writing while all rest.
	quiet   sync.RWMutex
	epoch   int
	names   []string            // of the epoch's apps
	history *robustness.History // of the epoch
	acks    atomic.Int64        // answers so far, of whatever kind

	killed, asked, known, acknowledged int
	kills                              map[string]int
	settled                            []time.Duration
}

// begin gives the next epoch apps of its own, so that what is to be judged does not grow.
func (k *run) begin() {
	k.epoch++
	k.history, k.names = robustness.NewHistory(), nil
	for n := range apps {
		k.names = append(k.names, fmt.Sprintf("kill%d%c", k.epoch, 'a'+n))
	}
}

func (k *run) spec(app string, count uint32) *argosyv1.AppSpec {
	return &argosyv1.AppSpec{Name: app,
		Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: k.cluster.engine.image, PullPolicy: argosyv1.PullPolicy_PULL_POLICY_NEVER,
			Command: &argosyv1.Command{Args: []string{"sleep"}}, StopGracePeriod: durationpb.New(time.Second),
			Mounts:    []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}},
			Resources: &argosyv1.Resources{ReserveCpuMilli: 20, ReserveMemory: 16 << 20}}},
		Stacks:  []*argosyv1.StackSpec{{Name: "web", Containers: []string{"web"}, Volumes: []*argosyv1.VolumeSpec{{Name: "data"}}}},
		Cluster: []*argosyv1.ClusterEntry{{Stack: "web", Count: count}},
	}
}

// client asks for one thing after another, each until it knows how that ended.
func (k *run) client(ctx context.Context, n int, rng *rand.Rand) {
	for ctx.Err() == nil {
		k.quiet.RLock()
		app := k.names[rng.IntN(len(k.names))]
		kind := robustness.Read
		switch p := rng.IntN(100); {
		case p < 30:
			kind = robustness.Scale
		case p < 55:
			kind = robustness.Apply
		case p < 60:
			kind = robustness.Delete
		}
		k.ask(ctx, n, app, kind, uint32(1+rng.IntN(most)), fmt.Sprintf("%d-%d-%d", k.epoch, n, rng.Uint64()))
		k.quiet.RUnlock()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+rng.IntN(200)) * time.Millisecond):
		}
	}
}

func (k *run) ask(ctx context.Context, n int, app string, kind robustness.Kind, count uint32, key string) {
	c := robustness.Client{Number: n, Spec: k.spec, Stack: "web", Each: 8 * time.Second, All: 2 * time.Minute}
	for _, p := range k.cluster.list[:servers] {
		c.Servers = append(c.Servers, p.apps)
	}
	if err := c.Do(ctx, k.history, app, kind, count, key); err != nil {
		k.t.Error(err)
	}
	k.acks.Add(1)
}

// round waits until somebody was answered, so that there is work to be broken off, and a while; then it kills.
func (k *run) round() {
	before := k.acks.Load()
	if _, err := await(k.t.Context(), func(context.Context) error {
		if k.acks.Load() == before && k.cluster.fell() == nil {
			return errors.New("nobody was answered")
		}
		return nil
	}); err != nil {
		k.t.Errorf("%v within %s", err, patience)
		return
	}
	k.pause(mostWait)
	if err := k.cluster.fell(); err != nil {
		k.t.Error(err)
		return
	}
	victims, name := k.choose()
	for _, p := range victims {
		p.kill()
	}
	k.kills[name]++
	k.killed++
	k.pause(mostAway)
	for _, p := range victims {
		if err := p.start(); err != nil {
			k.t.Error(err)
		}
	}
}

func (k *run) pause(longest time.Duration) {
	<-time.After(time.Duration(k.rng.Int64N(int64(longest))))
}

// choose picks what is killed next.
func (k *run) choose() (victims []*process, name string) {
	p := slices.Clone(k.cluster.list[:servers])
	k.rng.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
	agent := k.cluster.agent()
	switch n := k.rng.IntN(10); {
	case n < 4:
		return p[:1], "a server"
	case n < 7:
		return []*process{agent}, "the agent"
	case n < 8:
		return []*process{p[0], agent}, "a server and the agent"
	case n < 9:
		return p[:2], "two servers"
	}
	return append(p, agent), "all"
}

// settle judges an epoch: what is wanted is read, runs, once, and nothing besides; then it is deleted, and nothing is left.
func (k *run) settle() {
	begun := time.Now()
	for _, app := range k.names {
		k.ask(k.t.Context(), 0, app, robustness.Read, 0, "")
	}
	if _, err := await(k.t.Context(), k.agrees); err != nil {
		k.t.Errorf("what runs is not what is wanted %s after the last kill: %v", patience, err)
	}
	for n, app := range k.names {
		k.ask(k.t.Context(), 0, app, robustness.Delete, 0, fmt.Sprintf("end-%d-%d", k.epoch, n))
	}
	if _, err := await(k.t.Context(), k.nothingIsLeft); err != nil {
		k.t.Errorf("something is left %s after everything was deleted: %v", patience, err)
	}
	k.settled = append(k.settled, time.Since(begun))
	if err := k.cluster.fell(); err != nil {
		k.t.Error(err)
	}
	ops := k.history.Operations()
	for _, op := range ops {
		k.asked++
		if op.Result.Outcome != robustness.Unknown {
			k.known++
		}
		if op.Result.Outcome == robustness.Done && (op.Result.Changed || op.Kind == robustness.Delete) {
			k.acknowledged++
		}
	}
	if err := robustness.Linearizable(ops, time.Minute); err != nil {
		k.t.Error(err)
	}
	k.begin()
}

// agrees is nil when exactly what is wanted runs, each replica once.
func (k *run) agrees(ctx context.Context) error {
	wanted, err := replicas(ctx, k.cluster.list[0].apps)
	if err != nil {
		return err
	}
	s, err := k.cluster.engine.look(ctx)
	if err != nil {
		return err
	}
	if !maps.Equal(wanted, s.running) || s.containers != len(wanted) {
		return fmt.Errorf("wanted is %v, %v runs, and there are %d containers", wanted, s.running, s.containers)
	}
	for name := range wanted {
		if s.volumes[name] != 1 {
			return fmt.Errorf("%s has %d volumes", name, s.volumes[name])
		}
	}
	return nil
}

// replicas are those that are wanted; all must be ready.
func replicas(ctx context.Context, apps argosyv1connect.AppServiceClient) (map[string]int, error) {
	res, err := apps.ListReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{}))
	if err != nil {
		return nil, err
	}
	wanted := map[string]int{}
	for _, r := range res.Msg.Replicas {
		key := r.GetReplica().GetKey()
		name := fmt.Sprintf("%s/%s.%d", key.GetApp(), key.GetStack(), key.GetNumber())
		if r.State != argosyv1.ReplicaState_REPLICA_STATE_READY {
			return nil, fmt.Errorf("%s is %v: %s", name, r.State, r.Message)
		}
		wanted[name]++
	}
	return wanted, nil
}

// nothingIsLeft is nil when there are no apps, and neither containers nor volumes.
func (k *run) nothingIsLeft(ctx context.Context) error {
	res, err := k.cluster.list[0].apps.ListApps(ctx, connect.NewRequest(&argosyv1.ListAppsRequest{}))
	if err != nil {
		return err
	}
	s, err := k.cluster.engine.look(ctx)
	if err != nil {
		return err
	}
	if len(res.Msg.Apps) > 0 || s.containers > 0 || len(s.volumes) > 0 {
		return fmt.Errorf("%d apps, %d containers (%v run), volumes of %v", len(res.Msg.Apps), s.containers, s.running, s.volumes)
	}
	return nil
}

// tell says how the run went.
func (k *run) tell(took time.Duration) {
	var kinds []string
	for _, name := range slices.Sorted(maps.Keys(k.kills)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", name, k.kills[name]))
	}
	line := fmt.Sprintf("seed %d: killed %d times in %s (%s); %d requests (%d with a known end), %d changes acknowledged; failed %t; settled %d times, after %s at most",
		k.seed, k.killed, took.Round(time.Second), strings.Join(kinds, ", "), k.asked, k.known, k.acknowledged, k.t.Failed(), len(k.settled),
		slices.Max(append(k.settled, 0)).Round(100*time.Millisecond))
	k.t.Log(line)
	if k.acknowledged < k.killed/2 {
		k.t.Errorf("only %d changes were acknowledged: too little happened to judge by", k.acknowledged)
	}
	if *report == "" {
		return
	}
	if err := k.keep(line); err != nil {
		k.t.Error(err)
	}
}

// keep adds a line to the report, and logs beside it when the run failed.
func (k *run) keep(line string) error {
	if err := os.MkdirAll(filepath.Dir(*report), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(*report, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, time.Now().Format("2006-01-02 15:04")+"  "+line)
	if err = errors.Join(err, f.Close()); err != nil || !k.t.Failed() {
		return err
	}
	return k.cluster.keepLogs(filepath.Join(filepath.Dir(*report), fmt.Sprintf("kill-%d", k.seed)))
}
