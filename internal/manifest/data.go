package manifest

import (
	"fmt"
	"path"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// dataKeys say which files and volumes the container has.
func dataKeys() []ckey {
	return []ckey{
		field("volumes", listOf(where(mounts())), "Volumes of the stack, and where they are mounted: `VOLUME:PATH[:ro]`, or a map. A path of the machine needs a policy that grants it.",
			func(_ *reader, c *container, v []placed[*argosyv1.Mount], _ value) { c.mounts = append(c.mounts, v...) }).like(`volumes: ["data:/var/lib/mysql"]`),
		field("tmpfs", oneOrMore(where(parsed("text `PATH[:size=SIZE,mode=MODE]`", variable(jsonSchema{"type": "string", "pattern": "^/"}), parseTmpfs))),
			"Paths that live in memory and are empty at every start.",
			func(_ *reader, c *container, v []placed[*argosyv1.Mount], _ value) { c.mounts = append(c.mounts, v...) }).like(`tmpfs: ["/run:size=16m"]`),
		field("secrets", listOf(where(fileRefs("secret", "/run/secrets/"))), "Secrets of the cluster (`argosy secret set`) that the container gets as files, by default at /run/secrets/NAME. They are in memory only.",
			func(_ *reader, c *container, v []placed[*argosyv1.FileRef], _ value) { c.secrets = v }).like("secrets: [db-root]"),
		field("configs", listOf(where(fileRefs("config", "/"))), "Configs of the manifest that the container gets as files, by default at /NAME.",
			func(_ *reader, c *container, v []placed[*argosyv1.FileRef], _ value) { c.configs = v }).like("configs:\n  - {source: motd, target: /etc/motd}"),
	}
}

// fileRefs is a secret or config by name, or a map that says where it goes.
func fileRefs(what, directory string) shape[*argosyv1.FileRef] {
	type ref = argosyv1.FileRef
	number := func(s string) (string, error) {
		_, err := parseWhole(s, 0, 1<<32-2)
		return s, err
	}
	ids := parsed("number", jsonSchema{"anyOf": []any{jsonSchema{"type": "integer", "minimum": 0, "maximum": 1<<32 - 2}, jsonSchema{"type": "string", "pattern": `^[0-9]+$|\$`}}}, number)
	source := name()
	short := shape[*ref]{word: "name", schema: source.schema, read: func(r *reader, v value) (*ref, bool) {
		s, ok := source.read(r, v)
		return &ref{Source: s}, ok
	}}
	long := within(newObject(what,
		field("source", source, "Which "+what+".", func(_ *reader, f *ref, v string, _ value) { f.Source = v }).must().like("source: motd"),
		field("target", text(), "Where the file is in the container; a name alone is put below "+directory+".", func(r *reader, f *ref, v string, at value) {
			if !strings.HasPrefix(v, "/") {
				v = directory + v
			}
			f.Target, _ = parsedText(r, at, v, parsePath)
		}).like("target: /etc/motd"),
		field("uid", ids, "Owner of the file, as a number; the default is root.", func(_ *reader, f *ref, v string, _ value) { f.Uid = v }).like(`uid: "1000"`),
		field("gid", ids, "Group of the file, as a number; the default is root.", func(_ *reader, f *ref, v string, _ value) { f.Gid = v }).like(`gid: "1000"`),
		field("mode", mode(), "Permission bits.", func(_ *reader, f *ref, v uint32, _ value) { f.Mode = v }).like(`mode: "0440"`).unsaid("0444"),
	), func() *ref { return &ref{} })
	both := shortOrLong(short, long)
	read := both.read
	both.read = func(r *reader, v value) (*ref, bool) {
		f, ok := read(r, v)
		if ok && f.Target == "" {
			f.Target = directory + f.Source
		}
		return f, ok
	}
	return both
}

// mounts is an entry of volumes in short or long syntax.
func mounts() shape[*argosyv1.Mount] {
	long := within(mountTable(), func() *mountDraft { return &mountDraft{spec: &argosyv1.Mount{}} })
	short := parsed("text `VOLUME:PATH[:ro]`", jsonSchema{"type": "string", "minLength": 1}, parseMount)
	return shape[*argosyv1.Mount]{word: short.word + ", or a map", keys: long.keys,
		schema: jsonSchema{"anyOf": []any{short.schema, long.schema}},
		read: func(r *reader, v value) (*argosyv1.Mount, bool) {
			var m *argosyv1.Mount
			if v.isMap() {
				d, ok := long.read(r, v)
				if !ok || !d.finish(r, v) {
					return nil, false
				}
				m = d.spec
			} else {
				var ok bool
				if m, ok = short.read(r, v); !ok {
					return nil, false
				}
			}
			if m.Type == argosyv1.MountType_MOUNT_TYPE_BIND {
				return m, r.allow(v, r.opts.Grants.hostPath(m.Source))
			}
			return m, true
		}}
}

// parseMount reads Compose's short syntax: `VOLUME:PATH[:MODE]`.
func parseMount(s string) (*argosyv1.Mount, error) {
	parts := strings.Split(s, ":")
	if len(parts) == 1 {
		err := &betterError{message: fmt.Sprintf("%s has no name, so nobody could find its data again", quoted(s)),
			hint: "name a volume of the stack, or use tmpfs for what need not last"}
		if strings.HasPrefix(s, "/") {
			err.suggestion = "data:" + s
		}
		return nil, err
	}
	if len(parts) > 3 {
		return nil, &betterError{message: fmt.Sprintf("%s has too many colons", quoted(s)), hint: "write VOLUME:PATH or VOLUME:PATH:ro"}
	}
	m := &argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: parts[0]}
	var err error
	switch {
	case strings.HasPrefix(parts[0], "/"):
		m.Type, m.Source = argosyv1.MountType_MOUNT_TYPE_BIND, path.Clean(parts[0])
	case strings.HasPrefix(parts[0], ".") || strings.HasPrefix(parts[0], "~"):
		return nil, &betterError{message: fmt.Sprintf("%s is a path beside the manifest, which machines do not have", quoted(parts[0])),
			hint: "for a file, use configs; for data, a volume of the stack"}
	default:
		if err := checkName(parts[0]); err != nil {
			return nil, err
		}
	}
	if m.Target, err = parsePath(parts[1]); err != nil {
		return nil, err
	}
	if len(parts) == 3 {
		for _, word := range strings.Split(parts[2], ",") {
			switch word {
			case "ro":
				m.ReadOnly = true
			case "rw":
			case "nocopy":
				m.NoCopy = true
			default:
				return nil, &betterError{message: fmt.Sprintf("the mode %s of a volume is not honoured", quoted(word)), hint: "it is ro, rw or nocopy"}
			}
		}
	}
	return m, nil
}

