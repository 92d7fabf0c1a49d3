package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// socketDir is a directory with a short name, as sockets need it, that everybody may enter.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "argosy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user tries the socket in it
		t.Fatal(err)
	}
	return dir
}

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// silent listens on loopback and never says a word; each connection is told.
func silent(t *testing.T) (addr string, accepted <-chan struct{}) {
	t.Helper()
	l := listen(t, "tcp", "127.0.0.1:0")
	told := make(chan struct{}, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			told <- struct{}{}
		}
	}()
	return l.Addr().String(), told
}

// serveAs is a server with a certificate of a cluster, made at a time.
func serveAs(t *testing.T, c *auth.Cluster, born time.Time, handler http.Handler) string {
	t.Helper()
	key, csr, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := c.IssueServer(csr, "s1", []string{"127.0.0.1"}, born)
	if err != nil {
		t.Fatal(err)
	}
	own, err := auth.NewCredential(key, der, c.CA())
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "tcp", "127.0.0.1:0")
	srv := &http.Server{Handler: handler, TLSConfig: auth.ServerTLS(auth.NewSource(own), c.Verifier()), ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().String()
}

func newCluster(t *testing.T, born time.Time) *auth.Cluster {
	t.Helper()
	c, err := auth.Bootstrap(t.Context(), memory.New(), filepath.Join(t.TempDir(), "keys"), &argosyv1.ClusterSettings{}, born)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func getCluster(hc *http.Client, base string) error {
	_, err := newConnection(hc, base, "").cluster().GetCluster(context.Background(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
	return err
}

func overSocket(path string) error {
	c := socketConnection(path)
	return getCluster(c.http, c.base)
}

// asNobody does f as somebody else, on a thread that nobody uses afterwards: root may use every socket.
func asNobody(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever, so that the thread ends with this
		if os.Getuid() == 0 {
			if err := syscall.Setfsuid(65534); err != nil {
				done <- err
				return
			}
		}
		done <- f()
	}()
	return <-done
}

// TestExplainAway: real errors of servers that cannot be reached, over each way to them.
func TestExplainAway(t *testing.T) {
	now := time.Now()
	ours, theirs := newCluster(t, now.Add(-200*day)), newCluster(t, now)
	me := userOf(t, ours, now)
	verifier := ours.Verifier()
	nothing := http.NotFoundHandler()

	// Only who never answers is given up soon: on a machine that has much to do, any other may be late too.
	within := func(patience time.Duration, addrs ...string) func() error {
		return func() error {
			hc := &http.Client{Transport: &http.Transport{DialTLSContext: firstOf(addrs, auth.ClientTLS(auth.NewSource(me), verifier), patience)}}
			return getCluster(hc, "https://"+addrs[0])
		}
	}
	over := func(addrs ...string) func() error { return within(time.Minute, addrs...) }
	socket := func(path string) func() error { return func() error { return overSocket(path) } }

	dir := socketDir(t)
	dead := filepath.Join(dir, "dead")
	left := listen(t, "unix", dead).(*net.UnixListener)
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	closed := filepath.Join(dir, "closed")
	listen(t, "unix", closed)
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	gone := listen(t, "tcp", "127.0.0.1:0")
	_ = gone.Close()
	mute, _ := silent(t)
	plainHTTP := listen(t, "tcp", "127.0.0.1:0")
	go func() { _ = (&http.Server{ErrorLog: log.New(io.Discard, "", 0)}).Serve(plainHTTP) }()

	for _, c := range []struct {
		name  string
		try   func() error
		fault fault
		what  string
		next  string
	}{
		{"no socket", socket(filepath.Join(dir, "none")), noSocket, "there is no socket " + dir, "argosy cluster up"},
		{"a socket that nobody listens at", socket(dead), refused, "nobody listens at " + dead, "argosy server"},
		{"a socket of others", func() error { return asNobody(func() error { return dialSocketHere(closed) }) }, denied, "may not administer", "group " + auth.LocalGroup},
		{"a closed port", over(gone.Addr().String()), refused, "nobody listens at " + gone.Addr().String(), "log in again"},
		{"a silent listener", within(200*time.Millisecond, mute), late, mute + " did not answer in time", "firewall"},
		{"a web server", over(plainHTTP.Addr().String()), noTLS, "speaks no TLS", "port"},
		{"another cluster", over(serveAs(t, theirs, now, nothing)), wrongCluster, "is no server of cluster " + ours.ID(), "made anew"},
		{"an expired certificate", over(serveAs(t, ours, now.Add(-100*day), nothing)), wrongClock, "ended on", "clock"},
		{"a certificate of tomorrow", over(serveAs(t, ours, now.Add(2*day), nothing)), wrongClock, "good only from", "clock"},
		{"no such name", func() error { return &unreachedError{[]attempt{{"server.argosy.invalid.:7400", unknownName(t)}}} }, noName, "the name in server.argosy.invalid.:7400 is not known here", "name right"},
		{"no route", over("255.255.255.255:7400"), noRoute, "no route leads", "network"},
		{"two, both away", within(2*time.Second, gone.Addr().String(), mute), late, "nobody listens at " + gone.Addr().String() + "; " + mute + " did not answer", "firewall"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.try()
			var unreached *unreachedError
			if !errors.As(err, &unreached) {
				t.Fatalf("%T %v is no *unreachedError", err, err)
			}
			if got := unreached.fault(); got != c.fault {
				t.Errorf("fault %d, want %d: %v", got, c.fault, err)
			}
			at := asked{origin: fromFlag, login: "here", servers: []string{"10.0.0.1:7400"}, cluster: ours.ID()}
			if unreached.attempts[0].where[0] == '/' {
				at = asked{origin: fromEnvironment, socket: unreached.attempts[0].where}
			}
			lines := strings.Split(explainError(err, at), "\n")
			if len(lines) != 3 || !strings.Contains(lines[0], c.what) || lines[1] != at.String() || !strings.Contains(lines[2], c.next) {
				t.Errorf("it says:\n%s", strings.Join(lines, "\n"))
			}
		})
	}
}

// dialSocketHere connects on the thread of who calls, which a transport does not.
func dialSocketHere(path string) error {
	_, err := socketConnection(path).http.Transport.(*http.Transport).DialContext(context.Background(), "", "")
	return err
}

// unknownName is what a dialler says when the name service knows no such name.
func unknownName(t *testing.T) error {
	t.Helper()
	service, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := service.ReadFrom(b)
			if err != nil {
				return
			}
			b[2], b[3] = b[2]|0x80, 0x83 // an answer: no such name
			_, _ = service.WriteTo(b[:n], from)
		}
	}()
	d := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", service.LocalAddr().String())
	}}}
	_, err = d.DialContext(t.Context(), "tcp", "server.argosy.invalid.:7400")
	return err
}

