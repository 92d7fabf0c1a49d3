package manifest

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// health is a healthcheck while it is read.
type health struct {
	spec    *argosyv1.Healthcheck
	disable bool
	test    value // where the test stands, when there is one
}

func healthTable() *object[*health] {
	timing := func(name, doc, example string, set func(*argosyv1.Healthcheck, *durationpb.Duration)) key[*health] {
		return field(name, duration(), doc, func(r *reader, h *health, v time.Duration, at value) {
			if v != 0 && v < time.Millisecond {
				r.fault(at, "%s: %s is less than a millisecond", name, v)
			}
			set(h.spec, durationpb.New(v))
		}).like(example)
	}
	return newObject("healthcheck",
		field("test", healthTest(), "The command that tells: a list that begins with CMD or CMD-SHELL, a text for a shell, or NONE to have no check.",
			func(_ *reader, h *health, v []string, at value) { h.spec.Test, h.test = v, at }).like("test: [CMD, curl, -f, http://localhost/]"),
		timing("interval", "Time between checks.", "interval: 5s", func(s *argosyv1.Healthcheck, d *durationpb.Duration) { s.Interval = d }).unsaid("30s"),
		timing("timeout", "How long a check may take.", "timeout: 3s", func(s *argosyv1.Healthcheck, d *durationpb.Duration) { s.Timeout = d }).unsaid("30s"),
		timing("start_period", "Time after the start in which failures do not count.", "start_period: 20s", func(s *argosyv1.Healthcheck, d *durationpb.Duration) { s.StartPeriod = d }),
		timing("start_interval", "Time between checks within the start period.", "start_interval: 1s", func(s *argosyv1.Healthcheck, d *durationpb.Duration) { s.StartInterval = d }).unsaid("5s"),
		field("retries", whole(1, 10_000), "Failures in a row after which the container is unhealthy.",
			func(_ *reader, h *health, v int64, _ value) { h.spec.Retries = uint32(v) }).like("retries: 5").unsaid(3),
		field("disable", boolean(), "Do not check at all, whatever the image says.", func(_ *reader, h *health, v bool, _ value) { h.disable = v }).like("disable: true"),
	)
}

// healthTest is Compose's test: a text means a shell command.
func healthTest() shape[[]string] {
	list := listOf(loose())
	return shape[[]string]{word: "text, or a list of texts",
		schema: jsonSchema{"anyOf": []any{jsonSchema{"type": "string", "minLength": 1},
			jsonSchema{"type": "array", "minItems": 1, "items": list.schema["items"]}}},
		read: func(r *reader, v value) ([]string, bool) {
			if !v.isList() {
				s, ok := someText(r, v)
				if s == "NONE" {
					return []string{"NONE"}, ok
				}
				return []string{"CMD-SHELL", s}, ok
			}
			words, ok := list.read(r, v)
			if !ok || len(words) < len(v.n.Content) {
				return nil, false
			}
			switch {
			case len(words) == 0:
				r.fault(v, "test is empty").Advise("write [CMD, PROGRAM, ARGUMENT…], or [NONE] for no check")
			case words[0] != "NONE" && words[0] != "CMD" && words[0] != "CMD-SHELL":
				r.fault(v.follow(v.n.Content[0], nil), "test begins with %s", quoted(words[0])).
					Advise("the first word is CMD, CMD-SHELL or NONE: [CMD, %s, …]", printable(words[0]))
			case words[0] == "NONE" && len(words) > 1:
				r.fault(v, "NONE stands alone in test")
			case words[0] == "CMD" && len(words) == 1, words[0] == "CMD-SHELL" && len(words) != 2:
				r.fault(v, "%s needs a command after it", words[0]).Advise("CMD takes a program and its arguments, CMD-SHELL one text")
			default:
				return words, true
			}
			return nil, false
		}}
}

// finish settles disable.
func (h *health) finish(r *reader, at value) *argosyv1.Healthcheck {
	if h.disable {
		if h.test.n != nil && h.spec.Test[0] != "NONE" {
			r.fault(at.name(), "the healthcheck is disabled and has a test")
		}
		return &argosyv1.Healthcheck{Test: []string{"NONE"}}
	}
	return h.spec
}

// dependencies is a list of containers, or a map with a condition for each.
func dependencies() shape[[]placed[*argosyv1.Dependency]] {
	short := listOf(where(text()))
	long := dependencyTable()
	type deps = []placed[*argosyv1.Dependency]
	return shape[deps]{word: "list of containers, or a map from containers to conditions", keys: long.docs(),
		schema: jsonSchema{"anyOf": []any{short.schema, jsonSchema{"type": "object", "additionalProperties": long.schema()}}},
		read: func(r *reader, v value) (deps, bool) {
			var out deps
			add := func(name string, at value, d *argosyv1.Dependency) {
				d.Container = name
				out = append(out, placed[*argosyv1.Dependency]{d, at})
			}
			if v.isList() {
				names, ok := short.read(r, v)
				for _, n := range names {
					add(n.is, n.at, &argosyv1.Dependency{Condition: argosyv1.Condition_CONDITION_STARTED, Required: true})
				}
				return out, ok && few(r, v, len(out))
			}
			entries, ok := r.entries(v)
			for _, e := range entries {
				d := &argosyv1.Dependency{Required: true}
				long.read(r, e.value, "the dependency on "+e.key.Value, d)
				add(e.key.Value, e.name(), d)
			}
			return out, ok && few(r, v, len(out))
		}}
}