// mountDraft is a mount in long syntax while it is read.
type mountDraft struct {
	spec  *argosyv1.Mount
	tmpfs placed[*argosyv1.Mount]
	named placed[*argosyv1.Mount]
}

func mountTable() *object[*mountDraft] {
	type mount = argosyv1.Mount
	kind := func(s string) (argosyv1.MountType, error) {
		switch s {
		case "volume":
			return argosyv1.MountType_MOUNT_TYPE_VOLUME, nil
		case "tmpfs":
			return argosyv1.MountType_MOUNT_TYPE_TMPFS, nil
		case "bind":
			return argosyv1.MountType_MOUNT_TYPE_BIND, nil
		case "image", "npipe", "cluster":
			return 0, &betterError{message: fmt.Sprintf("mounts of type %s are not honoured", s), hint: "it is volume, tmpfs or bind"}
		}
		return 0, &betterError{message: fmt.Sprintf("%s is not a type of mount", quoted(s)), suggestion: nearest(s, []string{"volume", "tmpfs", "bind"}),
			hint: "it is volume, tmpfs or bind"}
	}
	tmpfs := within(newObject("tmpfs",
		field("size", bytesSize(), "Its size; the default is half the machine's memory.", func(_ *reader, m *mount, v int64, _ value) { m.Size = v }).like("size: 16m"),
		field("mode", mode(), "Permission bits of its root.", func(_ *reader, m *mount, v uint32, _ value) { m.Mode = v }).like(`mode: "0700"`),
	), func() *mount { return &mount{} })
	volume := within(newObject("volume",
		field("nocopy", boolean(), "Do not copy the image's files into an empty volume.", func(_ *reader, m *mount, v bool, _ value) { m.NoCopy = v }).like("nocopy: true"),
		refuse[*mount]("subpath", "a volume is mounted whole", "declare two volumes"),
		refuse[*mount]("labels", "volumes are known by their replica and name", "leave them out"),
	), func() *mount { return &mount{} })
	return newObject("volume",
		field("type", parsed("word", variable(jsonSchema{"enum": []string{"volume", "tmpfs", "bind"}}), kind), "`volume`, `tmpfs` or, where a policy grants it, `bind`.",
			func(_ *reader, d *mountDraft, v argosyv1.MountType, _ value) { d.spec.Type = v }).must().like("type: volume"),
		field("source", text(), "The volume's name; for bind the machine's path.", func(_ *reader, d *mountDraft, v string, _ value) { d.spec.Source = v }).like("source: data"),
		field("target", absolutePath(), "Where it is in the container.", func(_ *reader, d *mountDraft, v string, _ value) { d.spec.Target = v }).must().like("target: /var/lib/mysql"),
		field("read_only", boolean(), "Mount it read-only.", func(_ *reader, d *mountDraft, v bool, _ value) { d.spec.ReadOnly = v }).like("read_only: true"),
		field("volume", volume, "More about a volume.", func(_ *reader, d *mountDraft, v *mount, at value) { d.named = placed[*mount]{v, at} }).like("volume: {nocopy: true}"),
		field("tmpfs", tmpfs, "More about a tmpfs.", func(_ *reader, d *mountDraft, v *mount, at value) { d.tmpfs = placed[*mount]{v, at} }).like("tmpfs: {size: 16m}"),
		refuse[*mountDraft]("bind", "paths of the machine are mounted as they are", "leave it out"),
		refuse[*mountDraft]("image", "files of another image are not mounted", "leave it out"),
		refuse[*mountDraft]("consistency", "it has no meaning on Linux", "leave it out"),
	)
}

