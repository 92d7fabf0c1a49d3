package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// carrier turns one key of a service into a part of its container; nil leaves it out.
type carrier func(im *importer, svc *service, key string, v any) *node

// carriers are the keys that are carried over, in the order in which the manifest has them.
func carriers() []struct {
	key string
	as  carrier
} {
	plain := (*importer).plain
	pairs := (*importer).pairs
	return []struct {
		key string
		as  carrier
	}{
		{"image", (*importer).image}, {"pull_policy", (*importer).pullPolicy}, {"platform", plain},
		{"entrypoint", (*importer).command}, {"command", (*importer).command}, {"working_dir", plain}, {"user", plain}, {"group_add", plain},
		{"init", plain}, {"tty", plain}, {"stdin_open", plain}, {"hostname", plain}, {"domainname", plain},
		{"depends_on", (*importer).dependsOn}, {"environment", pairs}, {"env_file", (*importer).envFile},
		{"secrets", (*importer).secrets}, {"configs", (*importer).serviceConfigs}, {"volumes", (*importer).volumes}, {"tmpfs", plain},
		{"ports", (*importer).ports}, {"expose", plain}, {"extra_hosts", plain}, {"dns", plain}, {"dns_search", plain}, {"dns_opt", plain},
		{"healthcheck", (*importer).healthcheck}, {"restart", (*importer).restart}, {"stop_signal", plain}, {"stop_grace_period", plain},
		{"cpus", (*importer).cpus}, {"cpu_shares", plain}, {"mem_limit", plain}, {"mem_reservation", plain}, {"memswap_limit", plain},
		{"pids_limit", plain}, {"deploy", (*importer).deploy}, {"shm_size", plain}, {"ulimits", plain}, {"sysctls", pairs}, {"oom_score_adj", plain},
		{"read_only", plain}, {"cap_add", plain}, {"cap_drop", plain}, {"security_opt", plain},
		{"labels", pairs}, {"label_file", (*importer).labelFile}, {"annotations", pairs}, {"logging", (*importer).logging},
	}
}

// always are carried over also when the service does not say them, because something else may say the same.
var always = []string{"image", "depends_on", "restart", "cpus", "volumes", "configs"}

// container makes the container of a service.
func (im *importer) container(svc *service) {
	svc.n = newMap(svc.name, svc.path()...)
	done := map[string]bool{}
	for _, c := range carriers() {
		v, said := svc.m[c.key]
		done[c.key] = true
		if !said && !slices.Contains(always, c.key) {
			continue
		}
		svc.n.add(c.as(im, svc, c.key, v))
	}
	for _, key := range im.inOrder(svc.m, svc.path()...) {
		if !done[key] && !strings.HasPrefix(key, "x-") {
			svc.n.add(im.other(svc, key, svc.m[key]))
		}
	}
}

// text is a value of the model as a manifest has it: with its variables, when it is written with some.
func (im *importer) text(value string, path ...string) string {
	key := path[len(path)-1]
	for _, n := range im.src.all(path...) {
		raw, ok := n.Scalar()
		if !ok {
			continue
		}
		for _, written := range []string{raw, strings.TrimPrefix(raw, key+"=")} {
			switch {
			case strings.Contains(written, "$") && im.same(written, value):
				return im.keep(written, n)
			case written == value:
				return literal(value)
			}
		}
	}
	return im.made(value)
}

// made is a value whose place was not found. One that interpolation made of a secret keeps its variable.
func (im *importer) made(value string) string {
	if text, ok := im.vars.made[value]; ok && value != "" {
		for i := range len(text) {
			if rest := strings.TrimPrefix(text[i+1:], "{"); text[i] == '$' && secret(rest[:manifest.VariableLength(rest)]) {
				return im.keep(text, im.src.top[0].root)
			}
		}
	}
	return literal(value)
}

// same is true when a text, its variables replaced, says the value.
func (im *importer) same(text, value string) bool {
	now := im.vars.now(text)
	if now == value {
		return true
	}
	a, errA := strconv.ParseFloat(now, 64)
	b, errB := strconv.ParseFloat(value, 64)
	return errA == nil && errB == nil && a == b
}

// item is an element of a list, as text does it.
func (im *importer) item(value string, path ...string) string {
	for _, n := range im.src.items(path...) {
		raw, ok := n.Scalar()
		switch {
		case !ok:
		case strings.Contains(raw, "$") && im.same(raw, value):
			return im.keep(raw, n)
		case raw == value:
			return literal(value)
		}
	}
	return im.made(value)
}

// value is a single value with its key.
func (im *importer) value(key string, v any, path ...string) *node {
	s := str(v)
	text := im.text(s, path...)
	if _, isText := v.(string); isText || text != s {
		return newText(key, text, path...)
	}
	return number(key, text, path...)
}

// plain carries a value of any form over as it is.
func (im *importer) plain(svc *service, key string, v any) *node {
	return im.carry(key, v, svc.path(key)...)
}

