package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// maxPorts bounds the ports of all services, ranges counted out, which compose-go does.
const maxPorts = 20_000

// tooManyPorts refuses files whose ranges of ports would cost too much.
func (im *importer) tooManyPorts() (fault manifest.Fault, over bool) {
	total := 0
	for _, src := range im.src.files {
		for _, name := range sorted(src.services) {
			for _, key := range []string{"ports", "expose"} {
				ports, _ := src.services[name].Child(key)
				for _, item := range ports.Items() {
					text, _ := item.Scalar()
					if total += rangeSize(im.vars.now(text)); total > maxPorts {
						return item.Fault(fmt.Sprintf("the files publish more than %d ports", maxPorts), "a machine has 65535 of them"), true
					}
				}
			}
		}
	}
	return manifest.Fault{}, false
}

// rangeSize is how many ports of the container an entry of ports is about.
func rangeSize(s string) int {
	s, _, _ = strings.Cut(s, "/")
	first, end, _ := strings.Cut(s[strings.LastIndexByte(s, ':')+1:], "-")
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(end)
	if errA != nil || errB != nil || b < a || b > 65535 {
		return 1
	}
	return b - a + 1
}

// ports are written as the Compose file has them, where they can be found there.
func (im *importer) ports(svc *service, key string, v any) *node {
	var left []map[string]any
	for _, p := range list(v) {
		if m, ok := p.(map[string]any); ok {
			left = append(left, m)
		}
	}
	out := &node{kind: sequence, key: key, flow: true, path: svc.path(key)}
	for _, item := range im.src.items(svc.path(key)...) {
		raw, ok := item.Scalar()
		if !ok {
			continue
		}
		parsed, err := types.ParsePortConfig(im.vars.now(raw))
		if err != nil || slices.ContainsFunc(parsed, func(p types.ServicePortConfig) bool { return strings.Contains(p.Published, "-") }) {
			continue
		}
		var rest []map[string]any
		found := 0
		for _, m := range left {
			if slices.ContainsFunc(parsed, func(p types.ServicePortConfig) bool { return samePort(p, m) }) {
				found++
			} else {
				rest = append(rest, m)
			}
		}
		if found == len(parsed) && found > 0 {
			out.add(newText("", im.keep(raw, item), svc.path(key)...))
			left = rest
		}
	}
	for _, m := range left {
		out.add(im.port(svc, m))
	}
	out.flow = len(out.kids) <= 4 && !slices.ContainsFunc(out.kids, func(k *node) bool { return k.kind != scalar || len(k.head) > 0 })
	if len(out.kids) == 0 {
		return nil
	}
	return out
}

func samePort(p types.ServicePortConfig, m map[string]any) bool {
	protocol := str(m["protocol"])
	if protocol == "" {
		protocol = "tcp"
	}
	return fmt.Sprint(p.Target) == str(m["target"]) && p.Published == str(m["published"]) && p.HostIP == str(m["host_ip"]) && p.Protocol == protocol
}

// port is one that is written as a map, or that came out of a merge.
func (im *importer) port(svc *service, m map[string]any) *node {
	path := svc.path("ports")
	target, published, ip, protocol := str(m["target"]), str(m["published"]), str(m["host_ip"]), str(m["protocol"])
	kept := im.longPort(svc, m)
	if kept == "" {
		kept = published
	}
	name := str(m["name"])
	if strings.Contains(published, "-") {
		im.note(im.src.place(path...), "one of the ports %s for %s of service %s is chosen by the machine", published, target, svc.source)
		n := newText("", target+suffix(protocol), path...)
		return n.comment("Compose takes one of the ports " + published + "; here the machine chooses one.")
	}
	if name != "" {
		n := newMap("", path...).add(number("target", target, path...))
		if published != "" {
			n.add(newText("published", kept, path...))
		}
		if ip != "" {
			n.add(newText("host_ip", literal(ip), path...))
		}
		if protocol != "" && protocol != "tcp" {
			n.add(newText("protocol", literal(protocol), path...))
		}
		n.add(newText("name", literal(name), path...))
		n.flow = true
		return n
	}
	text := target + suffix(protocol)
	if published != "" {
		text = kept + ":" + text
	}
	if ip != "" {
		if strings.Contains(ip, ":") {
			ip = "[" + ip + "]"
		}
		if published == "" {
			text = ":" + text
		}
		text = ip + ":" + text
	}
	return newText("", text, path...)
}

func suffix(protocol string) string {
	if protocol == "" || protocol == "tcp" {
		return ""
	}
	return "/" + protocol
}

// longPort is the published port of a map as it is written, when a variable is in it.
func (im *importer) longPort(svc *service, m map[string]any) string {
	for _, item := range im.src.items(svc.path("ports")...) {
		target, _ := item.Child("target")
		published, _ := item.Child("published")
		t, _ := target.Scalar()
		p, ok := published.Scalar()
		if ok && strings.Contains(p, "$") && im.vars.now(t) == str(m["target"]) && im.vars.now(p) == str(m["published"]) {
			return im.keep(p, published)
		}
	}
	return ""
}
