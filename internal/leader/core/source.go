package core

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// sealKey names a secret or credential as sealed to a machine.
type sealKey struct {
	machine    string
	credential bool
	secret     state.SecretKey
}

type sealed struct {
	version   uint64
	recipient string
	out       []byte
}

// Welcome greets a machine; nil when it is not in the cluster.
func (c *Core) Welcome(id string) *argosyv1.Welcome {
	m := c.st.Machine(id)
	if m == nil {
		return nil
	}
	w := &argosyv1.Welcome{Leader: true, Settings: c.st.Settings(), MachineId: id, Subnet: m.GetSubnet(), Name: m.GetName(),
		Generation: c.st.Generation(), Term: c.cfg.Number, Authorities: c.st.Authorities(),
		ShowCertificate: max(1, m.GetAuthority()) < c.st.Cluster().GetCaNumber()}
	for _, s := range c.st.Servers() {
		w.Servers = append(w.Servers, s.GetAddresses()...)
	}
	return w
}

// LeaseServers is whom guards ask for leases; nil while nobody decides.
func (c *Core) LeaseServers() *argosyv1.LeaseServers { return c.st.LeaseServers() }

// Assigned lists the replicas that a machine should know of: those assigned to it, and those of which it may still run an
// earlier incarnation.
func (c *Core) Assigned(id string) []state.Key {
	set := state.Set[state.Key]{}
	for _, r := range c.st.MachineReplicas(id) {
		set.Add(state.KeyOf(r.GetKey()))
	}
	for _, r := range c.st.MachinePast(id) {
		set.Add(state.KeyOf(r.GetKey()))
	}
	return sortedSet(set, state.Key.Compare)
}

// Assignment is what a machine should know of a replica; nil when nothing. Of an earlier incarnation it should know that it
// is to be removed.
func (c *Core) Assignment(id string, k state.Key) *argosyv1.Assignment {
	r := c.st.Replica(k)
	if r == nil {
		return nil
	}
	if r.GetMachine() == id && c.hold(k, r) {
		return nil
	}
	a := &argosyv1.Assignment{
		Key: r.GetKey(), AppUid: r.GetAppUid(), Incarnation: r.GetIncarnation(), Revision: r.GetRevision(),
		Restart: r.GetRestart(), Goal: r.GetGoal(), RemoveVolumes: r.GetRemoveVolumes(),
	}
	if r.GetMachine() != id {
		past := state.PastOn(r, id)
		if past == nil {
			return nil
		}
		a.Incarnation, a.Goal, a.RemoveVolumes = past.GetIncarnation(), argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE, false
		if past.GetUntilReady() && r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN && c.hasStack(k.StackKey(), past.GetRevision()) {
			a.Goal, a.Revision, a.Restart = argosyv1.ReplicaGoal_REPLICA_GOAL_RUN, past.GetRevision(), past.GetRestart()
		}
	}
	a.Stack, a.Containers = c.st.StackOf(k.StackKey(), a.GetRevision())
	a.Units = c.st.UnitsOf(k.StackKey(), a.GetRevision())
	a.Claims = c.volumeClaims(id, k, a)
	if a.Goal != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
		if a.Stack == nil {
			a.Stack = c.remnant(k)
		}
		return a
	}
	c.files(a, k, c.st.Machine(id))
	if rev := c.st.AppRevision(k.Tenant, k.App, a.GetRevision()); rev.GetTraceparent() != "" {
		a.Traceparent, a.TracedUntil = rev.GetTraceparent(), timestamppb.New(rev.GetCreatedAt().AsTime().Add(tracedFor))
	}
	return a
}

// tracedFor is how long what is done for a revision counts as its doing: what fails a week later is another story.
const tracedFor = time.Hour

func (c *Core) hasStack(k state.StackKey, revision uint64) bool {
	spec, _ := c.st.StackOf(k, revision)
	return spec != nil
}

// standsIn is the earlier incarnation that goes on until the present one is ready, nil when there is none.
func standsIn(r *argosyv1.Replica) *argosyv1.PastIncarnation {
	if r.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
		return nil
	}
	for _, p := range r.GetPast() {
		if p.GetUntilReady() && p.GetMachine() != r.GetMachine() {
			return p
		}
	}
	return nil
}

// serving is the incarnation of a replica that others should reach: the present one, unless an earlier one goes on until
// that is ready, and is ready itself.
func (c *Core) serving(k state.Key, r *argosyv1.Replica) (machine string, incarnation, revision uint64) {
	ready := func(machine string, incarnation uint64) bool {
		o, _, ok := c.disp.Seen(machine, incarnationOf(r, incarnation))
		return ok && o.GetState() == argosyv1.ReplicaState_REPLICA_STATE_READY
	}
	if p := standsIn(r); p != nil && !ready(r.GetMachine(), r.GetIncarnation()) && ready(p.GetMachine(), p.GetIncarnation()) {
		return p.GetMachine(), p.GetIncarnation(), p.GetRevision()
	}
	return r.GetMachine(), r.GetIncarnation(), r.GetRevision()
}

