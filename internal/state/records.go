package state

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// decode reads a value into a new record, nil for a deletion.
func decode[M any, P interface {
	*M
	proto.Message
}](value []byte) (P, error) {
	if value == nil {
		return nil, nil
	}
	p := P(new(M))
	if err := proto.Unmarshal(value, p); err != nil {
		return nil, fmt.Errorf("it cannot be decoded: %w", err)
	}
	return p, nil
}

// put writes a record into a map, or removes it when nil.
func put[K comparable, V any](m map[K]*V, k K, v *V) {
	if v == nil {
		delete(m, k)
	} else {
		m[k] = v
	}
}

func misplaced(what, says string) error {
	return fmt.Errorf("it lies under the wrong key: it says it is %s %q", what, says)
}

func (s *State) setCluster(_ string, value []byte) (err error) {
	c, err := decode[storev1.Cluster](value)
	if err != nil {
		return err
	}
	s.cluster = c
	s.changes.Settings = true
	return nil
}

func (s *State) setGeneration(_ string, value []byte) error {
	g, err := decode[storev1.Generation](value)
	if err != nil {
		return err
	}
	s.generation = g
	s.changes.Settings = true
	return nil
}

func (s *State) setSchedule(_ string, value []byte) (err error) {
	s.schedule, err = decode[argosyv1.BackupSchedule](value)
	return err
}

func (s *State) setBackup(_ string, value []byte) (err error) {
	s.backup, err = decode[argosyv1.BackupState](value)
	return err
}

func (s *State) setLeases(_ string, value []byte) (err error) {
	r, err := decode[storev1.Leases](value)
	if err != nil {
		return err
	}
	s.leases = r
	s.changes.Settings = true
	return nil
}

func (s *State) setTerm(_ string, value []byte) error {
	t, err := decode[storev1.Term](value)
	if err != nil {
		return err
	}
	s.term = t
	return nil
}

func (s *State) setServer(id string, value []byte) error {
	r, err := decode[storev1.Server](value)
	if err != nil {
		return err
	}
	put(s.servers, id, r)
	s.changes.Settings = true
	return nil
}

func (s *State) setToken(id string, value []byte) error {
	r, err := decode[storev1.Token](value)
	if err != nil {
		return err
	}
	put(s.tokens, id, r)
	return nil
}

func (s *State) setUser(name string, value []byte) error {
	r, err := decode[storev1.User](value)
	if err != nil {
		return err
	}
	put(s.users, name, r)
	return nil
}

func (s *State) setOutcome(rest string, value []byte) error {
	tenant, key, ok := strings.Cut(rest, "/")
	if !ok {
		return fmt.Errorf("the key names no tenant")
	}
	r, err := decode[storev1.Outcome](value)
	if err != nil {
		return err
	}
	put(s.outcomes, SecretKey{tenant, key}, r)
	return nil
}

func (s *State) setSecret(rest string, value []byte) error {
	return s.setSealed(s.secrets, s.changes.Secrets, rest, value)
}

func (s *State) setRegistry(rest string, value []byte) error {
	return s.setSealed(s.registry, s.changes.Credentials, rest, value)
}

// setSealed takes in a secret or credential. A registry's name may contain a slash.
func (s *State) setSealed(m map[SecretKey]*storev1.Secret, changed Set[SecretKey], rest string, value []byte) error {
	tenant, name, ok := strings.Cut(rest, "/")
	if !ok {
		return fmt.Errorf("the key names no tenant")
	}
	r, err := decode[storev1.Secret](value)
	if err != nil {
		return err
	}
	if r != nil && (r.GetName() != name || r.GetTenant() != tenant) {
		return misplaced("the secret", r.GetTenant()+"/"+r.GetName())
	}
	k := SecretKey{tenant, name}
	put(m, k, r)
	changed.Add(k)
	return nil
}

func (s *State) setOutbox(machine string, value []byte) error {
	r, err := decode[argosyv1.TransitionsAck](value)
	if err != nil {
		return err
	}
	if r == nil {
		delete(s.outboxes, machine)
	} else {
		s.outboxes[machine] = r.GetOutboxSeq()
	}
	return nil
}

func (s *State) setHistory(rest string, value []byte) error {
	seq, err := parseHex(rest, 64)
	if err != nil {
		return err
	}
	if value == nil {
		s.history = remove(s.history, seq)
	} else {
		s.history = insert(s.history, seq)
	}
	return nil
}

func (s *State) setMachine(id string, value []byte) error {
	r, err := decode[argosyv1.Machine](value)
	if err != nil {
		return err
	}
	if r != nil && r.GetId() != id {
		return misplaced("the machine", r.GetId())
	}
	if old := s.machines[id]; old != nil {
		bears(s.names, old.GetName(), id, false)
		bears(s.guards, string(old.GetGuardKey()), id, false)
	}
	put(s.machines, id, r)
	if r != nil {
		bears(s.names, r.GetName(), id, true)
		bears(s.guards, string(r.GetGuardKey()), id, len(r.GetGuardKey()) > 0)
	}
	s.changes.Machines.Add(id)
	return nil
}

