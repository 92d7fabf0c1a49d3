package manifest

import (
	"errors"
	"fmt"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// draft is the app while it is read: what the files said, and where.
type draft struct {
	incomplete bool // a file could not be read: what seems missing may be in it

	version placed[string]
	app     placed[string]
	saidApp bool // though maybe wrongly

	containers named[*container]
	units      named[*unit]
	stacks     named[*stack]
	cluster    named[*entryOf]
	configs    named[*config]
}

// named is a list of things with unique names.
type named[T any] struct {
	list   []T
	places []value // of the names
	index  map[string]int
	names  []string
}

// add is false when the name is taken; that is a fault.
func (n *named[T]) add(r *reader, what, name string, at value, thing T) bool {
	if n.index == nil {
		n.index = map[string]int{}
	}
	if i, twice := n.index[name]; twice {
		first := n.places[i]
		r.fault(at, "%s %s is declared twice; it first stands in %s:%d", what, name, first.f.name, first.n.Line)
		return false
	}
	n.index[name] = len(n.list)
	n.list = append(n.list, thing)
	n.places = append(n.places, at)
	n.names = append(n.names, name)
	return true
}

func (n *named[T]) get(name string) (thing T, ok bool) {
	i, ok := n.index[name]
	if ok {
		thing = n.list[i]
	}
	return thing, ok
}

func appTable(c *object[*container], u *object[*unit], s *object[*stack], e *object[*entryOf], cfg *object[*config]) *object[*draft] {
	label := name()
	appName := shape[placed[string]]{word: "name", schema: label.schema, read: func(r *reader, v value) (placed[string], bool) {
		s, ok := label.read(r, v)
		if !ok {
			s = ""
		}
		return placed[string]{s, v}, true
	}}
	return newObject("manifest",
		field("argosy", choice("version", map[string]string{"v1": "v1"}),
			"The version of the manifest's language: `v1`. It stands in every file.",
			func(_ *reader, d *draft, v string, at value) { d.version = placed[string]{v, at} }).must().ours().like("argosy: v1"),
		field("app", appName, "The name of the app: a DNS label that begins with a letter. Of several files, one says it or all say the same.",
			func(r *reader, d *draft, v placed[string], at value) {
				d.saidApp = true
				switch {
				case v.is == "":
				case d.app.is != "" && d.app.is != v.is:
					r.fault(at, "the app is called %s here and %s in %s:%d", quoted(v.is), quoted(d.app.is), d.app.at.f.name, d.app.at.n.Line)
				default:
					d.app = v
				}
			}).ours().like("app: shop"),
		field("containers", namedObjects(c, "container", func() *container { return newContainer() },
			func(d *draft) *named[*container] { return &d.containers }),
			"What each container is, by name. The keys are the Compose Specification's.",
			adopt[*container]).ours().like("containers:\n  web:\n    image: httpd:2.4"),
		field("units", unitsShape(u),
			"What each systemd unit is, by the name of its file: the file's text, or a map. A template, `web@.service`, is run by replica 3 as `web@3.service`; any other name is one unit of its machine.",
			adopt[*unit]).ours().like("units:\n  web.service: |\n    [Service]\n    ExecStart=/usr/bin/sleep infinity"),
		field("stacks", namedObjects(s, "stack", func() *stack { return &stack{spec: &argosyv1.StackSpec{}} },
			func(d *draft) *named[*stack] { return &d.stacks }),
			"What belongs together: each stack is a group of containers and units that is placed on one machine, started in order and replicated as one.",
			adopt[*stack]).ours().like("stacks:\n  lamp:\n    containers: [mysql, apache]"),
		field("cluster", clusterShape(e), "How many replicas of each stack the cluster needs: a number, or a map.",
			adopt[*entryOf]).ours().like("cluster:\n  lamp: 5\n  agent: {on: each-machine}"),
		field("configs", namedObjects(cfg, "config", func() *config { return &config{} },
			func(d *draft) *named[*config] { return &d.configs }),
			"Files that containers get, by name. Their contents are kept with the app; for what nobody may read, use secrets.",
			adopt[*config]).like("configs:\n  motd:\n    content: welcome"),
		refuse[*draft]("version", "it is Compose's", "write `argosy: v1`"),
		refuse[*draft]("name", "it is Compose's", "write `app: NAME`"),
		refuse[*draft]("services", "a stack of containers takes the place of a service", "call it containers, and say below stacks which belong together and below cluster how many there are"),
		refuse[*draft]("networks", "every container of the cluster reaches every other by name", "leave it out"),
		refuse[*draft]("volumes", "volumes belong to the replicas of a stack", "declare them below stacks, at the stack that uses them"),
		refuse[*draft]("secrets", "secrets are kept by the cluster and never stand in a manifest", "set each with `argosy secret set NAME`; containers name them in their own secrets"),
		refuse[*draft]("include", "the files of an app are given on the command line", "name all of them: argosy apply FILE…"),
		refuse[*draft]("models", "models are not run by Argosy", "run the model's server as a container"),
		refuse[*draft]("jobs", "jobs are not honoured yet", "run the work as a container with restart: on-failure"),
	)
}

// additions are the things of one map of named things in one file, to be adopted by the draft.
type additions[T any] struct {
	into  func(*draft) *named[T]
	what  string
	names []placed[string]
	list  []T
}

func adopt[T any](r *reader, d *draft, a additions[T], _ value) {
	into := a.into(d)
	for i, thing := range a.list {
		into.add(r, a.what, a.names[i].is, a.names[i].at, thing)
	}
}

// selfNamed is told its name and where it stands before it is read.
type selfNamed interface{ named(name string, at value) }

// namedObjects is a map from names to objects.
func namedObjects[T selfNamed](o *object[T], what string, fresh func() T, into func(*draft) *named[T]) shape[additions[T]] {
	return shape[additions[T]]{word: "map from names to " + what + "s", keys: o.docs(),
		schema: jsonSchema{"type": "object", "additionalProperties": o.schema(), "propertyNames": nameSchema()},
		read: func(r *reader, v value) (additions[T], bool) {
			entries, ok := r.entries(v)
			out := additions[T]{into: into, what: what}
			for _, e := range entries {
				if r.stopped {
					return out, false
				}
				name := e.key.Value
				if err := checkName(name); err != nil {
					_, _ = parsedText(r, e.name(), name, func(string) (string, error) { return "", err })
				}
				thing := fresh()
				thing.named(name, e.name())
				whole := o.read(r, e.value, what+" "+name, thing)
				if s, is := any(thing).(interface{ read(whole bool) }); is {
					s.read(whole)
				}
				out.names = append(out.names, placed[string]{name, e.name()})
				out.list = append(out.list, thing)
			}
			return out, ok || len(entries) > 0
		}}
}

// build is the app; the draft has no fault.
func (d *draft) build() *argosyv1.AppSpec {
	spec := &argosyv1.AppSpec{Name: d.app.is}
	for _, c := range d.containers.list {
		spec.Containers = append(spec.Containers, c.spec)
	}
	for _, u := range d.units.list {
		spec.Units = append(spec.Units, u.spec)
	}
	for _, s := range d.stacks.list {
		spec.Stacks = append(spec.Stacks, s.spec)
	}
	for _, e := range d.cluster.list {
		spec.Cluster = append(spec.Cluster, e.spec)
	}
	for i, c := range d.configs.list {
		if spec.Configs == nil {
			spec.Configs = map[string][]byte{}
		}
		spec.Configs[d.configs.names[i]] = c.content
	}
	return spec
}

// config is one entry of the top-level configs.
type config struct {
	name    string
	at      value
	said    int
	content []byte
	used    bool
}

func (c *config) named(name string, at value) { c.name, c.at = name, at }

func configTable() *object[*config] {
	content := parsed("text", jsonSchema{"type": "string"}, func(s string) (string, error) { return s, nil })
	return newObject("config",
		field("content", content, "The contents. Variables are interpolated.", func(_ *reader, c *config, v string, _ value) {
			c.said++
			c.content = []byte(v)
		}).like(`content: "Listen 8080\n"`),
		field("file", text(), "A file with the contents, at or below the directory of the manifest.", func(r *reader, c *config, v string, at value) {
			c.said++
			c.content, _ = r.named(at, v)
		}).like("file: httpd.conf"),
		field("environment", text(), "A variable of the environment of `argosy` that holds the contents.", func(r *reader, c *config, v string, at value) {
			c.said++
			s, ok := r.env(v)
			if !ok {
				r.fault(at, "the variable %s is not set", quoted(v)).Advise("set it in the environment of argosy")
			}
			c.content = []byte(s)
		}).like("environment: MOTD"),
		refuse[*config]("external", "the contents belong to the app", "give them with content, file or environment"),
		refuse[*config]("name", "a config is called as its key says", "change the key"),
		refuse[*config]("labels", "a config is only its contents", "leave them out"),
		refuse[*config]("template_driver", "contents are taken as they are", "interpolate variables in content"),
	)
}

func (c *config) check(r *reader) {
	if c.said != 1 {
		r.fault(c.at, "config %s must have one of content, file and environment, not %d of them", c.name, c.said)
	}
	if !c.used {
		r.note(c.at, "config %s is used by no container", c.name)
	}
}

// named reads a file that the manifest names.
func (r *reader) named(at value, name string) ([]byte, bool) {
	data, err := r.readBounded(at.f.home(), name)
	if err != nil {
		r.fault(at, "the file %s cannot be read: %v", quoted(name), err)
		return nil, false
	}
	return data, true
}

// readBounded reads a file that a manifest names, once.
func (r *reader) readBounded(manifest, name string) ([]byte, error) {
	clean, err := belowManifest(name)
	if err != nil {
		return nil, err
	}
	if r.opts.ReadFile == nil {
		return nil, errors.New("files cannot be read here")
	}
	key := [2]string{manifest, clean}
	if got, ok := r.read[key]; ok {
		return got.data, got.err
	}
	limit := min(MaxReadSize, maxReadTotal-r.readBytes)
	if limit <= 0 {
		return nil, fmt.Errorf("the files that the manifest names have more than %d bytes together", maxReadTotal)
	}
	data, err := r.opts.ReadFile(manifest, clean, limit)
	if err == nil && len(data) > limit {
		data, err = nil, fmt.Errorf("it has %d bytes; %d are allowed", len(data), limit)
	}
	r.readBytes += len(data)
	if r.read == nil {
		r.read = map[[2]string]readFile{}
	}
	r.read[key] = readFile{data, err}
	return data, err
}
