package relay

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Options of a Relay.
type Options struct {
	// Servers returns the base addresses of the servers that are known now, such as https://10.0.0.1:7400. It is asked
	// once for each request.
	Servers func() []string
	// Transport carries requests to servers, with the machine's certificate. Nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Log gets what servers failed with; never nil.
	Log *slog.Logger
	// Stall is how long a server may send nothing before the next one is tried; default 20 seconds.
	Stall time.Duration
	// AtOnce is how many requests are passed on at the same time; more wait. Default 32.
	AtOnce int
}

// Relay passes Docker's requests on to servers. It is an http.Handler.
type Relay struct {
	opts   Options
	secret string
	slots  chan struct{}
	good   atomic.Pointer[string] // the server that answered last, tried first; or nil
}

const user = "machine"

// New returns a relay with a password of its own.
func New(opts Options) *Relay {
	if opts.Transport == nil {
		opts.Transport = http.DefaultTransport
	}
	if opts.Stall <= 0 {
		opts.Stall = 20 * time.Second
	}
	if opts.AtOnce <= 0 {
		opts.AtOnce = 32
	}
	return &Relay{opts: opts, secret: rand.Text(), slots: make(chan struct{}, opts.AtOnce)}
}

// Listen opens the relay's port on 127.0.0.1; 0 takes a free one.
func Listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("open the machine's image port %d: another process may have it; choose another port for the agent: %w", port, err)
	}
	return l, nil
}

// Serve answers on l until ctx ends, and then closes it. It returns nil when ctx ended it.
func (r *Relay) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           r,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second, // requests have no bodies
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(r.opts.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(l)
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Auth returns the credentials that Docker must show, as ImagePullOptions.RegistryAuth wants them.
func (r *Relay) Auth() string {
	raw, err := json.Marshal(map[string]string{"username": user, "password": r.secret})
	if err != nil {
		return "" // two strings always marshal
	}
	return base64.URLEncoding.EncodeToString(raw)
}

func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if !r.knows(req) {
		w.Header().Set("WWW-Authenticate", `Basic realm="argosy"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "only the machine's agent may use this")
		return
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "a machine's registry is read-only; send images with: argosy image load")
		return
	}
	path := req.URL.EscapedPath()
	if path == "/v2/" || path == "/v2" {
		// Answered here: Docker then gets as far as an error that says what is wrong with the servers.
		_, _ = io.WriteString(w, "{}")
		return
	}
	if !strings.HasPrefix(path, "/v2/") || len(path) > 1024 || strings.Contains(path, "..") {
		refuse(w, http.StatusNotFound, "NAME_INVALID", "there is nothing at this path")
		return
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-req.Context().Done():
		return
	}
	r.pass(w, req, path)
}

func (r *Relay) knows(req *http.Request) bool {
	u, p, ok := req.BasicAuth()
	return ok && u == user && subtle.ConstantTimeCompare([]byte(p), []byte(r.secret)) == 1
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Whoever asked may be gone.
	_ = json.NewEncoder(w).Encode(map[string][]item{"errors": {{code, message}}})
}

// Port returns the port that l, made by Listen, has.
func Port(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}
