package compose

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// volumes are the mounts of a service: volumes of its stack, and what becomes of paths of the host.
func (im *importer) volumes(svc *service, key string, v any) *node {
	out := &node{kind: sequence, key: key, path: svc.path(key)}
	for i, e := range list(v) {
		if m, ok := e.(map[string]any); ok {
			out.add(im.mount(svc, m, i))
		}
	}
	im.volumesFrom(svc, out)
	if len(out.kids) == 0 {
		return nil
	}
	out.flow = !slices.ContainsFunc(out.kids, func(k *node) bool { return k.kind != scalar || len(k.head) > 0 || k.refused != "" })
	return out
}

// mountPlace is where a mount is written: the element whose target is the same.
func (im *importer) mountPlace(svc *service, m map[string]any, i int) (manifest.Node, []string) {
	target := str(m["target"])
	items := im.src.items(svc.path("volumes")...)
	for j := len(items) - 1; j >= 0; j-- {
		if raw, ok := items[j].Scalar(); ok {
			now := im.vars.now(raw)
			if now == target || strings.HasSuffix(now, ":"+target) || strings.Contains(now, ":"+target+":") || strings.HasSuffix(now, ":"+target+"/") {
				return items[j], svc.path("volumes", fmt.Sprint(i))
			}
			continue
		}
		if t, ok := items[j].Child("target"); ok {
			if raw, _ := t.Scalar(); path.Clean(im.vars.now(raw)) == path.Clean(target) {
				return items[j], svc.path("volumes", fmt.Sprint(i))
			}
		}
	}
	return im.src.place(svc.path("volumes")...), svc.path("volumes", fmt.Sprint(i))
}

// mount is one entry of volumes.
func (im *importer) mount(svc *service, m map[string]any, i int) *node {
	at, where := im.mountPlace(svc, m, i)
	target := path.Clean(str(m["target"]))
	switch str(m["type"]) {
	case "tmpfs":
		t, _ := m["tmpfs"].(map[string]any)
		return tmpfs(target, str(t["size"]), t["mode"], where)
	case "bind":
		return im.bind(svc, m, at, where)
	case "volume", "":
		return im.volume(svc, m, at, where)
	default:
		n := newText("", "", where...)
		im.refuse(at, n, fmt.Sprintf("a mount of type %s cannot be carried over from service %s", str(m["type"]), svc.source), "it is volume or tmpfs")
		return n
	}
}

// tmpfs is a path that lives in memory.
func tmpfs(target, size string, perm any, where []string) *node {
	n := newMap("", where...).add(newText("type", "tmpfs", where...), newText("target", literal(target), where...))
	opts := newMap("tmpfs", where...)
	if size != "" && size != "0" {
		opts.add(newText("size", literal(size), where...))
	}
	if perm != nil {
		opts.add(number("mode", mode(perm), where...))
	}
	opts.flow = true
	if len(opts.kids) > 0 {
		n.add(opts)
	}
	return n
}

// mounters is how many services mount a volume.
func (im *importer) mounters(source string) int {
	n := 0
	for _, svc := range im.services {
		if slices.ContainsFunc(list(svc.m["volumes"]), func(e any) bool { m, _ := e.(map[string]any); return str(m["source"]) == source }) {
			n++
		}
	}
	return n
}

// volume mounts a volume of the stack.
func (im *importer) volume(svc *service, m map[string]any, at manifest.Node, where []string) *node {
	source := str(m["source"])
	target := path.Clean(str(m["target"]))
	opts, _ := m["volume"].(map[string]any)
	if str(opts["subpath"]) != "" {
		n := newText("", "", where...)
		why, _ := manifest.Compose("service", "volumes", "volume", "subpath")
		im.refuse(at, n, fmt.Sprintf("the subpath %s of volume %s cannot be carried over: %s", str(opts["subpath"]), source, why.Why), why.Instead)
		return n
	}
	anonymous := source == ""
	v, _ := section(im.model, "volumes")[source].(map[string]any)
	if anonymous {
		source = svc.source + strings.ReplaceAll(target, "/", "-")
	} else if o := section(v, "driver_opts"); str(o["type"]) == "tmpfs" && im.mounters(source) == 1 {
		return tmpfs(target, sizeOption(str(o["o"])), nil, where)
	} else if kind, refused := im.volumeKind(source); refused != "" {
		n := newText("", "", where...)
		im.refuse(im.src.place("volumes", source, "driver_opts"), n, fmt.Sprintf("volume %s cannot be carried over: %s", source, refused), kind)
		return n
	}
	if !anonymous {
		im.unshared(svc, source, at)
	}
	return im.mountNode(svc, source, target, truth(m["read_only"]), truth(opts["nocopy"]), where)
}

