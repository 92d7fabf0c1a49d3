package live

import (
	"fmt"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/cli/words"
)

// row is one line of a list: a machine, a replica or a member of one.
type row struct {
	id, name string
	// natural is the name in the form that sorts, haystack everything that a filter looks at, in lower case.
	natural, haystack string

	machine *argosyv1.MachineStatus     // of a machine, else nil
	replica *argosyv1.ReplicaStatus     // of a replica and its members, else nil
	member  *argosyv1.MemberObservation // of a member, else nil

	usage usage
	// heard is when what the row shows was last confirmed, zero when never.
	heard time.Time
	// since is when it came into its state, zero when that is not known.
	since time.Time
	// rank is what the row is sorted by, as of when the list was last sorted.
	rank rank
	in   bool // the filter lets it through

	sampled time.Time // of a machine: when what it uses was last told
	// parent is the replica that a member is shown below, below are the ids of those members.
	parent *row
	below  []string
}

// usage is what something uses now.
type usage struct {
	known, rated                  bool
	cpu, memory                   int64
	received, sent, read, written int64 // bytes a second, if rated
}

func (u *usage) setRate(r *argosyv1.Traffic) {
	u.rated = r != nil
	u.received, u.sent, u.read, u.written = r.GetNetworkReceived(), r.GetNetworkSent(), r.GetDiskRead(), r.GetDiskWritten()
}

func replicaUsage(r *argosyv1.ReplicaUsage) usage {
	u := usage{known: r.GetCpuMilli() != 0 || r.GetMemory() != 0 || r.GetRate() != nil, cpu: r.GetCpuMilli(), memory: r.GetMemory()}
	u.setRate(r.GetRate())
	return u
}

func memberUsage(m *argosyv1.MemberUsage) usage {
	u := usage{known: true, cpu: m.GetCpuMilli(), memory: m.GetMemory()}
	u.setRate(m.GetRate())
	return u
}

func machineUsage(m *argosyv1.MachineUsage) usage {
	u := usage{known: m != nil, cpu: m.GetCpuMilli(), memory: m.GetMemory()}
	u.setRate(m.GetRate())
	return u
}

// replicaID tells replicas apart, those of several tenants too.
func replicaID(k *argosyv1.ReplicaKey) string { return k.GetTenant() + ":" + words.Replica(k) }

func (r *row) setReplica(at time.Time, s *argosyv1.ReplicaStatus, tenants bool) {
	k := s.GetReplica().GetKey()
	if r.id == "" {
		r.id, r.name = replicaID(k), clean(words.Replica(k))
		if tenants {
			r.name = clean(k.GetTenant() + ":" + words.Replica(k))
		}
		r.natural = natural(r.name)
	}
	r.replica = s
	r.heard = time.Time{}
	if s.GetAge() != nil {
		r.heard = at.Add(-s.GetAge().AsDuration())
	}
	r.since = time.Time{}
	for _, m := range s.GetObservation().GetMembers() {
		if t := m.GetSince(); t != nil && t.AsTime().After(r.since) {
			r.since = t.AsTime()
		}
	}
	state, _ := words.State(s.GetState())
	r.haystack = strings.ToLower(r.name + "\n" + state + "\n" + clean(s.GetMachineName()) + "\n" + clean(s.GetMessage()))
}

// memberID tells members apart, those that a machine calls the same too.
func memberID(of *row, m *argosyv1.MemberObservation, place int) string {
	return fmt.Sprintf("%s/%d/%s", of.id, place, m.GetName())
}

func (r *row) setMember(of *row, m *argosyv1.MemberObservation, place int) {
	name := clean(m.GetName())
	if r.id == "" {
		r.id, r.name = memberID(of, m, place), name
		r.natural = of.natural + "\x00" + natural(string(rune('0'+min(place, 0xffff))))
	}
	r.replica, r.member, r.heard = of.replica, m, of.heard
	r.since = time.Time{}
	if m.GetSince() != nil {
		r.since = m.GetSince().AsTime()
	}
	state, _ := words.Member(m, of.replica.GetState())
	r.haystack = strings.ToLower(name + "\n" + state + "\n" + clean(m.GetMessage()) + "\n" + clean(m.GetAddress()))
}

func (r *row) setMachine(at time.Time, s *argosyv1.MachineStatus) {
	m := s.GetMachine()
	if r.id == "" {
		r.id = m.GetId()
	}
	r.name = clean(m.GetName())
	r.natural = natural(r.name)
	r.machine = s
	r.heard = time.Time{}
	if s.GetAge() != nil {
		r.heard = at.Add(-s.GetAge().AsDuration())
	}
	r.since = time.Time{}
	if m.GetJoinedAt() != nil {
		r.since = m.GetJoinedAt().AsTime()
	}
	if s.GetUsage() != nil {
		r.usage = machineUsage(s.GetUsage())
	}
	condition, _ := words.Condition(s.GetCondition())
	var labels strings.Builder
	for k, v := range m.GetLabels() {
		labels.WriteString("\n" + clean(k+"="+v))
	}
	r.haystack = strings.ToLower(r.name + "\n" + condition + "\n" + clean(m.GetAddress()) + "\n" + clean(s.GetMessage()) + labels.String())
}

// state is the word for how it stands.
func (r *row) state() (string, words.Style) {
	switch {
	case r.machine != nil:
		return words.Condition(r.machine.GetCondition())
	case r.member != nil:
		return words.Member(r.member, r.replica.GetState())
	}
	return words.State(r.replica.GetState())
}

// message is what is wrong or awaited, in full.
func (r *row) message() string {
	switch {
	case r.machine != nil:
		return clean(r.machine.GetMessage())
	case r.member != nil:
		return clean(words.MemberMessage(r.member))
	}
	return clean(r.replica.GetMessage())
}

// machineName is the machine that it is on, empty when on none.
func (r *row) machineName() string {
	if r.machine != nil {
		return r.name
	}
	return clean(r.replica.GetMachineName())
}

func (r *row) machineID() string {
	if r.machine != nil {
		return r.id
	}
	return r.replica.GetReplica().GetMachine()
}
