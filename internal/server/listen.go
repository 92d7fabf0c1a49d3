package server

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/image/registry"
	"github.com/argosy-cluster/argosy/internal/peers"
	"github.com/argosy-cluster/argosy/internal/protocol"
)

const (
	// maxMessage is the largest message that anybody may send, in bytes.
	maxMessage = 16 << 20
	// headerTime is how long a caller may take over the head of a request.
	headerTime = 10 * time.Second
	// leaderPatience is how long a request waits for a leader: longer than it takes to find another.
	leaderPatience = 5 * time.Second
	// pingAfter is how long a connection may be silent before it is asked whether it is still there.
	pingAfter = 10 * time.Second
)

// listen opens the port and the socket.
func (s *Server) listen() (tcp, unix net.Listener, err error) {
	if tcp, err = net.Listen("tcp", s.cfg.Listen); err != nil {
		return nil, nil, fmt.Errorf("opening the server's port: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.cfg.Socket), 0o755); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("making the socket's directory: %w", err), tcp.Close())
	}
	if unix, err = auth.ListenLocal(s.cfg.Socket); err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	return tcp, unix, nil
}

// httpServers are the two doors to the same handlers. No time-out ends a request: streams of machines last for ever, and
// what is dead is found by pinging the connection.
func (s *Server) httpServers() (secure, local *http.Server) {
	handler := s.handler()
	h2 := &http.HTTP2Config{MaxConcurrentStreams: 10_000, SendPingTimeout: pingAfter, PingTimeout: pingAfter}
	errorLog := slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	secure = &http.Server{
		Handler: handler, TLSConfig: auth.ServerTLS(s.source, s.cluster.Verifier()), ReadHeaderTimeout: headerTime,
		HTTP2: h2, ErrorLog: errorLog, ConnContext: auth.ConnContext,
	}
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	local = &http.Server{Handler: handler, Protocols: &both, ReadHeaderTimeout: headerTime, HTTP2: h2, ErrorLog: errorLog, ConnContext: auth.ConnContext}
	return secure, local
}

func (s *Server) handler() http.Handler {
	authn := auth.NewAuthenticator(s.cluster.Verifier(), s.directory)
	authn.Seen(s.seen)
	authn.Announce(s.cluster)
	opts := []connect.HandlerOption{connect.WithInterceptors(s.metrics.Interceptor(), protocol.Server(s.cfg.version), authn.Interceptor(), tracer{s.tracer}), connect.WithReadMaxBytes(maxMessage), connect.WithRecover(s.recovered),
		connect.WithCompression("gzip", newGunzip, newGzip), connect.WithCompressMinBytes(compressFrom),
		connect.WithConditionalHandlerOptions(asItIs)}
	mux := http.NewServeMux()
	mux.Handle(argosyv1connect.NewAppServiceHandler(appService{s}, opts...))
	mux.Handle(argosyv1connect.NewMachineServiceHandler(machineService{s}, opts...))
	mux.Handle(argosyv1connect.NewSecretServiceHandler(secretService{s}, opts...))
	mux.Handle(argosyv1connect.NewClusterServiceHandler(clusterService{s}, opts...))
	mux.Handle(argosyv1connect.NewServerServiceHandler(serverService{s}, opts...))
	mux.Handle(argosyv1connect.NewBackupServiceHandler(backupService{s}, opts...))
	mux.Handle(argosyv1connect.NewUnitServiceHandler(unitService{s}, opts...))
	mux.Handle(argosyv1connect.NewVolumeServiceHandler(volumeService{s}, opts...))
	mux.Handle(argosyv1connect.NewStreamServiceHandler(streamService{s}, opts...))
	mux.Handle(argosyv1connect.NewJoinServiceHandler(joinService{s}, opts...))
	mux.Handle(argosyv1connect.NewAgentServiceHandler(agentService{s}, opts...))
	images := registry.NewHandler(s.images, registry.Options{Authorize: authorizeImages, Log: s.log, Named: s.nameImage, Unnamed: s.unnameImage})
	mux.Handle("/v2/", authn.RequireHTTP(auth.AllowMachinesAndViewers, "images", images))
	mux.Handle("/metrics", authn.RequireHTTP(auth.AllowMonitors, "reading metrics", s.metrics.Handler()))
	return authn.Middleware(&peers.Forwarder{
		Own: s.id, Book: s.book, Guide: s.base, Transport: s.transport, Local: s.leader.Leading, Confirm: s.leader.Confirm, Next: withDeadlines(mux),
		Log: s.log, Patience: leaderPatience, Lacks: s.lacks, Why: s.whyNobodyLeads,
	})
}

// compressFrom is how long a message is before it is worth compressing, in bytes: it fits into one packet otherwise.
const compressFrom = 1400

func newGunzip() connect.Decompressor { return new(gzip.Reader) }

// newGzip compresses for speed: at the usual level, a long list took longer to compress than to make and to send.
func newGzip() connect.Compressor {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // fails at a level that there is not
	return w
}

// asItIs keeps what carries people's bytes from being compressed on the way: that took most of the server's time, and made
// pictures and archives no smaller.
func asItIs(spec connect.Spec) []connect.HandlerOption {
	switch spec.Procedure {
	case argosyv1connect.StreamServicePortForwardProcedure, argosyv1connect.StreamServiceCopyProcedure, argosyv1connect.AgentServiceAttachProcedure,
		argosyv1connect.BackupServiceCreateBackupProcedure:
		return []connect.HandlerOption{connect.WithCompressMinBytes(math.MaxInt)}
	}
	return nil
}

// recovered reports a bug of a handler without ending the server: one bad request harms only itself.
func (s *Server) recovered(ctx context.Context, spec connect.Spec, _ http.Header, cause any) error {
	s.log.ErrorContext(ctx, "a handler panicked: please report this", "rpc", spec.Procedure, "cause", cause, "stack", string(debug.Stack()))
	return connect.NewError(connect.CodeInternal, fmt.Errorf("%s hit a bug, which is in the server's log", spec.Procedure))
}

// authorizeImages says who may do what with a tenant's images: machines pull what they run, users handle their own
// tenant's, administrators everybody's.
func authorizeImages(r *http.Request, tenant string, action registry.Action) error {
	id := auth.IdentityFrom(r.Context())
	switch {
	case id.Expired:
	case id.Role == auth.Admin:
		return nil
	case (id.Kind == auth.Machine || id.Kind == auth.Server) && action == registry.Pull:
		return nil
	case id.Kind == auth.User && id.Tenant == tenant && (action == registry.Pull || id.Role == auth.Operator):
		return nil
	}
	return fmt.Errorf("%s may not %s images of tenant %s", id, action, tenant)
}
