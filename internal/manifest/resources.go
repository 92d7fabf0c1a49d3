package manifest

import (
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// resourceKeys say how much the container may use.
func resourceKeys() []ckey {
	amountOf := func(which func(*container) *amount) func(*reader, *container, int64, value) {
		return func(r *reader, c *container, n int64, at value) { which(c).say(r, n, at) }
	}
	return []ckey{
		field("cpus", cpus(), "Limit for cpus; it is also reserved, unless a reservation says otherwise.",
			amountOf(func(c *container) *amount { return &c.limitCPU })).like("cpus: 0.5"),
		field("mem_limit", memory(), "Limit for memory; it is also reserved, unless a reservation says otherwise.",
			amountOf(func(c *container) *amount { return &c.limitMemory })).like("mem_limit: 256m"),
		field("mem_reservation", bytesSize(), "Memory kept free for the container on its machine.",
			amountOf(func(c *container) *amount { return &c.reserveMemory })).like("mem_reservation: 128m"),
		field("memswap_limit", parsed("size such as `512m`, or -1", jsonSchema{"anyOf": []any{jsonSchema{"const": -1}, sizeSchema(), jsonSchema{"const": "-1"}}}, parseSwap),
			"Limit for memory and swap together; -1 is none.", amountOf(func(c *container) *amount { return &c.memorySwap })).like("memswap_limit: 512m"),
		field("pids_limit", whole(-1, 1<<22), "How many processes and threads there may be; -1 is any number.", func(r *reader, c *container, n int64, at value) {
			c.limitPIDs.say(r, max(n, 0), at)
		}).like("pids_limit: 200"),
		field("cpu_shares", whole(2, 262144), "Weight against other containers when cpus are short; the default is 1024.", func(_ *reader, c *container, n int64, _ value) {
			c.spec.Resources = &argosyv1.Resources{CpuShares: n}
		}).like("cpu_shares: 512"),
		field("shm_size", bytesSize(), "Size of /dev/shm; the default is 64 MiB.", assign(func(s *spec, v int64) { s.ShmSize = v })).like("shm_size: 128m"),
		field("ulimits", ulimits(), "Limits of the process, each a number or `{soft: N, hard: N}`; -1 is none.",
			assign(func(s *spec, v []*argosyv1.Ulimit) { s.Ulimits = v })).like("ulimits: {nofile: {soft: 1024, hard: 65536}}"),
		field("oom_score_adj", whole(-1000, 1000), "How early the kernel kills the container when memory is short: higher is earlier. Below 0 needs a policy that grants it.",
			func(r *reader, c *container, n int64, at value) {
				if n < 0 && !r.opts.Grants.OOMProtection {
					r.fault(at, "oom_score_adj below 0 protects the container at the cost of the machine: no policy grants it").hint("leave it out, or ask an administrator")
				}
				c.spec.OomScoreAdj = int32(n)
			}).like("oom_score_adj: 500"),
	}
}

func parseSwap(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	return parseBytes(s)
}

var ulimitNames = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
	"rtprio", "rttime", "sigpending", "stack"}

func ulimits() shape[[]*argosyv1.Ulimit] {
	type limit = argosyv1.Ulimit
	number := whole(-1, 1<<62)
	pair := newObject("ulimit",
		field("soft", number, "What holds at first.", func(_ *reader, u *limit, n int64, _ value) { u.Soft = n }).must().like("soft: 1024"),
		field("hard", number, "What the process may raise it to.", func(_ *reader, u *limit, n int64, _ value) { u.Hard = n }).must().like("hard: 65536"),
	)
	one := shortOrLong(shape[*limit]{word: number.word, schema: number.schema, read: func(r *reader, v value) (*limit, bool) {
		n, ok := number.read(r, v)
		return &limit{Soft: n, Hard: n}, ok
	}}, within(pair, func() *limit { return &limit{} }))
	return shape[[]*limit]{word: "map from names to numbers or `{soft, hard}`", keys: one.keys,
		schema: jsonSchema{"type": "object", "additionalProperties": one.schema, "propertyNames": jsonSchema{"enum": ulimitNames}},
		read: func(r *reader, v value) ([]*limit, bool) {
			entries, ok := r.entries(v)
			var out []*limit
			for _, e := range entries {
				if !contains(ulimitNames, e.key.Value) {
					r.fault(e.name(), "%s is not a ulimit", quoted(e.key.Value)).near(e.key.Value, ulimitNames).
						hint("it is one of %s", strings.Join(ulimitNames, ", "))
					continue
				}
				u, fine := one.read(r, e.value)
				if ok = ok && fine; !fine {
					continue
				}
				u.Name = e.key.Value
				if u.Hard >= 0 && (u.Soft > u.Hard || u.Soft < 0) {
					r.fault(e.name(), "the soft limit of %s is above the hard one", u.Name)
				}
				out = append(out, u)
			}
			return out, ok
		}}
}

