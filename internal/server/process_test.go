package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent/session"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
)

// Servers in processes of their own, which can be killed and stopped as no goroutine can. The process is this test's
// binary, told by its environment to be a server.

const childEnv = "ARGOSY_TEST_SERVER"

// child is how to run a server, as it is handed to the process.
type child struct {
	Dir, Addr, Peer, Name string
}

func (c child) socket() string { return filepath.Join(c.Dir, "s") }

// runChild is the life of such a process.
func runChild(text string) int {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	log, err := os.OpenFile(filepath.Join(c.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err = Run(ctx, Config{DataDir: filepath.Join(c.Dir, "data"), Listen: c.Addr, Advertise: []string{c.Addr}, Socket: c.socket(),
		PeerListen: c.Peer, PeerAdvertise: c.Peer, Name: c.Name, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		fmt.Fprintln(log, err)
		return 1
	}
	return 0
}

// process is a server in a process of its own.
type process struct {
	child
	cmd  *exec.Cmd
	ask  *clients
	its  argosyv1connect.ServerServiceClient
	gone chan struct{}
}

func (p *process) start(t testing.TB) {
	t.Helper()
	text, err := json.Marshal(p.child)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(p.Dir, "log")); err == nil && t.Failed() {
			t.Logf("%s:\n%s", p.Name, log[max(0, len(log)-3000):])
		}
	})
	p.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) {
		_ = cmd.Wait() // it is killed
		close(gone)
	}(p.cmd, p.gone)
	t.Cleanup(p.kill)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	hc := &http.Client{Transport: &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", p.socket())
	}}}
	t.Cleanup(hc.CloseIdleConnections)
	p.ask = newClients(hc, "http://server.test")
	p.its = argosyv1connect.NewServerServiceClient(hc, "http://server.test")
}

func (p *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.gone
}

// fleet are the processes of a cluster.
type fleet struct {
	t    testing.TB
	list []*process
}

func threeProcesses(t testing.TB) *fleet {
	t.Helper()
	f := &fleet{t: t}
	f.add("s1", nil)
	until(t, "the first server", func(ctx context.Context) error {
		_, err := f.list[0].ask.apps.ListApps(ctx, connect.NewRequest(&argosyv1.ListAppsRequest{}))
		return err
	})
	for _, name := range []string{"s2", "s3"} {
		f.add(name, f.token(argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER))
	}
	until(t, "three voters", func(ctx context.Context) error {
		res, err := f.list[0].its.ListServers(ctx, connect.NewRequest(&argosyv1.ListServersRequest{}))
		if err != nil {
			return err
		}
		if res.Msg.Spare != 1 {
			return fmt.Errorf("%v", res.Msg.Servers)
		}
		return nil
	})
	return f
}

func (f *fleet) add(name string, token *auth.Token) {
	f.t.Helper()
	p := &process{child: child{Dir: shortDir(f.t), Addr: freePort(f.t), Peer: freePort(f.t), Name: name}}
	if token != nil {
		until(f.t, name+" joins", func(ctx context.Context) error {
			_, err := join.Server(ctx, *token, join.ServerFacts{Name: name}, filepath.Join(p.Dir, "data"))
			return err
		})
	}
	p.start(f.t)
	f.list = append(f.list, p)
}

func (f *fleet) token(purpose argosyv1.TokenPurpose) *auth.Token {
	f.t.Helper()
	var text string
	until(f.t, "a token", func(ctx context.Context) error {
		res, err := f.list[0].ask.cluster.CreateToken(ctx, connect.NewRequest(&argosyv1.CreateTokenRequest{Purpose: purpose, ExpiresIn: durationpb.New(time.Hour)}))
		if err == nil {
			text = res.Msg.Token
		}
		return err
	})
	token, err := auth.ParseToken(text, purpose)
	if err != nil {
		f.t.Fatal(err)
	}
	return &token
}

