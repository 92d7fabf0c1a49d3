package cli

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/protocol"
	"github.com/argosy-cluster/argosy/internal/version"
)

// defaultSocket is where a server on this machine listens for its administrator.
const defaultSocket = "unix:///run/argosy/server.sock"

// askingGC lets what commands hold grow to five times what they need, which is little.
const askingGC = 400

// connection is a cluster's services, as reached from here. Each is made when it is asked for first: a client of one takes
// the description of all its messages apart, and a command needs one or two of the nine.
type connection struct {
	apps     func() argosyv1connect.AppServiceClient
	machines func() argosyv1connect.MachineServiceClient
	secrets  func() argosyv1connect.SecretServiceClient
	cluster  func() argosyv1connect.ClusterServiceClient
	streams  func() argosyv1connect.StreamServiceClient
	servers  func() argosyv1connect.ServerServiceClient
	backups  func() argosyv1connect.BackupServiceClient
	units    func() argosyv1connect.UnitServiceClient
	volumes  func() argosyv1connect.VolumeServiceClient
	http     *http.Client
	base     string
	// where is what a person would call the server: a socket's path or an address.
	where string
}

func newConnection(hc *http.Client, base, where string, options ...connect.ClientOption) *connection {
	again := connect.WithClientOptions(append(options, protocol.Client(version.Version), connect.WithInterceptors(retrying(), midway{}))...)
	return &connection{
		apps:     lazily(argosyv1connect.NewAppServiceClient, hc, base, again),
		machines: lazily(argosyv1connect.NewMachineServiceClient, hc, base, again),
		secrets:  lazily(argosyv1connect.NewSecretServiceClient, hc, base, again),
		cluster:  lazily(argosyv1connect.NewClusterServiceClient, hc, base, again),
		streams:  lazily(argosyv1connect.NewStreamServiceClient, hc, base, again),
		servers:  lazily(argosyv1connect.NewServerServiceClient, hc, base, again),
		backups:  lazily(argosyv1connect.NewBackupServiceClient, hc, base, again),
		units:    lazily(argosyv1connect.NewUnitServiceClient, hc, base, again),
		volumes:  lazily(argosyv1connect.NewVolumeServiceClient, hc, base, again),
		http:     hc,
		base:     base,
		where:    where,
	}
}

// lazily makes a client when it is wanted, once.
func lazily[C any](make func(connect.HTTPClient, string, ...connect.ClientOption) C, hc *http.Client, base string, o connect.ClientOption) func() C {
	return sync.OnceValue(func() C { return make(hc, base, o) })
}

// connect prepares to ask the server that flags and environment name, and notes which that is. It sends nothing yet, unless
// the certificate of a login has to be renewed first.
func (a *app) connect() (*connection, error) {
	// An answer is taken apart and shown, and then the command ends: collecting its garbage meanwhile would be in vain.
	debug.SetGCPercent(askingGC)
	a.asked = asked{origin: a.serverFrom}
	server := a.server
	if server == "" {
		if c, err := a.currentLogin(); err != nil || c != nil {
			return c, err
		}
		server = a.local
		_, err := os.Stat(strings.TrimPrefix(server, "unix://"))
		a.asked.nothing = errors.Is(err, fs.ErrNotExist)
	}
	if path, ok := strings.CutPrefix(server, "unix://"); ok {
		a.asked.socket = path
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
			d := net.Dialer{Timeout: serverTime}
			conn, err := d.DialContext(ctx, "unix", path)
			if err != nil {
				return nil, &unreachedError{[]attempt{{path, err}}}
			}
			return conn, nil
		},
		HTTP2: &http.HTTP2Config{SendPingTimeout: serverTime, PingTimeout: serverTime},
	}
	// On one host, compressing an answer takes longer than passing it on.
	return newConnection(&http.Client{Transport: transport}, "http://server.argosy.internal", path, connect.WithAcceptCompression("gzip", nil, nil))
}

// requestKey is a fresh idempotency key: a command that is sent twice by a retry happens once.
func requestKey() string { return randomHex(16) }
