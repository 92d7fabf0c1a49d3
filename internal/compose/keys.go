package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// harmless are refused keys of services that change nothing that matters, and why. The note is not made for values that
// say what would be so anyway.
func harmless(key string, v any) (why string, ok bool) {
	s := str(v)
	switch key {
	case "container_name", "networks", "links", "profiles", "scale", "build", "attach", "develop", "extends", "log_driver", "log_opt":
		return "", true
	case "blkio_config", "cgroup_parent", "storage_opt", "mem_swappiness", "pull_refresh_after", "cpuset", "cpu_count", "cpu_percent", "cpu_quota",
		"cpu_period", "mac_address", "deploy":
		reason, _ := manifest.Compose("service", key)
		return reason.Why, true
	case "isolation", "runtime":
		if s == "default" || s == "runc" || s == "" {
			return "", true
		}
	case "network_mode":
		return "", s == "bridge" || s == "default" || s == ""
	case "ipc":
		return "", s == "private" || s == "shareable" || s == ""
	case "pid", "uts", "userns_mode", "cgroup":
		return "", s == "" || s == "private"
	case "privileged", "use_api_socket", "oom_kill_disable":
		return "", !truth(v)
	case "devices", "device_cgroup_rules", "gpus", "pre_start", "post_start", "pre_stop", "external_links", "volumes_from":
		return "", len(list(v)) == 0 && s != "all"
	}
	return "", false
}

// other deals with keys that manifests do not have: left out when they change nothing that matters, else refused.
func (im *importer) other(svc *service, key string, v any) *node {
	at := im.src.place(svc.path(key)...)
	switch key {
	case "container_name":
		im.aliasNode(svc, svc, str(v), svc.path(key), "the container_name")
		return nil
	case "networks":
		im.serviceNetworks(svc, v)
		return nil
	case "links", "volumes_from", "cpu_quota", "cpu_period":
		return nil // see dependsOn, volumes and cpus
	case "external_links":
		for i, l := range list(v) {
			name, word, _ := strings.Cut(str(l), ":")
			im.faults = append(im.faults, im.src.place(svc.path(key, fmt.Sprint(i))...).Fault(fmt.Sprintf("the external link to %s cannot be carried over: it is a container of another project", name),
				fmt.Sprintf("use the name CONTAINER.STACK.APP in place of %s", first([]string{word, name}))))
		}
		n := newText(key, "", svc.path(key)...)
		n.refused = "use the name CONTAINER.STACK.APP"
		return n
	}
	if why, ok := harmless(key, v); ok {
		if why != "" {
			im.note(at, "%s of service %s is left out: %s", key, svc.source, why)
		}
		return nil
	}
	why, known := manifest.Compose("service", key)
	if !known {
		why.Why = "it is not honoured"
	}
	n := newText(key, "", svc.path(key)...)
	instead := why.Instead
	if key == "network_mode" && strings.HasPrefix(str(v), "service:") {
		instead = "containers of one stack reach each other by name, not over localhost: use " + strings.TrimPrefix(str(v), "service:")
	}
	im.refuse(at, n, fmt.Sprintf("%q cannot be carried over from service %s: %s", key, svc.source, why.Why), instead)
	n.refused = why.Why + ": " + instead
	return n
}

// serviceNetworks finds names and addresses that a service had on networks.
func (im *importer) serviceNetworks(svc *service, v any) {
	nets, _ := v.(map[string]any)
	for _, name := range sorted(nets) {
		m, _ := nets[name].(map[string]any)
		for _, a := range list(m["aliases"]) {
			im.aliasNode(svc, svc, str(a), svc.path("networks", name, "aliases"), "an alias")
		}
		for _, k := range []string{"ipv4_address", "ipv6_address", "mac_address", "link_local_ips"} {
			if m[k] == nil {
				continue
			}
			at := im.src.place(svc.path("networks", name, k)...)
			im.note(at, "%s is left out: machines choose the addresses of containers; %s is reached as %s", k, svc.source, svc.name)
			for _, use := range im.mentions() {
				if use.usesHost(str(m[k])) {
					im.faults = append(im.faults, im.src.place(use.path...).Fault(fmt.Sprintf("%s was the address of service %s", str(m[k]), svc.source),
						fmt.Sprintf("write %s instead", svc.name)))
				}
			}
		}
	}
}

