package agent_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent"
	"github.com/argosy-cluster/argosy/internal/freeport"
	"github.com/argosy-cluster/argosy/internal/image/testimage"
)

const prefix = "argosy-agent-test"

// patience bounds what is only about hanging: a machine that has much to do takes long for what another does at once.
const patience = 3 * time.Minute

// leader is a server that leads, as an agent sees one. It assigns what a test tells it to, and remembers what it hears.
type leader struct {
	argosyv1connect.UnimplementedAgentServiceHandler
	http *httptest.Server

	mu          sync.Mutex
	changed     chan struct{} // closed and replaced at each change
	wanted      map[string]*argosyv1.Assignment
	session     int // counts up; the last one is live
	out         chan *argosyv1.SessionResponse
	full        bool // the live session has reported in full
	seen        map[string]*argosyv1.ReplicaObservation
	gone        []string
	transitions []*argosyv1.Transition
	beats       int
	usage       *argosyv1.UsageReport
	trouble     string // of the Engine, as it was told last
	strays      []string
	holdAcks    bool
	beat        time.Duration
	faults      []string
	attached    map[string]chan *attached
}

type attached struct {
	first  *argosyv1.AttachRequest
	stream *connect.BidiStream[argosyv1.AttachRequest, argosyv1.AttachResponse]
	done   chan struct{}
}

func newLeader(t testing.TB) *leader {
	l := &leader{beat: 200 * time.Millisecond, changed: make(chan struct{}), wanted: map[string]*argosyv1.Assignment{}, seen: map[string]*argosyv1.ReplicaObservation{}, attached: map[string]chan *attached{}}
	mux := http.NewServeMux()
	mux.Handle(argosyv1connect.NewAgentServiceHandler(l))
	l.http = httptest.NewUnstartedServer(mux)
	l.http.EnableHTTP2 = true
	l.http.StartTLS()
	t.Cleanup(func() {
		l.http.CloseClientConnections()
		l.http.Close()
	})
	return l
}

func (l *leader) address() string { return strings.TrimPrefix(l.http.URL, "https://") }

func (l *leader) client() *http.Client {
	return agent.HTTPClient(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: l.http.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}})
}

func (l *leader) note() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Session implements argosyv1connect.AgentServiceHandler.
func (l *leader) Session(ctx context.Context, s *connect.BidiStream[argosyv1.SessionRequest, argosyv1.SessionResponse]) error {
	m, err := s.Receive()
	if err != nil {
		return err
	}
	if m.GetHello() == nil {
		return errors.New("no hello")
	}
	out := make(chan *argosyv1.SessionResponse, 1000)
	l.mu.Lock()
	l.session++
	me := l.session
	l.out, l.full = out, false
	out <- &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Welcome{Welcome: &argosyv1.Welcome{
		Leader: true, Name: "m1", Settings: &argosyv1.ClusterSettings{Beat: durationpb.New(l.beat)},
	}}}
	all := &argosyv1.Assignments{Full: true}
	for _, a := range l.wanted {
		all.Set = append(all.Set, a)
	}
	out <- &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Assignments{Assignments: all}}
	l.note()
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	sender := make(chan struct{})
	defer func() { // the stream may not be used any more once this has returned
		cancel()
		<-sender
	}()
	go func() {
		defer close(sender)
		for {
			select {
			case m := <-out:
				if s.Send(m) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		m, err := s.Receive()
		if err != nil {
			return nil
		}
		l.hear(me, m)
	}
}

func (l *leader) hear(session int, m *argosyv1.SessionRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.note()
	if session != l.session {
		return
	}
	switch what := m.GetMessage().(type) {
	case *argosyv1.SessionRequest_Beat:
		l.beats++
	case *argosyv1.SessionRequest_Report:
		if !l.full && !what.Report.GetFull() {
			l.faults = append(l.faults, "a delta came before the full report")
		}
		if what.Report.GetFull() {
			l.full = true
			clear(l.seen)
		}
		for _, o := range what.Report.GetReplicas() {
			l.seen[nameOf(o.GetKey())] = o
		}
		for _, o := range what.Report.GetGone() {
			l.gone = append(l.gone, nameOf(o.GetKey()))
			if was := l.seen[nameOf(o.GetKey())]; was.GetIncarnation() == o.GetIncarnation() {
				delete(l.seen, nameOf(o.GetKey()))
			}
		}
	case *argosyv1.SessionRequest_Transitions:
		for _, t := range what.Transitions.GetTransitions() {
			last := uint64(0)
			if n := len(l.transitions); n > 0 {
				last = l.transitions[n-1].GetOutboxSeq()
			}
			switch {
			case t.GetOutboxSeq() <= last: // sent again, because the acknowledgement was lost
			case t.GetOutboxSeq() != last+1:
				l.faults = append(l.faults, fmt.Sprintf("transition %d came after %d", t.GetOutboxSeq(), last))
			default:
				l.transitions = append(l.transitions, t)
			}
		}
		if n := len(l.transitions); n > 0 && !l.holdAcks {
			l.out <- &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_TransitionsAck{TransitionsAck: &argosyv1.TransitionsAck{OutboxSeq: l.transitions[n-1].GetOutboxSeq()}}}
		}
	case *argosyv1.SessionRequest_Usage:
		l.usage = what.Usage
	case *argosyv1.SessionRequest_Engine:
		l.trouble = what.Engine.GetTrouble()
	case *argosyv1.SessionRequest_Strays:
		l.strays = nil
		for _, v := range what.Strays.GetVolumes() {
			l.strays = append(l.strays, nameOf(v.GetReplica())+"/"+v.GetName())
		}
	}
}