func (im *importer) carry(key string, v any, path ...string) *node {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		n := newMap(key, path...)
		for _, k := range im.inOrder(v, path...) {
			if !strings.HasPrefix(k, "x-") {
				n.add(im.carry(k, v[k], append(slices.Clone(path), k)...))
			}
		}
		if len(n.kids) > 0 && len(n.kids) <= 2 && !slices.ContainsFunc(n.kids, func(k *node) bool { return k.kind != scalar }) {
			n.flow = true
		}
		return n
	case []any:
		n := &node{kind: sequence, key: key, flow: true, path: path}
		for i, e := range v {
			at := append(slices.Clone(path), fmt.Sprint(i))
			if m, ok := e.(map[string]any); ok {
				n.flow = false
				n.add(im.carry("", m, at...))
				continue
			}
			n.add(newText("", im.item(str(e), path...), at...))
		}
		return n
	default:
		return im.value(key, v, path...)
	}
}

// pair is an entry of a map that may also be a list of KEY=VALUE; value is nil when only the key is said.
type pair struct {
	key   string
	value any
}

func pairsOf(v any) []pair {
	var out []pair
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sorted(v) {
			out = append(out, pair{k, v[k]})
		}
	case []any:
		for _, e := range v {
			k, val, has := strings.Cut(str(e), "=")
			p := pair{key: k}
			if has {
				p.value = val
			}
			out = append(out, p)
		}
	}
	return out
}

// pairs carries a map of texts over.
func (im *importer) pairs(svc *service, key string, v any) *node {
	n := newMap(key, svc.path(key)...)
	values := map[string]any{}
	for _, p := range pairsOf(v) {
		values[p.key] = p.value
	}
	for _, k := range im.inOrder(values, svc.path(key)...) {
		path := svc.path(key, k)
		if values[k] == nil || im.unsaid(k, path) {
			n.add(im.fromOutside(k, key == "environment", path))
			continue
		}
		n.add(newText(k, im.text(str(values[k]), path...), path...))
	}
	if len(n.kids) == 0 {
		return nil
	}
	return n
}

// unsaid is true for an element of a list that is a key alone; compose-go has looked its value up.
func (im *importer) unsaid(key string, path []string) bool {
	all := im.src.all(path...)
	if len(all) == 0 {
		return false
	}
	raw, ok := all[0].Scalar()
	return ok && raw == key && all[0].Name() == all[0]
}

// fromOutside is a variable without a value: that of the environment of argosy.
func (im *importer) fromOutside(name string, variable bool, path []string) *node {
	_, ok := im.vars.files[name]
	switch {
	case !variable:
		return newText(name, "", path...)
	case !ok:
		n := number(name, "", path...)
		n.tail = "from the environment of argosy"
		return n
	}
	return newText(name, im.keep("${"+name+"}", im.src.place(path...)), path...)
}

// command carries a command over; an empty one clears the image's.
func (im *importer) command(svc *service, key string, v any) *node {
	if v == nil {
		return nil
	}
	if s, ok := v.(string); ok && s == "" {
		return &node{kind: sequence, key: key, flow: true, path: svc.path(key)}
	}
	return im.plain(svc, key, v)
}

// image is the image, or what Compose would call the one that it builds.
func (im *importer) image(svc *service, key string, v any) *node {
	build := svc.m["build"]
	at := im.src.place(svc.path("build")...)
	if v != nil && str(v) != "" {
		n := im.value(key, v, svc.path(key)...)
		if build != nil {
			im.note(at, "%s is built by Compose: build it, and send it to the cluster with `argosy image load %s`", str(v), str(v))
			im.before("argosy image load " + str(v))
			n.comment("Compose builds it: see above.")
		}
		return n
	}
	name := im.app + "-" + svc.name
	n := newText(key, name, svc.path("build")...)
	why, _ := manifest.Compose("service", "build")
	if build == nil {
		im.faults = append(im.faults, im.src.place(svc.path()...).Fault(fmt.Sprintf("service %s has no image", svc.source), ""))
		return n
	}
	what := fmt.Sprintf("service %s is built and its image has no name: %s", svc.source, why.Why)
	how := fmt.Sprintf("say `image: %s` beside build; %s", name, why.Instead)
	im.faults = append(im.faults, at.Fault(what, how))
	im.before(fmt.Sprintf("argosy image load %s   # as Compose calls what it builds for %s", name, svc.source))
	return n.comment("NOT CARRIED OVER: build: " + why.Why + ": " + why.Instead)
}

func (im *importer) pullPolicy(svc *service, key string, v any) *node {
	switch s := str(v); s {
	case "always", "never", "missing", "if_not_present":
		return im.plain(svc, key, v)
	default:
		im.note(im.src.place(svc.path(key)...), "pull_policy %s is left out: a revision keeps the digest that it was applied with", s)
		return nil
	}
}

