package manifest

import (
	"fmt"
	"net/netip"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// networkKeys say how the container is reached and whom it knows.
func networkKeys() []ckey {
	return []ckey{
		field("ports", listOf(where(publishedPorts())), "Ports of the machine that lead to ports of the container: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, or a map. Without HOST the machine chooses one.",
			func(_ *reader, c *container, v []placed[[]*argosyv1.PublishedPort], _ value) { c.ports = v }).like(`ports: ["80:8080"]`),
		field("expose", listOf(where(exposedPorts())), "Ports that other containers may reach; SRV records name them.",
			func(_ *reader, c *container, v []placed[[]*argosyv1.Port], _ value) { c.exposes = v }).like("expose: [80]"),
		field("hostname", host(), "What the container calls itself; the default is its own name.", assign(func(s *spec, v string) { s.Hostname = v })).like("hostname: db"),
		field("domainname", host(), "The domain that the container believes to be in.", assign(func(s *spec, v string) { s.Domainname = v })).like("domainname: example.org"),
		field("extra_hosts", extraHosts(), "Names to add to the container's hosts file: a list of `NAME:ADDRESS`, or a map.",
			assign(func(s *spec, v []string) { s.ExtraHosts = v })).like(`extra_hosts: ["printer:10.0.0.9"]`),
		field("dns", oneOrMore(parsed("IP address", ipSchema(), parseIP)), "Name servers in place of the machine's. The names of the cluster are then not found.",
			func(r *reader, c *container, v []string, at value) {
				c.spec.Dns = v
				r.note(at.name(), "container %s has name servers of its own: it does not find the names of the cluster", c.spec.Name)
			}).like("dns: 10.0.0.2"),
		field("dns_search", oneOrMore(parsed("domain", variable(jsonSchema{"type": "string"}), func(s string) (string, error) {
			if s == "." {
				return s, nil
			}
			return parseHost(s)
		})), "Domains in which names are looked up.", assign(func(s *spec, v []string) { s.DnsSearch = v })).like("dns_search: example.org"),
		field("dns_opt", listOf(text()), "Options of the resolver.", assign(func(s *spec, v []string) { s.DnsOpt = v })).like("dns_opt: [ndots:1]"),
	}
}

var protocols = map[string]argosyv1.Protocol{
	"tcp": argosyv1.Protocol_PROTOCOL_TCP,
	"udp": argosyv1.Protocol_PROTOCOL_UDP,
}

func parseProtocol(s string) (argosyv1.Protocol, error) {
	p, ok := protocols[strings.ToLower(s)]
	if !ok {
		return 0, &betterError{message: fmt.Sprintf("%s is not a protocol", quoted(s)), hint: "it is tcp or udp"}
	}
	return p, nil
}

// span is a range of ports, both ends included.
type span struct{ first, last uint32 }

func (s span) count() int { return int(s.last-s.first) + 1 }

func parsePorts(s string) (span, error) {
	first, last, isRange := strings.Cut(s, "-")
	a, err := parseWhole(first, 1, 65535)
	if err != nil {
		return span{}, fmt.Errorf("%s is not a port", quoted(first))
	}
	if !isRange {
		return span{uint32(a), uint32(a)}, nil
	}
	b, err := parseWhole(last, 1, 65535)
	if err != nil {
		return span{}, fmt.Errorf("%s is not a port", quoted(last))
	}
	if b < a {
		return span{}, fmt.Errorf("the range of ports %s runs backwards", s)
	}
	return span{uint32(a), uint32(b)}, nil
}

// publication is an entry of ports before its ranges are counted out.
type publication struct {
	ip, name string
	host     span // 0 when not said
	target   span
	protocol argosyv1.Protocol
}

// parsePublication reads Compose's short syntax: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`.
func parsePublication(s string) (*publication, error) {
	p := &publication{protocol: argosyv1.Protocol_PROTOCOL_TCP}
	rest, protocol, has := strings.Cut(s, "/")
	var err error
	if has {
		if p.protocol, err = parseProtocol(protocol); err != nil {
			return nil, err
		}
	}
	target := rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		left := rest[:i]
		target = rest[i+1:]
		port := left
		if i := strings.LastIndexByte(left, ':'); i >= 0 {
			port = left[i+1:]
			if p.ip, err = parseIP(left[:i]); err != nil {
				return nil, err
			}
		}
		if port != "" {
			if p.host, err = parsePorts(port); err != nil {
				return nil, err
			}
		} else if p.ip == "" {
			return nil, &betterError{message: fmt.Sprintf("%s has no port before the colon", quoted(s)), suggestion: target}
		}
	}
	if p.target, err = parsePorts(target); err != nil {
		return nil, err
	}
	return p, nil
}

