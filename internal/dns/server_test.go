package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// serve runs a server on a free port of 127.0.0.1 for clients of 127.0.0.0/8.
func serve(t *testing.T, cfg Config, table *Table) netip.AddrPort {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	if cfg.Clients == nil {
		cfg.Clients = []netip.Prefix{loopback}
	}
	s, err := Listen(cfg, table)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s.Addrs()[0]
}

// query asks from an address of the loopback range other than the server's.
func query(t *testing.T, server netip.AddrPort, network, name string, qtype uint16, edns uint16) *dns.Msg {
	t.Helper()
	return queryFrom(t, netip.MustParseAddr("127.0.0.9"), server, network, name, qtype, edns)
}

func queryFrom(t *testing.T, from netip.Addr, server netip.AddrPort, network, name string, qtype uint16, edns uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	if edns != 0 {
		m.SetEdns0(edns, false)
	}
	d := &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.UDPAddr{IP: from.AsSlice()}}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	c := dns.Client{Net: network, Dialer: d, Timeout: 10 * time.Second}
	in, _, err := c.Exchange(m, server.String())
	if err != nil {
		t.Fatalf("%s %s: %v", network, name, err)
	}
	return in
}

// upstream is a resolver of the outside world: it knows what its handler knows.
func upstream(t *testing.T, h dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: ln, Handler: h}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() { _ = srv.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = srv.Shutdown() })
	}
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

func answering(n int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, req *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(req)
		for i := range n {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: req.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.IPv4(203, 0, 113, byte(i)),
			})
		}
		if _, tcp := remote(w.RemoteAddr()); !tcp {
			m.Truncate(limit(req, false))
		}
		_ = w.WriteMsg(m)
	}
}

func TestAllReplicasOverEveryTransport(t *testing.T) {
	table := NewTable()
	if err := table.Apply(Delta{Put: crowd(200)}); err != nil {
		t.Fatal(err)
	}
	at := serve(t, Config{}, table)
	const name = "srv.web.big.default.argosy.internal"
	for _, c := range []struct {
		network string
		edns    uint16
		want    int
		tc      bool
	}{{"udp", 0, 28, true}, {"udp", 8192, 200, false}, {"tcp", 0, 200, false}} {
		m := query(t, at, c.network, name, dns.TypeA, c.edns)
		if len(m.Answer) != c.want || m.Truncated != c.tc || !m.Authoritative {
			t.Errorf("%s, EDNS %d: %d answers, truncated %v", c.network, c.edns, len(m.Answer), m.Truncated)
		}
	}
	// Another question sees a change at once.
	gone := crowd(200)[:150]
	var d Delta
	for _, e := range gone {
		e.Ready = false
		d.Put = append(d.Put, e)
	}
	if err := table.Apply(d); err != nil {
		t.Fatal(err)
	}
	if m := query(t, at, "tcp", name, dns.TypeA, 0); len(m.Answer) != 50 {
		t.Errorf("after 150 went: %d answers", len(m.Answer))
	}
}

func TestForwards(t *testing.T) {
	up := upstream(t, answering(3))
	at := serve(t, Config{Resolvers: []netip.AddrPort{up}}, NewTable())
	m := query(t, at, "udp", "example.com", dns.TypeA, 0)
	if len(m.Answer) != 3 || m.Authoritative || m.Question[0].Name != "example.com." {
		t.Errorf("got %v", m)
	}
	// Names of the cluster stay here, whatever the resolvers would say.
	if m := query(t, at, "udp", "no.such.thing.argosy.internal", dns.TypeA, 0); m.Rcode != dns.RcodeNameError {
		t.Errorf("got %v", m)
	}
}

func TestForwardedAnswersOfAnySize(t *testing.T) {
	up := upstream(t, answering(200))
	at := serve(t, Config{Resolvers: []netip.AddrPort{up}}, NewTable())
	if m := query(t, at, "udp", "big.example.com", dns.TypeA, 0); !m.Truncated || len(m.Answer) == 0 {
		t.Errorf("UDP: %d answers, truncated %v", len(m.Answer), m.Truncated)
	}
	if m := query(t, at, "tcp", "big.example.com", dns.TypeA, 0); m.Truncated || len(m.Answer) != 200 {
		t.Errorf("TCP: %d answers, truncated %v", len(m.Answer), m.Truncated)
	}
	if m := query(t, at, "udp", "big.example.com", dns.TypeA, 8192); m.Truncated || len(m.Answer) != 200 {
		t.Errorf("EDNS: %d answers, truncated %v", len(m.Answer), m.Truncated)
	}
}

