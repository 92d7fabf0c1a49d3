package state

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Defaults of the cluster's settings.
const (
	DefaultUnreachable = 5 * time.Second
	DefaultLiveness    = 15 * time.Second
	DefaultBeat        = time.Second
	DefaultDomain      = "argosy.internal"
)

// Cluster is the cluster's record, nil before it was made.
func (s *State) Cluster() *storev1.Cluster { return s.cluster }

// Authorities is the SHA-256 of each authority that machines are to trust, the one that issues first.
func (s *State) Authorities() [][]byte {
	if s.cluster == nil {
		return nil
	}
	first := sha256.Sum256(s.cluster.CaCertificate)
	out := [][]byte{first[:]}
	if o := s.cluster.Other; o != nil && o.Number < s.cluster.CaNumber {
		second := sha256.Sum256(o.Certificate)
		out = append(out, second[:])
	}
	return out
}

// Settings are the cluster's, with defaults for what they do not say. The caller owns the message.
func (s *State) Settings() *argosyv1.ClusterSettings {
	set := &argosyv1.ClusterSettings{}
	if own := s.cluster.GetSettings(); own != nil {
		set = proto.CloneOf(own)
	}
	orDefault := func(d *durationpb.Duration, v time.Duration) *durationpb.Duration {
		if d.AsDuration() <= 0 {
			return durationpb.New(v)
		}
		return d
	}
	set.UnreachableAfter = orDefault(set.UnreachableAfter, DefaultUnreachable)
	set.Liveness = orDefault(set.Liveness, DefaultLiveness)
	set.Beat = orDefault(set.Beat, DefaultBeat)
	set.Domain = cmp.Or(set.Domain, DefaultDomain)
	return set
}

// Generation is the store's generation, 0 before there is one.
func (s *State) Generation() uint64 { return s.generation.GetNumber() }

// Above is the number that follows one that was given: an incarnation's or a version's. After a restore it is one that no
// earlier life of the cluster can have given.
func (s *State) Above(n uint64) uint64 { return max(n, s.generation.GetFloor()) + 1 }

// Backups are the schedule by which servers make backups, nil when there is none, and how the last one went, nil when none was
// tried.
func (s *State) Backups() (*argosyv1.BackupSchedule, *argosyv1.BackupState) {
	return s.schedule, s.backup
}

// Term is the term record as last seen, nil before anybody led.
func (s *State) Term() *storev1.Term { return s.term }

// Leases is the set of servers whose witnesses decide about leases, nil before there is one.
func (s *State) Leases() *storev1.Leases { return s.leases }

// LeaseServers is whom a machine's guard asks for leases, nil while nobody decides.
func (s *State) LeaseServers() *argosyv1.LeaseServers {
	r := s.leases
	if r == nil {
		return nil
	}
	out := &argosyv1.LeaseServers{Profile: cmp.Or(s.Settings().GetLeaseProfile(), claims.Default().Name), Epoch: r.GetEpoch(), Members: r.GetMembers(), Next: r.GetNext()}
	for _, srv := range s.Servers() {
		if (slices.Contains(r.GetMembers(), srv.GetId()) || slices.Contains(r.GetNext(), srv.GetId())) && len(srv.GetWitnessKey()) > 0 {
			out.Servers = append(out.Servers, &argosyv1.LeaseServer{Id: srv.GetId(), Address: srv.GetWitnessAddress(), Key: srv.GetWitnessKey()})
		}
	}
	return out
}

// Servers lists the control plane's members, by id.
func (s *State) Servers() []*storev1.Server { return sorted(s.servers, strings.Compare) }

// Server finds a member of the control plane, nil when there is none with that id.
func (s *State) Server(id string) *storev1.Server { return s.servers[id] }

// Token finds a token, nil when there is none with that id.
func (s *State) Token(id string) *storev1.Token { return s.tokens[id] }

// Tokens lists all tokens, by id.
func (s *State) Tokens() []*storev1.Token { return sorted(s.tokens, strings.Compare) }

