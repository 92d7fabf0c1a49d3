package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/localcluster"
)

// losingMachine kills machines, and takes apart how long it takes until what ran there serves elsewhere.
var losingMachine = measurement{
	name: "loss",
	want: lossFigures(),
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		l, err := b.newLoss(ctx)
		if err != nil {
			return nil, err
		}
		defer l.remove()
		if err := l.prepare(ctx); err != nil {
			return nil, err
		}
		return want, l.measure(ctx, want)
	},
}

const (
	lossMachines = 3
	lossPort     = 18080
	// lossLiveness is what a cluster has that nobody gave another.
	lossLiveness = 10
)

// lossPhases are what passes between the kill and the first answer, in order; each begins where the last one ended.
var lossPhases = []string{"counted lost", "decided", "told to its agent", "image, files", "created", "started", "health seen", "known to a client", "served"}

func lossFigures() []figure {
	var out []figure
	for _, image := range []string{"image there", "image elsewhere"} {
		out = append(out, figure{name: "machine killed, until its replica serves elsewhere, " + image, atMost: lossLiveness + 2, unit: "s"})
		for _, phase := range lossPhases {
			out = append(out, figure{name: "    " + phase, unit: "s"})
		}
	}
	return out
}

// loss is a local cluster of three machines, and an app of two replicas that keep no data. The first machine, the server's,
// is never killed.
type loss struct {
	b        *bench
	local    *localcluster.Local
	m        *machine
	machines []localcluster.Machine
	cluster  argosyv1connect.ClusterServiceClient
	members  argosyv1connect.MachineServiceClient
}

func (b *bench) newLoss(ctx context.Context) (*loss, error) {
	name := b.name + "-loss"
	local, err := localcluster.New(localcluster.Options{Name: name, Binary: b.binary, Progress: func(e localcluster.Event) {
		if e.Took > 0 {
			b.say("  %s (%.1fs)", strings.TrimSpace(e.Machine+" "+e.Text), e.Took.Seconds())
		}
	}})
	if err != nil {
		return nil, err
	}
	if have, err := local.Show(ctx); err == nil && len(have.Machines) > 0 && !b.keep {
		return nil, fmt.Errorf("a local cluster %s exists already: remove it with 'argosy cluster down --name %s', or measure on it with -keep", name, name)
	}
	l := &loss{b: b, local: local, m: &machine{local: local, server: localcluster.ServerURL(name)}}
	have, err := local.Up(ctx, lossMachines)
	if err != nil {
		l.remove()
		return nil, err
	}
	l.machines = have.Machines
	l.m.apps = apps(l.m.server)
	l.cluster = argosyv1connect.NewClusterServiceClient(socketClient(l.m.server))
	l.members = argosyv1connect.NewMachineServiceClient(socketClient(l.m.server))
	return l, nil
}

// remove removes the cluster, unless it is to be kept.
func (l *loss) remove() {
	if l.b.keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := errors.Join(l.local.Down(ctx, localcluster.DownOptions{}), l.local.Close()); err != nil {
		l.b.say("the local cluster could not be removed: %v", err)
	}
}

// lossManifest is an app whose replicas share no machine, as each has the same port of its own. Its health check's interval is
// a usual one.
func lossManifest(image string, replicas int) string {
	return fmt.Sprintf(`argosy: v1
app: loss
containers:
  web:
    image: %s
    command: [serve]
    stop_grace_period: 0s
    ports: ["%d:8080"]
    healthcheck: {test: [CMD, /testprog, check, "http://127.0.0.1:8080/health"], interval: 5s, timeout: 5s, retries: 3}
    deploy: {resources: {reservations: {cpus: "0.01", memory: 16M}}}
stacks:
  one: {containers: [web]}
cluster:
  one: %d
`, image, lossPort, replicas)
}