func TestForwardPassesOverDeadResolvers(t *testing.T) {
	var asked atomic.Int32
	dead := upstream(t, func(dns.ResponseWriter, *dns.Msg) { asked.Add(1) })
	failing := upstream(t, func(w dns.ResponseWriter, req *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(req, dns.RcodeServerFailure))
	})
	good := upstream(t, answering(1))
	at := serve(t, Config{Resolvers: []netip.AddrPort{dead, failing, good}}, NewTable())
	if m := query(t, at, "udp", "one.example.com", dns.TypeA, 0); len(m.Answer) != 1 {
		t.Fatalf("got %v", m)
	}
	// The one that answered is asked first from then on: no further time-out.
	before := asked.Load()
	if m := query(t, at, "udp", "two.example.com", dns.TypeA, 0); len(m.Answer) != 1 {
		t.Fatalf("got %v", m)
	}
	if before == 0 || asked.Load() != before {
		t.Errorf("the dead resolver was asked %d times, and then %d times", before, asked.Load())
	}
}

func TestForwardGivesUpInTime(t *testing.T) {
	dead := upstream(t, func(dns.ResponseWriter, *dns.Msg) {})
	at := serve(t, Config{Resolvers: []netip.AddrPort{dead}}, NewTable())
	start := time.Now()
	m := query(t, at, "udp", "example.com", dns.TypeA, 0)
	if m.Rcode != dns.RcodeServerFailure || time.Since(start) > forwardTotal+time.Second {
		t.Errorf("got %s after %v", dns.RcodeToString[m.Rcode], time.Since(start))
	}
}

func TestNoOpenResolver(t *testing.T) {
	asked := make(chan struct{}, 10)
	up := upstream(t, func(w dns.ResponseWriter, req *dns.Msg) {
		asked <- struct{}{}
		answering(1)(w, req)
	})
	table := NewTable()
	if err := table.Apply(Delta{Put: crowd(1)}); err != nil {
		t.Fatal(err)
	}
	at := serve(t, Config{
		Resolvers: []netip.AddrPort{up},
		Clients:   []netip.Prefix{netip.MustParsePrefix("127.1.0.0/16")},
	}, table)
	stranger, own, client := netip.MustParseAddr("127.2.0.1"), at.Addr(), netip.MustParseAddr("127.1.0.1")
	const ours, others = "srv.web.big.default.argosy.internal", "example.com"
	for _, c := range []struct {
		from netip.Addr
		name string
		want int
	}{
		{stranger, ours, dns.RcodeRefused}, {stranger, others, dns.RcodeRefused},
		{own, ours, dns.RcodeSuccess}, {own, others, dns.RcodeRefused},
		{client, ours, dns.RcodeSuccess}, {client, others, dns.RcodeSuccess},
	} {
		if m := queryFrom(t, c.from, at, "udp", c.name, dns.TypeA, 0); m.Rcode != c.want {
			t.Errorf("%s from %s: %s", c.name, c.from, dns.RcodeToString[m.Rcode])
		}
	}
	if n := len(asked); n != 1 {
		t.Errorf("%d questions went outside, want only the client's", n)
	}
	// Over TCP a stranger's connection is closed before anything is read.
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: stranger.AsSlice()}}).Dial("tcp", at.String())
	if err == nil {
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err = c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("a stranger's connection was kept: %v", err)
		}
	}
}

