package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/moby/moby/client"
)

// Config says how to reach the Engine and how containers of this machine are made.
type Config struct {
	// Host of the Engine; empty means DOCKER_HOST or the usual socket.
	Host string
	// ClusterID is the value of the label by which containers are known. Never empty.
	ClusterID string
	// Machine tells the machine's name, for ARGOSY_MACHINE; nil means that it has none.
	Machine func() string
	// Prefix of the names of containers and volumes; empty means argosy.
	Prefix string
	// Network that containers are connected to; empty means Docker's default bridge.
	Network string
	// CgroupParent of all containers; empty means the Engine's.
	CgroupParent string
	// LogDriver is json-file (also when empty) or local.
	LogDriver string
	// RelayPort of 127.0.0.1 answers for the cluster's own images, to whoever shows RelayAuth (as the Engine sends it).
	RelayPort int
	RelayAuth string
	// Names says how a replica's containers resolve names, or nil for Docker's own way.
	Names func(core.Key) Names
	// Credential finds the credential for a registry among those of an assignment; nil means there are none.
	Credential func(a *argosyv1.Assignment, registry string) (Credential, error)
	Log        *slog.Logger
}

// Names is how a container resolves names.
type Names struct {
	Servers []netip.Addr
	Search  []string
	Options []string
}

// Credential is what a registry asks for. The zero value means none.
type Credential struct {
	Username, Password string
}

// Engine is one machine's Docker Engine. Its methods may be called at the same time.
type Engine struct {
	cfg  Config
	api  *client.Client
	info atomic.Pointer[Info] // never nil

	mu     sync.Mutex
	images map[string]*pulling // by reference, in flight
}

// Info is what an Engine says of itself.
type Info struct {
	Version     string
	APIVersion  string
	CPUs        int
	Memory      int64
	RootDir     string
	LiveRestore bool
	// CgroupVersion is 1 or 2, CgroupDriver cgroupfs or systemd.
	CgroupVersion string
	CgroupDriver  string
}

const (
	// callTime bounds calls that the Engine answers at once when it is well.
	callTime = 30 * time.Second
	// maxAnswer bounds what is read of one answer that is not a stream.
	maxAnswer = 16 << 20
)

// Open returns an Engine that was asked what it is.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	e, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := e.Meet(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// New returns an Engine that was not asked anything yet, and may not be there.
func New(cfg Config) (*Engine, error) {
	if cfg.ClusterID == "" {
		return nil, fmt.Errorf("docker: no cluster id, so no container could be told from a stranger's")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "argosy"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	host := cmp.Or(cfg.Host, os.Getenv(client.EnvOverrideHost), client.DefaultDockerHost)
	socket, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		return nil, fmt.Errorf("the Docker Engine at %s is not reached through a Unix socket; an agent drives the Engine of its own machine", plain(host))
	}
	transport := bounding{&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
	}}
	// The order matters: naming the host would replace what the transport does.
	api, err := client.New(client.WithHost(host), client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}), client.WithUserAgent("argosy-agent"))
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	e := &Engine{cfg: cfg, api: api, images: map[string]*pulling{}}
	e.info.Store(&Info{})
	return e, nil
}

// Meet asks the Engine what it is.
func (e *Engine) Meet(ctx context.Context) error {
	info, err := e.ask(ctx)
	if err != nil {
		return err
	}
	e.info.Store(&info)
	return nil
}

// Recall says what the Engine was when it was met last, until it is met again.
func (e *Engine) Recall(info Info) { e.info.Store(&info) }

// Close lets go of the Engine's connections.
func (e *Engine) Close() error { return e.api.Close() }

// Info returns what the Engine said of itself when it was met last, the zero Info if never.
func (e *Engine) Info() Info { return *e.info.Load() }

// API is the client itself, for rooms that make things of their own on the same Engine.
func (e *Engine) API() *client.Client { return e.api }

func (e *Engine) ask(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	ping, err := e.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err != nil {
		return Info{}, fmt.Errorf("the Docker Engine does not answer at %s: %s; is it running, and may this user use it?", e.api.DaemonHost(), plain(err.Error()))
	}
	res, err := e.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return Info{}, fmt.Errorf("the Docker Engine does not say what it is: %s", plain(err.Error()))
	}
	i := res.Info
	if i.OSType != "" && i.OSType != "linux" {
		return Info{}, fmt.Errorf("the Docker Engine runs %s containers; Argosy needs linux", plain(i.OSType))
	}
	return Info{
		Version: clip(i.ServerVersion, 64), APIVersion: clip(ping.APIVersion, 16), CPUs: i.NCPU, Memory: i.MemTotal, RootDir: i.DockerRootDir,
		LiveRestore: i.LiveRestoreEnabled, CgroupVersion: i.CgroupVersion, CgroupDriver: i.CgroupDriver,
	}, nil
}

// Ping says whether the Engine answers.
func (e *Engine) Ping(ctx context.Context) error {
	_, err := e.api.Ping(ctx, client.PingOptions{})
	if err != nil {
		return fmt.Errorf("the Docker Engine does not answer: %s", plain(err.Error()))
	}
	return nil
}

// bounding makes an endless answer an error instead of the end of memory. Streams are bounded where they are read.
type bounding struct {
	*http.Transport
}

func (b bounding) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.Transport.RoundTrip(r)
	if err != nil || resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode < 400 && isStream(r.URL.Path) {
		return resp, err
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

func isStream(path string) bool {
	for _, end := range []string{"/events", "/logs", "/images/create", "/images/load", "/attach", "/stats", "/archive"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return strings.Contains(path, "/exec/") && strings.HasSuffix(path, "/start")
}

type bounded struct {
	io.ReadCloser
	left int64
}

// Read fills p as far as it can: a decoder that gets an answer in thousands of crumbs moves what it has for each of them.
func (b *bounded) Read(p []byte) (n int, err error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the Engine's answer is longer than %d MiB", maxAnswer>>20)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	for n < len(p) && err == nil {
		var m int
		m, err = b.ReadCloser.Read(p[n:])
		n += m
	}
	b.left -= int64(n)
	return n, err
}
