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
		field("cpu_shares", whole(2, 262144), "Weight against other containers when cpus are short.", func(_ *reader, c *container, n int64, _ value) {
			c.spec.Resources = &argosyv1.Resources{CpuShares: n}
		}).like("cpu_shares: 512").unsaid(1024),
		field("shm_size", bytesSize(), "Size of /dev/shm.", assign(func(s *spec, v int64) { s.ShmSize = v })).like("shm_size: 128m").unsaid("64m"),
		field("ulimits", ulimits(), "Limits of the process, each a number or `{soft: N, hard: N}`; -1 is none.",
			assign(func(s *spec, v []*argosyv1.Ulimit) { s.Ulimits = v })).like("ulimits: {nofile: {soft: 1024, hard: 65536}}"),
		field("oom_score_adj", whole(-1000, 1000), "How early the kernel kills the container when memory is short: higher is earlier. Below 0 needs a policy that grants it.",
			func(r *reader, c *container, n int64, at value) {
				r.allow(at, r.opts.Grants.oomScore(n))
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
					r.fault(e.name(), "%s is not a ulimit", quoted(e.key.Value)).Near(e.key.Value, ulimitNames).
						Advise("it is one of %s", strings.Join(ulimitNames, ", "))
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