// userOf is the credential of a user of a cluster, with a certificate made at a time.
func userOf(t *testing.T, c *auth.Cluster, born time.Time) *auth.Credential {
	t.Helper()
	key, csr, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := c.IssueUser(csr, "ana", born)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := auth.NewCredential(key, der, c.CA())
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

// answering is a server that answers as it is told to.
type answering struct {
	argosyv1connect.UnimplementedClusterServiceHandler
	err error
}

func (s *answering) GetCluster(context.Context, *connect.Request[argosyv1.GetClusterRequest]) (*connect.Response[argosyv1.GetClusterResponse], error) {
	return nil, s.err
}

// ListEvents says one thing and breaks.
func (*answering) ListEvents(_ context.Context, _ *connect.Request[argosyv1.ListEventsRequest], s *connect.ServerStream[argosyv1.ListEventsResponse]) error {
	if err := s.Send(&argosyv1.ListEventsResponse{}); err != nil {
		return err
	}
	panic(http.ErrAbortHandler)
}

// TestExplainAnswers: errors of servers that are reached, and cannot do what is asked.
func TestExplainAnswers(t *testing.T) {
	s := &answering{}
	mux := http.NewServeMux()
	mux.Handle(argosyv1connect.NewClusterServiceHandler(s))
	path := filepath.Join(socketDir(t), "s")
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: mux, Protocols: &protocols, ErrorLog: log.New(io.Discard, "", 0)}
	l := listen(t, "unix", path)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	at := asked{origin: fromFlag, socket: path}
	c := socketConnection(path)

	now := time.Now()
	ours := newCluster(t, now)
	tomorrow := userOf(t, ours, now.Add(2*day))
	refusing := serveAs(t, ours, now, http.NotFoundHandler())

	for _, k := range []struct {
		name string
		try  func() error
		what string
		next string
	}{
		{"no leader", func() error {
			s.err = connect.NewError(connect.CodeUnavailable, errors.New("no server leads the cluster now"))
			_, err := argosyv1connect.NewClusterServiceClient(c.http, c.base).GetCluster(t.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
			return err
		}, "no server leads the cluster now", "argosy servers"},
		{"a method that the server does not have", func() error {
			_, err := c.cluster().CreateToken(t.Context(), connect.NewRequest(&argosyv1.CreateTokenRequest{}))
			return err
		}, "older than this argosy", "argosy version"},
		{"a service that the server does not have", func() error {
			_, err := c.apps().GetApp(t.Context(), connect.NewRequest(&argosyv1.GetAppRequest{}))
			return err
		}, "older than this argosy", "argosy version"},
		{"a stream that breaks", func() error {
			stream, err := c.cluster().ListEvents(t.Context(), connect.NewRequest(&argosyv1.ListEventsRequest{}))
			if err != nil {
				return err
			}
			for stream.Receive() {
			}
			return stream.Err()
		}, "broke midway", "run it again"},
		{"a login that the server refuses", func() error {
			hc := &http.Client{Transport: &http.Transport{DialTLSContext: firstOf([]string{refusing}, auth.ClientTLS(auth.NewSource(tomorrow), ours.Verifier()), serverTime)}}
			_, err := argosyv1connect.NewClusterServiceClient(hc, "https://"+refusing).GetCluster(t.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
			return err
		}, "refuses the certificate of this login", "clock"},
	} {
		t.Run(k.name, func(t *testing.T) {
			err := k.try()
			lines := strings.Split(explainError(err, at), "\n")
			if err == nil || len(lines) != 3 || !strings.Contains(lines[0], k.what) || lines[1] != at.String() || !strings.Contains(lines[2], k.next) {
				t.Errorf("%#v: it says:\n%s", err, strings.Join(lines, "\n"))
			}
		})
	}
}

// TestWhichServerIsAsked: who named the server is said, what stands there is not repeated where it may be a secret.
func TestWhichServerIsAsked(t *testing.T) {
	_, home := world(t, day)
	dir := socketDir(t)
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want []string
	}{
		{"nothing", nil, nil, []string{"no server is known here: there is no socket " + dir, "as always where neither", "argosy login"}},
		{"the flag", nil, []string{"--server", "unix:///nowhere/s"}, []string{"there is no socket /nowhere/s", "which --server names"}},
		{"the environment", map[string]string{"ARGOSY_SERVER": "unix:///nowhere/s"}, nil, []string{"which ARGOSY_SERVER names"}},
		{"the flag comes first", map[string]string{"ARGOSY_SERVER": "unix:///other/s"}, []string{"--server", "unix:///nowhere/s"}, []string{"/nowhere/s", "which --server names"}},
		{"an unknown login", map[string]string{"ARGOSY_SERVER": "prod", "XDG_CONFIG_HOME": home}, nil,
			[]string{`no login called "prod" here, which ARGOSY_SERVER names; there are here`, "--name prod"}},
		{"no login", map[string]string{"XDG_CONFIG_HOME": dir}, []string{"--server", "prod"}, []string{"which --server names; there is none at all"}},
		{"an address", nil, []string{"--server", "https://ana:geheim@s1:7400"}, []string{"what --server names is neither", "argosy login"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, problems bytes.Buffer
			root, a := newRoot(IO{In: &bytes.Buffer{}, Out: &out, Err: &problems, LookupEnv: func(name string) (string, bool) {
				v, ok := c.env[name]
				return v, ok
			}}, nil)
			a.local = "unix://" + filepath.Join(dir, "server.sock")
			root.SetArgs(append(c.args, "ps"))
			err := root.ExecuteContext(t.Context())
			if err == nil {
				t.Fatal("it succeeds")
			}
			text := a.explainError(err)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing:\n%s", want, text)
				}
			}
			if strings.Contains(text, "geheim") {
				t.Errorf("it tells a secret:\n%s", text)
			}
		})
	}
}

