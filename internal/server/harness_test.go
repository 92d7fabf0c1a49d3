package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/freeport"
	"github.com/argosy-cluster/argosy/internal/join"
)

// The tests here ask a real server, with its etcd, its port and its socket, in this process. Most share one.

// TestMain ends the shared server. It is a server itself in the processes that tests start.
func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(runChild(text))
	}
	// Stores flush all that they are told, and no power fails here.
	if _, err := os.Stat("/dev/shm"); err == nil {
		_ = os.Setenv("TMPDIR", "/dev/shm")
	}
	code := m.Run()
	if c := sharedCluster.c; c != nil {
		c.stop()
		_ = os.RemoveAll(c.dir)
	}
	os.Exit(code)
}

// cluster is a server under test and what tests ask of it.
type cluster struct {
	dir, socket, addr string
	log               *syncBuffer
	local             *clients // the administrator on the socket
	server            *Server
	cancel            context.CancelFunc
	ended             chan error
}

// clients are the services as one caller reaches them.
type clients struct {
	hc   *http.Client
	base string

	apps     argosyv1connect.AppServiceClient
	machines argosyv1connect.MachineServiceClient
	secrets  argosyv1connect.SecretServiceClient
	cluster  argosyv1connect.ClusterServiceClient
	streams  argosyv1connect.StreamServiceClient
	agents   argosyv1connect.AgentServiceClient
	join     argosyv1connect.JoinServiceClient
}

