//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/localcluster"
	"github.com/argosy-cluster/argosy/test/robustness"
)

var (
	robustFor  = flag.Duration("robustness", 3*time.Minute, "how long TestRobustness breaks things")
	robustSeed = flag.Uint64("seed", 0, "which faults TestRobustness makes, in which order; 0 takes one by the clock")
	robustOut  = flag.String("report", "", "a file that TestRobustness adds a line about its run to")
)

const (
	robustApps    = 3 // each changed by every client
	robustClients = 3 // one at each server
	mostReplicas  = 4
	// unknownAfter is how long after it was seen last a replica may be said to be ready.
	unknownAfter = 20 * time.Second
)

// TestRobustness: clients change apps, through each of three servers, while servers, agents, Docker Engines and machines
// are killed, stopped and cut off, two at a time. Judged are the clients' answers, by Porcupine; what argosy ps said of
// replicas, by docker ps on the machines at that time; and what is left in the end.
func TestRobustness(t *testing.T) {
	l, err := localcluster.New(localcluster.Options{Name: *name, Binary: w.argosy, Servers: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Up(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	seed := *robustSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: make robustness MINUTES=%.0f SEED=%d", robustFor.Minutes(), seed)
	r := &robust{t: t, rng: rand.New(rand.NewPCG(seed, 0)), history: robustness.NewHistory(), observer: robustness.NewObserver()}
	for n := range robustApps {
		r.names = append(r.names, fmt.Sprintf("robust%d", n+1))
	}
	t.Cleanup(func() { r.cleanUp() })
	r.logIn()

	for _, app := range r.names[1:] {
		op := r.history.Begin(0, app, robustness.Apply, 3)
		res, err := r.request(t.Context(), r.clients[0], op, "robust-"+app)
		if err != nil {
			t.Fatal(err)
		}
		r.history.End(op, res)
		eventually(t, 2*time.Minute, app+" is ready", func() error {
			_, err := ready(app, 3)
			return err
		})
	}

	ctx, stop := context.WithCancel(t.Context())
	var traffic, watchers sync.WaitGroup
	for n := range robustClients {
		traffic.Go(func() { r.client(ctx, n, rand.New(rand.NewPCG(seed, uint64(n)+1))) })
	}
	look, stopLooking := context.WithCancel(t.Context())
	for _, m := range w.cluster.Machines {
		watchers.Go(func() { r.look(look, m.Name) })
	}
	watchers.Go(func() { r.claims(look) })
	for begun := time.Now(); time.Since(begun) < *robustFor && !t.Failed(); {
		r.breakSomething(ctx)
	}
	stop()
	traffic.Wait()
	r.settle()
	stopLooking()
	watchers.Wait()
	r.judge(seed)
}

// robust is one run.
type robust struct {
	t        *testing.T
	rng      *rand.Rand
	history  *robustness.History
	observer *robustness.Observer
	clients  []argosyv1connect.AppServiceClient
	names    []string

	mu     sync.Mutex
	faults []string
	blind  []blindness
}

// blindness is a time in which nobody could see a machine.
type blindness struct {
	machine  string
	from, to time.Time
}

// logIn makes a client for each server.
func (r *robust) logIn() {
	token, err := auth.ParseToken(strings.TrimSpace(argosy(r.t, "token", "create", "--user", "robust", "--role", "admin")), argosyv1.TokenPurpose_TOKEN_PURPOSE_USER)
	if err != nil {
		r.t.Fatal(err)
	}
	dir := r.t.TempDir()
	if _, err := join.User(r.t.Context(), token, dir); err != nil {
		r.t.Fatal(err)
	}
	cred, err := auth.Files{Dir: dir}.Load()
	if err != nil {
		r.t.Fatal(err)
	}
	verifier, err := cred.Verifier()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range w.cluster.Machines {
		transport := join.NewTransport(auth.ClientTLS(auth.NewSource(cred), verifier))
		r.t.Cleanup(transport.CloseIdleConnections)
		r.clients = append(r.clients, argosyv1connect.NewAppServiceClient(&http.Client{Transport: transport}, "https://"+m.Address.String()+":7400"))
	}
}

func robustSpec(app string, count uint32) *argosyv1.AppSpec {
	return &argosyv1.AppSpec{Name: app,
		Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: "argosy-example/apache:2.4",
			Entrypoint: &argosyv1.Command{Args: []string{"sleep", "infinity"}}, Init: true,
			Resources: &argosyv1.Resources{ReserveCpuMilli: 20, ReserveMemory: 16 << 20}}},
		Stacks:  []*argosyv1.StackSpec{{Name: "web", Containers: []string{"web"}}},
		Cluster: []*argosyv1.ClusterEntry{{Stack: "web", Count: count}},
	}
}

// client asks for something twice a second, again and again until it knows how that ended.
func (r *robust) client(ctx context.Context, n int, rng *rand.Rand) {
	for ctx.Err() == nil {
		app := r.names[rng.IntN(len(r.names))]
		kind := robustness.Read
		switch p := rng.IntN(100); {
		case p < 25:
			kind = robustness.Scale
		case p < 45:
			kind = robustness.Apply
		case p < 47 && app == r.names[0]: // the others live long enough to be looked at
			kind = robustness.Delete
		}
		count := uint32(1 + rng.IntN(mostReplicas))
		op := r.history.Begin(n, app, kind, count)
		res := r.ask(ctx, n, op, rng)
		if res.Outcome != robustness.Unknown {
			r.history.End(op, res)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(300+rng.IntN(400)) * time.Millisecond):
		}
	}
}

