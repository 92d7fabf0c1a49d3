package state

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
)

// Diff says where two mirrors differ, empty when they hold the same records. It is for tests: a mirror that was advanced
// must equal one that was loaded.
func Diff(a, b *State) string {
	x, y := a.dump(), b.dump()
	keys := maps.Clone(x)
	maps.Copy(keys, y)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		p, inA := x[k]
		q, inB := y[k]
		switch {
		case !inA:
			return fmt.Sprintf("%s is only in the second", k)
		case !inB:
			return fmt.Sprintf("%s is only in the first", k)
		case p != nil && !proto.Equal(p, q):
			return fmt.Sprintf("%s differs: %v and %v", k, p, q)
		}
	}
	return ""
}

// dump lists every record and every entry of an index under a name.
func (s *State) dump() map[string]proto.Message {
	out := map[string]proto.Message{}
	if s.cluster != nil {
		out["cluster"] = s.cluster
	}
	if s.generation != nil {
		out["generation"] = s.generation
	}
	if s.term != nil {
		out["term"] = s.term
	}
	if s.schedule != nil {
		out["backup schedule"] = s.schedule
	}
	if s.backup != nil {
		out["backup state"] = s.backup
	}
	if s.leases != nil {
		out["leases"] = s.leases
	}
	add := func(m proto.Message, format string, args ...any) { out[fmt.Sprintf(format, args...)] = m }
	for k, r := range s.servers {
		add(r, "server %s", k)
	}
	for k, r := range s.tokens {
		add(r, "token %s", k)
	}
	for k, r := range s.users {
		add(r, "user %s", k)
	}
	for k, r := range s.outcomes {
		add(r, "outcome %v", k)
	}
	for k, r := range s.secrets {
		add(r, "secret %v", k)
	}
	for k, r := range s.registry {
		add(r, "credential %v", k)
	}
	for k, n := range s.outboxes {
		add(nil, "outbox %s at %d", k, n)
	}
	for _, n := range s.history {
		add(nil, "history %d", n)
	}
	for k, r := range s.machines {
		add(r, "machine %s", k)
	}
	for name, ids := range s.names {
		add(nil, "machines named %s: %v", name, ids)
	}
	for key, ids := range s.guards {
		add(nil, "machines whose guard has key %x: %v", key, ids)
	}
	s.dumpApps(add)
	return out
}

func (s *State) dumpApps(add func(m proto.Message, format string, args ...any)) {
	for k, a := range s.apps {
		add(nil, "app %s", k)
		if a.record != nil {
			add(a.record, "app record %s", k)
		}
		for n, r := range a.revisions {
			add(r.record, "revision %s %d", k, n)
		}
		for name, st := range a.stacks {
			for n, r := range st.replicas {
				add(r, "replica %s", k.Stack(name).Replica(n))
			}
			for n, vs := range st.volumes {
				for v, r := range vs {
					add(r, "volume %s of %s", v, k.Stack(name).Replica(n))
				}
			}
		}
	}
	for m, rs := range s.onMachine {
		for k, r := range rs {
			add(r, "on %s: %s", m, k)
		}
	}
	for m, rs := range s.pastOn {
		for k, r := range rs {
			add(r, "past on %s: %s", m, k)
		}
	}
	for m, vs := range s.volumesOn {
		for k, r := range vs {
			add(r, "volume on %s: %s", m, k)
		}
	}
	for k, r := range s.shared {
		add(r, "shared volume %s", k)
	}
	for k, r := range s.fenced {
		add(r, "fenced volume %s", k)
	}
}