// mountNode mounts a volume of the stack, which then has it.
func (im *importer) mountNode(svc *service, source, target string, readOnly, noCopy bool, where []string) *node {
	if !slices.Contains(svc.stack.volumes, source) {
		svc.stack.volumes = append(svc.stack.volumes, source)
	}
	svc.volumes = append(svc.volumes, source)
	text := im.names.of("volume", source) + ":" + literal(target)
	var words []string
	if readOnly {
		words = append(words, "ro")
	}
	if noCopy {
		words = append(words, "nocopy")
	}
	if len(words) > 0 {
		text += ":" + strings.Join(words, ",")
	}
	if strings.Count(target, ":") > 0 {
		n := newMap("", where...).add(newText("type", "volume", where...), newText("source", im.names.of("volume", source), where...), newText("target", literal(target), where...))
		if readOnly {
			n.add(number("read_only", "true", where...))
		}
		return n
	}
	return newText("", text, where...)
}

// unshared reports a volume that services of different stacks share: each stack has its own.
func (im *importer) unshared(svc *service, source string, at manifest.Node) {
	if other := im.elsewhere(svc, source); other != nil {
		im.faults = append(im.faults, at.Fault(fmt.Sprintf("%s is shared by services %s and %s, which are in different stacks and have each their own", named(source), other.source, svc.source),
			"--stacks one puts everything into one stack, each service once"))
		svc.n.comment(fmt.Sprintf("NOT CARRIED OVER: %s is another one than that of %s.", named(source), other.source))
	}
}

func named(source string) string {
	if strings.HasPrefix(source, "the directory ") {
		return source
	}
	return "volume " + source
}

// elsewhere is a service of another stack that mounts the same volume.
func (im *importer) elsewhere(svc *service, source string) *service {
	for _, other := range im.services {
		if other == svc {
			return nil
		}
		if other.stack != svc.stack && slices.Contains(other.volumes, source) {
			return other
		}
	}
	return nil
}

// volumeKind says what keeps a volume from being one of Argosy's, and what to do instead.
func (im *importer) volumeKind(source string) (instead, refused string) {
	v, _ := section(im.model, "volumes")[source].(map[string]any)
	driver := str(v["driver"])
	opts, _ := v["driver_opts"].(map[string]any)
	kind := str(opts["type"])
	switch {
	case driver != "" && driver != "local":
		return "volumes are local to a machine, and a replica stays with its data", fmt.Sprintf("its driver is %s", driver)
	case str(opts["device"]) != "" && (kind == "" || kind == "none") && im.opts.BindsAsVolumes:
		im.note(im.src.place("volumes", source), "volume %s is %s of the host: it becomes a volume of its own, which begins empty", source, str(opts["device"]))
	case str(opts["device"]) != "" && kind != "tmpfs":
		if kind == "" || kind == "none" {
			return "for a file, use configs; for data, a volume of the stack", fmt.Sprintf("it is %s of the host", str(opts["device"]))
		}
		return "volumes on shared storage are not honoured yet; a volume of the stack is local to a machine", fmt.Sprintf("it is of type %s", kind)
	case kind == "tmpfs":
		return "use tmpfs at the service", "it is a tmpfs"
	}
	return "", ""
}

// volumeNodes are the volumes of a stack.
func (im *importer) volumeNodes(st *stack) *node {
	if len(st.volumes) == 0 {
		return nil
	}
	out := newMap("volumes", "volumes")
	for _, source := range st.volumes {
		v, _ := section(im.model, "volumes")[source].(map[string]any)
		where := []string{"volumes", source}
		n := newMap(im.names.of("volume", source), where...)
		n.flow = true
		opts, _ := v["driver_opts"].(map[string]any)
		if size := str(opts["size"]); size != "" {
			n.add(newText("size", im.text(size, "volumes", source, "driver_opts", "size"), append(where, "driver_opts", "size")...))
		} else if o := sizeOption(str(opts["o"])); o != "" {
			n.add(newText("size", literal(o), append(where, "driver_opts", "o")...))
		}
		if external := v["external"]; external != nil && str(external) != "false" {
			im.note(im.src.place(where...), "volume %s is external: Argosy makes a new one, which is empty; its data is not copied", source)
		} else if name := str(v["name"]); name != "" {
			why, _ := manifest.Compose("volume", "name")
			im.note(im.src.place(append(where, "name")...), "the name %s of volume %s is left out: %s", name, source, why.Why)
		}
		if v["labels"] != nil {
			why, _ := manifest.Compose("volume", "labels")
			im.note(im.src.place(append(where, "labels")...), "the labels of volume %s are left out: %s", source, why.Why)
		}
		out.add(n)
	}
	if st.count > 1 || st.global {
		out.comment("Each replica has its own.")
	}
	im.before("copy the data of Compose's volumes, if it is needed: volumes begin empty")
	return out
}

// sizeOption is the size among mount options, as in `size=100m,uid=1000`.
func sizeOption(o string) string {
	for _, part := range strings.Split(o, ",") {
		if size, ok := strings.CutPrefix(part, "size="); ok {
			return size
		}
	}
	return ""
}

