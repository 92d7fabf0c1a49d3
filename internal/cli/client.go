package cli

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
)

// defaultSocket is where a server on this machine listens for its administrator.
const defaultSocket = "unix:///run/argosy/server.sock"

// connection is a cluster's services, as reached from here.
type connection struct {
	apps     argosyv1connect.AppServiceClient
	machines argosyv1connect.MachineServiceClient
	secrets  argosyv1connect.SecretServiceClient
	cluster  argosyv1connect.ClusterServiceClient
	streams  argosyv1connect.StreamServiceClient
	servers  argosyv1connect.ServerServiceClient
	http     *http.Client
	base     string
	// where is what a person would call the server: a socket's path or an address.
	where string
}

func newConnection(hc *http.Client, base, where string) *connection {
	again := connect.WithInterceptors(retrying())
	return &connection{
		apps:     argosyv1connect.NewAppServiceClient(hc, base, again),
		machines: argosyv1connect.NewMachineServiceClient(hc, base, again),
		secrets:  argosyv1connect.NewSecretServiceClient(hc, base, again),
		cluster:  argosyv1connect.NewClusterServiceClient(hc, base, again),
		streams:  argosyv1connect.NewStreamServiceClient(hc, base, again),
		servers:  argosyv1connect.NewServerServiceClient(hc, base, again),
		http:     hc,
		base:     base,
		where:    where,
	}
}

// connect prepares to ask the server that flags and environment name. It sends nothing yet.
func (a *app) connect() (*connection, error) {
	server := a.server
	if server == "" {
		if c, err := a.currentLogin(); err != nil || c != nil {
			return c, err
		}
		server = defaultSocket
	}
	if path, ok := strings.CutPrefix(server, "unix://"); ok {
		return socketConnection(path), nil
	}
	return a.namedLogin(server)
}

// socketConnection talks HTTP/2 without TLS over a Unix socket: the kernel vouches for who is on the other side.
func socketConnection(path string) *connection {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}
	return newConnection(&http.Client{Transport: transport}, "http://server.argosy.internal", path)
}

// explainError makes a plain sentence of an error, with what to do next where that is known.
func explainError(err error) string {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return err.Error()
	}
	switch ce.Code() {
	case connect.CodeUnavailable:
		if errors.Is(err, fs.ErrPermission) {
			return "you may not administer the cluster here: " + dialCause(err) +
				"\nBe root or a member of the group " + auth.LocalGroup + ", or log in with 'argosy login TOKEN' and name that login with --server."
		}
		if isDial(err) {
			return "no server answers: " + dialCause(err) +
				"\nIs it running? Start one with 'argosy server', try 'argosy cluster up', or name another with --server."
		}
		return ce.Message()
	case connect.CodeUnauthenticated:
		return ce.Message() + "\nLog in with 'argosy login TOKEN'; an administrator makes one with 'argosy token create --user NAME'."
	case connect.CodeDeadlineExceeded:
		return "the server did not answer in time: " + ce.Message()
	case connect.CodeInternal, connect.CodeUnknown:
		return "the server failed: " + ce.Message()
	default:
		return ce.Message()
	}
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func dialCause(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err.Error()
	}
	where := ""
	if op.Addr != nil {
		where = op.Addr.String() + ": "
	}
	return where + op.Err.Error()
}

// requestKey is a fresh idempotency key: a command that is sent twice by a retry happens once.
func requestKey() string { return randomHex(16) }
