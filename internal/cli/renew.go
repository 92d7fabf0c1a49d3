package cli

import (
	"context"
	"net/http"
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
	l.hc = &http.Client{Transport: transport}
	return l, nil
}

func (l *login) connection() *connection {
	return newConnection(l.hc, "https://"+l.servers[0], l.servers[0])
}

// renewLogin renews the certificate of the login that a command used, when it is time, without a word: when it fails,
// the next command tries again, and there is a month for it.
func (a *app) renewLogin(ctx context.Context) {
	l := a.login
	if l == nil || !auth.ShouldRenew(time.Now(), l.source.Current().Certificate) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	_ = l.renew(ctx)
}

func (l *login) renew(ctx context.Context) error {
	r := auth.Renewer{Source: l.source, Files: l.files, Log: quiet(), Renew: func(ctx context.Context, csr []byte) (cert, ca []byte, err error) {
		return join.Renew(ctx, l.hc, l.servers[:1], csr) // the transport tries them all
	}}
	return r.Once(ctx)
}
