package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// service is a service of Compose on its way to be a container.
type service struct {
	source string // what Compose calls it
	name   string // and the manifest
	m      map[string]any
	n      *node
	stack  *stack

	count  int
	global bool
	// volumes are those of the stack that it mounts.
	volumes []string
	// await is true when another one waits for it to complete.
	await bool
	// job is true for what Swarm runs to its end.
	job bool
}

func (s *service) path(more ...string) []string {
	return append([]string{"services", s.source}, more...)
}

// scaled is true for what does not run exactly once.
func (s *service) scaled() bool { return s.global || s.count != 1 }

// stack is a group of services.
type stack struct {
	name     string
	services []*service
	volumes  []string // of Compose, in the order in which they are first mounted
	count    int
	global   bool
}

// sorted are the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// inOrder are the keys of a section in the order of the files; those that are not written there come last.
func (im *importer) inOrder(m map[string]any, path ...string) []string {
	var out []string
	seen := make(map[string]bool, len(m))
	for _, k := range im.src.keys(path...) {
		if _, ok := m[k]; ok {
			out = append(out, k)
			seen[k] = true
		}
	}
	for _, k := range sorted(m) {
		if !seen[k] {
			out = append(out, k)
		}
	}
	return out
}

// translate makes the manifest.
func (im *importer) translate() (root *node, ok bool) {
	im.names = newNames()
	im.bySource = map[string]*service{}
	im.configs = newConfigs()
	im.app = manifest.NameLike(im.app)
	if im.app == "" {
		im.app = "app"
	}
	services := section(im.model, "services")
	for _, name := range im.inOrder(services, "services") {
		m, ok := services[name].(map[string]any)
		if !ok {
			continue
		}
		svc := &service{source: name, m: m}
		im.services = append(im.services, svc)
		im.bySource[name] = svc
	}
	for kind, key := range map[string]string{"container": "services", "volume": "volumes", "secret": "secrets", "config": "configs"} {
		for name := range section(im.model, key) {
			im.names.keep(kind, name)
		}
	}
	im.nameServices()
	for _, svc := range im.services {
		im.scale(svc)
	}
	im.formStacks()
	for _, st := range im.stacks {
		if n := len(st.services); n > manifest.MaxMembers {
			im.faults = append(im.faults, im.src.place("services").Fault(fmt.Sprintf("%d services are more than one stack can have: %d", n, manifest.MaxMembers),
				"--stacks each makes a stack of each"))
			return nil, false
		}
	}
	for _, svc := range im.services {
		for dep, v := range section(svc.m, "depends_on") {
			d, _ := v.(map[string]any)
			if other := im.service(dep); other != nil && str(d["condition"]) == "service_completed_successfully" {
				other.await = true
			}
		}
	}
	im.topLevel()

	containers := newMap("containers")
	containers.gap = true
	for _, svc := range im.services {
		im.container(svc)
		containers.add(svc.n)
	}
	root = newMap("").add(newText("argosy", "v1"), newText("app", im.app), containers)
	root.add(im.stackNodes()...)
	if cfg := im.configs.node(im); cfg != nil {
		root.add(cfg)
	}
	return root, true
}

// nameServices gives services their names: their own, where those are names.
func (im *importer) nameServices() {
	for _, svc := range im.services {
		if svc.name = im.names.of("container", svc.source); svc.name == svc.source {
			continue
		}
		at := im.src.place(svc.path()...)
		im.note(at, "service %s is called %s: names are small letters, digits and hyphens", svc.source, svc.name)
		for _, m := range im.mentions() {
			if m.usesHost(svc.source) {
				im.faults = append(im.faults, im.src.place(m.path...).Fault(
					fmt.Sprintf("%q is reached by a name that cannot be one in Argosy", svc.source), fmt.Sprintf("write %s here, which is what the container is called", svc.name)))
			}
		}
	}
}

func (im *importer) service(source string) *service {
	return im.bySource[source]
}

// topLevel goes through what stands beside the services.
func (im *importer) topLevel() {
	for _, key := range sorted(im.model) {
		at := im.src.place(key)
		switch {
		case strings.HasPrefix(key, "x-"):
		case key == "services" || key == "name" || key == "version" || key == "volumes" || key == "secrets" || key == "configs":
		case key == "networks":
			im.networks()
		default:
			why, _ := manifest.Compose("top", key)
			if why.Why == "" {
				why.Why = "it is not honoured"
			}
			im.faults = append(im.faults, at.Fault(fmt.Sprintf("%q cannot be carried over: %s", key, why.Why), why.Instead))
		}
	}
}

// networks says what becomes of them: every container reaches every other.
func (im *importer) networks() {
	for _, name := range sorted(section(im.model, "networks")) {
		n, _ := section(im.model, "networks")[name].(map[string]any)
		at := im.src.place("networks", name)
		switch {
		case truth(n["internal"]):
			im.note(at, "network %s is not closed off: every container of the cluster reaches every other, and the outside", name)
		case n["external"] != nil && str(n["external"]) != "false":
			im.note(at, "network %s is left out: containers of other apps are reached as CONTAINER.STACK.APP", name)
		}
	}
	if im.disjoint() {
		im.note(im.src.place("networks"), "networks are left out: every container of the cluster reaches every other, also those that shared none")
	}
}

// disjoint is true when two services share no network.
func (im *importer) disjoint() bool {
	const most = 200 // services looked at
	of := func(svc *service) []string {
		if nets := sorted(section(svc.m, "networks")); len(nets) > 0 {
			return nets
		}
		return []string{"default"}
	}
	for i, a := range im.services[:min(most, len(im.services))] {
		for _, b := range im.services[:i] {
			if !slices.ContainsFunc(of(a), func(n string) bool { return slices.Contains(of(b), n) }) {
				return true
			}
		}
	}
	return false
}

// stackNodes are the sections stacks and cluster.
func (im *importer) stackNodes() []*node {
	stacks, cluster := newMap("stacks"), newMap("cluster")
	stacks.gap, cluster.gap = true, true
	for _, st := range im.stacks {
		n := newMap(st.name, st.services[0].path()...)
		var members []string
		for _, svc := range st.services {
			members = append(members, svc.name)
		}
		n.add(flowList("containers", members, st.services[0].path()...))
		n.add(im.volumeNodes(st), im.placement(st))
		stacks.add(n)
		path := st.services[0].path("deploy")
		if st.global {
			each := newMap(st.name, path...).add(newText("on", "each-machine", path...))
			each.flow = true
			cluster.add(each)
		} else {
			cluster.add(im.countNode(st))
		}
	}
	return []*node{stacks, cluster}
}

// countNode says how many of a stack there are.
func (im *importer) countNode(st *stack) *node {
	svc := st.services[0]
	text := fmt.Sprint(st.count)
	if len(st.services) == 1 {
		for _, path := range [][]string{svc.path("deploy", "replicas"), svc.path("scale")} {
			if kept := im.text(text, path...); strings.Contains(kept, "$") {
				return newText(st.name, kept, path...)
			}
		}
	}
	return number(st.name, text, svc.path("deploy", "replicas")...)
}
