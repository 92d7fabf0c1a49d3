package manifest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// container is a container while it is read. What other parts of the manifest must agree with keeps its place.
type container struct {
	spec *argosyv1.ContainerSpec
	at   value

	env, fileEnv []pair
	labels       []pair
	fileLabels   []pair
	depends      []placed[*argosyv1.Dependency]
	secrets      []placed[*argosyv1.FileRef]
	configs      []placed[*argosyv1.FileRef]
	mounts       []placed[*argosyv1.Mount]
	ports        []placed[[]*argosyv1.PublishedPort]
	exposes      []placed[[]*argosyv1.Port]

	limitCPU, limitMemory, limitPIDs      amount
	reserveCPU, reserveMemory, memorySwap amount
	restart                               placed[*argosyv1.RestartPolicy]
	used                                  bool
}

// amount is a quantity that two keys can say; they must then agree.
type amount struct {
	n  int64
	at value
}

func newContainer() *container {
	return &container{spec: &argosyv1.ContainerSpec{}}
}

func (c *container) named(name string, at value) { c.spec.Name, c.at = name, at }

// say takes an amount; said twice and differently is a fault.
func (a *amount) say(r *reader, n int64, at value) {
	if a.at.n != nil && a.n != n {
		r.fault(at, "%s says something else than %s in line %d", at.what(), a.at.what(), a.at.n.Line).Advise("say it once")
		return
	}
	*a = amount{n, at}
}

// assign makes the setter of a key that fills one field and needs nothing else.
func assign[V any](set func(*argosyv1.ContainerSpec, V)) func(*reader, *container, V, value) {
	return func(_ *reader, c *container, v V, _ value) { set(c.spec, v) }
}

type (
	spec = argosyv1.ContainerSpec
	ckey = key[*container]
)

// containerKeys is the table of the keys of a container: every service key of the Compose Specification, honoured or not.
func containerKeys() []ckey {
	var keys []ckey
	for _, group := range [][]ckey{processKeys(), dataKeys(), networkKeys(), resourceKeys(), lifecycleKeys(), securityKeys(), refusedKeys()} {
		keys = append(keys, group...)
	}
	return keys
}