func few(r *reader, v value, n int) bool {
	if n > maxDepends {
		r.fault(v, "%s names %d containers; %d are allowed", v.what(), n, maxDepends)
	}
	return n <= maxDepends
}

func dependencyTable() *object[*argosyv1.Dependency] {
	type dep = argosyv1.Dependency
	return newObject("dependency",
		field("condition", choice("word", map[string]argosyv1.Condition{
			"service_started":                argosyv1.Condition_CONDITION_STARTED,
			"service_healthy":                argosyv1.Condition_CONDITION_HEALTHY,
			"service_completed_successfully": argosyv1.Condition_CONDITION_COMPLETED,
		}), "What to wait for: `service_started`, `service_healthy` or `service_completed_successfully`.",
			func(_ *reader, d *dep, v argosyv1.Condition, _ value) { d.Condition = v }).must().like("condition: service_healthy"),
		field("restart", boolean(), "Restart this container when the other was recreated.", func(_ *reader, d *dep, v bool, _ value) { d.Restart = v }).like("restart: true"),
		field("required", boolean(), "When false, start even if the other cannot be had; it may then be missing from the stack.",
			func(_ *reader, d *dep, v bool, _ value) { d.Required = v }).like("required: false").unsaid(true),
	)
}

// deploy is Compose's deploy section, as far as it says something about one container.
type deploy struct {
	limits, reservations resourceSection
	policy               restartSection
}

type resourceSection struct{ cpu, memory, pids placed[int64] }

type restartSection struct {
	at       value
	mode     argosyv1.RestartMode
	attempts uint32
}

func (d *deploy) apply(r *reader, c *container) {
	say := func(a *amount, p placed[int64]) {
		if p.at.n != nil {
			a.say(r, p.is, p.at)
		}
	}
	say(&c.limitCPU, d.limits.cpu)
	say(&c.limitMemory, d.limits.memory)
	say(&c.limitPIDs, d.limits.pids)
	say(&c.reserveCPU, d.reservations.cpu)
	say(&c.reserveMemory, d.reservations.memory)
	if p := d.policy; p.at.n != nil {
		if p.attempts > 0 && p.mode != argosyv1.RestartMode_RESTART_MODE_ON_FAILURE {
			r.fault(p.at.name(), "max_attempts is for the condition on-failure only")
		}
		c.sayRestart(r, &argosyv1.RestartPolicy{Mode: p.mode, MaxAttempts: p.attempts}, p.at)
	}
}

func deployTable() *object[*deploy] {
	limits := newObject("limits", append(resourceFields(memory()),
		field("pids", whole(1, 1<<22), "How many processes and threads there may be.", func(_ *reader, s *resourceSection, v int64, at value) { s.pids = placed[int64]{v, at} }).like("pids: 200"))...)
	reservations := newObject("reservations", append(resourceFields(bytesSize()),
		refuse[*resourceSection]("generic_resources", "machines offer cpus and memory only", "label machines and place by label: placement: {require: [\"gpu == yes\"]}"),
		refuse[*resourceSection]("devices", "devices of the machine are not given to containers", "leave it out"))...)
	fresh := func() *resourceSection { return &resourceSection{} }
	resources := newObject("resources",
		field("limits", section(limits, fresh), "What the container can never have more of.", func(_ *reader, d *deploy, v *resourceSection, _ value) { d.limits = *v }).like(`limits: {cpus: "0.5", memory: 256m}`),
		field("reservations", section(reservations, fresh), "What is kept free for the container on its machine. Without it the limits are reserved, and without those 0.1 cpus and 64 MiB.",
			func(_ *reader, d *deploy, v *resourceSection, _ value) { d.reservations = *v }).like("reservations: {memory: 128m}"),
	)
	later := "how changes roll out is not said in the manifest yet: one replica at a time, stop first"
	return newObject("deploy",
		field("resources", section(resources, func() *deploy { return &deploy{} }), "Limits and reservations.", func(_ *reader, d *deploy, v *deploy, _ value) { d.limits, d.reservations = v.limits, v.reservations }).
			like("resources:\n  limits: {memory: 256m}"),
		field("restart_policy", section(restartTable(), func() *restartSection { return &restartSection{} }), "The restart policy in the form of Compose's deploy section; the key `restart` says the same shorter.",
			func(_ *reader, d *deploy, v *restartSection, at value) { d.policy = *v; d.policy.at = at }).like("restart_policy: {condition: on-failure, max_attempts: 5}"),
		refuse[*deploy]("replicas", "a container is replicated with its stack", "say it below cluster: STACK: NUMBER"),
		refuse[*deploy]("mode", "a container is replicated with its stack", "say it below cluster: STACK: NUMBER, or STACK: {on: each-machine}"),
		refuse[*deploy]("placement", "a container is placed with its stack", "say it at the stack: placement: {require: […], spread: […]}"),
		refuse[*deploy]("labels", "there is no service to label", "label the container: labels: {…}"),
		refuse[*deploy]("endpoint_mode", "names lead to every ready replica", "leave it out"),
		refuse[*deploy]("update_config", later, "leave it out"),
		refuse[*deploy]("rollback_config", later, "leave it out"),
	)
}

