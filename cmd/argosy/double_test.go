package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
)

// double is a machine that speaks the real protocol and runs nothing: whatever it is assigned is ready at once and uses what
// its number says.
type double struct {
	agents  argosyv1connect.AgentServiceClient
	m       *join.Membership
	mu      sync.Mutex
	send    func(*argosyv1.SessionRequest) error
	running map[string]*argosyv1.ReplicaObservation
}

// joinDouble makes a machine a member and keeps its session, over restarts of the server, until the test ends.
func joinDouble(t *testing.T, token string, number int) {
	t.Helper()
	stop, err := startDouble(t.Context(), token, number, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

// startDouble is joinDouble until stop is called; what the machine keeps is in dir.
func startDouble(ctx context.Context, token string, number int, dir string) (stop func(), err error) {
	parsed, err := auth.ParseToken(token, argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("m%d", number)
	m, err := join.Machine(ctx, parsed, join.Facts{Name: name, Address: fmt.Sprintf("192.0.2.%d", number), BootID: "boot",
		Declared: join.Membership{CPUMilli: 64_000, MemoryBytes: 64 << 30}}, dir)
	if err != nil {
		return nil, err
	}
	cred, err := auth.Files{Dir: dir}.Load()
	if err != nil {
		return nil, err
	}
	verifier, err := cred.Verifier()
	if err != nil {
		return nil, err
	}
	transport := join.NewTransport(auth.ClientTLS(auth.NewSource(cred), verifier))
	d := &double{m: m, agents: argosyv1connect.NewAgentServiceClient(&http.Client{Transport: transport}, "https://"+m.Servers[0])}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			d.session(ctx, &done)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() {
		cancel()
		transport.CloseIdleConnections()
		done.Wait()
	}, nil
}

// session is one session, until it breaks.
func (d *double) session(ctx context.Context, done *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := d.agents.Session(ctx)
	defer context.AfterFunc(ctx, func() { _ = s.CloseRequest() })() // net/http looks at the context when the body has ended
	d.mu.Lock()
	d.running = map[string]*argosyv1.ReplicaObservation{}
	d.send = s.Send
	d.mu.Unlock()
	for _, m := range []*argosyv1.SessionRequest{
		{Message: &argosyv1.SessionRequest_Hello{Hello: &argosyv1.Hello{BootId: "boot", SessionId: fmt.Sprint(time.Now().UnixNano()), Address: d.m.Address,
			ClusterId: d.m.Cluster, Capacity: &argosyv1.Capacity{CpuMilli: 64_000, Memory: 64 << 30}}}},
		{Message: &argosyv1.SessionRequest_Report{Report: &argosyv1.Report{Full: true}}},
	} {
		if d.say(m) != nil {
			return
		}
	}
	done.Go(func() { d.beat(ctx) })
	for {
		m, err := s.Receive()
		if err != nil {
			return
		}
		switch what := m.Message.(type) {
		case *argosyv1.SessionResponse_Assignments:
			d.assigned(what.Assignments)
		case *argosyv1.SessionResponse_Work:
			done.Go(func() { d.work(ctx, what.Work) })
		}
	}
}

func (d *double) say(m *argosyv1.SessionRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.send(m)
}

// beat shows life, and tells usage with each beat.
func (d *double) beat(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for n := uint64(1); ; n++ {
		if d.say(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{Number: n}}}) != nil ||
			d.say(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Usage{Usage: d.usage()}}) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// assigned shows what is wanted as ready, and what is not wanted as gone.
func (d *double) assigned(a *argosyv1.Assignments) {
	r := &argosyv1.Report{}
	d.mu.Lock()
	for _, s := range a.Set {
		o := &argosyv1.ReplicaObservation{Key: s.Key, AppUid: s.AppUid, Incarnation: s.Incarnation, Revision: s.Revision, Restart: s.Restart,
			State: argosyv1.ReplicaState_REPLICA_STATE_READY, ObservedAt: timestamppb.Now()}
		if s.Goal == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			delete(d.running, s.Key.String())
			o.State = argosyv1.ReplicaState_REPLICA_STATE_GONE
			r.Gone = append(r.Gone, o)
			continue
		}
		for _, c := range s.Containers {
			o.Members = append(o.Members, &argosyv1.MemberObservation{Name: c.Name, State: argosyv1.MemberState_MEMBER_STATE_RUNNING, Address: "10.64.0.9",
				Since: timestamppb.New(time.Now().Add(-3 * time.Hour))})
		}
		if s.Key.Number == 13 {
			o.State, o.Message = argosyv1.ReplicaState_REPLICA_STATE_FAILED, "web: exited with 1; will be tried again"
			o.Members[0].State = argosyv1.MemberState_MEMBER_STATE_BACKOFF
		}
		d.running[s.Key.String()] = o
		r.Replicas = append(r.Replicas, o)
	}
	d.mu.Unlock()
	_ = d.say(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: r}})
}

func (d *double) usage() *argosyv1.UsageReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := &argosyv1.UsageReport{Machine: &argosyv1.MachineUsage{CpuMilli: 12_500, Memory: 20 << 30, DiskUsed: 100 << 30, DiskTotal: 400 << 30,
		Rate: &argosyv1.Traffic{NetworkReceived: 3 << 20, NetworkSent: 1 << 20, DiskRead: 0, DiskWritten: 64 << 10}}}
	for _, o := range d.running {
		for i, m := range o.Members {
			n := int64(o.Key.Number)
			u.Members = append(u.Members, &argosyv1.MemberUsage{Key: o.Key, Member: m.Name, CpuMilli: 10 * n, Memory: n << 20, At: timestamppb.Now(),
				Rate: &argosyv1.Traffic{NetworkReceived: n << 10, NetworkSent: int64(i) << 10, DiskWritten: n}})
		}
	}
	return u
}

// work answers logs with a line, and a command with a shell that knows how to echo and to exit.
func (d *double) work(ctx context.Context, w *argosyv1.Work) {
	s := d.agents.Attach(ctx)
	defer func() {
		_ = s.CloseRequest()
		_ = s.CloseResponse()
	}()
	if s.Send(&argosyv1.AttachRequest{WorkId: w.Id}) != nil {
		return
	}
	answer := &argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Stdout{Stdout: []byte("container$ ")}}
	if l := w.GetLogs(); l != nil {
		answer = &argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Log{Log: &argosyv1.LogLine{At: timestamppb.Now(), Key: l.Key, Member: l.Member, Text: []byte("hello from " + l.Member)}}}
	}
	if s.Send(answer) != nil {
		return
	}
	for {
		m, err := s.Receive()
		if err != nil || m.GetCancel() {
			return
		}
		in := m.GetStdin()
		if len(in) == 0 {
			continue
		}
		if in[len(in)-1] == 4 { // Ctrl-D
			_ = s.Send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_End{End: &argosyv1.WorkEnd{}}})
			_ = s.CloseRequest()
			continue // until the server has heard it
		}
		if s.Send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Stdout{Stdout: in}}) != nil {
			return
		}
	}
}