// processKeys say what runs.
func processKeys() []ckey {
	return []ckey{
		field("image", strict(parsed("image reference", jsonSchema{"type": "string", "minLength": 1}, parseImage)),
			"The image, as `NAME:TAG`, `REGISTRY/NAME:TAG` or with a digest. Applying pins it to a digest.",
			assign(func(s *spec, v string) { s.Image = v })).must().like("image: mariadb:10.11"),
		field("command", command(), "What to run in place of the image's command: a list, or a text that is split at spaces like a shell does, without a shell. Empty clears the image's.",
			assign(func(s *spec, v *argosyv1.Command) { s.Command = v })).like(`command: [httpd, -D, FOREGROUND]`),
		field("entrypoint", command(), "What to run in place of the image's entrypoint; it clears the image's command too. Empty clears the image's.",
			assign(func(s *spec, v *argosyv1.Command) { s.Entrypoint = v })).like(`entrypoint: [/bin/start]`),
		field("environment", pairs(), "Environment variables. One without a value is taken from the environment of `argosy`, and left out when it is not set there.",
			func(_ *reader, c *container, v []pair, _ value) { c.env = v }).like("environment: {MARIADB_DATABASE: shop}"),
		field("env_file", envFiles(), "Files with environment variables, at or below the directory of the manifest. Later files win, and `environment` wins over all.",
			func(r *reader, c *container, v []envFile, _ value) { c.fileEnv = r.readEnvFiles(v) }).like("env_file: db.env"),
		field("working_dir", absolutePath(), "The directory to start in.", assign(func(s *spec, v string) { s.WorkingDir = v })).like("working_dir: /srv"),
		field("user", loose(), "User, and group after a colon, by name or number.", func(r *reader, c *container, v string, at value) {
			if strings.ContainsAny(v, " \t\n") || strings.Count(v, ":") > 1 {
				r.fault(at, "%s is not a user", quoted(v)).Advise("write USER or USER:GROUP")
			}
			c.spec.User = v
		}).like(`user: "1000:1000"`),
		field("tty", boolean(), "Give the process a terminal.", assign(func(s *spec, v bool) { s.Tty = v })).like("tty: true"),
		field("stdin_open", boolean(), "Keep standard input open.", assign(func(s *spec, v bool) { s.StdinOpen = v })).like("stdin_open: true"),
		field("init", boolean(), "Run a small init as process 1 that passes signals on and reaps children.", assign(func(s *spec, v bool) { s.Init = v })).like("init: true"),
		field("platform", parsed("platform", variable(jsonSchema{"type": "string", "pattern": "^linux(/[^/ ]+){0,2}$"}), parsePlatform), "Platform of the image, such as `linux/arm64`. The default is the machine's.",
			assign(func(s *spec, v string) { s.Platform = v })).like("platform: linux/amd64"),
		field("pull_policy", choice("word", map[string]argosyv1.PullPolicy{
			"missing": argosyv1.PullPolicy_PULL_POLICY_MISSING, "if_not_present": argosyv1.PullPolicy_PULL_POLICY_MISSING,
			"always": argosyv1.PullPolicy_PULL_POLICY_ALWAYS, "never": argosyv1.PullPolicy_PULL_POLICY_NEVER,
		}), "When a machine fetches the image: `missing` (also `if_not_present`), `always` or `never`.",
			assign(func(s *spec, v argosyv1.PullPolicy) { s.PullPolicy = v })).like("pull_policy: always").unsaid("missing"),
		field("labels", pairs(), "Labels of the container.", func(_ *reader, c *container, v []pair, _ value) { c.labels = v }).like("labels: {team: shop}"),
		field("label_file", oneOrMore(where(text())), "Files with labels, at or below the directory of the manifest; `labels` wins.",
			func(r *reader, c *container, v []placed[string], _ value) {
				files := make([]envFile, len(v))
				for i, f := range v {
					files[i] = envFile{path: f, required: true}
				}
				c.fileLabels = r.readEnvFiles(files)
			}).like("label_file: labels.env"),
		field("annotations", pairs(), "Annotations for the container's runtime.", func(_ *reader, c *container, v []pair, _ value) {
			c.spec.Annotations = plainPairs(v)
		}).like("annotations: {org.example.a: b}"),
	}
}

// command is a list of words, or a text to be split into words.
func command() shape[*argosyv1.Command] {
	list := listOf(loose())
	return shape[*argosyv1.Command]{word: "text, or a list of texts",
		schema: jsonSchema{"anyOf": []any{jsonSchema{"type": "string"}, jsonSchema{"type": "null"}, list.schema}},
		read: func(r *reader, v value) (*argosyv1.Command, bool) {
			if v.isNull() {
				return nil, true
			}
			if v.isList() {
				words, ok := list.read(r, v)
				return &argosyv1.Command{Args: words}, ok
			}
			s, ok := anyText(r, v, true)
			if !ok {
				return nil, false
			}
			words, offset, err := splitWords(s)
			if err == nil && !r.visit(v, len(words)) {
				return nil, false
			}
			if err != nil {
				f := r.faultIn(v, offset, 1, "%s: %s", v.what(), err)
				var better *betterError
				if errors.As(err, &better) {
					f.Advise("%s", better.hint)
				}
				return nil, false
			}
			return &argosyv1.Command{Args: words}, true
		}}
}