// leader is the process that leads, and the others.
func (f *fleet) leader() (lead *process, others []*process) {
	f.t.Helper()
	until(f.t, "a leader", func(ctx context.Context) error {
		res, err := f.list[0].its.ListServers(ctx, connect.NewRequest(&argosyv1.ListServersRequest{}))
		if err != nil {
			return err
		}
		lead, others = nil, nil
		for _, s := range res.Msg.Servers {
			i := slices.IndexFunc(f.list, func(p *process) bool { return p.Name == s.Name })
			if s.Leader {
				lead = f.list[i]
			} else {
				others = append(others, f.list[i])
			}
		}
		if lead == nil {
			return errors.New("nobody leads")
		}
		return nil
	})
	return lead, others
}

// ears is a machine without containers, on the real sessions of an agent.
type ears struct {
	mu       sync.Mutex
	assigned map[string]*argosyv1.Assignment // by app
	changed  chan struct{}
	leads    []*argosyv1.Welcome
}

func (e *ears) Welcomed(_ string, w *argosyv1.Welcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.Leader {
		e.leads = append(e.leads, w)
	}
}

func (e *ears) Assigned(_ string, a *argosyv1.Assignments) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a.Full {
		clear(e.assigned)
	}
	for _, as := range a.Set {
		e.assigned[as.GetKey().GetApp()] = as
	}
	for _, k := range a.Removed {
		delete(e.assigned, k.GetApp())
	}
	select {
	case e.changed <- struct{}{}:
	default:
	}
	return nil
}

func (e *ears) Acknowledged(string, uint64) error                   { return nil }
func (e *ears) Networked(string, *argosyv1.NetworkUpdate)           {}
func (e *ears) Foreseen(string, *argosyv1.Foreseen)                 {}
func (e *ears) Leased(string, *argosyv1.LeaseServers)               {}
func (e *ears) Refused(_ string, r *argosyv1.Refusal)               {}
func (e *ears) Pending(uint64, int) ([]*argosyv1.Transition, error) { return nil, nil }
func (e *ears) Asked(context.Context, string, argosyv1connect.AgentServiceClient, *argosyv1.Work) {
}

// has waits until the machine was given an app, and returns what it was given.
func (e *ears) has(t testing.TB, app string) *argosyv1.Assignment {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		e.mu.Lock()
		a := e.assigned[app]
		e.mu.Unlock()
		if a != nil {
			return a
		}
		select {
		case <-e.changed:
		case <-limit:
			t.Fatalf("the machine was not given %s within a minute", app)
		}
	}
}

// machine joins a machine that keeps sessions with all servers until the test ends.
func (f *fleet) machine() *ears {
	f.t.Helper()
	dir := f.t.TempDir()
	m, err := join.Machine(f.t.Context(), *f.token(argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE), facts(), dir)
	if err != nil {
		f.t.Fatal(err)
	}
	cred, err := auth.Files{Dir: dir}.Load()
	if err != nil {
		f.t.Fatal(err)
	}
	v, err := cred.Verifier()
	if err != nil {
		f.t.Fatal(err)
	}
	transport := join.NewTransport(auth.ClientTLS(auth.NewSource(cred), v))
	e := &ears{assigned: map[string]*argosyv1.Assignment{}, changed: make(chan struct{}, 1)}
	c := session.New(session.Config{Servers: m.Servers, HTTP: session.HTTPClient(transport), Outbox: e, Ears: e,
		Hello: func() *argosyv1.Hello {
			return &argosyv1.Hello{BootId: "boot", SessionId: m.MachineID, ClusterId: m.Cluster, Address: m.Address,
				Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 8 << 30}}
		}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		c.Run(ctx)
		close(done)
	}()
	f.t.Cleanup(func() {
		cancel()
		transport.CloseIdleConnections()
		<-done
	})
	return e
}

func (p *process) apply(ctx context.Context, app, key string) (uint64, error) {
	res, err := p.ask.apps.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: spec(app, 1), IdempotencyKey: key}))
	if err != nil {
		return 0, err
	}
	return res.Msg.App.GetRevision(), nil
}

