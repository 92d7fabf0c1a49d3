package auth

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// handshake lets a client and a server meet on a loopback port and returns what each made of it.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		tc := tls.Server(conn, server)
		if err = tc.Handshake(); err == nil {
			_, err = tc.Write([]byte("x"))
		}
		done <- err
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		// In TLS 1.3 a client learns only now that the server did not like its certificate.
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	return <-done, err
}

func TestHandshakes(t *testing.T) {
	now := time.Now()
	c, other := newCluster(t, memory.New()), newCluster(t, memory.New())
	server := func(cred *Credential) *tls.Config { return ServerTLS(NewSource(cred), c.Verifier()) }
	client := func(cluster *Cluster, cred *Credential) *tls.Config {
		return ClientTLS(NewSource(cred), cluster.Verifier())
	}
	pinned := func(cluster *Cluster, digest []byte) *tls.Config {
		return PinnedTLS(Token{Cluster: cluster.ID(), CADigest: sha256.Sum256(digest)})
	}
	s1 := issue(t, c, Server, "s1", now)
	m1 := issue(t, c, Machine, "m1", now)
	old := now.Add(-2 * CertificateLife)
	impostor := issue(t, other, Server, "s1", now)
	impostor.CA = c.state.Load().issuing.ca.cert // sends the right CA along, and was not signed by it
	onlyOld := client(c, m1)
	onlyOld.MinVersion, onlyOld.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for _, k := range []struct {
		name           string
		server, client *tls.Config
		serverSays     string
		clientSays     string
	}{
		{"machine", server(s1), client(c, m1), "", ""},
		{"expired machine", server(s1), client(c, issue(t, c, Machine, "m1", old)), "", ""},
		{"newcomer", server(s1), pinned(c, c.CA()), "", ""},
		{"newcomer with another cluster's token", server(s1), pinned(other, other.CA()), "remote error", "does not belong to cluster " + other.ID()},
		{"newcomer with the digest of nothing", server(s1), pinned(c, nil), "remote error", "not the one in the token"},
		{"newcomer at a server that sends a CA which did not sign it", server(impostor), pinned(c, c.CA()), "remote error", "not signed by this cluster"},
		{"newcomer at a machine that plays server", server(m1), pinned(c, c.CA()), "remote error", "it is a machine"},
		{"machine at another cluster's server", server(issue(t, other, Server, "s1", now)), client(c, m1), "remote error", "does not belong to cluster " + c.ID()},
		{"machine at a machine that plays server", server(issue(t, c, Machine, "m2", now)), client(c, m1), "remote error", "it is a machine"},
		{"machine at an expired server", server(issue(t, c, Server, "s1", old)), client(c, m1), "remote error", "restart that server"},
		{"another cluster's machine", server(s1), client(c, issue(t, other, Machine, "m1", now)), "not signed by this cluster", "remote error"},
		{"TLS 1.2", server(s1), onlyOld, "unsupported versions", "remote error"},
	} {
		t.Run(k.name, func(t *testing.T) {
			serverErr, clientErr := handshake(t, k.server, k.client)
			for who, x := range map[string]struct {
				err  error
				says string
			}{"server": {serverErr, k.serverSays}, "client": {clientErr, k.clientSays}} {
				if (x.err == nil) != (x.says == "") || x.err != nil && !strings.Contains(x.err.Error(), x.says) {
					t.Errorf("the %s says %v, want %q", who, x.err, x.says)
				}
			}
		})
	}
	_, err := handshake(t, server(s1), pinned(other, other.CA()))
	var wrong *WrongServerError
	if !errors.As(err, &wrong) {
		t.Errorf("%v is no *WrongServerError", err)
	}
}

func renewOver(hc *http.Client, url string) func(context.Context, []byte) (Issued, error) {
	return func(ctx context.Context, csr []byte) (Issued, error) {
		resp, err := argosyv1connect.NewJoinServiceClient(hc, url).Renew(ctx, connect.NewRequest(&argosyv1.RenewRequest{Csr: csr}))
		if err != nil {
			return Issued{}, err
		}
		return Issued{Certificate: resp.Msg.GetCertificate(), CA: resp.Msg.GetCa(), Also: resp.Msg.GetAlsoTrusted()}, nil
	}
}

// A machine that was switched off for half a year comes back, renews and works again, with no restart of anything.
func TestExpiredMachineRenews(t *testing.T) {
	w := newWorld(t)
	cred := member(t, w.cluster, w.store, "m1", time.Now().Add(-180*24*time.Hour))
	source := NewSource(cred)
	v, err := cred.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	hc := w.clientTLS(ClientTLS(source, v))
	session := func() error {
		return call(hc, w.url, argosyv1connect.AgentServiceSessionProcedure, true)
	}
	if err := session(); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Fatalf("with an expired certificate: %v", err)
	}
	r := &Renewer{
		Source: source, Files: Files{Dir: t.TempDir()}, Renew: renewOver(hc, w.url), Log: slog.New(slog.DiscardHandler),
		Renewed: hc.CloseIdleConnections,
	}
	if err := r.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := session(); connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Fatalf("with the renewed certificate: %v", err)
	}
	kept, err := r.Files.Load()
	if err != nil || !kept.Certificate.Equal(source.Current().Certificate) || kept.Certificate.Equal(cred.Certificate) {
		t.Fatalf("on disk: %v", err)
	}
}

func TestRenewRefuses(t *testing.T) {
	w := newWorld(t)
	c := w.cluster
	cred := member(t, c, w.store, "m1", time.Now())
	_, otherCSR, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := renewOver(w.client(cred), w.url)(t.Context(), otherCSR); err == nil || !strings.Contains(err.Error(), "with the key it has") {
		t.Errorf("another key: %v", err)
	}
	if _, err := renewOver(w.client(cred), w.url)(t.Context(), []byte("x")); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("nonsense: %v", err)
	}
	if _, err := c.Renew(t.Context(), otherCSR, time.Now()); err == nil {
		t.Error("nobody got a certificate")
	}
}

// A server's renewed certificate is shown to the next connection.
func TestServerReloads(t *testing.T) {
	w := newWorld(t)
	m := member(t, w.cluster, w.store, "m1", time.Now())
	shown := func() string {
		v, err := m.Verifier()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), ClientTLS(NewSource(m), v))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := shown()
	w.own.Set(issue(t, w.cluster, Server, "s1", time.Now()))
	if after := shown(); after == before {
		t.Error("the server goes on showing its old certificate")
	}
}