// Attach implements argosyv1connect.AgentServiceHandler.
func (l *leader) Attach(ctx context.Context, s *connect.BidiStream[argosyv1.AttachRequest, argosyv1.AttachResponse]) error {
	m, err := s.Receive()
	if err != nil {
		return err
	}
	l.mu.Lock()
	ch := l.attached[m.GetWorkId()]
	l.mu.Unlock()
	if ch == nil {
		return connect.NewError(connect.CodeNotFound, errors.New("nobody waits for this work"))
	}
	a := &attached{first: m, stream: s, done: make(chan struct{})}
	ch <- a
	<-a.done // the stream is the test's until it says so
	return nil
}

func (l *leader) work(t testing.TB, w *argosyv1.Work) *attached {
	t.Helper()
	ch := make(chan *attached, 1)
	l.mu.Lock()
	w.Id = fmt.Sprintf("work-%d", len(l.attached)+1)
	l.attached[w.Id] = ch
	l.out <- &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Work{Work: w}}
	l.mu.Unlock()
	select {
	case a := <-ch:
		t.Cleanup(func() { closeOnce(a.done) })
		return a
	case <-time.After(patience):
		t.Fatal("the agent did not attach")
		return nil
	}
}

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

func nameOf(k *argosyv1.ReplicaKey) string {
	return fmt.Sprintf("%s/%s.%d", k.GetApp(), k.GetStack(), k.GetNumber())
}

// assign makes assignments wanted and tells the agent.
func (l *leader) assign(list ...*argosyv1.Assignment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range list {
		l.wanted[nameOf(a.GetKey())] = a
	}
	if l.out != nil {
		l.out <- &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Assignments{Assignments: &argosyv1.Assignments{Set: list}}}
	}
}

// forget takes a record away.
func (l *leader) forget(k *argosyv1.ReplicaKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.wanted, nameOf(k))
	l.out <- &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Assignments{Assignments: &argosyv1.Assignments{Removed: []*argosyv1.ReplicaKey{k}}}}
}

// until waits for something to become true of what was heard.
func (l *leader) until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		good, changed := ok(), l.changed
		l.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			l.show(t)
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func (l *leader) show(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, o := range l.seen {
		t.Logf("%s: %s %s", k, o.GetState(), o.GetMessage())
		for _, m := range o.GetMembers() {
			t.Logf("  %s: %s %s", m.GetName(), m.GetState(), m.GetMessage())
		}
	}
}

func (l *leader) state(name string) argosyv1.ReplicaState { return l.seen[name].GetState() }

func (l *leader) ready(t testing.TB, name string) {
	t.Helper()
	l.until(t, name+" is ready", func() bool { return l.state(name) == argosyv1.ReplicaState_REPLICA_STATE_READY })
}