func newClients(hc *http.Client, base string) *clients {
	return &clients{hc: hc, base: base,
		apps: argosyv1connect.NewAppServiceClient(hc, base), machines: argosyv1connect.NewMachineServiceClient(hc, base),
		secrets: argosyv1connect.NewSecretServiceClient(hc, base), cluster: argosyv1connect.NewClusterServiceClient(hc, base),
		streams: argosyv1connect.NewStreamServiceClient(hc, base), agents: argosyv1connect.NewAgentServiceClient(hc, base),
		join: argosyv1connect.NewJoinServiceClient(hc, base)}
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var sharedCluster struct {
	once sync.Once
	c    *cluster
	err  error
}

// shared is the server that tests share. What one leaves in it must not matter to another.
func shared(t *testing.T) *cluster {
	t.Helper()
	sharedCluster.once.Do(func() {
		dir, err := os.MkdirTemp("", "argosy-server-test")
		if err == nil {
			sharedCluster.c, err = startIn(dir, nil)
		}
		sharedCluster.err = err
	})
	if sharedCluster.err != nil {
		t.Fatal(sharedCluster.err)
	}
	return sharedCluster.c
}

// own is a server for one test, in a directory that may hold one already.
func own(t testing.TB, dir string, change func(*Config)) *cluster {
	t.Helper()
	c, err := startIn(dir, change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

func startIn(dir string, change func(*Config)) (*cluster, error) {
	addr, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, addr: addr, socket: filepath.Join(dir, "s"), log: &syncBuffer{}, ended: make(chan error, 1)}
	ready := make(chan struct{})
	cfg := Config{DataDir: filepath.Join(dir, "data"), Listen: addr, Advertise: []string{addr}, Socket: c.socket,
		Log:   slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ready: func() { close(ready) }}
	if change != nil {
		change(&cfg)
	}
	opened := cfg.opened
	cfg.opened = func(s *Server) {
		c.server = s
		if opened != nil {
			opened(s)
		}
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	go func() { c.ended <- Run(ctx, cfg) }()
	select {
	case <-ready:
	case err := <-c.ended:
		c.cancel()
		return nil, fmt.Errorf("the server ended: %w\n%s", err, c.log)
	case <-time.After(time.Minute):
		c.stop()
		return nil, fmt.Errorf("the server is not ready after a minute\n%s", c.log)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	c.local = newClients(&http.Client{Transport: &http.Transport{Protocols: &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.socket)
		}}}, "http://server.test")
	return c, nil
}

// stop ends the server and waits for it.
func (c *cluster) stop() {
	c.cancel()
	if c.local != nil {
		c.local.hc.CloseIdleConnections()
	}
	err := <-c.ended
	c.ended <- err
}

func (c *cluster) token(t testing.TB, r *argosyv1.CreateTokenRequest) auth.Token {
	t.Helper()
	res, err := c.local.cluster.CreateToken(t.Context(), connect.NewRequest(r))
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.ParseToken(res.Msg.Token, r.Purpose)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (c *cluster) machineToken(t testing.TB) auth.Token {
	t.Helper()
	return c.token(t, &argosyv1.CreateTokenRequest{Purpose: argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE, ExpiresIn: durationpb.New(time.Hour)})
}

// user logs somebody in.
func (c *cluster) user(t *testing.T, name, role string) *clients {
	t.Helper()
	dir := t.TempDir()
	token := c.token(t, &argosyv1.CreateTokenRequest{Purpose: argosyv1.TokenPurpose_TOKEN_PURPOSE_USER, User: name, Role: role,
		ExpiresIn: durationpb.New(time.Hour)})
	if _, err := join.User(t.Context(), token, dir); err != nil {
		t.Fatal(err)
	}
	return c.as(t, dir)
}

// as speaks with the certificate that is kept in a directory.
func (c *cluster) as(t testing.TB, dir string) *clients {
	t.Helper()
	cred, err := auth.Files{Dir: dir}.Load()
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := cred.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	transport := join.NewTransport(auth.ClientTLS(auth.NewSource(cred), verifier))
	t.Cleanup(transport.CloseIdleConnections)
	return newClients(&http.Client{Transport: transport}, "https://"+c.addr)
}

// nobody speaks without a certificate.
func (c *cluster) nobody(t *testing.T) *clients {
	t.Helper()
	transport := join.NewTransport(auth.PinnedTLS(c.machineToken(t)))
	t.Cleanup(transport.CloseIdleConnections)
	return newClients(&http.Client{Transport: transport}, "https://"+c.addr)
}

var machineNumber = struct {
	sync.Mutex
	n int
}{}

// facts are those of a machine that no other test has.
func facts() join.Facts {
	machineNumber.Lock()
	defer machineNumber.Unlock()
	machineNumber.n++
	n := machineNumber.n
	return join.Facts{Name: fmt.Sprintf("m%d", n), Address: fmt.Sprintf("192.0.2.%d", n), BootID: "boot",
		Declared: join.Membership{CPUMilli: 4000, MemoryBytes: 8 << 30}}
}

// fakeAgent is a machine that joined and holds a session, without containers.
type fakeAgent struct {
	*clients
	m    *join.Membership
	work chan *argosyv1.Work
	// capacity is what it says it has.
	capacity *argosyv1.Capacity
	// given are the assignments that it got, those beyond some hundred excepted.
	given chan *argosyv1.Assignment
	// pace is how often it is asked to report usage, each time it is told.
	pace chan time.Duration
	// leases is whom its guard is to ask, each time it is told.
	leases chan *argosyv1.LeaseServers
	// send says something in the session, once there is one.
	send func(*argosyv1.SessionRequest) error
	// hangUp ends the session.
	hangUp func()
}

func (c *cluster) machine(t testing.TB, f join.Facts) *fakeAgent {
	t.Helper()
	dir := t.TempDir()
	m, err := join.Machine(t.Context(), c.machineToken(t), f, dir)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeAgent{clients: c.as(t, dir), m: m, capacity: &argosyv1.Capacity{CpuMilli: f.Declared.CPUMilli, Memory: f.Declared.MemoryBytes}, work: make(chan *argosyv1.Work, 64), given: make(chan *argosyv1.Assignment, 256), pace: make(chan time.Duration, 64), leases: make(chan *argosyv1.LeaseServers, 64)}
}

// connect opens the session and keeps it, with beats, until the test ends. It returns when the server has welcomed it.
func (f *fakeAgent) connect(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream := f.agents.Session(ctx)
	var mu sync.Mutex
	send := func(m *argosyv1.SessionRequest) error {
		mu.Lock()
		defer mu.Unlock()
		return stream.Send(m)
	}
	f.send = send
	err := send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Hello{Hello: &argosyv1.Hello{BootId: "boot", SessionId: f.m.MachineID,
		Capacity: f.capacity, Address: f.m.Address, ClusterId: f.m.Cluster, SystemdVersion: "252"}}})
	if err == nil {
		err = send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: &argosyv1.Report{Full: true}}})
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	welcomed, refused := make(chan struct{}), make(chan string, 1)
	var done sync.WaitGroup
	done.Add(2)
	go func() {
		defer done.Done()
		for {
			m, err := stream.Receive()
			if err != nil {
				return
			}
			switch d := m.Message.(type) {
			case *argosyv1.SessionResponse_Welcome:
				close(welcomed)
			case *argosyv1.SessionResponse_Refusal:
				refused <- d.Refusal.Reason
			case *argosyv1.SessionResponse_Assignments:
				for _, a := range d.Assignments.GetSet() {
					select {
					case f.given <- a:
					default:
					}
				}
			case *argosyv1.SessionResponse_LeaseServers:
				f.leases <- d.LeaseServers
			case *argosyv1.SessionResponse_Work:
				f.work <- d.Work
			case *argosyv1.SessionResponse_UsagePace:
				f.pace <- d.UsagePace.GetInterval().AsDuration()
			}
		}
	}()
	go func() {
		defer done.Done()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for n := uint64(1); ; n++ {
			if send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{Number: n}}}) != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	f.hangUp = sync.OnceFunc(func() {
		cancel()
		mu.Lock()
		_ = stream.CloseRequest() // net/http looks at the context only after the request's body
		mu.Unlock()
		done.Wait()
	})
	t.Cleanup(f.hangUp)
	select {
	case <-welcomed:
	case why := <-refused:
		t.Fatalf("the session was refused: %s", why)
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not welcome the machine")
	}
}