// The leader is killed: the next one decides within a moment, what ran stays where it is, and the machine takes nothing
// from two leaders at once.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	f := threeProcesses(t)
	e := f.machine()
	if _, err := f.list[1].apply(t.Context(), "before", "k1"); err != nil {
		t.Fatal(err)
	}
	was := e.has(t, "before")
	lead, others := f.leader()
	lead.kill()
	begin := time.Now()
	until(t, "an apply after the loss of the leader", func(ctx context.Context) error {
		_, err := others[0].apply(ctx, "after", "k2")
		return err
	})
	e.has(t, "after")
	t.Logf("killed to decided and told: %v", time.Since(begin).Round(time.Millisecond))
	if is := e.has(t, "before"); is.Incarnation != was.Incarnation || is.AppUid != was.AppUid || is.Goal != was.Goal {
		t.Errorf("the replica became %v, and was %v", is, was)
	}
	e.mu.Lock()
	terms := e.leads
	e.mu.Unlock()
	for i := 1; i < len(terms); i++ {
		if terms[i].Term < terms[i-1].Term {
			t.Errorf("the machine followed term %d after %d", terms[i].Term, terms[i-1].Term)
		}
	}
	// It comes back and follows.
	lead.start(t)
	until(t, "the killed server follows", func(ctx context.Context) error {
		rev, err := lead.apply(ctx, "after", "k2")
		if err == nil && rev != 1 {
			err = fmt.Errorf("revision %d: it happened twice", rev)
		}
		return err
	})
}

// The leader stands still in the midst of its work while another takes over. When it goes on, whatever it has
// acknowledged is in the store, and it changes nothing any more.
func TestLeaderPaused(t *testing.T) {
	t.Parallel()
	f := threeProcesses(t)
	e := f.machine()
	lead, others := f.leader()
	f.list = others
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	acked := make(chan uint64, 100_000)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// Each apply differs from the last, so each makes a revision.
				s := spec("busy", 1)
				s.Containers[0].Environment = map[string]string{"N": fmt.Sprintf("%d-%d", w, n)}
				short, stop := context.WithTimeout(ctx, 20*time.Second)
				res, err := lead.ask.apps.Apply(short, connect.NewRequest(&argosyv1.ApplyRequest{Spec: s}))
				stop()
				if err == nil {
					acked <- res.Msg.App.GetRevision()
				}
			}
		})
	}
	until(t, "some work", func(context.Context) error {
		if len(acked) < 20 {
			return errors.New("not yet")
		}
		return nil
	})
	lead.signal(t, syscall.SIGSTOP)
	until(t, "another leader", func(ctx context.Context) error {
		_, err := others[0].apply(ctx, "after", "k1")
		return err
	})
	e.has(t, "after")
	lead.signal(t, syscall.SIGCONT)
	until(t, "the deposed leader answers as the others do", func(ctx context.Context) error {
		rev, err := lead.apply(ctx, "after", "k1")
		if err == nil && rev != 1 {
			err = fmt.Errorf("revision %d: it happened twice", rev)
		}
		return err
	})
	cancel()
	writers.Wait()
	close(acked)
	seen := map[uint64]bool{}
	newest := uint64(0)
	for rev := range acked {
		if seen[rev] {
			t.Errorf("revision %d was acknowledged twice", rev)
		}
		seen[rev] = true
		newest = max(newest, rev)
	}
	res, err := others[0].ask.apps.GetApp(t.Context(), connect.NewRequest(&argosyv1.GetAppRequest{App: "busy"}))
	if err != nil {
		t.Fatal(err)
	}
	if have := res.Msg.Status.App.Revision; have < newest {
		t.Errorf("revision %d was acknowledged, and the app is at %d", newest, have)
	}
	t.Logf("%d revisions acknowledged", len(seen))
}

// BenchmarkLeaderKilled is the time from the kill of the leader to a machine being told of the next decision.
func BenchmarkLeaderKilled(b *testing.B) {
	var sum time.Duration
	for n := range b.N {
		f := threeProcesses(b)
		e := f.machine()
		if _, err := f.list[1].apply(b.Context(), "before", fmt.Sprint("before", n)); err != nil {
			b.Fatal(err)
		}
		e.has(b, "before")
		lead, others := f.leader()
		lead.kill()
		begin := time.Now()
		until(b, "an apply after the loss of the leader", func(ctx context.Context) error {
			_, err := others[0].apply(ctx, "after", fmt.Sprint("after", n))
			return err
		})
		e.has(b, "after")
		sum += time.Since(begin)
		for _, p := range f.list {
			p.kill()
		}
	}
	b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "ms/killed-to-told")
}