func publishedPorts() shape[[]*argosyv1.PublishedPort] {
	short := parsed("text `[[IP:]HOST:]CONTAINER[/PROTOCOL]`", jsonSchema{"anyOf": []any{
		jsonSchema{"type": "integer", "minimum": 1, "maximum": 65535},
		jsonSchema{"type": "string", "pattern": `^[^ ]*[0-9](/(tcp|udp))?$|\$`}}}, parsePublication)
	long := within(portTable(), func() *publication { return &publication{protocol: argosyv1.Protocol_PROTOCOL_TCP} })
	both := shortOrLong(short, long)
	return shape[[]*argosyv1.PublishedPort]{word: both.word, schema: both.schema, keys: both.keys,
		read: func(r *reader, v value) ([]*argosyv1.PublishedPort, bool) {
			p, ok := both.read(r, v)
			if !ok {
				return nil, false
			}
			return p.spread(r, v)
		}}
}

func portTable() *object[*publication] {
	ports := parsed("port, or range of ports", jsonSchema{"anyOf": []any{jsonSchema{"type": "integer", "minimum": 1, "maximum": 65535},
		jsonSchema{"type": "string", "pattern": `^[0-9]+(-[0-9]+)?$|\$`}}}, parsePorts)
	return newObject("port",
		field("target", ports, "Port of the container.", func(_ *reader, p *publication, v span, _ value) { p.target = v }).must().like("target: 8080"),
		field("published", ports, "Port of the machine; without it the machine chooses one.", func(_ *reader, p *publication, v span, _ value) { p.host = v }).like("published: 80"),
		field("host_ip", parsed("IP address", ipSchema(), parseIP), "Address of the machine to listen on; the default is all.",
			func(_ *reader, p *publication, v string, _ value) { p.ip = v }).like("host_ip: 127.0.0.1"),
		field("protocol", parsed("`tcp` or `udp`", variable(jsonSchema{"enum": []string{"tcp", "udp"}}), parseProtocol), "`tcp` or `udp`.",
			func(_ *reader, p *publication, v argosyv1.Protocol, _ value) { p.protocol = v }).like("protocol: udp").unsaid("tcp"),
		field("name", name(), "Name of the port, for SRV records.", func(_ *reader, p *publication, v string, _ value) { p.name = v }).like("name: http"),
		field("mode", parsed("word", variable(jsonSchema{"enum": []string{"host"}}), func(s string) (string, error) {
			if s != "host" {
				return "", &betterError{message: fmt.Sprintf("the mode %s is not honoured: a port is published on the machine that the container runs on", quoted(s)),
					suggestion: "host", hint: "to reach every replica through any machine, run a balancer: cluster: {balancer: {on: each-machine}}"}
			}
			return s, nil
		}), "`host`, which is what happens anyway.", func(*reader, *publication, string, value) {}).like("mode: host"),
		refuse[*publication]("app_protocol", "nothing looks at it", "leave it out; name names the port in SRV records"),
	)
}

// spread counts ranges out.
func (p *publication) spread(r *reader, v value) ([]*argosyv1.PublishedPort, bool) {
	n := p.target.count()
	switch {
	case p.host.first != 0 && p.host.count() != n && n == 1:
		r.fault(v, "a range of ports of the machine leads to one port of the container").Advise("name one port, or leave the choice to the machine: \"%d\"", p.target.first)
		return nil, false
	case p.host.first != 0 && p.host.count() != n:
		r.fault(v, "%d ports of the machine lead to %d of the container", p.host.count(), n)
		return nil, false
	case n > 1 && p.name != "":
		r.fault(v, "a range of ports cannot have one name")
		return nil, false
	}
	if r.ports += n; r.ports > maxPorts {
		r.stop(v, "the manifest publishes and exposes more than %d ports", maxPorts)
		return nil, false
	}
	out := make([]*argosyv1.PublishedPort, n)
	for i := range out {
		out[i] = &argosyv1.PublishedPort{HostIp: p.ip, Target: p.target.first + uint32(i), Protocol: p.protocol, Name: p.name}
		if p.host.first != 0 {
			out[i].Published = p.host.first + uint32(i)
		}
	}
	return out, true
}

func exposedPorts() shape[[]*argosyv1.Port] {
	return shape[[]*argosyv1.Port]{word: "port, range of ports, or `PORT/PROTOCOL`",
		schema: jsonSchema{"anyOf": []any{jsonSchema{"type": "integer", "minimum": 1, "maximum": 65535},
			jsonSchema{"type": "string", "pattern": `^[0-9]+(-[0-9]+)?(/(tcp|udp))?$|\$`}}},
		read: func(r *reader, v value) ([]*argosyv1.Port, bool) {
			s, ok := r.scalar(v)
			if !ok {
				return nil, false
			}
			protocol := argosyv1.Protocol_PROTOCOL_TCP
			ports, word, has := strings.Cut(s, "/")
			if has {
				if protocol, ok = parsedText(r, v, word, parseProtocol); !ok {
					return nil, false
				}
			}
			all, ok := parsedText(r, v, ports, parsePorts)
			if !ok {
				return nil, false
			}
			if r.ports += all.count(); r.ports > maxPorts {
				r.stop(v, "the manifest publishes and exposes more than %d ports", maxPorts)
				return nil, false
			}
			var out []*argosyv1.Port
			for p := all.first; p <= all.last; p++ {
				out = append(out, &argosyv1.Port{Port: p, Protocol: protocol})
			}
			return out, true
		}}
}

