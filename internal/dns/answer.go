package dns

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

const (
	// ttl of every record: the next question is answered from the table again.
	ttl = 0

	// receiveSize is the largest UDP message taken, and the largest sent to a
	// client that says it can take it. HAProxy's resolvers ask for 8192.
	receiveSize = 8192

	// maxAddrs and maxServices bound how many endpoints one answer is made
	// from. The first is what fits into the largest message there is.
	maxAddrs    = 4096
	maxServices = 1024
)

// Source is who asks.
type Source struct {
	Addr   netip.Addr
	Tenant string // "": not a container that the table knows
}

// answerer answers from the table. It does no I/O.
type answerer struct {
	table   *Table
	reverse []netip.Prefix                        // addresses whose PTR is ours to answer
	allow   func(from Source, tenant string) bool // nil: everybody may see every tenant
}

// answer returns the whole answer to a request with one question, or nil if the
// question is not for the table and has to be forwarded. size is the most bytes
// that the answer may have.
func (a *answerer) answer(req *dns.Msg, src netip.Addr, size int) *dns.Msg {
	q := req.Question[0]
	name := strings.ToLower(q.Name)
	if q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY {
		return reply(req, dns.RcodeRefused)
	}
	from := Source{Addr: src}
	asker := a.table.at(src)
	if asker != nil {
		from.Tenant = asker.Tenant
	}
	if dns.IsSubDomain(Zone+".", name) {
		if plain, ok := a.elsewhere(asker, name); ok {
			name = plain
		}
		return a.inZone(req, name, from, size)
	}
	if addr, ok := reverseAddr(name); ok && containsAny(a.reverse, addr) {
		return a.pointer(req, addr, from)
	}
	if asker != nil {
		for _, domain := range SearchDomains(asker.Tenant, asker.App, asker.Stack, asker.Number) {
			full := name + domain + "."
			if _, base := service(full); len(full) <= maxName+1 && a.table.holds(base) {
				return a.inZone(req, full, from, size)
			}
		}
	}
	if asker != nil {
		if plain, ok := a.table.elsewhere(asker, strings.TrimSuffix(name, ".")); ok {
			return a.inZone(req, plain, from, size)
		}
	}
	if dns.CountLabel(name) == 1 && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA) {
		// A single label is somebody's mistyped sibling. Sending it outside
		// would tell a stranger, and take its time-out to fail.
		return reply(req, dns.RcodeNameError)
	}
	return nil
}

// elsewhere returns what a plain name stands for that is asked for in the
// asker's own replica, where nothing is called so, and that one other stack of
// its app has.
func (a *answerer) elsewhere(asker *Endpoint, name string) (plain string, ok bool) {
	if asker == nil {
		return "", false
	}
	front, own := strings.CutSuffix(name, "."+replicaDomain(asker.Tenant, asker.App, asker.Stack, asker.Number)+".")
	if !own || strings.ContainsRune(front, '.') {
		return "", false
	}
	return a.table.elsewhere(asker, front)
}

// inZone answers a name below the zone, which may differ from the one asked
// for; the answer's records carry the one asked for, in its own spelling.
func (a *answerer) inZone(req *dns.Msg, name string, from Source, size int) *dns.Msg {
	if !a.mayAsk(from, name) {
		return a.negative(req, dns.RcodeNameError)
	}
	q := req.Question[0]
	svc, base := service(name)
	if svc != nil {
		return a.services(req, base, svc, size)
	}
	switch q.Qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeANY:
		return a.addresses(req, name, size)
	case dns.TypeSRV:
		return a.services(req, name, nil, size)
	case dns.TypeSOA:
		if name == Zone+"." {
			m := authoritative(req, dns.RcodeSuccess)
			m.Answer = []dns.RR{soa()}
			return m
		}
	}
	if _, exists, _ := a.table.lookup(name, lookup{}); !exists {
		return a.negative(req, dns.RcodeNameError)
	}
	return a.negative(req, dns.RcodeSuccess)
}

func (a *answerer) mayAsk(from Source, name string) bool {
	if a.allow == nil {
		return true
	}
	above := strings.TrimSuffix(name, Zone+".")
	if above == "" {
		return true
	}
	labels := dns.SplitDomainName(above)
	return a.allow(from, labels[len(labels)-1])
}

func (a *answerer) addresses(req *dns.Msg, name string, size int) *dns.Msg {
	q := req.Question[0]
	list, exists, more := a.table.lookup(name, lookup{limit: maxAddrs, turn: q.Qtype != dns.TypeAAAA})
	if !exists {
		return a.negative(req, dns.RcodeNameError)
	}
	m := authoritative(req, dns.RcodeSuccess)
	room := size - m.Len()
	for _, e := range list {
		rr, n := address(q, e.Addr)
		if rr == nil {
			continue
		}
		if room -= n; room < 0 {
			more = true
			break
		}
		m.Answer = append(m.Answer, rr)
	}
	m.Truncated = more
	if len(m.Answer) == 0 && !more {
		return a.negative(req, dns.RcodeSuccess)
	}
	return m
}

