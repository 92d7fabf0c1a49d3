package manifest

import (
	"errors"
	"strings"
)

// securityKeys say what it may do.
func securityKeys() []ckey {
	return []ckey{
		field("read_only", boolean(), "Mount the image read-only; writable paths are volumes and tmpfs.", assign(func(s *spec, v bool) { s.ReadOnly = v })).like("read_only: true"),
		field("cap_add", listOf(where(capability())), "Linux capabilities to add. Those that reach beyond the container need a policy that grants them.",
			func(r *reader, c *container, v []placed[string], _ value) { c.spec.CapAdd = r.capabilities(v, true) }).like("cap_add: [NET_BIND_SERVICE]"),
		field("cap_drop", listOf(where(capability())), "Linux capabilities to take away; `ALL` is every one.",
			func(r *reader, c *container, v []placed[string], _ value) { c.spec.CapDrop = r.capabilities(v, false) }).like("cap_drop: [ALL]"),
		field("security_opt", listOf(where(text())), "`no-new-privileges`; other options need a policy that grants them.",
			func(r *reader, c *container, v []placed[string], _ value) {
				for _, o := range v {
					c.spec.SecurityOpt = append(c.spec.SecurityOpt, r.securityOpt(o))
				}
			}).like("security_opt: [no-new-privileges]"),
		field("sysctls", pairs(), "Kernel parameters of the container's own namespaces: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*.",
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

// capability is a text whose schema knows the words. Capital or small, with CAP_ or without, they mean the same.
func capability() shape[string] {
	s := text()
	words := append(append([]string{}, ordinary...), extraordinary...)
	s.schema = jsonSchema{"anyOf": []any{jsonSchema{"enum": words},
		jsonSchema{"type": "string", "pattern": "^(" + anyCase("CAP_") + ")?(" + anyCase(strings.Join(words, "|")) + `)$|\$`,
			"patternErrorMessage": "this is not a capability of Linux"}}}
	return s
}

func (r *reader) capabilities(list []placed[string], add bool) []string {
	var out []string
	for _, p := range list {
		word := strings.TrimPrefix(strings.ToUpper(p.is), "CAP_")
		switch common := contains(ordinary, word); {
		case !common && !contains(extraordinary, word):
			r.fault(p.at, "%s is not a capability of Linux", quoted(p.is)).Near(word, append(append([]string{}, ordinary...), extraordinary...))
		case contains(out, word):
			r.fault(p.at, "%s is here twice", word)
		case add:
			r.allow(p.at, r.opts.Grants.capability(word))
		}
		out = append(out, word)
	}
	return out
}

func (r *reader) securityOpt(o placed[string]) string {
	r.allow(o.at, r.opts.Grants.securityOpt(o.is))
	return strings.Replace(o.is, ":", "=", 1)
}

func (r *reader) checkSysctl(p pair) {
	if p.value == nil || *p.value == "" {
		r.fault(p.at.orName(), "the sysctl %s has no value", quoted(p.key))
	}
	r.allow(p.at.name(), sysctl(p.key))
}

// allow reports why something is not granted, when it is not.
func (r *reader) allow(at value, err error) bool {
	if err == nil {
		return true
	}
	f := r.fault(at, "%s", err)
	var better *betterError
	if errors.As(err, &better) {
		f.Advise("%s", better.hint)
	}
	return false
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}
