package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// apps answers Apply with who called, and for which tenant.
type apps struct {
	argosyv1connect.UnimplementedAppServiceHandler
}

func (apps) Apply(ctx context.Context, req *connect.Request[argosyv1.ApplyRequest]) (*connect.Response[argosyv1.ApplyResponse], error) {
	return connect.NewResponse(&argosyv1.ApplyResponse{
		App: &argosyv1.App{Name: IdentityFrom(ctx).String(), Tenant: req.Msg.GetTenant()},
	}), nil
}

func (apps) WatchReplicas(ctx context.Context, req *connect.Request[argosyv1.ListReplicasRequest], s *connect.ServerStream[argosyv1.WatchReplicasResponse]) error {
	return s.Send(&argosyv1.WatchReplicasResponse{Removed: []*argosyv1.ReplicaKey{{Tenant: req.Msg.GetTenant(), App: IdentityFrom(ctx).String()}}})
}

type streams struct {
	argosyv1connect.UnimplementedStreamServiceHandler
}

func (streams) Exec(_ context.Context, s *connect.BidiStream[argosyv1.ExecRequest, argosyv1.ExecResponse]) error {
	req, err := s.Receive()
	if err != nil {
		return err
	}
	return s.Send(&argosyv1.ExecResponse{Data: &argosyv1.ExecResponse_Stdout{Stdout: []byte(req.GetStart().GetKey().GetTenant())}})
}

// joins renews as a server does.
type joins struct {
	argosyv1connect.UnimplementedJoinServiceHandler
	c *Cluster
}

func (j joins) Renew(ctx context.Context, req *connect.Request[argosyv1.RenewRequest]) (*connect.Response[argosyv1.RenewResponse], error) {
	der, err := j.c.Renew(ctx, req.Msg.GetCsr(), time.Now())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return connect.NewResponse(&argosyv1.RenewResponse{Certificate: der, Ca: j.c.CA()}), nil
}

// world is a server on a TLS port and a Unix socket, with a cluster and its records.
type world struct {
	t       *testing.T
	store   *memory.Store
	cluster *Cluster
	own     *Source
	url     string
	socket  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := memory.New()
	c := newCluster(t, s)
	w := &world{t: t, store: s, cluster: c, own: NewSource(issue(t, c, Server, "s1", time.Now()))}
	a := NewAuthenticator(c.Verifier(), NewDirectory(s))
	mux := http.NewServeMux()
	with := connect.WithInterceptors(a.Interceptor())
	mux.Handle(argosyv1connect.NewAppServiceHandler(apps{}, with))
	mux.Handle(argosyv1connect.NewVolumeServiceHandler(argosyv1connect.UnimplementedVolumeServiceHandler{}, with))
	mux.Handle(argosyv1connect.NewUnitServiceHandler(argosyv1connect.UnimplementedUnitServiceHandler{}, with))
	mux.Handle(argosyv1connect.NewMachineServiceHandler(argosyv1connect.UnimplementedMachineServiceHandler{}, with))
	mux.Handle(argosyv1connect.NewServerServiceHandler(argosyv1connect.UnimplementedServerServiceHandler{}, with))
	mux.Handle(argosyv1connect.NewBackupServiceHandler(argosyv1connect.UnimplementedBackupServiceHandler{}, with))
	mux.Handle(argosyv1connect.NewSecretServiceHandler(argosyv1connect.UnimplementedSecretServiceHandler{}, with))
	mux.Handle(argosyv1connect.NewClusterServiceHandler(argosyv1connect.UnimplementedClusterServiceHandler{}, with))
	mux.Handle(argosyv1connect.NewStreamServiceHandler(streams{}, with))
	mux.Handle(argosyv1connect.NewAgentServiceHandler(argosyv1connect.UnimplementedAgentServiceHandler{}, with))
	mux.Handle(argosyv1connect.NewJoinServiceHandler(joins{c: c}, with))
	mux.Handle("/images/", a.RequireHTTP(AllowMachinesAndViewers, "fetching an image", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, IdentityFrom(r.Context()).String())
	})))
	w.url = "https://" + w.serve(a.Middleware(mux), ServerTLS(w.own, c.Verifier()), listener(t)(net.Listen("tcp", "127.0.0.1:0")))
	w.socket = filepath.Join(t.TempDir(), "argosy.sock")
	w.serve(a.Middleware(mux), nil, listener(t)(ListenLocal(w.socket)))
	return w
}