// ask asks one server, or after an error without an answer any other, under one idempotency key.
func (r *robust) ask(ctx context.Context, n int, op *robustness.Operation, rng *rand.Rand) robustness.Result {
	key := fmt.Sprintf("robust-%d-%d", n, rng.Uint64())
	limit := time.Now().Add(45 * time.Second)
	for at := n; ; at++ {
		one, cancel := context.WithTimeout(ctx, 8*time.Second)
		res, err := r.request(one, r.clients[at%len(r.clients)], op, key)
		cancel()
		switch connect.CodeOf(err) {
		case connect.CodeNotFound:
			return robustness.Result{Outcome: robustness.NotFound}
		case connect.CodeFailedPrecondition:
			return robustness.Result{Outcome: robustness.Deleting}
		}
		if err == nil {
			return res
		}
		if code := connect.CodeOf(err); !slices.Contains([]connect.Code{connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown}, code) {
			r.t.Errorf("%s of %s: %v", op.Kind, op.App, err)
			return robustness.Result{Outcome: robustness.Unknown}
		}
		if ctx.Err() != nil || time.Now().After(limit) {
			return robustness.Result{Outcome: robustness.Unknown}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *robust) request(ctx context.Context, c argosyv1connect.AppServiceClient, op *robustness.Operation, key string) (robustness.Result, error) {
	switch op.Kind {
	case robustness.Apply:
		res, err := c.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: robustSpec(op.App, op.Count), IdempotencyKey: key}))
		if err != nil {
			return robustness.Result{}, err
		}
		return robustness.Result{Outcome: robustness.Done, Revision: res.Msg.App.Revision, Count: op.Count, Changed: res.Msg.Changed}, nil
	case robustness.Scale:
		res, err := c.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: op.App, Counts: map[string]uint32{"web": op.Count}, IdempotencyKey: key}))
		if err != nil {
			return robustness.Result{}, err
		}
		return robustness.Result{Outcome: robustness.Done, Revision: res.Msg.App.Revision, Count: op.Count, Changed: res.Msg.Changed}, nil
	case robustness.Delete:
		_, err := c.DeleteApp(ctx, connect.NewRequest(&argosyv1.DeleteAppRequest{App: op.App, Volumes: true, IdempotencyKey: key}))
		return robustness.Result{Outcome: robustness.Done}, err
	}
	res, err := c.GetApp(ctx, connect.NewRequest(&argosyv1.GetAppRequest{App: op.App}))
	if err != nil {
		return robustness.Result{}, err
	}
	out := robustness.Result{Outcome: robustness.Done, Revision: res.Msg.Status.App.Revision, Deleting: res.Msg.Status.App.Deleting}
	for _, rev := range res.Msg.Revisions {
		if rev.Number == out.Revision {
			out.Count = rev.Spec.Cluster[0].Count
		}
	}
	return out, nil
}

