package session

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/protocol"
)

// Outbox holds transitions until a leader has them; database.DB is one.
type Outbox interface {
	Pending(after uint64, limit int) ([]*argosyv1.Transition, error)
}

// Ears are told what servers say. Calls from one server come one at a time, from different servers at the same time; none
// may block for long.
type Ears interface {
	Welcomed(server string, w *argosyv1.Welcome)
	// Assigned is called for what the leader assigns. It has been made durable when it returns nil; an error ends the
	// session, so that the leader tells everything again.
	Assigned(server string, a *argosyv1.Assignments) error
	Acknowledged(server string, seq uint64) error
	Networked(server string, n *argosyv1.NetworkUpdate)
	// Foreseen is called for what the leader says this machine would get if others were lost.
	Foreseen(server string, f *argosyv1.Foreseen)
	// Asked hands over work; client is where to attach, ctx ends with the agent.
	Asked(ctx context.Context, server string, client argosyv1connect.AgentServiceClient, w *argosyv1.Work)
	Refused(server string, r *argosyv1.Refusal)
	// Leased is told by the leader whom this machine's guard asks for leases.
	Leased(server string, l *argosyv1.LeaseServers)
}

// Config of a Client.
type Config struct {
	// Servers are host:port; a Welcome replaces them.
	Servers []string
	// HTTP speaks HTTP/2 with the machine's certificate; see HTTPClient.
	HTTP connect.HTTPClient
	// Scheme is https unless said otherwise.
	Scheme string
	// Hello is asked for at each connection.
	Hello func() *argosyv1.Hello
	// Met is the latest leader that this machine has met before; nothing is taken from an earlier one.
	Met    Met
	Outbox Outbox
	Ears   Ears
	Log    *slog.Logger
}

// Met says which leader: terms are counted since the cluster was made, and begin again lower when it is restored, which
// makes the generation grow.
type Met struct {
	Generation, Term uint64
}

func (m Met) before(o Met) bool {
	return m.Generation < o.Generation || m.Generation == o.Generation && m.Term < o.Term
}

// Client keeps sessions with all servers.
type Client struct {
	cfg Config

	mu       sync.Mutex
	servers  map[string]context.CancelFunc
	order    []string
	wantList chan struct{} // the list of servers changed
	current  map[core.ID]*argosyv1.ReplicaObservation
	live     map[*stream]bool // that had their full report
	open     map[*stream]bool
	usage    *argosyv1.UsageReport
	engine   *argosyv1.EngineReport // nil while nothing was ever wrong
	storage  *argosyv1.StorageReport
	strays   *argosyv1.StrayReport // nil while there never were any
	met      Met
	// pace is how often pacer, the leader's stream, wants usage; 0 and nil when nobody says. paced is closed when that changes.
	pace  time.Duration
	pacer *stream
	paced chan struct{}
}

// HTTPClient makes the client for a machine's connections out of a transport with its TLS configuration: HTTP/2, and a dead
// connection noticed within seconds.
func HTTPClient(t *http.Transport) *http.Client {
	t.ForceAttemptHTTP2 = true
	t.TLSHandshakeTimeout = 10 * time.Second
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second, WriteByteTimeout: 10 * time.Second}
	return &http.Client{Transport: t}
}

// New makes a Client that is not connected yet.
func New(cfg Config) *Client {
	if cfg.Scheme == "" {
		cfg.Scheme = "https"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		cfg: cfg, order: slices.Clone(cfg.Servers), servers: map[string]context.CancelFunc{}, wantList: make(chan struct{}, 1),
		current: map[core.ID]*argosyv1.ReplicaObservation{}, live: map[*stream]bool{}, open: map[*stream]bool{}, met: cfg.Met,
		paced: make(chan struct{}),
	}
}

func idOf(o *argosyv1.ReplicaObservation) core.ID {
	return core.ID{Key: core.KeyOf(o.GetKey()), AppUID: o.GetAppUid(), Incarnation: o.GetIncarnation()}
}

// Changed notes a new observation of a replica; after is nil when nothing is left of it.
func (c *Client) Changed(before, after *argosyv1.ReplicaObservation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var id core.ID
	if after != nil {
		id = idOf(after)
		c.current[id] = after
	} else {
		id = idOf(before)
		delete(c.current, id)
	}
	for s := range c.live {
		s.mark(id)
	}
}