func listener(t *testing.T) func(net.Listener, error) net.Listener {
	return func(l net.Listener, err error) net.Listener {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

// serve runs an HTTP server until the test ends, with TLS unless the configuration is nil.
func (w *world) serve(h http.Handler, cfg *tls.Config, l net.Listener) (addr string) {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, ConnContext: ConnContext, Protocols: p, TLSConfig: cfg, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if cfg == nil {
			_ = srv.Serve(l)
			return
		}
		_ = srv.ServeTLS(l, "", "")
	}()
	w.t.Cleanup(func() { _ = srv.Close(); <-served })
	return l.Addr().String()
}

// client speaks with a credential; nil comes without a certificate.
func (w *world) client(cred *Credential) *http.Client {
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	if cred != nil {
		v, err := cred.Verifier()
		if err != nil {
			w.t.Fatal(err)
		}
		cfg = ClientTLS(NewSource(cred), v)
	}
	return w.clientTLS(cfg)
}

func (w *world) clientTLS(cfg *tls.Config) *http.Client {
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func (w *world) localClient() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", w.socket)
	}}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// call sends an empty request of whatever kind to a procedure. Handlers that nobody wrote answer CodeUnimplemented.
func call(hc *http.Client, url, procedure string, stream bool) error {
	c := connect.NewClient[emptypb.Empty, emptypb.Empty](hc, url+procedure)
	if !stream {
		_, err := c.CallUnary(context.Background(), connect.NewRequest(&emptypb.Empty{}))
		return err
	}
	s := c.CallBidiStream(context.Background())
	_ = s.Send(&emptypb.Empty{}) // an error comes again from Receive
	_ = s.CloseRequest()
	_, err := s.Receive()
	_ = s.CloseResponse()
	return err
}

// Every RPC, called by everybody: whoever may reaches the handler, and nobody else does.
func TestWhoMayCallWhat(t *testing.T) {
	w := newWorld(t)
	c, s := w.cluster, w.store
	revoked := member(t, c, s, "m2", time.Now())
	remove(t, s, store.MachineKey("m2"))
	replaced := login(t, c, s, "old", "blue", Admin)
	fellow := fellowServer(t, c, s, "s2")
	login(t, c, s, "old", "blue", Admin)
	callers := []struct {
		name string
		hc   *http.Client
		url  string
		may  []access
		code connect.Code // when refused
	}{
		{"nobody", w.client(nil), w.url, []access{anyone}, connect.CodeUnauthenticated},
		{"local", w.localClient(), "http://local", []access{anyone, readers, users, monitors, viewers, operators, admins}, connect.CodePermissionDenied},
		{"machine", w.client(member(t, c, s, "m1", time.Now())), w.url, []access{anyone, renewers, machines, readers}, connect.CodePermissionDenied},
		{"monitor", w.client(login(t, c, s, "mon", "blue", Monitor)), w.url, []access{anyone, renewers, users, monitors}, connect.CodePermissionDenied},
		{"viewer", w.client(login(t, c, s, "vic", "blue", Viewer)), w.url, []access{anyone, renewers, readers, users, viewers}, connect.CodePermissionDenied},
		{"operator", w.client(login(t, c, s, "ann", "blue", Operator)), w.url, []access{anyone, renewers, readers, users, viewers, operators}, connect.CodePermissionDenied},
		{"admin", w.client(login(t, c, s, "boss", "default", Admin)), w.url, []access{anyone, renewers, readers, users, monitors, viewers, operators, admins}, connect.CodePermissionDenied},
		{"a role nobody has", w.client(login(t, c, s, "odd", "blue", "root")), w.url, []access{anyone, renewers}, connect.CodePermissionDenied},
		{"server", w.client(fellow), w.url, []access{anyone, servers, readers}, connect.CodePermissionDenied},
		{"removed server", w.client(issue(t, c, Server, "s3", time.Now())), w.url, []access{anyone}, connect.CodeUnauthenticated},
		{"expired machine", w.client(member(t, c, s, "m3", time.Now().Add(-2*CertificateLife))), w.url, []access{anyone, renewers}, connect.CodeUnauthenticated},
		{"removed machine", w.client(revoked), w.url, []access{anyone}, connect.CodeUnauthenticated},
		{"replaced user", w.client(replaced), w.url, []access{anyone}, connect.CodeUnauthenticated},
	}
	rpcs := everyRPC()
	for _, k := range callers {
		t.Run(k.name, func(t *testing.T) {
			for p, m := range rpcs {
				err := call(k.hc, k.url, p, m.IsStreamingClient() || m.IsStreamingServer())
				code := connect.CodeOf(err)
				if err == nil {
					code = 0
				}
				reached := code != connect.CodeUnauthenticated && code != connect.CodePermissionDenied && code != connect.CodeUnknown && code != connect.CodeUnavailable
				may := slices.Contains(k.may, rules[p].access)
				if reached != may || !may && code != k.code {
					t.Errorf("%s: %v; may: %v", p, err, may)
				}
			}
		})
	}
}