func (s *State) setApp(rest string, value []byte) error {
	parts, err := split(rest, 2)
	if err != nil {
		return err
	}
	r, err := decode[argosyv1.App](value)
	if err != nil {
		return err
	}
	k := AppKey{parts[0], parts[1]}
	if r != nil && (AppKey{r.GetTenant(), r.GetName()}) != k {
		return misplaced("the app", r.GetTenant()+"/"+r.GetName())
	}
	s.app(k).record = r
	s.prune(k)
	s.changes.Apps.Add(k)
	return nil
}

func (s *State) setRevision(rest string, value []byte) error {
	parts, err := split(rest, 3)
	if err != nil {
		return err
	}
	n, err := parseHex(parts[2], 64)
	if err != nil {
		return err
	}
	r, err := decode[argosyv1.Revision](value)
	if err != nil {
		return err
	}
	k := AppKey{parts[0], parts[1]}
	if r != nil && (r.GetNumber() != n || r.GetApp() != k.App || r.GetTenant() != k.Tenant) {
		return misplaced("the revision", fmt.Sprintf("%s/%s %d", r.GetTenant(), r.GetApp(), r.GetNumber()))
	}
	if r == nil {
		delete(s.app(k).revisions, n)
	} else {
		s.app(k).revisions[n] = newRevision(r)
	}
	s.prune(k)
	s.changes.Apps.Add(k)
	return nil
}

func parseReplica(parts []string) (Key, error) {
	n, err := parseHex(parts[3], 32)
	if err != nil {
		return Key{}, err
	}
	if n == 0 || n > math.MaxInt32 {
		return Key{}, fmt.Errorf("%d is not the number of a replica", n)
	}
	return Key{parts[0], parts[1], parts[2], uint32(n)}, nil
}

func (s *State) setReplica(rest string, value []byte) error {
	parts, err := split(rest, 4)
	if err != nil {
		return err
	}
	k, err := parseReplica(parts)
	if err != nil {
		return err
	}
	r, err := decode[argosyv1.Replica](value)
	if err != nil {
		return err
	}
	if r != nil && KeyOf(r.GetKey()) != k {
		return misplaced("the replica", KeyOf(r.GetKey()).String())
	}
	st := s.stack(k.StackKey())
	if old := st.replicas[k.Number]; old != nil {
		s.unplace(k, old)
	}
	put(st.replicas, k.Number, r)
	if r != nil {
		s.place(k, r)
	}
	s.prune(k.AppKey())
	s.changes.Replicas.Add(k)
	return nil
}

// place enters a replica into the indexes by machine; unplace takes it out. Both mark the machines' assignments.
func (s *State) place(k Key, r *argosyv1.Replica) {
	if m := r.GetMachine(); m != "" {
		index(s.onMachine, m, k, r)
		s.changes.assigned(m, k)
	}
	for _, p := range r.GetPast() {
		index(s.pastOn, p.GetMachine(), k, r)
		s.changes.assigned(p.GetMachine(), k)
	}
}

func (s *State) unplace(k Key, r *argosyv1.Replica) {
	if m := r.GetMachine(); m != "" {
		unindex(s.onMachine, m, k)
		s.changes.assigned(m, k)
	}
	for _, p := range r.GetPast() {
		unindex(s.pastOn, p.GetMachine(), k)
		s.changes.assigned(p.GetMachine(), k)
	}
}

func (s *State) setVolume(rest string, value []byte) error {
	parts, err := split(rest, 5)
	if err != nil {
		return err
	}
	k, err := parseReplica(parts[:4])
	if err != nil {
		return err
	}
	r, err := decode[argosyv1.Volume](value)
	if err != nil {
		return err
	}
	vk := VolumeKey{k, parts[4]}
	if r != nil && (KeyOf(r.GetReplica()) != k || r.GetName() != vk.Name) {
		return misplaced("the volume", VolumeKey{KeyOf(r.GetReplica()), r.GetName()}.String())
	}
	st := s.stack(k.StackKey())
	if old := st.volumes[k.Number][vk.Name]; old != nil {
		unindex(st.volumes, k.Number, vk.Name)
		unindex(s.volumesOn, old.GetMachine(), vk)
		s.granted(k, old)
	}
	delete(s.shared, vk)
	delete(s.fenced, vk)
	if Shared(r) && len(r.GetFences()) > 0 {
		s.fenced[vk] = r
	}
	switch {
	case Shared(r):
		index(st.volumes, k.Number, vk.Name, r)
		s.shared[vk] = r
		s.granted(k, r)
	case r != nil:
		index(st.volumes, k.Number, vk.Name, r)
		index(s.volumesOn, r.GetMachine(), vk, r)
	}
	s.prune(k.AppKey())
	s.changes.Replicas.Add(k)
	return nil
}

// granted marks the assignment that a grant is part of.
func (s *State) granted(k Key, v *argosyv1.Volume) {
	if m := v.GetGrant().GetMachine(); m != "" {
		s.changes.assigned(m, k)
	}
}

// sorted returns the values of a map ordered by key.
func sorted[K comparable, V any](m map[K]V, compare func(a, b K) int) []V {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	out := make([]V, len(keys))
	for i, k := range keys {
		out[i] = m[k]
	}
	return out
}
