package cli

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

const day = 24 * time.Hour

// renewer is a server that answers GetCluster and Renew.
type renewer struct {
	argosyv1connect.UnimplementedClusterServiceHandler
	argosyv1connect.UnimplementedJoinServiceHandler
	cluster *auth.Cluster
	leader  string
	renewed int
}

func (r *renewer) GetCluster(context.Context, *connect.Request[argosyv1.GetClusterRequest]) (*connect.Response[argosyv1.GetClusterResponse], error) {
	return connect.NewResponse(&argosyv1.GetClusterResponse{Version: "1", Leader: r.leader}), nil
}

func (r *renewer) Renew(ctx context.Context, req *connect.Request[argosyv1.RenewRequest]) (*connect.Response[argosyv1.RenewResponse], error) {
	r.renewed++
	cert, err := r.cluster.Renew(ctx, req.Msg.Csr, time.Now())
	return connect.NewResponse(&argosyv1.RenewResponse{Certificate: cert, Ca: r.cluster.CA()}), err
}

// world is a cluster that is as old as its login, whose certificate is of the age that a test wants.
func world(t *testing.T, age time.Duration) (r *renewer, home string) {
	t.Helper()
	born := time.Now().Add(-age)
	s := memory.New()
	cluster, err := auth.Bootstrap(t.Context(), s, filepath.Join(t.TempDir(), "keys"), &argosyv1.ClusterSettings{}, born)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, csr, err := auth.NewKey()
	check(err)
	digest, err := auth.CSRKeyDigest(csr)
	check(err)
	op, err := store.Put(store.UserKey("ana"), &storev1.User{Name: "ana", Tenant: "default", Role: "viewer", KeyDigest: digest, CreatedAt: timestamppb.New(born)})
	check(err)
	_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}})
	check(err)

	serverKey, serverCSR, err := auth.NewKey()
	check(err)
	der, err := cluster.IssueServer(serverCSR, "s1", []string{"127.0.0.1"}, time.Now())
	check(err)
	own, err := auth.NewCredential(serverKey, der, cluster.CA())
	check(err)
	authn := auth.NewAuthenticator(cluster.Verifier(), auth.NewDirectory(s))
	r = &renewer{cluster: cluster, leader: "s1"}
	mux := http.NewServeMux()
	mux.Handle(argosyv1connect.NewClusterServiceHandler(r, connect.WithInterceptors(authn.Interceptor())))
	mux.Handle(argosyv1connect.NewJoinServiceHandler(r, connect.WithInterceptors(authn.Interceptor())))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	srv := &http.Server{Handler: authn.Middleware(mux), TLSConfig: auth.ServerTLS(auth.NewSource(own), cluster.Verifier()),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() { _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = srv.Close() })

	home = t.TempDir()
	dir := filepath.Join(home, "argosy", "clusters", "here")
	der, err = cluster.IssueUser(csr, "ana", born)
	check(err)
	cred, err := auth.NewCredential(key, der, cluster.CA())
	check(err)
	check(auth.Files{Dir: dir}.Save(cred))
	// The first server of the login is away.
	check(join.Save(dir, &join.Membership{Cluster: cluster.ID(), Servers: []string{"127.0.0.1:1", l.Addr().String()}, User: "ana"}))
	return r, home
}

func run(t *testing.T, home string, args ...string) (code int, out, problems string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(t.Context(), args, IO{In: &bytes.Buffer{}, Out: &stdout, Err: &stderr, LookupEnv: func(name string) (string, bool) {
		return home, name == "XDG_CONFIG_HOME"
	}})
	return code, stdout.String(), stderr.String()
}

// TestLoginsRenewThemselves: a certificate in its last third is renewed after a command, an expired one before it, a
// fresh one not at all; and a login's second server is asked when the first does not answer.
func TestLoginsRenewThemselves(t *testing.T) {
	for _, c := range []struct {
		name    string
		age     time.Duration
		renewed int
	}{{"fresh", 10 * day, 0}, {"in its last third", 70 * day, 1}, {"expired", 100 * day, 1}} {
		t.Run(c.name, func(t *testing.T) {
			r, home := world(t, c.age)
			for range 2 {
				if code, out, problems := run(t, home, "--server", "here", "status", "-o", "json"); code != 0 || out == "" || problems != "" {
					t.Fatalf("exit code %d\n%s%s", code, out, problems)
				}
			}
			if r.renewed != c.renewed {
				t.Errorf("renewed %d times, want %d", r.renewed, c.renewed)
			}
		})
	}
}

// TestStatusWithoutLeader: what the server knows is shown, and that it is not enough.
func TestStatusWithoutLeader(t *testing.T) {
	r, home := world(t, day)
	r.leader = ""
	code, out, problems := run(t, home, "--server", "here", "status")
	if code != exitFailed || !strings.Contains(out, "Leader    none") || !strings.Contains(problems, "no server leads now") {
		t.Errorf("exit code %d\n%s%s", code, out, problems)
	}
}

// TestInterrupted: a command that is stopped says so, with the exit code that shells expect.
func TestInterrupted(t *testing.T) {
	_, home := world(t, day)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{{"status"}, {"ps"}, {"events", "-f"}, {"logs", "-f", "shop"}, {"exec", "shop/web.1/web", "true"}} {
		var out, problems bytes.Buffer
		code := Main(ctx, append([]string{"--server", "here"}, args...), IO{In: &bytes.Buffer{}, Out: &out, Err: &problems,
			LookupEnv: func(name string) (string, bool) { return home, name == "XDG_CONFIG_HOME" }})
		if code != exitInterrupted || problems.String() != "argosy: interrupted\n" {
			t.Errorf("%v: exit code %d, %q", args, code, problems.String())
		}
	}
}

// TestColour: only for terminals, and never against NO_COLOR, unless it is asked for.
func TestColour(t *testing.T) {
	for _, c := range []struct {
		flag, noColor string
		want          bool
	}{{"auto", "", false}, {"auto", "1", false}, {"always", "1", true}, {"never", "", false}} {
		a := &app{color: c.flag, sys: IO{Out: &bytes.Buffer{}, LookupEnv: func(name string) (string, bool) { return c.noColor, name == "NO_COLOR" }}}
		if got := a.colorful(a.sys.Out); got != c.want {
			t.Errorf("--color %s with NO_COLOR=%s: %t", c.flag, c.noColor, got)
		}
	}
}