// securityKeys say what it may do.
func securityKeys() []ckey {
	return []ckey{
		field("read_only", boolean(), "Mount the image read-only; writable paths are volumes and tmpfs.", assign(func(s *spec, v bool) { s.ReadOnly = v })).like("read_only: true"),
		field("cap_add", listOf(where(text())), "Linux capabilities to add. Those that reach beyond the container need a policy that grants them.",
			func(r *reader, c *container, v []placed[string], _ value) { c.spec.CapAdd = r.capabilities(v, true) }).like("cap_add: [NET_BIND_SERVICE]"),
		field("cap_drop", listOf(where(text())), "Linux capabilities to take away; `ALL` is every one.",
			func(r *reader, c *container, v []placed[string], _ value) { c.spec.CapDrop = r.capabilities(v, false) }).like("cap_drop: [ALL]"),
		field("security_opt", listOf(where(text())), "`no-new-privileges`; other options need a policy that grants them.",
			func(r *reader, c *container, v []placed[string], _ value) {
				for _, o := range v {
					c.spec.SecurityOpt = append(c.spec.SecurityOpt, r.securityOpt(o))
				}
			}).like("security_opt: [no-new-privileges]"),
		field("sysctls", pairs("="), "Kernel parameters of the container's own namespaces: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*.",
			func(r *reader, c *container, v []pair, _ value) {
				for _, p := range v {
					r.checkSysctl(p)
				}
				c.spec.Sysctls = plainPairs(v)
			}).like("sysctls: {net.core.somaxconn: 1024}"),
		field("group_add", listOf(loose()), "Further groups of the user, by name or number.", assign(func(s *spec, v []string) { s.GroupAdd = v })).like("group_add: [mail]"),
	}
}

// ordinary capabilities are the engine's own set and those that stay within a container.
var ordinary = strings.Fields(`AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID IPC_LOCK KILL MKNOD NET_BIND_SERVICE NET_BROADCAST NET_RAW
	SETFCAP SETGID SETPCAP SETUID SYS_CHROOT WAKE_ALARM`)

var extraordinary = strings.Fields(`ALL AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_OWNER LEASE
	LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE NET_ADMIN PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE
	SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG`)

func (r *reader) capabilities(list []placed[string], add bool) []string {
	var out []string
	for _, p := range list {
		word := strings.TrimPrefix(strings.ToUpper(p.is), "CAP_")
		switch common := contains(ordinary, word); {
		case !common && !contains(extraordinary, word):
			r.fault(p.at, "%s is not a capability of Linux", quoted(p.is)).near(word, append(append([]string{}, ordinary...), extraordinary...))
		case contains(out, word):
			r.fault(p.at, "%s is here twice", word)
		case add && !common && !contains(r.opts.Grants.Capabilities, word) && !contains(r.opts.Grants.Capabilities, "ALL"):
			r.fault(p.at, "the capability %s reaches beyond the container: no policy grants it", word).hint("leave it out, or ask an administrator")
		}
		out = append(out, word)
	}
	return out
}

func (r *reader) securityOpt(o placed[string]) string {
	word := strings.Replace(o.is, ":", "=", 1)
	switch word {
	case "no-new-privileges", "no-new-privileges=true", "no-new-privileges=false":
		return word
	}
	if !r.opts.Grants.SecurityOpts {
		r.fault(o.at, "the security option %s weakens the container's walls: no policy grants it", quoted(o.is)).
			hint("leave it out, or ask an administrator; no-new-privileges needs no grant")
	}
	return word
}

