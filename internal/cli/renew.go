package cli

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
)

const (
	// serverTime is how long one address may take to be reached, and to prove that it is a server of the cluster, before
	// the next is tried.
	serverTime = 5 * time.Second
	// renewTime is how long a person may be kept waiting for a new certificate after a command.
	renewTime = 5 * time.Second
)

// login is who somebody is in a cluster, and how its servers are reached.
type login struct {
	source  *auth.Source
	files   auth.Files
	hc      *http.Client
	servers []string
	// verifier decides which servers are the cluster's.
	verifier *auth.Verifier
	// behind is set when a server said that the cluster goes by other authorities than the login.
	behind atomic.Bool
}

// listening reads from servers' answers which authorities the cluster goes by.
type listening struct {
	*http.Transport
	l *login
}

func (t listening) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.Transport.RoundTrip(r)
	if err == nil && !auth.Followed(t.l.source.Current(), res.Header) {
		t.l.behind.Store(true)
	}
	return res, err
}

func openLogin(dir string, m *join.Membership) (*login, error) {
	l := &login{files: auth.Files{Dir: dir}, servers: m.Servers}
	cred, err := l.files.Load()
	if err != nil {
		return nil, err
	}
	verifier, err := cred.Verifier()
	if err != nil {
		return nil, err
	}
	l.source = auth.NewSource(cred)
	transport := join.NewTransport(auth.ClientTLS(l.source, verifier))
	transport.DialTLSContext = firstOf(l.servers, transport.TLSClientConfig, serverTime)
	l.verifier, l.hc = verifier, &http.Client{Transport: listening{transport, l}}
	return l, nil
}

func (l *login) connection() *connection {
	return newConnection(l.hc, "https://"+l.servers[0], l.servers[0])
}

// renewLogin renews the certificate of the login that a command used, when it is time or the cluster has
// changed to another authority, without a word: when it fails,
// the next command tries again, and there is a month for it.
func (a *app) renewLogin(ctx context.Context) {
	l := a.login
	if l == nil || !l.behind.Load() && !auth.ShouldRenew(time.Now(), l.source.Current().Certificate) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	_ = l.renew(ctx)
}

func (l *login) renew(ctx context.Context) error {
	r := auth.Renewer{Source: l.source, Files: l.files, Verifier: l.verifier, Renewed: l.hc.CloseIdleConnections, Log: quiet(), Renew: func(ctx context.Context, csr []byte) (auth.Issued, error) {
		return join.Renew(ctx, l.hc, l.servers[:1], csr) // the transport tries them all
	}}
	return r.Once(ctx)
}