func (d *mountDraft) finish(r *reader, v value) bool {
	m, ok := d.spec, true
	wrong := func(at value, text string) {
		ok = false
		r.fault(at, "%s", text)
	}
	if d.tmpfs.at.n != nil && m.Type != argosyv1.MountType_MOUNT_TYPE_TMPFS {
		wrong(d.tmpfs.at.name(), "tmpfs is for mounts of type tmpfs")
	}
	if d.named.at.n != nil && m.Type != argosyv1.MountType_MOUNT_TYPE_VOLUME {
		wrong(d.named.at.name(), "volume is for mounts of type volume")
	}
	switch m.Type {
	case argosyv1.MountType_MOUNT_TYPE_TMPFS:
		if m.Source != "" {
			wrong(v, "a tmpfs has no source")
		}
		if m.ReadOnly {
			wrong(v, "a read-only tmpfs would always be empty")
		}
		if d.tmpfs.is != nil {
			m.Size, m.Mode = d.tmpfs.is.Size, d.tmpfs.is.Mode
		}
	case argosyv1.MountType_MOUNT_TYPE_BIND:
		if !strings.HasPrefix(m.Source, "/") {
			wrong(v, "a bind has an absolute path of the machine as its source")
		}
		m.Source = path.Clean(m.Source)
	default:
		if m.Source == "" {
			r.fault(v, "the volume has no source").Advise("name a volume of the stack, or use type: tmpfs for what need not last")
			return false
		}
		if _, fine := parsedText(r, v, m.Source, func(s string) (string, error) { return s, checkName(s) }); !fine {
			return false
		}
		if d.named.is != nil {
			m.NoCopy = d.named.is.NoCopy
		}
	}
	return ok
}

// parseTmpfs reads `PATH[:size=SIZE,mode=MODE]`.
func parseTmpfs(s string) (*argosyv1.Mount, error) {
	target, options, _ := strings.Cut(s, ":")
	m := &argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_TMPFS}
	var err error
	if m.Target, err = parsePath(target); err != nil {
		return nil, err
	}
	if options == "" {
		return m, nil
	}
	for _, o := range strings.Split(options, ",") {
		k, v, _ := strings.Cut(o, "=")
		switch k {
		case "size":
			m.Size, err = parseBytes(v)
		case "mode":
			if v == "" || v[0] != '0' {
				v = "0" + v // here mount takes it as octal in any case
			}
			m.Mode, err = parseMode(v)
		case "rw":
		default:
			err = &betterError{message: fmt.Sprintf("the option %s of a tmpfs is not honoured", quoted(k)), hint: "it is size or mode"}
		}
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

// finishFiles checks what is mounted where, and fills it in.
func (c *container) finishFiles(r *reader, d *draft) {
	targets := map[string]value{}
	mount := func(target string, at value) {
		if first, taken := targets[target]; taken {
			r.fault(at, "two things are mounted at %s; the first stands in line %d", target, first.n.Line)
			return
		}
		targets[target] = at
	}
	for _, m := range c.mounts {
		mount(m.is.Target, m.at)
		c.spec.Mounts = append(c.spec.Mounts, m.is)
	}
	for _, s := range c.secrets {
		mount(s.is.Target, s.at)
		c.spec.Secrets = append(c.spec.Secrets, s.is)
	}
	for _, ref := range c.configs {
		mount(ref.is.Target, ref.at)
		c.spec.Configs = append(c.spec.Configs, ref.is)
		cfg, ok := d.configs.get(ref.is.Source)
		if ok {
			cfg.used = true
		} else if !d.incomplete {
			r.fault(ref.at, "there is no config %s", quoted(ref.is.Source)).Near(ref.is.Source, d.configs.names).
				Advise("declare it below the top-level configs")
		}
	}
}