// Recorded notes that the outbox has more.
func (c *Client) Recorded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.live {
		s.kick()
	}
}

// Usage notes a new sample; an unsent older one is replaced.
func (c *Client) Usage(u *argosyv1.UsageReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usage = u
	for s := range c.live {
		s.usage = true
		s.kick()
	}
}

// Engine notes whether the machine's container engine answers, and whether containers can be connected.
func (c *Client) Engine(r *argosyv1.EngineReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engine = r
	for s := range c.live {
		s.engine = true
		s.kick()
	}
}

// Strays notes which volumes belong to nothing assigned.
func (c *Client) Strays(r *argosyv1.StrayReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strays = r
	for s := range c.live {
		s.strays = true
		s.kick()
	}
}

// Storage notes which shared storage the machine reaches, and who guards it.
func (c *Client) Storage(r *argosyv1.StorageReport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.storage = r
	for s := range c.live {
		s.storage = true
		s.kick()
	}
}

// Pace is how often the leader wants usage, 0 when it leaves that to the machine or there is none. What it says is not
// bounded. changed is closed when it holds no more.
func (c *Client) Pace() (every time.Duration, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pace, c.paced
}

// setPace notes what the leader's stream said. c.mu is held.
func (c *Client) setPace(s *stream, every time.Duration) {
	c.pacer = s
	if c.pace == every {
		return
	}
	c.pace = every
	close(c.paced)
	c.paced = make(chan struct{})
}

// dismiss notes that a stream is not the leader's any more, or is another leader's. c.mu is held.
func (c *Client) dismiss(s *stream) {
	delete(c.live, s)
	if c.pacer == s {
		c.setPace(nil, 0)
	}
}

// Connected says how many servers are connected, and whether one of them leads.
func (c *Client) Connected() (servers int, leader bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), len(c.live) > 0
}

// SetServers replaces the servers to be connected to. An empty list is not believed.
func (c *Client) SetServers(servers []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clean := slices.DeleteFunc(slices.Clone(servers), func(s string) bool { return s == "" || strings.ContainsAny(s, "/@ ?#") })
	if len(clean) == 0 || len(clean) > 64 || slices.Equal(clean, c.order) {
		return
	}
	c.order = clean
	select {
	case c.wantList <- struct{}{}:
	default:
	}
}

// Servers returns the servers that are connected to, or tried.
func (c *Client) Servers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.order)
}

// Run keeps sessions with all servers until ctx ends.
func (c *Client) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c.mu.Lock()
		for _, s := range c.order {
			if c.servers[s] != nil {
				continue
			}
			own, cancel := context.WithCancel(ctx)
			c.servers[s] = cancel
			all.Add(1)
			go func() {
				defer all.Done()
				c.keep(own, s)
			}()
		}
		for _, s := range slices.Collect(maps.Keys(c.servers)) {
			if !slices.Contains(c.order, s) {
				c.servers[s]()
				delete(c.servers, s)
			}
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-c.wantList:
		}
	}
}

const (
	reconnectFirst = 200 * time.Millisecond
	reconnectMost  = 5 * time.Second
	refusedPause   = 10 * time.Second
)

// keep holds a session with one server, over and over.
func (c *Client) keep(ctx context.Context, server string) {
	client := argosyv1connect.NewAgentServiceClient(c.cfg.HTTP, c.cfg.Scheme+"://"+server, protocol.Client(c.cfg.Hello().GetAgentVersion()))
	delay, quiet := reconnectFirst, false
	for ctx.Err() == nil {
		s := newStream(c, server, client)
		began := time.Now()
		err := s.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if idle, ok := c.cfg.HTTP.(interface{ CloseIdleConnections() }); ok && connect.CodeOf(err) == connect.CodeUnauthenticated {
			idle.CloseIdleConnections() // a connection shows for ever the certificate that it was made with
		}
		if s.welcomed && time.Since(began) > reconnectMost {
			delay, quiet = reconnectFirst, false
		}
		pause := delay/2 + rand.N(delay)
		if s.refused {
			pause = refusedPause/2 + rand.N(refusedPause)
		}
		if !quiet { // once is news; every few seconds is noise
			c.cfg.Log.Warn("no session with a server; trying again", "server", server, "error", err)
			quiet = true
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		delay = min(delay*2, reconnectMost)
	}
}