// remnant stands in for a stack whose revision is no longer known, so that its volumes can be found.
func (c *Core) remnant(k state.Key) *argosyv1.StackSpec {
	out := &argosyv1.StackSpec{Name: k.Stack}
	for _, v := range c.st.Volumes(k) {
		out.Volumes = append(out.Volumes, &argosyv1.VolumeSpec{Name: v.GetName(), Class: v.GetClass(), Size: v.GetSize()})
	}
	return out
}

// files adds what the containers name: configs, and secrets and credentials sealed to the machine.
func (c *Core) files(a *argosyv1.Assignment, k state.Key, m *argosyv1.Machine) {
	configs := c.st.AppRevision(k.Tenant, k.App, a.GetRevision()).GetSpec().GetConfigs()
	secrets := state.Set[string]{}
	for _, ct := range a.GetContainers() {
		for _, f := range ct.GetSecrets() {
			secrets.Add(f.GetSource())
		}
		for _, f := range ct.GetConfigs() {
			if content, ok := configs[f.GetSource()]; ok {
				if a.Configs == nil {
					a.Configs = map[string][]byte{}
				}
				a.Configs[f.GetSource()] = content
			}
		}
	}
	for _, name := range sortedSet(secrets, strings.Compare) {
		s := c.st.Secret(k.Tenant, name)
		if out := c.sealTo(m, s, false); out != nil {
			a.Secrets = append(a.Secrets, out)
		} else {
			a.MissingSecrets = append(a.MissingSecrets, name)
		}
	}
	c.credentials(a, k, m)
}

// credentials adds what opens the registries that the containers' images come from, sealed to the machine.
func (c *Core) credentials(a *argosyv1.Assignment, k state.Key, m *argosyv1.Machine) {
	registries := state.Set[string]{}
	for _, ct := range a.GetContainers() {
		if reg := registryOf(ct); reg != "" {
			registries.Add(reg)
		}
	}
	for _, name := range sortedSet(registries, strings.Compare) {
		if out := c.sealTo(m, c.st.Credential(k.Tenant, name), true); out != nil {
			a.RegistryCredentials = append(a.RegistryCredentials, out)
		}
	}
}

// sealTo seals a secret or credential to a machine, once for each version and key; nil when there is none or it cannot be.
func (c *Core) sealTo(m *argosyv1.Machine, s *storev1.Secret, credential bool) *argosyv1.SealedSecret {
	seal := c.cfg.SealSecret
	if credential {
		seal = c.cfg.SealCredential
	}
	if s == nil || seal == nil {
		return nil
	}
	key := sealKey{m.GetId(), credential, state.SecretKey{Tenant: s.GetTenant(), Name: s.GetName()}}
	have, ok := c.seals[key]
	if !ok || have.version != s.GetVersion() || have.recipient != string(m.GetSealingKey()) {
		out, err := seal(m, s)
		if err != nil {
			c.complain("sealing %s/%s for machine %s: %v", s.GetTenant(), s.GetName(), m.GetName(), err)
			return nil
		}
		have = sealed{s.GetVersion(), string(m.GetSealingKey()), out}
		c.seals[key] = have
	}
	return &argosyv1.SealedSecret{Name: s.GetName(), Version: s.GetVersion(), Sealed: have.out}
}

// endpointsOf derives where a replica's members are reached from what its machine last showed. While the machine is silent
// they are not ready; unless so many are silent at once that it is not theirs.
func (c *Core) endpointsOf(k state.Key) []*argosyv1.Endpoint {
	r := c.st.Replica(k)
	machine, incarnation, revision := c.serving(k, r)
	if r == nil || machine == "" {
		return nil
	}
	o, _, ok := c.disp.Seen(machine, incarnationOf(r, incarnation))
	if !ok {
		return nil
	}
	_, containers := c.st.StackOf(k.StackKey(), revision)
	subnet, _ := netip.ParsePrefix(c.st.Machine(machine).GetSubnet())
	silent := c.condition(machine) == condLost || c.condition(machine) == condUnreachable && c.paused == ""
	var out []*argosyv1.Endpoint
	for _, m := range o.GetMembers() {
		addr, err := netip.ParseAddr(m.GetAddress())
		if err != nil || subnet.IsValid() && !subnet.Contains(addr) {
			continue
		}
		out = append(out, &argosyv1.Endpoint{Key: k.Proto(), Member: m.GetName(), Address: addr.String(), Incarnation: incarnation,
			Ready: !silent && r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN &&
				o.GetState() == argosyv1.ReplicaState_REPLICA_STATE_READY && m.GetState() == argosyv1.MemberState_MEMBER_STATE_RUNNING,
			Ports: portsOf(containers, m.GetName())})
	}
	return out
}

// portsOf lists the ports that a container says others may reach, those it publishes included.
func portsOf(containers []*argosyv1.ContainerSpec, member string) []*argosyv1.Port {
	i := slices.IndexFunc(containers, func(ct *argosyv1.ContainerSpec) bool { return ct.GetName() == member })
	if i < 0 {
		return nil
	}
	out := slices.Clone(containers[i].GetExpose())
	for _, p := range containers[i].GetPorts() {
		if !slices.ContainsFunc(out, func(o *argosyv1.Port) bool {
			return o.GetPort() == p.GetTarget() && o.GetProtocol() == p.GetProtocol()
		}) {
			out = append(out, &argosyv1.Port{Port: p.GetTarget(), Protocol: p.GetProtocol(), Name: p.GetName()})
		}
	}
	return out
}