func (l *leader) sound(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.faults {
		t.Error(f)
	}
}

// bench is a place to run agents at: an Engine, directories, a cluster id of its own.
type bench struct {
	docker  *client.Client
	image   string
	cluster string
	prefix  string
	data    string
	run     string
	port    int
}

// benches bounds how many there are at a time: tests wait for the Engine, and an Engine has to take many beginnings and ends at once.
var benches = make(chan struct{}, 3)

// newBench is such a place. Tests that have one run side by side.
func newBench(t testing.TB) *bench {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	benches <- struct{}{}
	t.Cleanup(func() { <-benches })
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := docker.Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Fatalf("this test needs a Docker Engine and none answers: start one (systemctl start docker) and try again: %v", err)
	}
	image, err := testimage.Ensure(t.Context(), docker)
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("/dev/shm", prefix)
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("%s-%d-%d", prefix, os.Getpid(), time.Now().UnixNano())
	b := &bench{docker: docker, image: image, cluster: own, prefix: own, data: t.TempDir(), run: run, port: freePort(t)}
	t.Cleanup(func() {
		b.clear(t)
		os.RemoveAll(run)
		docker.Close()
	})
	return b
}

func freePort(t testing.TB) int {
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (b *bench) filter() client.Filters {
	return client.Filters{}.Add("label", "argosy.cluster="+b.cluster)
}

// clear removes everything the test made on the Engine.
func (b *bench) clear(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// A container whose creation was under way when its agent ended may appear after it was looked for.
	for quiet := 0; quiet < 2; {
		list, err := b.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: b.filter()})
		if err != nil {
			t.Error(err)
			return
		}
		if len(list.Items) == 0 {
			quiet++
		} else {
			quiet = 0
		}
		for _, c := range list.Items {
			if _, err := b.docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil && !errdefs.IsNotFound(err) {
				t.Error(err)
			}
		}
	}
	volumes, err := b.docker.VolumeList(ctx, client.VolumeListOptions{Filters: b.filter()})
	if err != nil {
		t.Error(err)
	}
	for _, v := range volumes.Items {
		if _, err := b.docker.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil {
			t.Error(err)
		}
	}
}

func (b *bench) config(l *leader, log *slog.Logger) agent.Config {
	return agent.Config{
		MachineID: "machine1", ClusterID: b.cluster, Name: "m1", Servers: []string{l.address()}, HTTP: l.client(),
		Open:    func(sealed, _ []byte) ([]byte, error) { return append([]byte(nil), sealed...), nil },
		DataDir: b.data, RunDir: b.run, ImagePort: b.port, AcceptNoLiveRestore: true, NoNetwork: true, Prefix: b.prefix,
		Grace: time.Second, UsageEvery: time.Second, Version: "test", Log: log,
	}
}

// start runs an agent in this process until the returned function is called, or the test ends.
func (b *bench) start(t testing.TB, cfg agent.Config) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("agent.Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the agent does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *bench) assignment(number uint32, members ...*argosyv1.ContainerSpec) *argosyv1.Assignment {
	stack := &argosyv1.StackSpec{Name: "lamp"}
	for _, m := range members {
		stack.Containers = append(stack.Containers, m.GetName())
	}
	return &argosyv1.Assignment{
		Key: &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "lamp", Number: number}, AppUid: "0123456789abcdef", Incarnation: 1, Revision: 1,
		Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN, Stack: stack, Containers: members,
	}
}

func (b *bench) member(name string, args ...string) *argosyv1.ContainerSpec {
	return &argosyv1.ContainerSpec{
		Name: name, Image: b.image, PullPolicy: argosyv1.PullPolicy_PULL_POLICY_NEVER, Command: &argosyv1.Command{Args: args},
		StopGracePeriod: durationpb.New(2 * time.Second),
	}
}

func (b *bench) containers(t testing.TB) map[string]string {
	t.Helper()
	list, err := b.docker.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: b.filter()})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, c := range list.Items {
		out[c.Labels["argosy.member"]+"."+c.Labels["argosy.number"]] = c.ID
	}
	return out
}