func resourceFields(memory shape[int64]) []key[*resourceSection] {
	return []key[*resourceSection]{
		field("cpus", cpus(), "Number of cpus.", func(_ *reader, s *resourceSection, v int64, at value) { s.cpu = placed[int64]{v, at} }).like(`cpus: "0.5"`),
		field("memory", memory, "Memory.", func(_ *reader, s *resourceSection, v int64, at value) { s.memory = placed[int64]{v, at} }).like("memory: 256m"),
	}
}

func restartTable() *object[*restartSection] {
	backoff := "the time between restarts grows by itself"
	return newObject("restart_policy",
		field("condition", choice("word", map[string]argosyv1.RestartMode{
			"none":       argosyv1.RestartMode_RESTART_MODE_NO,
			"on-failure": argosyv1.RestartMode_RESTART_MODE_ON_FAILURE,
			"any":        argosyv1.RestartMode_RESTART_MODE_ALWAYS,
		}), "`none`, `on-failure` or `any`.", func(_ *reader, s *restartSection, v argosyv1.RestartMode, _ value) { s.mode = v }).must().like("condition: on-failure"),
		field("max_attempts", whole(1, 1_000_000), "Restarts after which it stays stopped.", func(_ *reader, s *restartSection, v int64, _ value) { s.attempts = uint32(v) }).like("max_attempts: 5"),
		refuse[*restartSection]("delay", backoff, "leave it out"),
		refuse[*restartSection]("window", backoff, "leave it out"),
	)
}

// finishResources fills the amounts of a container in.
func (c *container) finishResources(r *reader) {
	s := &argosyv1.Resources{
		LimitCpuMilli: c.limitCPU.n, LimitMemory: c.limitMemory.n, LimitPids: c.limitPIDs.n, MemorySwap: c.memorySwap.n,
		ReserveCpuMilli: c.reserveCPU.n, ReserveMemory: c.reserveMemory.n,
	}
	if old := c.spec.Resources; old != nil {
		s.CpuShares = old.CpuShares
	}
	if s.LimitCpuMilli > 0 && s.ReserveCpuMilli > s.LimitCpuMilli {
		r.fault(c.reserveCPU.at, "more cpus are reserved (%s) than the limit allows (%s)", cpuText(s.ReserveCpuMilli), cpuText(s.LimitCpuMilli))
	}
	if s.LimitMemory > 0 && s.ReserveMemory > s.LimitMemory {
		r.fault(c.reserveMemory.at, "more memory is reserved (%s) than the limit allows (%s)", sizeText(s.ReserveMemory), sizeText(s.LimitMemory))
	}
	if at := c.memorySwap.at; at.n != nil && s.MemorySwap != 0 {
		switch {
		case s.LimitMemory == 0:
			r.fault(at, "memswap_limit needs a limit for memory beside it").Advise("add mem_limit")
		case s.MemorySwap > 0 && s.MemorySwap < s.LimitMemory:
			r.fault(at, "memswap_limit (%s) is memory and swap together, so it cannot be less than the limit for memory (%s)", sizeText(s.MemorySwap), sizeText(s.LimitMemory))
		}
	}
	if s.ReserveCpuMilli == 0 {
		s.ReserveCpuMilli = s.LimitCpuMilli
	}
	if s.ReserveMemory == 0 {
		s.ReserveMemory = s.LimitMemory
	}
	if s.ReserveCpuMilli == 0 {
		s.ReserveCpuMilli, s.DefaultCpu = DefaultCPUMilli, true
	}
	if s.ReserveMemory == 0 {
		s.ReserveMemory, s.DefaultMemory = DefaultMemory, true
	}
	c.spec.Resources = s
}

func cpuText(milli int64) string { return fmt.Sprintf("%g", float64(milli)/1000) }

func sizeText(n int64) string {
	for _, u := range []struct {
		shift uint
		word  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n >= 1<<u.shift {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(int64(1)<<u.shift), u.word)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