// prepare runs the app on all machines, so that each has its image, and then on all but one.
func (l *loss) prepare(ctx context.Context) (err error) {
	if l.m.image, err = l.b.loadTestImage(ctx, l.m.server); err != nil {
		return err
	}
	for _, n := range []int{lossMachines, lossMachines - 1} {
		s, err := parseSpec("loss", lossManifest(l.m.image, n))
		if err != nil {
			return err
		}
		if _, _, err := l.m.applySpec(ctx, "loss", s); err != nil {
			return err
		}
		if _, err := l.whole(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// whole waits until all machines are ready and so many replicas, and nothing is left of others, and returns the replicas.
func (l *loss) whole(ctx context.Context, n int) ([]*argosyv1.ReplicaStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		machines, err := l.members.ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{}))
		if err != nil {
			return nil, err
		}
		replicas, err := l.m.apps.ListReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{App: "loss"}))
		if err != nil {
			return nil, err
		}
		silent := slices.ContainsFunc(machines.Msg.Machines, func(m *argosyv1.MachineStatus) bool {
			return m.Condition != argosyv1.MachineCondition_MACHINE_CONDITION_READY
		})
		waits := slices.ContainsFunc(replicas.Msg.Replicas, func(r *argosyv1.ReplicaStatus) bool {
			return r.State != argosyv1.ReplicaState_REPLICA_STATE_READY || len(r.GetReplica().GetPast()) > 0
		})
		if !silent && !waits && len(replicas.Msg.Replicas) == n {
			return replicas.Msg.Replicas, nil
		}
		if err := settle(ctx, 500*time.Millisecond); err != nil {
			return nil, fmt.Errorf("not everything became ready: %w", err)
		}
	}
}

// measure kills machines, in turn with the image on the machine that is free and without, and fills in the medians.
func (l *loss) measure(ctx context.Context, want []figure) error {
	took := make([][]float64, len(want))
	for i := range 2 * l.b.rounds {
		without := i%2 != 0
		phases, err := l.kill(ctx, without)
		if err != nil {
			return err
		}
		row := 0
		if without {
			row = len(want) / 2
		}
		text, whole := "", 0.0
		for j, d := range phases {
			whole += d.Seconds()
			took[row+1+j] = append(took[row+1+j], d.Seconds())
			text += fmt.Sprintf(", %s %.2f", lossPhases[j], d.Seconds())
		}
		took[row] = append(took[row], whole)
		l.b.say("  %.2f s%s; load %s", whole, text, load())
	}
	for i := range want {
		want[i].value = median(took[i])
		want[i].note = fmt.Sprintf("median of %d, from %s", len(took[i]), spread(took[i], "s"))
	}
	return nil
}

// kill kills a machine with a replica, waits until that serves on the machine that was free, and starts the machine again. It
// returns how long each phase took.
func (l *loss) kill(ctx context.Context, without bool) ([]time.Duration, error) {
	replicas, err := l.whole(ctx, lossMachines-1)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(replicas, func(r *argosyv1.ReplicaStatus) bool { return r.MachineName != machineName })
	before := replicas[i]
	free := slices.IndexFunc(l.machines, func(m localcluster.Machine) bool {
		return !slices.ContainsFunc(replicas, func(r *argosyv1.ReplicaStatus) bool { return r.MachineName == m.Name })
	})
	if without {
		if out, err := l.local.Exec(ctx, l.machines[free].Name, "sh", "-c", "docker image ls -q | sort -u | xargs -r docker image rm -f"); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err := settle(ctx, 5*time.Second); err != nil { // beats are seconds apart, and the machine is to be killed between any two
		return nil, err
	}
	served := make(chan time.Time, 1)
	begun := time.Now()
	go func() { served <- l.serves(ctx, l.machines[free], begun) }()
	if err := l.local.Kill(ctx, before.MachineName); err != nil {
		return nil, err
	}
	after, known, err := l.moved(ctx, before)
	if err != nil {
		return nil, err
	}
	marks, err := l.marks(ctx, begun, before, after)
	if err != nil {
		return nil, err
	}
	marks = append(marks, known, <-served)
	if err := l.local.Start(ctx, before.MachineName); err != nil {
		return nil, err
	}
	// The phases follow one another, but a client may be served before it is told.
	phases := make([]time.Duration, len(marks))
	last := begun
	for i, at := range marks {
		if at.IsZero() {
			return nil, fmt.Errorf("the cluster does not tell when this was: %s", lossPhases[i])
		}
		phases[i] = max(at.Sub(last), 0)
		last = last.Add(phases[i])
	}
	return phases, nil
}

// lossPatience is how long what was lost may take to serve elsewhere: on a host that is very busy it takes minutes.
const lossPatience = 3 * time.Minute

// serves asks a machine's port until it answers, and returns when that was: the zero time when it did not within lossPatience.
func (l *loss) serves(ctx context.Context, m localcluster.Machine, begun time.Time) time.Time {
	hc := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for time.Since(begun) < lossPatience && ctx.Err() == nil {
		res, err := hc.Get(fmt.Sprintf("http://%s:%d/health", m.Address, lossPort))
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return time.Now()
			}
		}
		_ = settle(ctx, 20*time.Millisecond)
	}
	return time.Time{}
}

