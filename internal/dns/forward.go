package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	forwardTotal      = 4 * time.Second         // for one question, all attempts together
	forwardAttempt    = 1200 * time.Millisecond // for one attempt at one resolver
	forwardMost       = 512                     // questions under way at once
	forwardEach       = 128                     // of one container
	resolvConfFresh   = 2 * time.Second         // how long a look at resolv.conf counts
	resolvConfLargest = 64 << 10
	maxResolvers      = 8
)

var (
	errBusy        = errors.New("too many outside names are being asked for")
	errNoResolvers = errors.New("this machine has no resolver for outside names")
)

// forwarder asks the machine's own resolvers.
type forwarder struct {
	resolvers func() []netip.AddrPort
	preferred atomic.Uint32 // index of the resolver that answered last

	mu     sync.Mutex
	total  int
	source map[netip.Addr]int // questions under way, never zero
}

func newForwarder(resolvers func() []netip.AddrPort) *forwarder {
	return &forwarder{resolvers: resolvers, source: map[netip.Addr]int{}}
}

// enter takes a place for a question, or says that there is none.
func (f *forwarder) enter(src netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total >= forwardMost || f.source[src] >= forwardEach {
		return false
	}
	f.total++
	f.source[src]++
	return true
}

func (f *forwarder) leave(src netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	if f.source[src]--; f.source[src] == 0 {
		delete(f.source, src)
	}
}

// exchange asks the resolvers in turn, beginning with the one that answered
// last, until one gives an answer that settles the question or time is up.
func (f *forwarder) exchange(ctx context.Context, req *dns.Msg, src netip.Addr, tcp bool) (*dns.Msg, error) {
	if !f.enter(src) {
		return nil, errBusy
	}
	defer f.leave(src)
	resolvers := f.resolvers()
	if len(resolvers) == 0 {
		return nil, errNoResolvers
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTotal)
	defer cancel()

	out := outgoing(req)
	var (
		unsettled *dns.Msg // an answer to fall back on
		lastErr   error
		first     = int(f.preferred.Load()) % len(resolvers)
	)
	for i := 0; i < 2*len(resolvers) && ctx.Err() == nil; i++ {
		n := (first + i) % len(resolvers)
		in, err := ask(ctx, out, resolvers[n], tcp)
		switch {
		case err != nil:
			lastErr = fmt.Errorf("%s: %w", resolvers[n], err)
		case in.Rcode == dns.RcodeSuccess || in.Rcode == dns.RcodeNameError:
			f.preferred.Store(uint32(n))
			return in, nil
		default:
			unsettled = in
		}
	}
	if unsettled != nil {
		return unsettled, nil
	}
	if lastErr == nil {
		lastErr = ctx.Err()
	}
	return nil, lastErr
}

// outgoing makes the question that goes out: the client's, with an id of its
// own and nothing else of what the client sent along.
func outgoing(req *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired = true
	m.CheckingDisabled = req.CheckingDisabled
	m.Question = []dns.Question{req.Question[0]}
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(uint16(limit(req, false)), opt.Do())
	}
	return m
}

func ask(ctx context.Context, m *dns.Msg, resolver netip.AddrPort, tcp bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardAttempt)
	defer cancel()
	client := dns.Client{Net: "udp", Timeout: forwardAttempt}
	in, _, err := client.ExchangeContext(ctx, m, resolver.String())
	if err == nil && in.Truncated && tcp {
		client.Net = "tcp"
		in, _, err = client.ExchangeContext(ctx, m, resolver.String())
	}
	if err != nil {
		return nil, err
	}
	if len(in.Question) != 1 || !sameQuestion(in.Question[0], m.Question[0]) {
		return nil, errors.New("the resolver answered another question")
	}
	return in, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// relay turns a resolver's answer into one for the client.
func relay(req, in *dns.Msg, size int) *dns.Msg {
	if in.Rcode > 0xf { // extended codes speak of the hop to the resolver
		return reply(req, dns.RcodeServerFailure)
	}
	m := reply(req, in.Rcode)
	m.Truncated = in.Truncated
	m.AuthenticatedData = in.AuthenticatedData
	m.Answer, m.Ns = in.Answer, in.Ns
	// OPT speaks of one hop only: ours is there already if the client has one.
	m.Extra = append(slices.DeleteFunc(slices.Clone(in.Extra), func(rr dns.RR) bool {
		return rr.Header().Rrtype == dns.TypeOPT
	}), m.Extra...)
	m.Truncate(size)
	if _, err := m.Pack(); err != nil {
		return reply(req, dns.RcodeServerFailure) // what cannot be passed on
	}
	return m
}

// resolvConf returns the resolvers that a resolv.conf names, read again when
// the file has changed.
type resolvConf struct {
	path    string
	exclude func(netip.Addr) bool // our own addresses, so as not to ask ourselves

	mu      sync.Mutex
	looked  time.Time
	changed time.Time
	size    int64
	list    []netip.AddrPort
}

func (r *resolvConf) resolvers() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.looked.IsZero() && time.Since(r.looked) < resolvConfFresh {
		return r.list
	}
	r.looked = time.Now()
	info, err := os.Stat(r.path)
	if err != nil || !info.Mode().IsRegular() {
		return r.list // a file that is just being replaced: keep what was known
	}
	if info.ModTime().Equal(r.changed) && info.Size() == r.size {
		return r.list
	}
	f, err := os.Open(r.path)
	if err != nil {
		return r.list
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, resolvConfLargest))
	if err != nil {
		return r.list
	}
	r.changed, r.size = info.ModTime(), info.Size()
	r.list = parseResolvConf(string(text), r.exclude)
	return r.list
}

func parseResolvConf(text string, exclude func(netip.Addr) bool) []netip.AddrPort {
	var list []netip.AddrPort
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(list) == maxResolvers {
			continue
		}
		addr, err := netip.ParseAddr(fields[1])
		if err != nil || exclude != nil && exclude(addr.Unmap()) {
			continue
		}
		if ap := netip.AddrPortFrom(addr, 53); !slices.Contains(list, ap) {
			list = append(list, ap)
		}
	}
	return list
}