// cpus is Compose's cpus, or its quota divided by its period.
func (im *importer) cpus(svc *service, key string, v any) *node {
	if v != nil {
		return im.plain(svc, key, v)
	}
	quota, err := strconv.ParseFloat(str(svc.m["cpu_quota"]), 64)
	if err != nil || quota <= 0 {
		return nil
	}
	period, err := strconv.ParseFloat(str(svc.m["cpu_period"]), 64)
	if err != nil || period <= 0 {
		period = 100_000
	}
	return number(key, strconv.FormatFloat(quota/period, 'g', 4, 64), svc.path("cpu_quota")...)
}

// deploy carries the resources over; the rest of the section is said elsewhere, left out or refused.
func (im *importer) deploy(svc *service, key string, v any) *node {
	m, _ := v.(map[string]any)
	out := newMap(key, svc.path(key)...)
	for _, k := range sorted(m) {
		at := im.src.place(svc.path(key, k)...)
		switch k {
		case "resources":
			out.add(im.resources(svc, m[k]))
		case "mode":
			if mode := str(m[k]); strings.HasSuffix(mode, "-job") {
				im.faults = append(im.faults, at.Fault(fmt.Sprintf("the mode %s of service %s cannot be carried over: jobs are not honoured yet", mode, svc.source),
					"run the work as a container with restart: on-failure"))
			}
		case "replicas", "placement", "restart_policy":
		default:
			if why, known := manifest.Compose("service", key, k); known && !why.Honoured {
				im.note(at, "deploy.%s of service %s is left out: %s", k, svc.source, why.Why)
			}
		}
	}
	if len(out.kids) == 0 {
		return nil
	}
	return out
}

// resources are limits and reservations.
func (im *importer) resources(svc *service, v any) *node {
	m, _ := v.(map[string]any)
	out := newMap("resources", svc.path("deploy", "resources")...)
	twin := map[string]string{"limits.cpus": "cpus", "limits.memory": "mem_limit", "limits.pids": "pids_limit", "reservations.memory": "mem_reservation"}
	for _, part := range []string{"limits", "reservations"} {
		amounts, _ := m[part].(map[string]any)
		n := newMap(part, svc.path("deploy", "resources", part)...)
		for _, k := range sorted(amounts) {
			path := svc.path("deploy", "resources", part, k)
			why, known := manifest.Compose("service", path[2:]...)
			switch {
			case svc.m[twin[part+"."+k]] != nil:
				// Compose has seen to it that both say the same.
			case known && !why.Honoured:
				gone := newText(k, "", path...)
				im.refuse(im.src.place(path...), gone, fmt.Sprintf("%s of service %s cannot be carried over: %s", k, svc.source, why.Why), why.Instead)
				n.add(gone)
			default:
				n.add(newText(k, im.text(str(amounts[k]), path...), path...))
			}
		}
		n.flow = !slices.ContainsFunc(n.kids, func(k *node) bool { return k.refused != "" })
		if len(n.kids) > 0 {
			out.add(n)
		}
	}
	if len(out.kids) == 0 {
		return nil
	}
	return out
}

// logging is what of it bounds how much is kept.
func (im *importer) logging(svc *service, key string, v any) *node {
	m, _ := v.(map[string]any)
	driver := str(m["driver"])
	at := im.src.place(svc.path(key)...)
	if driver != "" && driver != "json-file" && driver != "local" {
		im.note(at, "the logging driver %s of service %s is left out: output is kept on the machine, where `argosy logs` reads it", driver, svc.source)
		return nil
	}
	opts, _ := m["options"].(map[string]any)
	n := newMap("options", svc.path(key, "options")...)
	n.flow = true
	for _, k := range []string{"max-size", "max-file"} {
		if opts[k] != nil {
			n.add(newText(k, im.text(str(opts[k]), svc.path(key, "options", k)...), svc.path(key, "options", k)...))
		}
	}
	if len(n.kids) == 0 {
		return nil
	}
	return newMap(key, svc.path(key)...).add(n)
}