// dependsOn joins depends_on and links; what is in another stack cannot be waited for.
func (im *importer) dependsOn(svc *service, key string, v any) *node {
	deps, _ := v.(map[string]any)
	all := map[string]any{}
	for k, d := range deps {
		all[k] = d
	}
	for i, l := range list(svc.m["links"]) {
		name, word, renamed := strings.Cut(str(l), ":")
		if other := im.service(name); other != nil && renamed {
			im.aliasNode(svc, other, word, svc.path("links", fmt.Sprint(i)), "a link's name")
		}
		if _, there := all[name]; !there {
			all[name] = map[string]any{"condition": "service_started", "required": true}
		}
	}
	n := newMap(key, svc.path(key)...)
	simple := true
	var apart []string
	for _, name := range append(im.inOrder(deps, svc.path(key)...), without(sorted(all), deps)...) {
		d, _ := all[name].(map[string]any)
		other := im.service(name)
		at := im.src.place(svc.path(key, name)...)
		switch {
		case other == nil:
			im.note(at, "service %s does not wait for %s, which is left out", svc.source, name)
			continue
		case other.stack != svc.stack:
			im.note(at, "service %s does not wait for %s, which is in another stack: it must bear that it is not there yet", svc.source, name)
			apart = append(apart, other.name)
			continue
		}
		n.add(im.dependency(svc, other, d, &simple))
	}
	if len(apart) > 0 {
		svc.n.comment("Compose starts it after " + strings.Join(apart, ", ") + ": in another stack here.")
	}
	if len(n.kids) == 0 {
		return nil
	}
	if simple {
		var names []string
		for _, k := range n.kids {
			names = append(names, k.key)
		}
		return flowList(key, names, svc.path(key)...)
	}
	return n
}

func without(names []string, m map[string]any) []string {
	return slices.DeleteFunc(names, func(s string) bool { _, in := m[s]; return in })
}

// dependency is one entry of depends_on.
func (im *importer) dependency(svc, other *service, d map[string]any, simple *bool) *node {
	path := svc.path("depends_on", other.source)
	condition := str(d["condition"])
	if condition == "" {
		condition = "service_started"
	}
	n := newMap(other.name, path...).add(newText("condition", condition, path...))
	if truth(d["restart"]) {
		n.add(number("restart", "true", path...))
	}
	if d["required"] != nil && !truth(d["required"]) {
		n.add(number("required", "false", path...))
	}
	if condition != "service_started" || len(n.kids) > 1 {
		*simple = false
	}
	n.flow = true
	return n
}

// aliasNode reports another name of a service, and leaves a comment where something uses it.
func (im *importer) aliasNode(user, svc *service, word string, path []string, what string) {
	if im.alias(svc, word, im.src.place(path...), what) {
		user.n.comment(fmt.Sprintf("NOT CARRIED OVER: %s %s of %s: write %s where it is used", what, word, svc.source, svc.name))
	}
}

// healthcheck is carried over; one that is disabled has nothing else.
func (im *importer) healthcheck(svc *service, key string, v any) *node {
	m, _ := v.(map[string]any)
	if truth(m["disable"]) {
		n := newMap(key, svc.path(key)...).add(number("disable", "true", svc.path(key, "disable")...))
		n.flow = true
		return n
	}
	n := im.carry(key, v, svc.path(key)...)
	if n != nil {
		n.flow = false
		n.kids = slices.DeleteFunc(n.kids, func(k *node) bool { return k.key == "disable" })
	}
	if n == nil || len(n.kids) == 0 {
		return nil
	}
	return n
}

// restart is Compose's restart or deploy's restart_policy, which wins.
func (im *importer) restart(svc *service, key string, v any) *node {
	if p := section(section(svc.m, "deploy"), "restart_policy"); len(p) > 0 && !svc.job {
		path := svc.path("deploy", "restart_policy")
		word := map[string]string{"none": "no", "on-failure": "on-failure", "any": "always", "": "always"}[str(p["condition"])]
		if n := str(p["max_attempts"]); n != "" && n != "0" && word == "on-failure" {
			word += ":" + n
		}
		for _, k := range []string{"delay", "window"} {
			if p[k] != nil {
				why, _ := manifest.Compose("service", "deploy", "restart_policy", k)
				im.note(im.src.place(append(path, k)...), "restart_policy.%s is left out: %s", k, why.Why)
			}
		}
		if word == "always" {
			return nil // what Argosy does anyway
		}
		return newText(key, word, path...)
	}
	word := str(v)
	if v == false {
		word = "no"
	}
	switch {
	case (svc.await || svc.job) && (word == "" || word == "always" || word == "unless-stopped"):
		n := newText(key, "on-failure", svc.path(key)...)
		return n.comment("It is to end: Argosy restarts what does not say so.")
	case word == "" || word == "always":
		return nil
	}
	return newText(key, im.text(word, svc.path(key)...), svc.path(key)...)
}