// finishPorts fills the ports of a container in; the same twice is a fault.
func (c *container) finishPorts(r *reader) {
	type exposed struct {
		port     uint32
		protocol argosyv1.Protocol
	}
	seen := map[exposed]bool{}
	for _, list := range c.exposes {
		for _, p := range list.is {
			k := exposed{p.Port, p.Protocol}
			if seen[k] {
				r.fault(list.at, "the port %d is exposed twice", p.Port)
				break
			}
			seen[k] = true
			c.spec.Expose = append(c.spec.Expose, p)
		}
	}
	names := map[string]bool{}
	for _, list := range c.ports {
		for _, p := range list.is {
			if p.Name != "" && names[p.Name] {
				r.fault(list.at, "two ports are called %s", quoted(p.Name))
			}
			names[p.Name] = true
		}
		c.spec.Ports = append(c.spec.Ports, list.is...)
	}
}

// hostPorts finds ports of a machine that are wanted twice.
type hostPorts map[hostPort]portUse

// hostPort is a port of one address; the address is also "*4" or "*6" for a port of all addresses of a family, and "4" or
// "6" for a port of any of them.
type hostPort struct {
	port     uint32
	protocol argosyv1.Protocol
	address  string
}

type portUse struct {
	at    value
	whose string
}

// take reports who has the port already, on the same address or on all of them; nobody had it when taken is false.
func (h hostPorts) take(p *argosyv1.PublishedPort, use portUse) (other portUse, taken bool) {
	if other, taken = h.find(p); taken || p.Published == 0 {
		return other, taken
	}
	put := func(address string) {
		k := hostPort{p.Published, p.Protocol, address}
		if _, there := h[k]; !there {
			h[k] = use
		}
	}
	for _, family := range families(p.HostIp) {
		put(family)
		if allOf(p.HostIp, family) {
			put("*" + family)
		} else {
			put(p.HostIp)
		}
	}
	return portUse{}, false
}

func (h hostPorts) find(p *argosyv1.PublishedPort) (other portUse, taken bool) {
	for _, family := range families(p.HostIp) {
		looked := []string{"*" + family, p.HostIp}
		if allOf(p.HostIp, family) {
			looked = []string{family}
		}
		for _, address := range looked {
			if other, taken = h[hostPort{p.Published, p.Protocol, address}]; taken {
				return other, true
			}
		}
	}
	return portUse{}, false
}

// families of addresses that a socket on ip listens on.
func families(ip string) []string {
	a, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return []string{"4", "6"}
	case a.Is4():
		return []string{"4"}
	default:
		return []string{"6"}
	}
}

// allOf is true when a socket on ip listens on every address of the family.
func allOf(ip, family string) bool {
	return ip == "" || (family == "4" && ip == "0.0.0.0") || (family == "6" && ip == "::")
}

// extraHosts gives `name:address` pairs, in the order of the manifest.
func extraHosts() shape[[]string] {
	list := listOf(where(text()))
	address := oneOrMore(where(text()))
	return shape[[]string]{word: "list of `NAME:ADDRESS`, or a map",
		schema: jsonSchema{"anyOf": []any{list.schema, jsonSchema{"type": "object", "additionalProperties": address.schema}}},
		read: func(r *reader, v value) ([]string, bool) {
			var out []string
			fine := true
			add := func(name, address string, at value) {
				if _, ok := parsedText(r, at, name, parseHost); !ok {
					fine = false
					return
				}
				if address != "host-gateway" {
					var ok bool
					if address, ok = parsedText(r, at, address, parseIP); !ok {
						fine = false
						return
					}
				}
				out = append(out, name+":"+address)
			}
			if v.isMap() {
				entries, ok := r.entries(v)
				for _, e := range entries {
					addresses, good := address.read(r, e.value)
					ok = ok && good
					for _, a := range addresses {
						add(e.key.Value, a.is, a.at)
					}
				}
				return out, ok && fine
			}
			pairs, ok := list.read(r, v)
			for _, p := range pairs {
				i := strings.IndexAny(p.is, "=:")
				if i < 0 {
					r.fault(p.at, "%s has no address", quoted(p.is)).Advise("write NAME:ADDRESS")
					fine = false
					continue
				}
				add(p.is[:i], p.is[i+1:], p.at)
			}
			return out, ok && fine
		}}
}