// look asks a machine's own Engine what runs there, again and again.
func (r *robust) look(ctx context.Context, machine string) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		begin := time.Now()
		list, err := robustContainers(one, machine)
		cancel()
		if err == nil {
			running := map[string]bool{}
			for _, c := range list {
				running[c.replica] = true
			}
			r.observer.Saw(machine, robustness.Sample{Begin: begin, End: time.Now(), Running: running})
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// container is one that runs.
type container struct{ replica, id string }

func robustContainers(ctx context.Context, machine string) (list []container, err error) {
	out, err := w.local.Exec(ctx, machine, "docker", "ps", "--no-trunc", "--filter", "label=argosy.app",
		"--format", `{{.Label "argosy.app"}}/{{.Label "argosy.stack"}}.{{.Label "argosy.number"}} {{.ID}}`)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		if replica, id, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(replica, "robust") {
			list = append(list, container{replica, id})
		}
	}
	return list, nil
}

// claims asks the servers, one after another, what they say of the replicas.
func (r *robust) claims(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		for _, app := range r.names {
			one, cancel := context.WithTimeout(ctx, 3*time.Second)
			asked := time.Now()
			res, err := r.clients[n%len(r.clients)].ListReplicas(one, connect.NewRequest(&argosyv1.ListReplicasRequest{App: app}))
			answered := time.Now()
			cancel()
			if err != nil {
				continue
			}
			for _, s := range res.Msg.Replicas {
				k := s.GetReplica().GetKey()
				if s.State == argosyv1.ReplicaState_REPLICA_STATE_READY {
					r.observer.Claimed(robustness.Claim{Replica: fmt.Sprintf("%s/%s.%d", k.App, k.Stack, k.Number), Machine: s.MachineName,
						Asked: asked, Answered: answered, Age: s.GetAge().AsDuration()})
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(700 * time.Millisecond):
		}
	}
}

// fault is something bad that can be undone. Blind says that nobody sees the machine meanwhile.
type fault struct {
	name     string
	do, undo func(ctx context.Context, machine string) error
	blind    bool
	server   bool // the machine's server is away meanwhile
	shortest time.Duration
	spread   time.Duration
}

func signal(unit, sig string) func(context.Context, string) error {
	return func(ctx context.Context, machine string) error {
		_, err := w.local.Exec(ctx, machine, "systemctl", "kill", "--signal", sig, unit)
		return err
	}
}

func nothing(context.Context, string) error { return nil }

func robustFaults() []fault {
	return []fault{
		{"server killed", signal("argosy-server.service", "KILL"), nothing, false, true, 2 * time.Second, 4 * time.Second},
		{"server stopped", signal("argosy-server.service", "STOP"), signal("argosy-server.service", "CONT"), false, true, 2 * time.Second, 8 * time.Second},
		{"agent killed", signal("argosy-agent.service", "KILL"), nothing, false, false, time.Second, 3 * time.Second},
		{"agent stopped", signal("argosy-agent.service", "STOP"), signal("argosy-agent.service", "CONT"), true, false, 2 * time.Second, 8 * time.Second},
		{"Engine killed", signal("docker.service", "KILL"), nothing, false, false, 3 * time.Second, 4 * time.Second},
		{"Engine stopped", signal("docker.service", "STOP"), signal("docker.service", "CONT"), true, false, 3 * time.Second, 12 * time.Second},
		{"cut off", w.local.Cut, w.local.Heal, true, true, 3 * time.Second, 25 * time.Second},
		{"machine killed", w.local.Kill, w.local.Start, true, true, 3 * time.Second, 10 * time.Second},
	}
}

// broken is a fault on a machine.
type broken struct {
	fault
	machine string
}

func (b broken) String() string { return b.machine + " " + b.name }

// choose picks one fault or two. Of the servers two are always well, so that clients get answers.
func (r *robust) choose() []broken {
	machines := []string{"m1", "m2", "m3"}
	faults := robustFaults()
	first := broken{faults[r.rng.IntN(len(faults))], machines[r.rng.IntN(3)]}
	second := broken{faults[r.rng.IntN(len(faults))], machines[r.rng.IntN(3)]}
	if first.server && second.server {
		second.machine = first.machine
	}
	if r.rng.IntN(3) == 0 || first.name == second.name || first.machine == second.machine && (first.name == "machine killed" || second.name == "machine killed") {
		return []broken{first}
	}
	return []broken{first, second}
}

// breakSomething makes one fault or two, side by side, and undoes them.
func (r *robust) breakSomething(ctx context.Context) {
	picks := r.choose()
	begun := make([]time.Time, len(picks))
	for i, b := range picks {
		begun[i] = time.Now()
		if err := b.do(ctx, b.machine); err != nil {
			r.t.Logf("%s: %v", b, err) // what the other fault left may not be there to be broken
		}
		r.pause(ctx, b.shortest+time.Duration(r.rng.Int64N(int64(b.spread))))
	}
	var names []string
	for i, b := range slices.Backward(picks) {
		end := time.Now()
		if err := b.undo(context.WithoutCancel(ctx), b.machine); err != nil {
			r.t.Errorf("%s cannot be undone: %v", b, err)
		}
		names = append(names, fmt.Sprintf("%s for %.1f s", b, end.Sub(begun[i]).Seconds()))
		r.mu.Lock()
		if b.blind {
			r.blind = append(r.blind, blindness{b.machine, begun[i], end})
		}
		r.faults = append(r.faults, b.String())
		r.mu.Unlock()
	}
	r.t.Log(strings.Join(names, " and "))
	r.pause(ctx, time.Second+time.Duration(r.rng.Int64N(int64(5*time.Second))))
}

func (r *robust) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// settle waits until what runs is what is wanted, each replica once, and nothing besides.
func (r *robust) settle() {
	t := r.t
	eventually(t, 2*time.Minute, "what runs is what is wanted", func() error {
		wanted := map[string]string{}
		for _, app := range r.names {
			list, err := replicas(app)
			if err != nil && strings.Contains(err.Error(), "no app") {
				continue
			}
			if err != nil {
				return err
			}
			for _, s := range list {
				k := s.GetReplica().GetKey()
				name := fmt.Sprintf("%s/%s.%d", k.App, k.Stack, k.Number)
				if s.State != argosyv1.ReplicaState_REPLICA_STATE_READY {
					return fmt.Errorf("%s is %v on %s: %s", name, s.State, s.MachineName, s.Message)
				}
				wanted[name] = s.MachineName
			}
		}
		run := map[string]string{}
		for _, m := range w.cluster.Machines {
			list, err := robustContainers(t.Context(), m.Name)
			if err != nil {
				return err
			}
			for _, c := range list {
				if other, twice := run[c.replica]; twice {
					return fmt.Errorf("%s runs on %s and on %s", c.replica, other, m.Name)
				}
				run[c.replica] = m.Name
			}
		}
		if !maps.Equal(wanted, run) {
			return fmt.Errorf("wanted is %v, and %v runs", wanted, run)
		}
		return nil
	})
}

// judge says what was wrong.
func (r *robust) judge(seed uint64) {
	ops := r.history.Operations()
	known := 0
	for _, op := range ops {
		if op.Result.Outcome != robustness.Unknown {
			known++
		}
	}
	linear := robustness.Linearizable(ops, time.Minute)
	if linear != nil {
		r.t.Error(linear)
	}
	lies, judged := r.observer.Lies(3 * time.Second)
	for _, l := range lies {
		r.t.Error(l)
	}
	late := 0
	for _, b := range r.blind {
		for _, l := range r.observer.Blind(b.machine, b.from, b.to, unknownAfter) {
			late++
			r.t.Error(l)
		}
	}
	samples, claims := r.observer.Counts()
	line := fmt.Sprintf("%s, seed %d: %d faults, %d operations (%d with a known end), linearizable %t, %d claims judged of %d by %d looks, %d wrong, %d too late",
		robustFor, seed, len(r.faults), len(ops), known, linear == nil, judged, claims, samples, len(lies), late)
	r.t.Log(line)
	if *robustFor >= time.Minute && (known < 20 || judged < 20) {
		r.t.Error("too little happened to judge by")
	}
	if *robustOut != "" {
		if err := appendLine(*robustOut, time.Now().Format("2006-01-02 15:04")+"  "+line); err != nil {
			r.t.Error(err)
		}
	}
}

func appendLine(path, line string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// cleanUp leaves nothing broken and no app.
func (r *robust) cleanUp() {
	ctx := context.Background()
	for _, m := range w.cluster.Machines {
		_ = w.local.Start(ctx, m.Name) // it may run
		_ = w.local.Heal(ctx, m.Name)
		for _, unit := range []string{"argosy-server", "argosy-agent", "docker"} {
			_ = signal(unit+".service", "CONT")(ctx, m.Name)
		}
	}
	for _, app := range r.names {
		if res := w.run(nil, "delete", app, "--volumes", "--yes", "--wait", "--timeout", "60s"); res.code != 0 && !strings.Contains(res.err, "no app") {
			r.t.Errorf("cleaning up: %s", res)
		}
	}
}