// User finds a user, nil when there is none of that name.
func (s *State) User(name string) *storev1.User { return s.users[name] }

// Users lists all users, by name.
func (s *State) Users() []*storev1.User { return sorted(s.users, strings.Compare) }

// Outcome finds what an RPC with this idempotency key came to, nil when none is kept.
func (s *State) Outcome(tenant, key string) *storev1.Outcome {
	return s.outcomes[SecretKey{tenant, key}]
}

// Outcomes calls f for every outcome that is kept, in no order.
func (s *State) Outcomes(f func(tenant, key string, o *storev1.Outcome)) {
	for k, o := range s.outcomes {
		f(k.Tenant, k.Name, o)
	}
}

// Secret finds a tenant's secret, nil when there is none of that name.
func (s *State) Secret(tenant, name string) *storev1.Secret {
	return s.secrets[SecretKey{tenant, name}]
}

// Secrets lists a tenant's secrets, by name.
func (s *State) Secrets(tenant string) []*storev1.Secret { return ofTenant(s.secrets, tenant) }

// Credential finds a tenant's credential for a registry, nil when there is none.
func (s *State) Credential(tenant, registry string) *storev1.Secret {
	return s.registry[SecretKey{tenant, registry}]
}

// Credentials lists a tenant's credentials, by registry.
func (s *State) Credentials(tenant string) []*storev1.Secret { return ofTenant(s.registry, tenant) }