// volumesFrom mounts what another service mounts.
func (im *importer) volumesFrom(svc *service, out *node) {
	for i, v := range list(svc.m["volumes_from"]) {
		where := svc.path("volumes_from", fmt.Sprint(i))
		name, mode, _ := strings.Cut(str(v), ":")
		other := im.service(name)
		if other == nil || other.stack != svc.stack {
			n := newText("", "", where...)
			why, _ := manifest.Compose("service", "volumes_from")
			im.refuse(im.src.place(where...), n, fmt.Sprintf("the volumes of %s cannot be carried over to service %s: %s", str(v), svc.source, why.Why), why.Instead)
			out.add(n)
			continue
		}
		for _, e := range list(other.m["volumes"]) {
			m, _ := e.(map[string]any)
			if str(m["type"]) == "volume" && str(m["source"]) != "" {
				out.add(im.mountNode(svc, str(m["source"]), path.Clean(str(m["target"])), mode == "ro" || truth(m["read_only"]), false, where))
			}
		}
	}
}

// bind is a path of the host.
func (im *importer) bind(svc *service, m map[string]any, at manifest.Node, where []string) *node {
	source, target := filepath.Clean(str(m["source"])), path.Clean(str(m["target"]))
	n := newText("", "", where...)
	switch {
	case slices.Contains([]string{"/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/etc/ssl/certs", "/etc/ca-certificates"}, source):
		im.note(at, "%s of the host is left out: images have their own; the variable TZ sets the time zone", source)
		return nil
	case strings.HasSuffix(source, ".sock") && strings.HasPrefix(target, "/"), under(source, "/var/run"), under(source, "/run"):
		why := fmt.Sprintf("%s of the host is not given to service %s", im.source(source, at), svc.source)
		instead := "leave it out, or ask an administrator: it is the engine's socket, and with it the whole machine"
		if !strings.Contains(source, "docker") && !strings.Contains(source, "containerd") && !strings.Contains(source, "podman") {
			instead = "run what listens there as a container, and reach it over the network"
		}
		im.refuse(at, n, why, instead)
		return n
	case source == "/" || under(source, "/dev") || under(source, "/proc") || under(source, "/sys") || under(source, "/boot") || under(source, "/lib/modules") || under(source, "/etc") || under(source, "/var/lib/docker") || under(source, "/var/log"):
		im.refuse(at, n, fmt.Sprintf("%s of the host is not given to service %s", im.source(source, at), svc.source),
			"leave it out, or ask an administrator")
		return n
	}
	if done, ok := im.configs.fromBind(im, svc, source, target, truth(m["read_only"]), at); ok {
		if done != "" {
			im.note(at, "%s", done)
		}
		return nil
	}
	if im.opts.BindsAsVolumes {
		im.note(at, "the directory %s of the host becomes a volume, which begins empty", im.source(source, at))
		vol := im.mountNode(svc, im.volumeOf(svc, source, target, at), target, truth(m["read_only"]), false, where)
		return vol.comment("Of the host in Compose: " + im.source(source, at) + ".")
	}
	im.refuse(at, n, fmt.Sprintf("the path %s of the host is not given to service %s: it would be that of whichever machine the container runs on", im.source(source, at), svc.source),
		"--binds volumes makes it a volume, which begins empty; small files below this directory become configs; code belongs into the image")
	return n
}

// volumeOf is the volume that takes the place of a directory of the host.
func (im *importer) volumeOf(svc *service, source, target string, at manifest.Node) string {
	key := "the directory " + im.source(source, at)
	given := im.names.given["volume"]
	if given == nil {
		given = map[string]string{}
		im.names.given["volume"] = given
	}
	if given[key] == "" {
		like := filepath.Base(source)
		if im.source(source, at) != im.shown(source) {
			like = svc.name + "-" + path.Base(target)
		}
		if im.names.taken["volume"][manifest.NameLike(like)] {
			like = svc.name + "-" + like
		}
		given[key] = im.names.free("volume", like)
	}
	im.unshared(svc, key, at)
	return key
}

func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// source is a path of the host as it is shown: as it is written, when that is with variables.
func (im *importer) source(p string, at manifest.Node) string {
	raw, ok := at.Scalar()
	if !ok {
		from, _ := at.Child("source")
		raw, _ = from.Scalar()
	}
	if strings.Contains(raw, "$") {
		return raw
	}
	return im.shown(p)
}

// shown is a path of the host as a person wrote it.
func (im *importer) shown(p string) string {
	if rel, err := filepath.Rel(im.src.abs, p); err == nil && !strings.HasPrefix(rel, "..") {
		return "./" + rel
	}
	return p
}

// mode is a file mode as a manifest has it.
func mode(v any) string {
	switch v := v.(type) {
	case string:
		return "0" + strings.TrimPrefix(strings.TrimPrefix(v, "0o"), "0")
	case int:
		return fmt.Sprintf("0%o", v)
	case int64:
		return fmt.Sprintf("0%o", v)
	case uint64:
		return fmt.Sprintf("0%o", v)
	}
	return "0444"
}