// address returns the record for an address, and its size in a message whose
// question is the same name; nil if the question was for another family.
func address(q dns.Question, addr netip.Addr) (dns.RR, int) {
	const head = 12 // pointer to the name 2, type 2, class 2, ttl 4, length 2
	h := dns.RR_Header{Name: q.Name, Class: dns.ClassINET, Ttl: ttl}
	switch {
	case addr.Is4() && q.Qtype != dns.TypeAAAA:
		h.Rrtype = dns.TypeA
		return &dns.A{Hdr: h, A: addr.AsSlice()}, head + 4
	case addr.Is6() && q.Qtype != dns.TypeA:
		h.Rrtype = dns.TypeAAAA
		return &dns.AAAA{Hdr: h, AAAA: addr.AsSlice()}, head + 16
	}
	return nil, 0
}

// services answers SRV, for one service or, with svc nil, for every port. Any
// other type for a service's name finds nothing, if there is such a service.
func (a *answerer) services(req *dns.Msg, base string, svc *serviceName, size int) *dns.Msg {
	q := req.Question[0]
	all, exists, more := a.table.lookup(base, lookup{limit: maxServices, withheld: svc != nil, turn: q.Qtype == dns.TypeSRV})
	if !exists {
		return a.negative(req, dns.RcodeNameError)
	}
	m := authoritative(req, dns.RcodeSuccess)
	known := svc == nil
	shared := len(all) > 0 && base == all[0].plain()
	wanted := (q.Qtype == dns.TypeSRV || q.Qtype == dns.TypeANY) && (svc == nil || svc.name != "")
	var extra []dns.RR
	for _, e := range all {
		answers := len(m.Answer)
		for _, p := range e.Ports {
			if svc != nil && !svc.matches(p) {
				continue
			}
			known = true
			if wanted && (e.Ready || !shared) {
				m.Answer = append(m.Answer, &dns.SRV{
					Hdr:  dns.RR_Header{Name: q.Name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: ttl},
					Port: p.Port, Target: e.numbered(),
				})
			}
		}
		if len(m.Answer) > answers && e.Addr.IsValid() {
			rr, _ := address(dns.Question{Name: e.numbered(), Qtype: dns.TypeANY}, e.Addr)
			extra = append(extra, rr)
		}
	}
	switch {
	case !known:
		return a.negative(req, dns.RcodeNameError)
	case len(m.Answer) == 0:
		return a.negative(req, dns.RcodeSuccess)
	}
	m.Extra = append(extra, m.Extra...)
	answers := len(m.Answer)
	m.Truncate(size)
	// Addresses that did not fit are a courtesy left out, not a cut answer.
	m.Truncated = more || len(m.Answer) < answers
	return m
}

// serviceName is the front of a name such as _http._tcp.apache… With an empty
// name it is only the protocol's label, which lies above services.
type serviceName struct{ name, proto string }

func (s serviceName) matches(p Port) bool {
	return p.Proto == s.proto && (s.name == "" || p.Name == s.name || strconv.Itoa(int(p.Port)) == s.name)
}

// service splits a name at its service labels; nil if it has none.
func service(name string) (*serviceName, string) {
	if !strings.HasPrefix(name, "_") {
		return nil, name
	}
	first, rest, _ := strings.Cut(name[1:], ".")
	if !strings.HasPrefix(rest, "_") {
		return &serviceName{proto: first}, rest
	}
	second, rest, _ := strings.Cut(rest[1:], ".")
	if first == "" {
		first = "_" // "_._tcp" is no service, and not the protocol's label either
	}
	return &serviceName{name: first, proto: second}, rest
}

func (a *answerer) pointer(req *dns.Msg, addr netip.Addr, from Source) *dns.Msg {
	e := a.table.at(addr)
	if e == nil || a.allow != nil && !a.allow(from, e.Tenant) {
		return authoritative(req, dns.RcodeNameError)
	}
	m := authoritative(req, dns.RcodeSuccess)
	if q := req.Question[0]; q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY {
		m.Answer = []dns.RR{&dns.PTR{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl},
			Ptr: e.numbered(),
		}}
	}
	return m
}

// negative answers that there is nothing: the name exists without such records
// (no error) or does not exist.
func (a *answerer) negative(req *dns.Msg, rcode int) *dns.Msg {
	m := authoritative(req, rcode)
	if dns.IsSubDomain(Zone+".", strings.ToLower(req.Question[0].Name)) {
		m.Ns = []dns.RR{soa()}
	}
	return m
}

func soa() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: Zone + ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  Zone + ".", Mbox: "nobody.invalid.", Serial: 1,
		Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}
}

func authoritative(req *dns.Msg, rcode int) *dns.Msg {
	m := reply(req, rcode)
	m.Authoritative = true
	return m
}

// reply returns an answer without records, with an OPT record if and only if
// the request had one.
func reply(req *dns.Msg, rcode int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(req, rcode)
	m.RecursionAvailable = true
	m.Compress = true
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(receiveSize, opt.Do())
	}
	return m
}

// limit returns how large an answer may be: a whole message over TCP, and over
// UDP what the client says, within reason.
func limit(req *dns.Msg, tcp bool) int {
	if tcp {
		return dns.MaxMsgSize
	}
	if opt := req.IsEdns0(); opt != nil {
		return max(dns.MinMsgSize, min(int(opt.UDPSize()), receiveSize))
	}
	return dns.MinMsgSize
}

// reverseAddr reads a whole IPv4 address out of its name in in-addr.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	front, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	if !ok || len(front) > len("255.255.255.255") {
		return netip.Addr{}, false
	}
	p := strings.Split(front, ".")
	if len(p) != 4 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(p[3] + "." + p[2] + "." + p[1] + "." + p[0])
	return addr, err == nil
}

func containsAny(prefixes []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap()
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