func ofTenant(m map[SecretKey]*storev1.Secret, tenant string) []*storev1.Secret {
	var out []*storev1.Secret
	for k, v := range m {
		if k.Tenant == tenant {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *storev1.Secret) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// Outbox is the number of the last transition committed from a machine's outbox.
func (s *State) Outbox(machine string) uint64 { return s.outboxes[machine] }

// LastSeq is the number of the newest transition in the store's history, 0 when it is empty.
func (s *State) LastSeq() uint64 {
	if len(s.history) == 0 {
		return 0
	}
	return s.history[len(s.history)-1]
}

// History lists the numbers of the transitions that the store still has, ascending. It must not be written to, and
// holds until the next change.
func (s *State) History() []uint64 { return s.history }

// Machine finds a machine by id, nil when there is none.
func (s *State) Machine(id string) *argosyv1.Machine { return s.machines[id] }

// FindMachine finds a machine by id or else by name, nil when neither is one's. Of several machines with a name it is
// the one with the lowest id.
func (s *State) FindMachine(idOrName string) *argosyv1.Machine {
	if m := s.machines[idOrName]; m != nil {
		return m
	}
	if ids := s.names[idOrName]; len(ids) > 0 {
		return s.machines[ids[0]]
	}
	return nil
}

// GuardOf finds the machine that a guard's key is known as, nil when there is none; of several the one with the lowest id.
func (s *State) GuardOf(key []byte) *argosyv1.Machine {
	if ids := s.guards[string(key)]; len(ids) > 0 {
		return s.machines[ids[0]]
	}
	return nil
}

// MachineName is the name of a machine, or its id when it has none or is not known.
func (s *State) MachineName(id string) string { return cmp.Or(s.machines[id].GetName(), id) }

// Machines lists all machines, by id.
func (s *State) Machines() []*argosyv1.Machine { return sorted(s.machines, strings.Compare) }

// MachineCount is the number of machines.
func (s *State) MachineCount() int { return len(s.machines) }

// App finds an app, nil when there is none of that name.
func (s *State) App(tenant, name string) *argosyv1.App {
	if a := s.apps[AppKey{tenant, name}]; a != nil {
		return a.record
	}
	return nil
}

// Apps lists a tenant's apps by name, or all apps when the tenant is empty.
func (s *State) Apps(tenant string) []*argosyv1.App {
	var out []*argosyv1.App
	for _, k := range s.AppKeys(tenant) {
		if r := s.apps[k].record; r != nil {
			out = append(out, r)
		}
	}
	return out
}

// AppKeys lists the keys of a tenant's apps (all tenants' when empty), those included of which only parts exist.
func (s *State) AppKeys(tenant string) []AppKey {
	var keys []AppKey
	for t, apps := range s.tenants {
		if tenant == "" || t == tenant {
			for k := range apps {
				keys = append(keys, k)
			}
		}
	}
	slices.SortFunc(keys, AppKey.Compare)
	return keys
}

// StackKeys lists the stacks of an app that have replicas or volumes, by name.
func (s *State) StackKeys(k AppKey) []StackKey {
	var out []StackKey
	if a := s.apps[k]; a != nil {
		for name := range a.stacks {
			out = append(out, k.Stack(name))
		}
	}
	slices.SortFunc(out, StackKey.Compare)
	return out
}

// AppRevision finds a revision of an app by number; 0 is the current one. It is nil when the store does not have it.
func (s *State) AppRevision(tenant, name string, number uint64) *argosyv1.Revision {
	a := s.apps[AppKey{tenant, name}]
	if a == nil {
		return nil
	}
	if number == 0 {
		number = a.record.GetRevision()
	}
	if r := a.revisions[number]; r != nil {
		return r.record
	}
	return nil
}

// Revisions lists the revisions of an app that the store has, oldest first.
func (s *State) Revisions(tenant, name string) []*argosyv1.Revision {
	a := s.apps[AppKey{tenant, name}]
	if a == nil {
		return nil
	}
	var out []*argosyv1.Revision
	for _, r := range sorted(a.revisions, cmp.Compare[uint64]) {
		out = append(out, r.record)
	}
	return out
}

// StackOf finds a stack and its containers, in the stack's order, in a revision of an app (0 is the current one). They
// are nil when the store does not have the revision or it has no such stack.
func (s *State) StackOf(k StackKey, number uint64) (*argosyv1.StackSpec, []*argosyv1.ContainerSpec) {
	a := s.apps[k.AppKey()]
	if a == nil {
		return nil, nil
	}
	if number == 0 {
		number = a.record.GetRevision()
	}
	rev := a.revisions[number]
	if rev == nil || rev.stacks[k.Stack] == nil {
		return nil, nil
	}
	spec := rev.stacks[k.Stack]
	containers := make([]*argosyv1.ContainerSpec, 0, len(spec.GetContainers()))
	for _, name := range spec.GetContainers() {
		if c := rev.containers[name]; c != nil {
			containers = append(containers, c)
		}
	}
	return spec, containers
}

// UnitsOf finds the units of a stack, in the stack's order, as StackOf finds its containers.
func (s *State) UnitsOf(k StackKey, number uint64) []*argosyv1.Unit {
	a := s.apps[k.AppKey()]
	if a == nil {
		return nil
	}
	if number == 0 {
		number = a.record.GetRevision()
	}
	rev := a.revisions[number]
	if rev == nil {
		return nil
	}
	var out []*argosyv1.Unit
	for _, name := range rev.stacks[k.Stack].GetUnits() {
		if u := rev.units[name]; u != nil {
			out = append(out, u)
		}
	}
	return out
}

// MembersOf names the members of a stack in a revision: its containers, then its units.
func (s *State) MembersOf(k StackKey, number uint64) []string {
	_, containers := s.StackOf(k, number)
	var out []string
	for _, c := range containers {
		out = append(out, c.GetName())
	}
	for _, u := range s.UnitsOf(k, number) {
		out = append(out, u.GetName())
	}
	return out
}

// AppFault says why an app's record or its current revision cannot be used, nil when they can or do not exist.
func (s *State) AppFault(k AppKey) error {
	if err := s.faults[store.AppKey(k.Tenant, k.App)]; err != nil {
		return err
	}
	if a := s.apps[k]; a != nil && a.record != nil {
		return s.faults[store.RevisionKey(k.Tenant, k.App, a.record.GetRevision())]
	}
	return nil
}