func TestRefusalsAreSentences(t *testing.T) {
	w := newWorld(t)
	c, s := w.cluster, w.store
	removed := member(t, c, s, "m2", time.Now())
	remove(t, s, store.MachineKey("m2"))
	apply := argosyv1connect.AppServiceApplyProcedure
	for name, k := range map[string]struct {
		hc   *http.Client
		says []string
	}{
		"nobody":  {w.client(nil), []string{"Apply needs a certificate", "argosy login"}},
		"viewer":  {w.client(login(t, c, s, "vic", "blue", Viewer)), []string{"Apply needs the role operator", "user vic has the role viewer"}},
		"machine": {w.client(member(t, c, s, "m1", time.Now())), []string{"machine m1 has a machine's certificate"}},
		"removed": {w.client(removed), []string{"machine m2 was removed", "join it again"}},
		"expired": {w.client(member(t, c, s, "m3", time.Now().Add(-2*CertificateLife))), []string{"certificate of machine m3 ended on", "renew"}},
	} {
		err := call(k.hc, w.url, apply, false)
		for _, says := range k.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v does not say %q", name, err, says)
			}
		}
	}
}

func TestTenantsOfRequests(t *testing.T) {
	w := newWorld(t)
	ann := w.client(login(t, w.cluster, w.store, "ann", "blue", Operator))
	ctx := t.Context()
	appsOf := func(hc *http.Client, url string) argosyv1connect.AppServiceClient {
		return argosyv1connect.NewAppServiceClient(hc, url)
	}
	resp, err := appsOf(ann, w.url).Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{}))
	if err != nil || resp.Msg.GetApp().GetTenant() != "blue" || resp.Msg.GetApp().GetName() != "user ann" {
		t.Fatalf("%v, %v", resp, err)
	}
	if _, err = appsOf(ann, w.url).Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Tenant: "red"})); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Fatalf("another's tenant: %v", err)
	}
	resp, err = appsOf(w.localClient(), "http://local").Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{}))
	if err != nil || resp.Msg.GetApp().GetTenant() != DefaultTenant || resp.Msg.GetApp().GetName() != "local" {
		t.Fatalf("over the socket: %v, %v", resp, err)
	}
	// A server's stream: the request is looked at as well.
	stream, err := appsOf(ann, w.url).WatchReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{}))
	if err != nil || !stream.Receive() || stream.Msg().GetRemoved()[0].GetTenant() != "blue" || stream.Msg().GetRemoved()[0].GetApp() != "user ann" {
		t.Fatalf("stream: %v, %v", err, stream.Err())
	}
	_ = stream.Close()
	for _, req := range []*argosyv1.ListReplicasRequest{{Tenant: "red"}, {AllTenants: true}} {
		stream, err = appsOf(ann, w.url).WatchReplicas(ctx, connect.NewRequest(req))
		if err != nil || stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodePermissionDenied {
			t.Fatalf("stream of %v: %v, %v", req, err, stream.Err())
		}
		_ = stream.Close()
	}
	for tenant, want := range map[string]string{"": "blue", "blue": "blue", "red": ""} {
		exec := argosyv1connect.NewStreamServiceClient(ann, w.url).Exec(ctx)
		if err := exec.Send(&argosyv1.ExecRequest{Start: &argosyv1.ExecWork{Key: &argosyv1.ReplicaKey{Tenant: tenant}}}); err != nil {
			t.Fatal(err)
		}
		got, err := exec.Receive()
		if want == "" && connect.CodeOf(err) != connect.CodePermissionDenied || want != "" && string(got.GetStdout()) != want {
			t.Errorf("exec in tenant %q: %q, %v", tenant, got.GetStdout(), err)
		}
		_ = errors.Join(exec.CloseRequest(), exec.CloseResponse())
	}
}

func TestPlainHTTP(t *testing.T) {
	w := newWorld(t)
	c, s := w.cluster, w.store
	get := func(hc *http.Client, url string) string {
		resp, err := hc.Get(url + "/images/x")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %s %v", resp.StatusCode, strings.TrimSpace(string(body)), err)
	}
	for name, k := range map[string]struct{ got, want string }{
		"machine": {get(w.client(member(t, c, s, "m1", time.Now())), w.url), "200 machine m1"},
		"viewer":  {get(w.client(login(t, c, s, "vic", "blue", Viewer)), w.url), "200 user vic"},
		"local":   {get(w.localClient(), "http://local"), "200 local"},
		"nobody":  {get(w.client(nil), w.url), "401 fetching an image needs a certificate"},
		"no role": {get(w.client(login(t, c, s, "odd", "blue", "")), w.url), "403 fetching an image needs"},
		"expired": {get(w.client(member(t, c, s, "m3", time.Now().Add(-2*CertificateLife))), w.url), "401 the certificate of machine m3 ended"},
	} {
		if !strings.HasPrefix(k.got, k.want) {
			t.Errorf("%s: %s, want %s", name, k.got, k.want)
		}
	}
}

// While the store does not answer, those whom the directory remembers are let in, and nobody is mistaken for removed.
func TestStoreAway(t *testing.T) {
	w := newWorld(t)
	cred := member(t, w.cluster, w.store, "m1", time.Now())
	w.store.Inject(func(memory.Call) memory.Fault { return memory.Refused })
	err := call(w.client(cred), w.url, argosyv1connect.AgentServiceSessionProcedure, true)
	if connect.CodeOf(err) != connect.CodeUnavailable {
		t.Fatalf("%v; want unavailable, so that the agent tries again", err)
	}
}
