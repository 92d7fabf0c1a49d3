package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// scale finds out how often a service runs.
func (im *importer) scale(svc *service) {
	svc.count = 1
	deploy := section(svc.m, "deploy")
	for _, v := range []any{deploy["replicas"], svc.m["scale"]} {
		if n, err := strconv.Atoi(str(v)); err == nil && v != nil {
			svc.count = n
		}
	}
	if mode := str(deploy["mode"]); mode == "global" || mode == "global-job" {
		svc.global = true
	}
	svc.job = strings.HasSuffix(str(deploy["mode"]), "-job")
}

// formStacks puts what belongs together into stacks.
func (im *importer) formStacks() {
	var main *stack
	for _, svc := range im.services {
		own := im.opts.Stacks == StacksEach || im.opts.Stacks == StacksAuto && (svc.scaled() || len(im.services) == 1)
		if im.opts.Stacks == StacksOne && svc.scaled() {
			im.note(im.src.place(svc.path("deploy")...), "service %s runs once in the one stack, not %s", svc.source, times(svc))
		}
		if own {
			st := &stack{name: im.names.free("stack", svc.name), services: []*service{svc}, count: svc.count, global: svc.global}
			svc.stack = st
			im.stacks = append(im.stacks, st)
			continue
		}
		if main == nil {
			main = &stack{count: 1}
			im.stacks = append(im.stacks, main)
		}
		main.services = append(main.services, svc)
		svc.stack = main
	}
	if main != nil {
		main.name = im.names.free("stack", "main")
		if len(main.services) == 1 {
			delete(im.names.taken["stack"], main.name)
			main.name = im.names.free("stack", main.services[0].name)
		}
	}
	im.portsApart()
}

func times(svc *service) string {
	if svc.global {
		return "on each machine"
	}
	return fmt.Sprintf("%d times", svc.count)
}

// portsApart notes fixed ports of scaled services: a port of a machine is there once.
func (im *importer) portsApart() {
	for _, svc := range im.services {
		if svc.stack.count < 2 {
			continue
		}
		for _, p := range list(svc.m["ports"]) {
			m, _ := p.(map[string]any)
			if published := str(m["published"]); published != "" && published != "0" {
				im.note(im.src.place(svc.path("ports")...), "service %s has %d replicas and wants port %s: there is one on each machine at most, and no port of the whole cluster", svc.source, svc.count, published)
				break
			}
		}
	}
}

// placement is where replicas of a stack may run, out of the deploy sections of its services.
func (im *importer) placement(st *stack) *node {
	out := newMap("placement")
	var require, spread []string
	for _, svc := range st.services {
		p := section(section(svc.m, "deploy"), "placement")
		for i, c := range list(p["constraints"]) {
			path := svc.path("deploy", "placement", "constraints", fmt.Sprint(i))
			at := im.src.place(path...)
			expr, why := constraint(str(c))
			switch {
			case expr != "" && !slices.Contains(require, expr):
				require = append(require, expr)
			case expr == "" && why == "":
				im.faults = append(im.faults, at.Fault(fmt.Sprintf("the constraint %q cannot be carried over", str(c)),
					"label machines, and say at the stack: placement: {require: [\"label == value\"]}"))
				out.comment("NOT CARRIED OVER: the constraint " + str(c))
			case expr == "":
				im.note(at, "the constraint %q is left out: %s", str(c), why)
			}
		}
		for i, pref := range list(p["preferences"]) {
			m, _ := pref.(map[string]any)
			at := im.src.place(svc.path("deploy", "placement", "preferences", fmt.Sprint(i))...)
			label := strings.TrimPrefix(strings.TrimPrefix(str(m["spread"]), "node.labels."), "engine.labels.")
			if label == "node.hostname" || label == "node.id" {
				label = "machine"
			}
			if label == "" || strings.HasPrefix(label, "node.") {
				im.note(at, "spread over %q is left out: replicas are spread over labels of machines", str(m["spread"]))
			} else if !slices.Contains(spread, label) {
				spread = append(spread, label)
			}
		}
		if most := str(p["max_replicas_per_node"]); most != "" && most != "0" {
			at := im.src.place(svc.path("deploy", "placement", "max_replicas_per_node")...)
			im.note(at, "max_replicas_per_node %s of service %s is a wish here: its replicas are spread over the machines", most, svc.source)
			if !slices.Contains(spread, "machine") {
				spread = append(spread, "machine")
			}
		}
	}
	path := st.services[0].path("deploy", "placement")
	if len(require) > 0 {
		out.add(flowList("require", require, append(path, "constraints")...))
	}
	if len(spread) > 0 {
		out.add(flowList("spread", spread, append(path, "preferences")...))
	}
	out.path, out.flow = path, true
	if len(out.kids) == 0 {
		if len(out.head) == 0 {
			return nil
		}
		out.refused = strings.TrimPrefix(out.head[0], "NOT CARRIED OVER: ")
		out.head = nil
	}
	return out
}

// plainValue is true for a value that an expression takes without quotes.
func plainValue(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("_./:+-", c)
	}) < 0
}

// constraint is one of Swarm's as an expression over the labels of machines. When there is none, why says what makes it
// needless.
func constraint(s string) (expr, why string) {
	left, op, right := strings.TrimSpace(s), "", ""
	for _, o := range []string{"==", "!="} {
		if l, r, ok := strings.Cut(s, o); ok {
			left, op, right = strings.TrimSpace(l), o, strings.TrimSpace(r)
			break
		}
	}
	if op == "" {
		return "", ""
	}
	if !plainValue(right) {
		if strings.ContainsAny(right, "\"\n\\") || right == "" {
			return "", ""
		}
		right = `"` + right + `"`
	}
	label, isLabel := strings.CutPrefix(left, "node.labels.")
	if !isLabel {
		label, isLabel = strings.CutPrefix(left, "engine.labels.")
	}
	switch {
	case isLabel && label != "":
		return label + " " + op + " " + right, ""
	case left == "node.hostname":
		return "machine " + op + " " + right, ""
	case left == "node.role":
		return "", "machines have no roles, and each can run anything"
	case left == "node.platform.os" && op == "==" && strings.EqualFold(right, "linux"):
		return "", "every machine runs Linux"
	}
	return "", ""
}