// moved waits until a client is told that the replica is ready on another machine, and returns when that was.
func (l *loss) moved(ctx context.Context, before *argosyv1.ReplicaStatus) (after *argosyv1.ReplicaStatus, at time.Time, err error) {
	key := before.GetReplica().GetKey().GetNumber()
	at, err = l.m.watch(ctx, "loss", func(res *argosyv1.WatchReplicasResponse) bool {
		for _, r := range res.Replicas {
			if r.GetReplica().GetKey().GetNumber() == key && r.MachineName != before.MachineName && r.State == argosyv1.ReplicaState_REPLICA_STATE_READY {
				after = r
			}
		}
		return after != nil
	})
	if err != nil {
		err = fmt.Errorf("the replica is ready elsewhere: %w", err)
	}
	return after, at, err
}

// marks are when the phases that history and the machine's Engine know of ended, in the order of lossPhases.
func (l *loss) marks(ctx context.Context, begun time.Time, before, after *argosyv1.ReplicaStatus) ([]time.Time, error) {
	container := after.GetObservation().GetMembers()[0].GetContainerId()
	out, err := l.local.Exec(ctx, after.MachineName, "docker", "inspect", "--format", "{{.Created}} {{.State.StartedAt}}", container)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	var engine [2]time.Time
	for i, field := range strings.Fields(string(out)) {
		if engine[i], err = time.Parse(time.RFC3339Nano, field); err != nil {
			return nil, err
		}
	}
	var marks []time.Time
	for range 50 { // history has it a moment after clients
		events, err := l.history(ctx, begun)
		if err != nil {
			return nil, err
		}
		marks = readMarks(events, before, after, engine[0], engine[1])
		if !slices.ContainsFunc(marks, time.Time.IsZero) {
			break
		}
		if err := settle(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return marks, nil
}

// history is what happened since a time.
func (l *loss) history(ctx context.Context, since time.Time) ([]*argosyv1.Transition, error) {
	stream, err := l.cluster.ListEvents(ctx, connect.NewRequest(&argosyv1.ListEventsRequest{Since: timestamppb.New(since), Tail: 1000}))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var events []*argosyv1.Transition
	for stream.Receive() {
		events = append(events, stream.Msg().Events...)
	}
	return events, stream.Err()
}

// readMarks finds the ends of the phases that history and an Engine know of.
func readMarks(events []*argosyv1.Transition, before, after *argosyv1.ReplicaStatus, created, started time.Time) []time.Time {
	var lost, decided, told, asked, healthy time.Time
	first := func(at *time.Time, t *argosyv1.Transition) {
		if at.IsZero() {
			*at = t.GetAt().AsTime()
		}
	}
	r := after.GetReplica()
	for _, t := range events {
		ours := t.GetReplica().GetNumber() == r.GetKey().GetNumber() && t.GetIncarnation() == r.GetIncarnation()
		switch {
		case t.GetKind() == argosyv1.TransitionKind_TRANSITION_KIND_MACHINE && t.GetMachine() == before.GetReplica().GetMachine() && t.GetTo() == "lost":
			first(&lost, t)
		case ours && t.GetKind() == argosyv1.TransitionKind_TRANSITION_KIND_ASSIGNMENT:
			first(&decided, t)
		case ours && t.GetKind() == argosyv1.TransitionKind_TRANSITION_KIND_MEMBER:
			first(&told, t)
			if t.GetTo() == "starting" {
				first(&asked, t)
			}
			if t.GetTo() == "running" {
				first(&healthy, t)
			}
		}
	}
	return []time.Time{lost, decided, told, created, asked, started, healthy}
}
