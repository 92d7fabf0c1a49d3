package dns

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// Zone is the domain below which every name of a cluster lies.
const Zone = "argosy.internal"

const (
	maxPorts = 256 // of one endpoint
	maxName  = 253 // of a whole name, without the final dot
)

// Key names a member of a replica.
type Key struct {
	Tenant, App, Stack string
	Number             uint32
	Member             string
}

func (k Key) compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Tenant, o.Tenant), cmp.Compare(k.App, o.App), cmp.Compare(k.Stack, o.Stack),
		cmp.Compare(k.Number, o.Number), cmp.Compare(k.Member, o.Member),
	)
}

func (k Key) String() string {
	return fmt.Sprintf("%s/%s/%s.%d/%s", k.Tenant, k.App, k.Stack, k.Number, k.Member)
}

// Port is a port that an endpoint listens on. One without a name is found under
// its number: _80._tcp.
type Port struct {
	Name  string
	Port  uint16
	Proto string // "tcp", "udp" or "sctp"; "" means "tcp"
}

// Endpoint is a member of a replica as names see it.
type Endpoint struct {
	Tenant, App, Stack string
	Number             uint32
	Member             string
	Addr               netip.Addr // the zero Addr: it has none yet, and its name has no address
	Ready              bool
	Ports              []Port
}

// Key returns what the endpoint is known by.
func (e Endpoint) Key() Key {
	return Key{Tenant: e.Tenant, App: e.App, Stack: e.Stack, Number: e.Number, Member: e.Member}
}

func (e *Endpoint) equal(o *Endpoint) bool {
	return e.Key() == o.Key() && e.Addr == o.Addr && e.Ready == o.Ready && slices.Equal(e.Ports, o.Ports)
}

// normal returns a copy that shares nothing with the original and has its
// defaults, or says what is wrong with it.
func (e Endpoint) normal() (*Endpoint, error) {
	for _, l := range []struct{ what, label string }{
		{"tenant", e.Tenant}, {"app", e.App}, {"stack", e.Stack}, {"member", e.Member},
	} {
		if !validLabel(l.label) {
			return nil, fmt.Errorf("its %s %q is not a DNS label that starts with a letter", l.what, l.label)
		}
	}
	if len(e.numbered()) > maxName+1 {
		return nil, fmt.Errorf("its name is longer than %d characters", maxName)
	}
	if e.Addr.IsValid() {
		e.Addr = e.Addr.Unmap().WithZone("")
		if e.Addr.IsUnspecified() || e.Addr.IsMulticast() {
			return nil, fmt.Errorf("its address %s is not that of a container", e.Addr)
		}
	}
	if len(e.Ports) > maxPorts {
		return nil, fmt.Errorf("it has %d ports, more than %d", len(e.Ports), maxPorts)
	}
	e.Ports = slices.Clone(e.Ports)
	for i, p := range e.Ports {
		if p.Proto == "" {
			p.Proto = "tcp"
		}
		if p.Name == "" {
			p.Name = strconv.Itoa(int(p.Port))
		}
		if p.Port == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, p.Proto) || !validPortName(p.Name) || len(p.Name) > 62 {
			return nil, fmt.Errorf("its port %q (%d/%s) is not usable", p.Name, p.Port, p.Proto)
		}
		e.Ports[i] = p
	}
	return &e, nil
}

// plain returns the name that all replicas share.
func (e *Endpoint) plain() string {
	return e.Member + "." + e.Stack + "." + e.App + "." + e.Tenant + "." + Zone + "."
}

// numbered returns the name of this replica's member alone.
func (e *Endpoint) numbered() string {
	return e.Member + "." + replicaDomain(e.Tenant, e.App, e.Stack, e.Number) + "."
}

// between returns the names that exist only because names below them do.
func (e *Endpoint) between() [4]string {
	tenant := e.Tenant + "." + Zone + "."
	app := e.App + "." + tenant
	stack := e.Stack + "." + app
	return [4]string{strconv.FormatUint(uint64(e.Number), 10) + "." + stack, stack, app, tenant}
}

func replicaDomain(tenant, app, stack string, number uint32) string {
	return strconv.FormatUint(uint64(number), 10) + "." + stack + "." + app + "." + tenant + "." + Zone
}

// SearchDomains returns the search domains of the containers of a replica: the
// replica's own, in which a sibling is its plain name, and the tenant's, in
// which apache.lamp.shop is one of its names.
func SearchDomains(tenant, app, stack string, number uint32) []string {
	return []string{replicaDomain(tenant, app, stack, number), tenant + "." + Zone}
}

// ResolverOptions returns the options of a container's resolv.conf that go with
// SearchDomains. The longest short name, apache.3.lamp.shop, has three dots.
func ResolverOptions() []string { return []string{"ndots:4", "timeout:2", "attempts:3"} }

// validLabel says whether s is a DNS label as Argosy names things.
func validLabel(s string) bool {
	return len(s) > 0 && s[0] >= 'a' && s[0] <= 'z' && validPortName(s)
}

// validPortName also allows names that start with a digit.
func validPortName(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, b := range []byte(s) {
		if !(b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-') {
			return false
		}
	}
	return true
}

var errBadEndpoint = errors.New("dns: an endpoint was left out")
