package dns

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/miekg/dns"
)

// TestTranscripts runs conversations with the table:
//
//	put / drop      endpoints, one a line: tenant/app/stack.number/member [address] [ready] [name=port/proto]
//	fill            count=N replicas of default/big/web.N/srv, ready, with port 80
//	ask TYPE NAME   from=ADDR, tcp, edns=SIZE, summary (count instead of list)
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/answers", func(t *testing.T, path string) {
		table := NewTable()
		a := &answerer{table: table, reverse: []netip.Prefix{netip.MustParsePrefix("10.64.0.0/10")}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "put":
				var delta Delta
				for line := range strings.Lines(d.Input) {
					delta.Put = append(delta.Put, parseEndpoint(t, line))
				}
				return outcome(table.Apply(delta))
			case "drop":
				var delta Delta
				for line := range strings.Lines(d.Input) {
					delta.Drop = append(delta.Drop, parseEndpoint(t, line).Key())
				}
				return outcome(table.Apply(delta))
			case "fill":
				var n int
				d.ScanArgs(t, "count", &n)
				return outcome(table.Apply(Delta{Put: crowd(n)}))
			case "hide":
				var tenant string
				d.ScanArgs(t, "tenant", &tenant)
				a.allow = func(from Source, other string) bool { return other != tenant || from.Tenant == tenant }
				return "ok\n"
			case "search":
				return strings.Join(SearchDomains("default", "shop", "lamp", 3), "\n") + "\n" + strings.Join(ResolverOptions(), " ") + "\n"
			case "ask":
				return ask1(t, a, d)
			}
			return "unknown command " + d.Cmd + "\n"
		})
	})
}

func outcome(err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	return "ok\n"
}

func ask1(t *testing.T, a *answerer, d *datadriven.TestData) string {
	req := new(dns.Msg)
	req.SetQuestion(dns.Fqdn(d.CmdArgs[1].Key), dns.StringToType[d.CmdArgs[0].Key])
	from := "10.64.9.9"
	if d.HasArg("from") {
		d.ScanArgs(t, "from", &from)
	}
	if d.HasArg("edns") {
		var size int
		d.ScanArgs(t, "edns", &size)
		req.SetEdns0(uint16(size), false)
	}
	size := limit(req, d.HasArg("tcp"))
	m := a.answer(req, netip.MustParseAddr(from), size)
	if m == nil {
		return "forward\n"
	}
	packed, err := m.Pack()
	if err != nil {
		return err.Error() + "\n"
	}
	if len(packed) > size {
		t.Errorf("%s: %d bytes, more than %d", d.Pos, len(packed), size)
	}
	back := new(dns.Msg)
	if err := back.Unpack(packed); err != nil {
		return err.Error() + "\n"
	}
	return show(back, d.HasArg("summary"))
}

func show(m *dns.Msg, summary bool) string {
	var b strings.Builder
	b.WriteString(dns.RcodeToString[m.Rcode])
	if m.Authoritative {
		b.WriteString(" aa")
	}
	if m.Truncated {
		b.WriteString(" tc")
	}
	if summary {
		fmt.Fprintf(&b, " %d answers\n", len(m.Answer))
		return b.String()
	}
	b.WriteString("\n")
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype == dns.TypeOPT {
				continue
			}
			text := strings.Join(strings.Fields(rr.String()), " ")
			fmt.Fprintf(&b, "%s %s\n", []string{"answer", "authority", "extra"}[i], text)
		}
	}
	return b.String()
}

func parseEndpoint(t *testing.T, line string) Endpoint {
	t.Helper()
	f := strings.Fields(line)
	part := strings.Split(f[0], "/")
	stack, number, ok := strings.Cut(part[2], ".")
	if !ok || len(part) != 4 {
		t.Fatalf("%q is not tenant/app/stack.number/member", f[0])
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	e := Endpoint{Tenant: part[0], App: part[1], Stack: stack, Number: uint32(n), Member: part[3]}
	for _, w := range f[1:] {
		if name, port, ok := strings.Cut(w, "="); ok {
			port, proto, _ := strings.Cut(port, "/")
			p, _ := strconv.Atoi(port)
			e.Ports = append(e.Ports, Port{Name: name, Port: uint16(p), Proto: proto})
		} else if w == "ready" {
			e.Ready = true
		} else {
			e.Addr = netip.MustParseAddr(w)
		}
	}
	return e
}

// crowd returns n ready replicas of one stack.
func crowd(n int) []Endpoint {
	list := make([]Endpoint, n)
	for i := range list {
		list[i] = Endpoint{
			Tenant: "default", App: "big", Stack: "web", Number: uint32(i + 1), Member: "srv",
			Addr:  netip.AddrFrom4([4]byte{10, byte(64 + i/62500), byte(i / 250 % 250), byte(2 + i%250)}),
			Ready: true, Ports: []Port{{Name: "http", Port: 80}},
		}
	}
	return list
}