func (r *reader) checkSysctl(p pair) {
	name := strings.ReplaceAll(p.key, "/", ".")
	if p.value == nil || *p.value == "" {
		r.fault(p.at.orName(), "the sysctl %s has no value", quoted(p.key))
	}
	own := strings.HasPrefix(name, "net.") || strings.HasPrefix(name, "fs.mqueue.") || contains([]string{"kernel.msgmax",
		"kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"}, name)
	if !own {
		r.fault(p.at.name(), "the sysctl %s belongs to the whole machine", quoted(p.key)).
			hint("a container has its own net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm* only")
	}
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// refusedKeys are the service keys of the Compose Specification that Argosy does not honour.
func refusedKeys() []ckey {
	no := func(name, why, instead string) ckey { return refuse[*container](name, why, instead) }
	const (
		leave     = "leave it out"
		namespace = "it would open the container to the machine or to others"
		windows   = "it is for Windows"
	)
	return []ckey{
		no("attach", "the output of every container is kept", "read what you want with `argosy logs`"),
		no("blkio_config", "machines do not share out their disks' bandwidth", leave),
		no("build", "machines run finished images", "build the image, then send it to the cluster with `argosy image load`, or push it to a registry"),
		no("cgroup", namespace, leave),
		no("cgroup_parent", "Argosy keeps containers in cgroups of its own", leave),
		no("container_name", "a replica's container is called APP/STACK.NUMBER/CONTAINER", "leave it out; hostname says what the container calls itself"),
		no("cpu_count", windows, "use cpus"),
		no("cpu_percent", windows, "use cpus"),
		no("cpu_period", "cpus says the same", "use cpus: quota divided by period"),
		no("cpu_quota", "cpus says the same", "use cpus: quota divided by period"),
		no("cpu_rt_period", "containers run without real-time scheduling", leave),
		no("cpu_rt_runtime", "containers run without real-time scheduling", leave),
		no("cpuset", "placement counts cpus and does not number them", "use cpus"),
		no("credential_spec", windows, leave),
		no("develop", "a cluster does not watch source files", leave),
		no("device_cgroup_rules", "devices of the machine are not given to containers", leave),
		no("devices", "devices of the machine are not given to containers", leave),
		no("extends", "a manifest says everything itself", "share keys with a YAML anchor: `x-base: &base {…}`, then `<<: *base`"),
		no("external_links", "containers find each other by name", "use the name CONTAINER.STACK.APP"),
		no("gpus", "devices of the machine are not given to containers", leave),
		no("ipc", namespace, "leave it out; shm_size sizes /dev/shm"),
		no("isolation", windows, leave),
		no("links", "containers find each other by name", "a sibling in the same replica is reached by its plain name; to start after it, use depends_on"),
		no("mac_address", "machines choose the addresses of containers", leave),
		no("mem_swappiness", "the kernel no longer has it for one container", "use memswap_limit"),
		no("models", "models are not run by Argosy", "run the model's server as a container"),
		no("network_mode", "every container is on the cluster's network", "publish ports of the machine with ports"),
		no("networks", "every container is on the cluster's network", leave),
		no("oom_kill_disable", "a container that cannot be killed stops its machine", "use oom_score_adj"),
		no("pid", namespace, leave),
		no("post_start", "hooks are not honoured", "run it in the image's entrypoint, or as a container that depends on this one"),
		no("pre_start", "hooks are not honoured", "run it as a container that this one depends on with condition: service_completed_successfully"),
		no("pre_stop", "hooks are not honoured", "handle stop_signal in the container"),
		no("privileged", "it gives the container the whole machine, and no policy can grant that yet", "use cap_add with what is needed"),
		no("profiles", "a manifest has no parts to switch on", "say below cluster how many of each stack there are; 0 is none"),
		no("provider", "Argosy runs containers itself", leave),
		no("pull_refresh_after", "a revision keeps the digest it was applied with", "apply again to follow a moved tag"),
		no("runtime", "machines have one runtime", leave),
		no("scale", "a container is replicated with its stack", "say it below cluster: STACK: NUMBER"),
		no("storage_opt", "the engine's storage is the machine's affair", "use a volume with a size"),
		no("umask", "the engine cannot set it", "set it in the image's entrypoint"),
		no("use_api_socket", "the engine's socket is the whole machine", leave),
		no("userns_mode", namespace, leave),
		no("uts", namespace, "leave it out; hostname is honoured"),
		no("volumes_from", "volumes belong to the stack", "name the same volume in each container's volumes"),
	}
}

// containerTable is the table of all keys of a container.
func containerTable() *object[*container] { return newObject("container", containerKeys()...) }
