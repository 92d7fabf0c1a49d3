package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Config says where a [Server] listens and whom it serves.
type Config struct {
	// Listen are the addresses to answer on, UDP and TCP: the bridge's gateway,
	// port 53. They need not be there yet. Port 0 takes any.
	Listen []netip.AddrPort

	// Clients are the ranges whose questions are answered: the cluster range.
	// Others are refused. The listening addresses themselves, which is to say
	// the machine, may ask for the cluster's names but have nothing forwarded,
	// so that no machine's resolver can be made to ask itself through us.
	Clients []netip.Prefix

	// Resolvers for outside names. Empty: those of ResolvConf.
	Resolvers []netip.AddrPort

	// ResolvConf is the machine's own; "" means /etc/resolv.conf. It is read
	// again when it changes.
	ResolvConf string

	// Allow says whether somebody may see a tenant's names; those of a tenant
	// that may not be seen do not exist. Nil allows everything. It must be fast
	// and safe for concurrent use.
	Allow func(from Source, tenant string) bool

	Log *slog.Logger // nil: silent
}

// Server answers names. Make one with Listen.
type Server struct {
	cfg     Config
	answers answerer
	forward *forwarder
	log     *slog.Logger
	addrs   []netip.AddrPort
	own     []netip.Addr
	servers []*dns.Server

	base context.Context // ends when Run does
	stop context.CancelFunc
	warn sync.Mutex // guards warned
	last time.Time  // of the last warning
}

// Listen opens a server's sockets. Questions are answered once Run runs.
func Listen(cfg Config, table *Table) (*Server, error) {
	s := &Server{cfg: cfg, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Listen) == 0 {
		return nil, errors.New("dns: no address to listen on")
	}
	s.answers = answerer{table: table, reverse: cfg.Clients, allow: cfg.Allow}
	for _, a := range cfg.Listen {
		s.own = append(s.own, a.Addr().Unmap())
	}
	resolvers := slices.DeleteFunc(slices.Clone(cfg.Resolvers), func(a netip.AddrPort) bool { return slices.Contains(cfg.Listen, a) })
	s.forward = newForwarder(func() []netip.AddrPort { return resolvers })
	if len(cfg.Resolvers) == 0 {
		path := cfg.ResolvConf
		if path == "" {
			path = "/etc/resolv.conf"
		}
		s.forward.resolvers = (&resolvConf{path: path, exclude: s.isOwn}).resolvers
	}
	s.base, s.stop = context.WithCancel(context.Background())
	for _, a := range cfg.Listen {
		if err := s.listen(a); err != nil {
			s.Close()
			return nil, fmt.Errorf("dns: listen on %s: %w", a, err)
		}
	}
	return s, nil
}

func (s *Server) isOwn(a netip.Addr) bool { return slices.Contains(s.own, a) }

// Addrs returns the addresses listened on, in the order of Config.Listen.
func (s *Server) Addrs() []netip.AddrPort { return slices.Clone(s.addrs) }

func (s *Server) listen(at netip.AddrPort) error {
	lc := net.ListenConfig{Control: freebind}
	ctx := context.Background()
	pc, err := lc.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		return explain(err)
	}
	s.servers = append(s.servers, &dns.Server{PacketConn: pc})
	got := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	ln, err := lc.Listen(ctx, "tcp", got.String())
	if err != nil {
		return explain(err)
	}
	s.servers = append(s.servers, &dns.Server{Listener: &gate{Listener: ln, admits: s.serves, each: map[netip.Addr]int{}}})
	s.addrs = append(s.addrs, got)
	for _, srv := range s.servers {
		srv.Handler = dns.HandlerFunc(s.handle)
		srv.UDPSize = receiveSize
		srv.ReadTimeout, srv.WriteTimeout = 3*time.Second, 3*time.Second
		if srv.PacketConn != nil {
			srv.ReadTimeout = time.Hour // only ever ends a wait for the next packet
		}
		srv.IdleTimeout = func() time.Duration { return 8 * time.Second }
	}
	return nil
}

func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another name server of this machine listens there or on every address; let it listen on its own addresses only", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need root", err)
	}
	return err
}

// freebind allows an address to be listened on before Docker has made the
// bridge that carries it.
func freebind(_, _ string, c syscall.RawConn) error {
	var opt error
	err := c.Control(func(fd uintptr) {
		opt = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_FREEBIND, 1)
	})
	return errors.Join(err, opt)
}

// Run answers questions until ctx ends or a socket fails.
func (s *Server) Run(ctx context.Context) error {
	defer s.stop()
	failed := make(chan error, len(s.servers))
	for _, srv := range s.servers {
		go func() { failed <- srv.ActivateAndServe() }()
	}
	var err error
	left := len(s.servers)
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-failed:
		left--
		err = fmt.Errorf("dns: serve: %w", err)
	}
	s.Close()
	for range left {
		<-failed
	}
	return err
}

// Close closes the sockets. A running Run returns.
func (s *Server) Close() {
	s.stop()
	ended, cancel := context.WithCancel(context.Background())
	cancel() // Run does the waiting
	for _, srv := range s.servers {
		_ = srv.ShutdownContext(ended) // does nothing to one that never started
		if srv.PacketConn != nil {
			_ = srv.PacketConn.Close()
		}
		if srv.Listener != nil {
			_ = srv.Listener.Close()
		}
	}
}

// serves says whether an address's questions are answered at all.
func (s *Server) serves(a netip.Addr) bool {
	return containsAny(s.cfg.Clients, a) || s.isOwn(a)
}

func (s *Server) handle(w dns.ResponseWriter, req *dns.Msg) {
	src, tcp := remote(w.RemoteAddr())
	if m := s.respond(req, src, tcp); m != nil {
		_ = w.WriteMsg(m) // the client has gone, or asks again
	}
}

// respond returns the answer to a request. It is everything that a server does
// but the sockets.
func (s *Server) respond(req *dns.Msg, src netip.Addr, tcp bool) *dns.Msg {
	size := limit(req, tcp)
	switch {
	case req.Response:
		return nil
	case !s.serves(src):
		return reply(req, dns.RcodeRefused)
	case req.Opcode != dns.OpcodeQuery:
		return reply(req, dns.RcodeNotImplemented)
	case len(req.Question) != 1:
		return reply(req, dns.RcodeFormatError)
	}
	if opt := req.IsEdns0(); opt != nil && opt.Version() != 0 {
		return reply(req, dns.RcodeBadVers)
	}
	switch req.Question[0].Qtype {
	case dns.TypeAXFR, dns.TypeIXFR, dns.TypeOPT, dns.TypeTKEY, dns.TypeTSIG:
		return reply(req, dns.RcodeRefused)
	}
	if m := s.answers.answer(req, src, size); m != nil {
		return m
	}
	if s.isOwn(src) {
		return reply(req, dns.RcodeRefused)
	}
	in, err := s.forward.exchange(s.base, req, src, tcp)
	if err != nil {
		s.complain(req.Question[0].Name, err)
		return reply(req, dns.RcodeServerFailure)
	}
	return relay(req, in, size)
}

// complain logs that outside names do not resolve, at most every ten seconds:
// how often containers ask is not ours to decide.
func (s *Server) complain(name string, err error) {
	s.warn.Lock()
	defer s.warn.Unlock()
	if s.base.Err() != nil || time.Since(s.last) < 10*time.Second {
		return
	}
	s.last = time.Now()
	s.log.Warn("an outside name could not be resolved", "name", name, "error", err)
}

func remote(a net.Addr) (addr netip.Addr, tcp bool) {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap().WithZone(""), false
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}