// nextWork is what the server asks of the machine next.
func (f *fakeAgent) nextWork(t testing.TB) *argosyv1.Work {
	t.Helper()
	select {
	case w := <-f.work:
		return w
	case <-time.After(30 * time.Second):
		t.Fatal("the server asks nothing of the machine")
		return nil
	}
}

// told checks how often the machine is asked to report usage next.
func (f *fakeAgent) told(t testing.TB, want time.Duration) {
	t.Helper()
	select {
	case got := <-f.pace:
		if got != want {
			t.Errorf("the machine is to report usage every %v, want %v", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("the machine is not told to report usage every %v", want)
	}
}

// spec is an app of one stack with one container, whose image is asked for where nobody answers.
func spec(name string, count uint32) *argosyv1.AppSpec {
	return &argosyv1.AppSpec{Name: name,
		Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: "127.0.0.1:1/web:1",
			Resources: &argosyv1.Resources{ReserveCpuMilli: 100, ReserveMemory: 64 << 20}}},
		Stacks:  []*argosyv1.StackSpec{{Name: "web", Containers: []string{"web"}}},
		Cluster: []*argosyv1.ClusterEntry{{Stack: "web", Count: count}},
	}
}

func (c *cluster) apply(t testing.TB, s *argosyv1.AppSpec) *argosyv1.App {
	t.Helper()
	res, err := c.local.apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: s}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg.App
}

// assigned waits until a replica is given to a machine and returns its name.
func (c *cluster) assigned(t testing.TB, app string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := c.local.apps.WatchReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{App: app}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	last := ""
	for stream.Receive() {
		for _, r := range stream.Msg().Replicas {
			if r.MachineName != "" {
				return r.MachineName
			}
			last = r.Message + " " + r.GetReplica().GetReason().GetSummary()
		}
	}
	t.Fatalf("no replica of %s is given to a machine: %v; %s", app, stream.Err(), last)
	return ""
}

// wantError checks an error's code and that its sentence says something.
func wantError(t *testing.T, err error, code connect.Code, says string) {
	t.Helper()
	if connect.CodeOf(err) != code || err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want code %s and something about %q", err, code, says)
	}
}

// ends waits for a stream to end and returns its error, nil at its plain end.
func ends(t *testing.T, receive func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		for {
			if err := receive(); err != nil {
				done <- err
				return
			}
		}
	}()
	select {
	case err := <-done:
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the stream does not end")
		return nil
	}
}

// shortDir is a directory whose name leaves room for a socket's.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "argosy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// writePending leaves a key in a directory as a join leaves it that was not answered.
func writePending(t *testing.T, dir string, cred *auth.Credential) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cred.Key)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "joining.key"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}