// TestInterruptedWhileConnecting: a server that accepts and says nothing keeps nobody who wants to go.
func TestInterruptedWhileConnecting(t *testing.T) {
	for _, command := range [][]string{{"ps"}, {"logs", "-f", "shop"}, {"exec", "shop/web.1/web", "true"}, {"ps", "--watch"}} {
		_, home := world(t, day)
		addr, accepted := silent(t)
		dir := filepath.Join(home, "argosy", "clusters", "here")
		m, err := join.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if m.Servers = []string{addr}; join.Save(dir, m) != nil {
			t.Fatal("the login cannot be led elsewhere")
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-accepted
			cancel()
		}()
		var out, problems bytes.Buffer
		code := Main(ctx, append([]string{"--server", "here"}, command...), IO{In: &bytes.Buffer{}, Out: &out, Err: &problems,
			LookupEnv: func(name string) (string, bool) { return home, name == "XDG_CONFIG_HOME" }})
		if code != exitInterrupted || problems.String() != "argosy: interrupted\n" {
			t.Errorf("%v: exit code %d, %q", command, code, problems.String())
		}
		cancel()
	}
}

// TestSilentServerIsNotWaitedFor: of a machine that lost power nothing comes, and the commands that are to tell of it do not wait for it.
func TestSilentServerIsNotWaitedFor(t *testing.T) {
	now := time.Now()
	ours := newCluster(t, now)
	mute, asked := silent(t)
	well := serveAs(t, ours, now, http.NotFoundHandler())
	dial := firstOf([]string{mute, well}, auth.ClientTLS(auth.NewSource(userOf(t, ours, now)), ours.Verifier()), time.Hour)
	conn, err := dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != well {
		t.Errorf("it talks to %s", got)
	}
	<-asked
}