func parsePlatform(s string) (string, error) {
	parts := strings.Split(s, "/")
	if len(parts) > 3 || strings.ContainsAny(s, " \t\n") || strings.Contains("/"+s+"/", "//") {
		return "", &betterError{message: fmt.Sprintf("%s is not a platform", quoted(s)), hint: "write OS/ARCH, such as linux/amd64"}
	}
	if parts[0] != "linux" {
		return "", &betterError{message: fmt.Sprintf("machines run linux, not %s", quoted(parts[0])), hint: "write linux/ARCH, such as linux/amd64"}
	}
	return s, nil
}

// plainPairs is a map of pairs; one without a value has an empty one.
func plainPairs(list []pair) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := make(map[string]string, len(list))
	for _, p := range list {
		out[p.key] = ""
		if p.value != nil {
			out[p.key] = *p.value
		}
	}
	return out
}

// lifecycleKeys say when it runs.
func lifecycleKeys() []ckey {
	setDuration := func(set func(*spec, *durationpb.Duration)) func(*reader, *container, time.Duration, value) {
		return func(_ *reader, c *container, v time.Duration, _ value) { set(c.spec, durationpb.New(v)) }
	}
	return []ckey{
		field("depends_on", dependencies(), "Containers of the same stack that start before this one, as a list or with a condition for each.",
			func(_ *reader, c *container, v []placed[*argosyv1.Dependency], _ value) { c.depends = v }).
			like("depends_on: {mysql: {condition: service_healthy}}"),
		field("healthcheck", section(healthTable(), func() *health { return &health{spec: &argosyv1.Healthcheck{}} }),
			"How to find out whether the container works. Without it the image's own holds.",
			func(r *reader, c *container, h *health, at value) { c.spec.Healthcheck = h.finish(r, at) }).
			like("healthcheck: {test: [CMD, healthcheck.sh], interval: 5s}"),
		field("restart", parsed("word", variable(jsonSchema{"anyOf": []any{
			jsonSchema{"enum": []string{"no", "always", "unless-stopped", "on-failure"}},
			jsonSchema{"type": "string", "pattern": "^on-failure(:[0-9]+)?$"}, jsonSchema{"const": false}}}), parseRestart),
			"What to do when the process ends: `always` (a replica is wanted until it is not), `on-failure`, `on-failure:N`, `unless-stopped` or `\"no\"`.",
			func(r *reader, c *container, v *argosyv1.RestartPolicy, at value) { c.sayRestart(r, v, at) }).like("restart: on-failure:5").unsaid("always"),
		field("deploy", section(deployTable(), func() *deploy { return &deploy{} }),
			"Limits and reservations of resources, and the restart policy, in the form of Compose's deploy section.",
			func(r *reader, c *container, v *deploy, at value) { v.apply(r, c) }).
			like("deploy:\n  resources:\n    limits: {cpus: \"0.5\", memory: 256m}\n    reservations: {memory: 128m}"),
		field("stop_signal", parsed("signal", signalSchema(), parseSignal),
			"The signal that asks the process to end; the default is the image's, or SIGTERM.", assign(func(s *spec, v string) { s.StopSignal = v })).like("stop_signal: SIGQUIT"),
		field("stop_grace_period", duration(), "How long the process may take to end before it is killed.",
			setDuration(func(s *spec, d *durationpb.Duration) { s.StopGracePeriod = d })).like("stop_grace_period: 30s").unsaid("10s"),
		field("logging", section(loggingTable(), func() *argosyv1.LogOptions { return &argosyv1.LogOptions{} }),
			"How much of the container's output a machine keeps. It is read with `argosy logs`.",
			func(_ *reader, c *container, v *argosyv1.LogOptions, _ value) { c.spec.Logging = v }).
			like("logging:\n  options: {max-size: 20m, max-file: \"5\"}"),
	}
}

func (c *container) sayRestart(r *reader, v *argosyv1.RestartPolicy, at value) {
	if c.restart.at.n != nil {
		r.fault(at.name(), "%s says what %s in line %d says already", at.what(), c.restart.at.what(), c.restart.at.n.Line).Advise("say it once")
		return
	}
	c.restart = placed[*argosyv1.RestartPolicy]{v, at}
	c.spec.Restart = v
}