func TestOneContainerKeepsNoOtherFromAsking(t *testing.T) {
	hold := make(chan struct{})
	up := upstream(t, func(w dns.ResponseWriter, req *dns.Msg) {
		if strings.HasPrefix(req.Question[0].Name, "slow") {
			<-hold
		}
		answering(1)(w, req)
	})
	defer close(hold)
	f := newForwarder(func() []netip.AddrPort { return []netip.AddrPort{up} })
	greedy, modest := netip.MustParseAddr("10.64.0.2"), netip.MustParseAddr("10.64.0.3")
	slow := new(dns.Msg).SetQuestion("slow.example.com.", dns.TypeA)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range forwardEach {
		if !f.enter(greedy) {
			t.Fatal("refused too early")
		}
	}
	if _, err := f.exchange(ctx, slow, greedy, false); !errors.Is(err, errBusy) {
		t.Errorf("the greedy one: %v", err)
	}
	if _, err := f.exchange(ctx, new(dns.Msg).SetQuestion("fast.example.com.", dns.TypeA), modest, false); err != nil {
		t.Errorf("the modest one: %v", err)
	}
	for range forwardEach {
		f.leave(greedy)
	}
	if f.total != 0 || len(f.source) != 0 {
		t.Errorf("places were lost: %d, %v", f.total, f.source)
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(s string, when time.Time) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	own := netip.MustParseAddr("10.64.0.1")
	r := &resolvConf{path: path, exclude: func(a netip.Addr) bool { return a == own }}
	now := time.Now()
	write("# a comment\nsearch corp.example\nnameserver 10.64.0.1\nnameserver 192.0.2.53\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver nonsense\nnameserver\n", now)
	if got := r.resolvers(); len(got) != 2 || got[0] != netip.MustParseAddrPort("192.0.2.53:53") || got[1].Addr().Zone() != "eth0" {
		t.Errorf("got %v", got)
	}
	write("nameserver 192.0.2.54\n", now.Add(time.Minute))
	if got := r.resolvers(); len(got) != 2 {
		t.Errorf("read again too soon: %v", got)
	}
	r.looked = r.looked.Add(-time.Hour)
	if got := r.resolvers(); len(got) != 1 || got[0].Addr() != netip.MustParseAddr("192.0.2.54") {
		t.Errorf("after a change: %v", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.looked = r.looked.Add(-time.Hour)
	if got := r.resolvers(); len(got) != 1 {
		t.Errorf("while the file is away: %v", got)
	}
}

func TestListensBeforeTheAddressExists(t *testing.T) {
	s, err := Listen(Config{
		Listen:  []netip.AddrPort{netip.MustParseAddrPort("10.127.255.1:0")},
		Clients: []netip.Prefix{loopback},
	}, NewTable())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestTakenPortSaysSo(t *testing.T) {
	at := serve(t, Config{}, NewTable())
	_, err := Listen(Config{Listen: []netip.AddrPort{at}}, NewTable())
	if err == nil || !strings.Contains(err.Error(), "another name server") {
		t.Errorf("got %v", err)
	}
}

// FuzzRespond feeds raw messages to everything behind the sockets. Nothing may
// panic, and every answer must pack into what the client takes.
func FuzzRespond(f *testing.F) {
	for _, q := range []struct {
		name  string
		qtype uint16
	}{
		{"srv.web.big.default.argosy.internal.", dns.TypeA}, {"_http._tcp.srv.web.big.default.argosy.internal.", dns.TypeSRV},
		{"_._tcp.argosy.internal.", dns.TypeANY}, {"2.0.64.10.in-addr.arpa.", dns.TypePTR}, {"srv.", dns.TypeA}, {".", dns.TypeNS},
		{"example.com.", dns.TypeTXT}, {"argosy.internal.", dns.TypeAXFR},
	} {
		m := new(dns.Msg).SetQuestion(q.name, q.qtype)
		b, _ := m.Pack()
		f.Add(b, false)
		m.SetEdns0(8192, true)
		b, _ = m.Pack()
		f.Add(b, true)
	}
	table := NewTable()
	if err := table.Apply(Delta{Put: crowd(300)}); err != nil {
		f.Fatal(err)
	}
	s := &Server{
		cfg:     Config{Clients: []netip.Prefix{netip.MustParsePrefix("10.64.0.0/10")}},
		answers: answerer{table: table, reverse: []netip.Prefix{netip.MustParsePrefix("10.64.0.0/10")}},
		forward: newForwarder(func() []netip.AddrPort { return nil }),
		base:    context.Background(),
		last:    time.Now().Add(time.Hour), // no log
	}
	f.Fuzz(func(t *testing.T, raw []byte, tcp bool) {
		req := new(dns.Msg)
		if req.Unpack(raw) != nil {
			return
		}
		m := s.respond(req, netip.MustParseAddr("10.64.0.2"), tcp)
		if m == nil {
			return
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatalf("%v does not pack: %v", m, err)
		}
		if len(b) > max(limit(req, tcp), len(raw)+11) {
			t.Fatalf("%d bytes for a limit of %d", len(b), limit(req, tcp))
		}
	})
}

// FuzzRelay feeds raw messages as a resolver's answers.
func FuzzRelay(f *testing.F) {
	m := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
	m.Response = true
	for _, text := range []string{
		"example.com. 60 IN A 203.0.113.1", "example.com. 60 IN CNAME example.net.", `example.com. 60 IN TXT "a" "b"`,
		"example.com. 60 IN SVCB 1 . alpn=h2", "example.com. 60 IN NSEC a.example.com. A TYPE9999",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	m.SetEdns0(1232, true)
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	req := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := new(dns.Msg)
		if in.Unpack(raw) != nil {
			return
		}
		for _, size := range []int{dns.MinMsgSize, dns.MaxMsgSize} {
			out := relay(req, in, size)
			b, err := out.Pack()
			if err != nil {
				t.Fatalf("%v does not pack: %v", out, err)
			}
			if len(b) > size {
				t.Fatalf("%d bytes for a limit of %d", len(b), size)
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	for _, size := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("endpoints=%d", size), func(b *testing.B) {
			table := NewTable()
			all := crowd(size)
			for i := range all {
				all[i].Stack = fmt.Sprintf("web%d", i)
			}
			if err := table.Apply(Delta{Put: all}); err != nil {
				b.Fatal(err)
			}
			a := &answerer{table: table}
			req := new(dns.Msg).SetQuestion(all[0].plain(), dns.TypeA)
			src := netip.MustParseAddr("10.64.0.2")
			b.ReportAllocs()
			for b.Loop() {
				if m := a.answer(req, src, dns.MaxMsgSize); len(m.Answer) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, size := range []int{200, 100_000} {
		b.Run(fmt.Sprintf("endpoints=%d", size), func(b *testing.B) {
			table := NewTable()
			all := crowd(size)
			if err := table.Apply(Delta{Put: all}); err != nil {
				b.Fatal(err)
			}
			e := all[size/2]
			b.ReportAllocs()
			for b.Loop() {
				e.Ready = !e.Ready
				_ = table.Apply(Delta{Put: []Endpoint{e}})
			}
		})
	}
}