func parseRestart(s string) (*argosyv1.RestartPolicy, error) {
	word, count, counted := strings.Cut(s, ":")
	p := &argosyv1.RestartPolicy{}
	switch word {
	case "no", "false":
		p.Mode = argosyv1.RestartMode_RESTART_MODE_NO
	case "always":
		p.Mode = argosyv1.RestartMode_RESTART_MODE_ALWAYS
	case "unless-stopped":
		p.Mode = argosyv1.RestartMode_RESTART_MODE_UNLESS_STOPPED
	case "on-failure":
		p.Mode = argosyv1.RestartMode_RESTART_MODE_ON_FAILURE
		if counted {
			n, err := parseWhole(count, 1, 1_000_000)
			if err != nil {
				return nil, fmt.Errorf("after on-failure: %w", err)
			}
			p.MaxAttempts = uint32(n)
			counted = false
		}
	default:
		word = ""
	}
	if word == "" || counted {
		words := []string{"no", "always", "on-failure", "unless-stopped"}
		return nil, &betterError{message: fmt.Sprintf("%s is not a restart policy", quoted(s)), suggestion: nearest(s, words),
			hint: "it is one of " + strings.Join(words, ", ")}
	}
	return p, nil
}

var signals = strings.Fields(`HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP
	TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS`)

// parseSignal reads a signal's name or number and gives back the name, such as SIGTERM.
func parseSignal(s string) (string, error) {
	if n, err := parseWhole(s, 1, 64); err == nil {
		if n <= int64(len(signals)) {
			return "SIG" + signals[n-1], nil
		}
		return s, nil
	}
	word := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for _, known := range signals {
		if word == known {
			return "SIG" + word, nil
		}
	}
	for _, prefix := range []string{"RTMIN+", "RTMAX-"} {
		if rest, ok := strings.CutPrefix(word, prefix); ok {
			if _, err := parseWhole(rest, 0, 30); err == nil {
				return "SIG" + word, nil
			}
		}
	}
	if word == "RTMIN" || word == "RTMAX" {
		return "SIG" + word, nil
	}
	err := &betterError{message: fmt.Sprintf("%s is not a signal", quoted(s)), hint: "write a name such as SIGTERM, or its number"}
	if best := nearest(word, signals); best != "" {
		err.suggestion = "SIG" + best
	}
	return "", err
}

func loggingTable() *object[*argosyv1.LogOptions] {
	type opts = argosyv1.LogOptions
	count := whole(1, 1000)
	options := newObject("logging options",
		field("max-size", bytesSize(), "Size at which a log file is rotated.", func(_ *reader, o *opts, v int64, _ value) { o.MaxSize = v }).like("max-size: 20m").unsaid("10m"),
		field("max-file", count, "How many log files are kept.", func(_ *reader, o *opts, v int64, _ value) { o.MaxFiles = uint32(v) }).like(`max-file: "5"`).unsaid(3),
	)
	kept := "output is kept on the machine, where `argosy logs` reads it"
	return newObject("logging",
		field("driver", parsed("word", variable(jsonSchema{"enum": []string{"json-file", "local"}}), func(s string) (string, error) {
			if s != "json-file" && s != "local" {
				return "", &betterError{message: fmt.Sprintf("the driver %s is not honoured: %s", quoted(s), kept), hint: "leave the driver out"}
			}
			return s, nil
		}), "`json-file` or `local`; both mean Argosy's own.", func(*reader, *opts, string, value) {}).like("driver: local"),
		field("options", section(options, func() *opts { return &opts{} }), "Bounds on what is kept.", func(_ *reader, o *opts, v *opts, _ value) { o.MaxSize, o.MaxFiles = v.MaxSize, v.MaxFiles }).like("options: {max-size: 20m}"),
	)
}
