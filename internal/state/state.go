package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

// State mirrors everything below [store.Root] but the bodies of history.
type State struct {
	revision int64
	// own holds writes that [State.Committed] applied and that the watch has not repeated yet, oldest first.
	own []ownWrite

	cluster    *storev1.Cluster
	generation *storev1.Generation
	schedule   *argosyv1.BackupSchedule
	backup     *argosyv1.BackupState
	term       *storev1.Term
	leases     *storev1.Leases
	servers    map[string]*storev1.Server
	tokens     map[string]*storev1.Token
	users      map[string]*storev1.User
	outcomes   map[SecretKey]*storev1.Outcome
	secrets    map[SecretKey]*storev1.Secret
	registry   map[SecretKey]*storev1.Secret
	outboxes   map[string]uint64
	// history holds the numbers of the transitions that the store still has, ascending.
	history []uint64

	machines map[string]*argosyv1.Machine
	// names leads from a machine's name to the ids that bear it, ascending: names are attributes and may clash.
	names map[string][]string
	// guards leads from the key of a guard to the ids of machines that are known by it, ascending. It is one, unless somebody copied it.
	guards map[string][]string

	apps    map[AppKey]*app
	tenants map[string]map[AppKey]struct{}
	// onMachine and pastOn index replicas by the machine they are assigned to and by machines that may still run an
	// earlier incarnation.
	onMachine map[string]map[Key]*argosyv1.Replica
	pastOn    map[string]map[Key]*argosyv1.Replica
	volumesOn map[string]map[VolumeKey]*argosyv1.Volume
	// shared are the volumes that are on no machine of their own.
	shared map[VolumeKey]*argosyv1.Volume
	// fenced are those of them whose storage refuses a machine, or is being told to.
	fenced map[VolumeKey]*argosyv1.Volume

	faults  map[string]error
	changes Changes
}

// app gathers what belongs to one app. Its record is nil while only parts of it exist.
type app struct {
	record    *argosyv1.App
	revisions map[uint64]*revision
	stacks    map[string]*stack
}

type stack struct {
	replicas map[uint32]*argosyv1.Replica
	volumes  map[uint32]map[string]*argosyv1.Volume
}

type ownWrite struct {
	revision int64
	keys     map[string]struct{}
}

func empty() *State {
	return &State{
		servers: map[string]*storev1.Server{}, tokens: map[string]*storev1.Token{},
		users: map[string]*storev1.User{}, outcomes: map[SecretKey]*storev1.Outcome{},
		secrets: map[SecretKey]*storev1.Secret{}, registry: map[SecretKey]*storev1.Secret{},
		outboxes: map[string]uint64{},
		machines: map[string]*argosyv1.Machine{}, names: map[string][]string{}, guards: map[string][]string{},
		apps: map[AppKey]*app{}, tenants: map[string]map[AppKey]struct{}{},
		onMachine: map[string]map[Key]*argosyv1.Replica{}, pastOn: map[string]map[Key]*argosyv1.Replica{},
		volumesOn: map[string]map[VolumeKey]*argosyv1.Volume{}, shared: map[VolumeKey]*argosyv1.Volume{}, fenced: map[VolumeKey]*argosyv1.Volume{},
		faults: map[string]error{}, changes: newChanges(),
	}
}

// Load builds a mirror from everything below [store.Root]. Everything counts as changed.
func Load(snap store.Snapshot) *State {
	s := empty()
	s.revision = snap.Revision
	for _, kv := range snap.KVs {
		s.set(kv.Key, kv.Value)
	}
	s.changes.All = true
	return s
}

// Revision is the store's revision that the mirror has reached.
func (s *State) Revision() int64 { return s.revision }

// Apply takes in one batch of the watch. What an own write of the same or a later revision already set is skipped.
func (s *State) Apply(b store.Batch) {
	for len(s.own) > 0 && s.own[0].revision < b.Revision {
		s.own = s.own[1:]
	}
	for _, e := range b.Events {
		if !s.ownsLater(e.Key, b.Revision) {
			s.set(e.Key, e.Value)
		}
	}
	s.revision = max(s.revision, b.Revision)
}

// Committed takes in a transaction that the caller has just committed at a revision.
func (s *State) Committed(revision int64, ops []store.Op) {
	w := ownWrite{revision: revision, keys: make(map[string]struct{}, len(ops))}
	for _, op := range ops {
		w.keys[op.Key] = struct{}{}
		s.set(op.Key, op.Value)
	}
	s.own = append(s.own, w)
	s.revision = max(s.revision, revision)
}

func (s *State) ownsLater(key string, revision int64) bool {
	for _, w := range s.own {
		if _, ok := w.keys[key]; ok && w.revision >= revision {
			return true
		}
	}
	return false
}

// Faults reports the records that cannot be read, by key.
func (s *State) Faults() map[string]error { return maps.Clone(s.faults) }

// FaultAt says what is wrong with the record under a key, nil when nothing is.
func (s *State) FaultAt(key string) error { return s.faults[key] }

// Take returns what changed since the last call and forgets it.
func (s *State) Take() Changes {
	c := s.changes
	s.changes = newChanges()
	return c
}

// setter decodes one kind of record; rest is the key without the kind's prefix, value nil on deletion.
type setter struct {
	prefix string
	set    func(s *State, rest string, value []byte) error
}

// setters are tried in order; single keys come first.
var setters = []setter{
	{store.Replicas, (*State).setReplica},
	{store.Volumes, (*State).setVolume},
	{store.History, (*State).setHistory},
	{store.Outboxes, (*State).setOutbox},
	{store.Outcomes, (*State).setOutcome},
	{store.Revisions, (*State).setRevision},
	{store.Apps, (*State).setApp},
	{store.Machines, (*State).setMachine},
	{store.Secrets, (*State).setSecret},
	{store.Registry, (*State).setRegistry},
	{store.Tokens, (*State).setToken},
	{store.Users, (*State).setUser},
	{store.Servers, (*State).setServer},
	{store.ClusterKey, (*State).setCluster},
	{store.GenerationKey, (*State).setGeneration},
	{store.TermKey, (*State).setTerm},
	{store.ScheduleKey, (*State).setSchedule},
	{store.BackupKey, (*State).setBackup},
	{store.LeasesKey, (*State).setLeases},
}

// set takes in one key. Keys of kinds that this version does not know are left alone.
func (s *State) set(key string, value []byte) {
	for _, k := range setters {
		rest, ok := strings.CutPrefix(key, k.prefix)
		if !ok || (rest != "" && !strings.HasSuffix(k.prefix, "/")) {
			continue
		}
		if err := k.set(s, rest, value); err != nil {
			s.faults[key] = fmt.Errorf("the record at %s cannot be used: %w", key, err)
			s.changes.Faults = true
		} else {
			delete(s.faults, key)
		}
		return
	}
}

func (s *State) app(k AppKey) *app {
	a := s.apps[k]
	if a == nil {
		a = &app{revisions: map[uint64]*revision{}, stacks: map[string]*stack{}}
		s.apps[k] = a
		if s.tenants[k.Tenant] == nil {
			s.tenants[k.Tenant] = map[AppKey]struct{}{}
		}
		s.tenants[k.Tenant][k] = struct{}{}
	}
	return a
}

func (s *State) stack(k StackKey) *stack {
	a := s.app(k.AppKey())
	st := a.stacks[k.Stack]
	if st == nil {
		st = &stack{replicas: map[uint32]*argosyv1.Replica{}, volumes: map[uint32]map[string]*argosyv1.Volume{}}
		a.stacks[k.Stack] = st
	}
	return st
}

// prune drops the empty shells of an app and its stacks.
func (s *State) prune(k AppKey) {
	a := s.apps[k]
	if a == nil {
		return
	}
	for name, st := range a.stacks {
		if len(st.replicas) == 0 && len(st.volumes) == 0 {
			delete(a.stacks, name)
		}
	}
	if a.record == nil && len(a.revisions) == 0 && len(a.stacks) == 0 {
		delete(s.apps, k)
		delete(s.tenants[k.Tenant], k)
		if len(s.tenants[k.Tenant]) == 0 {
			delete(s.tenants, k.Tenant)
		}
	}
}

// insert and remove keep a sorted set in a slice.
func insert[T interface{ ~string | ~uint64 }](list []T, v T) []T {
	i, found := slices.BinarySearch(list, v)
	if found {
		return list
	}
	return slices.Insert(list, i, v)
}

func remove[T interface{ ~string | ~uint64 }](list []T, v T) []T {
	i, found := slices.BinarySearch(list, v)
	if !found {
		return list
	}
	return slices.Delete(list, i, i+1)
}

// bears puts an id into, or takes it out of, the list of those that bear a name.
func bears(m map[string][]string, name, id string, does bool) {
	if does {
		m[name] = insert(m[name], id)
	} else if m[name] = remove(m[name], id); len(m[name]) == 0 {
		delete(m, name)
	}
}

// index puts an entry into, or takes it out of, a map of maps.
func index[A, B comparable, V any](m map[A]map[B]V, a A, b B, v V) {
	if m[a] == nil {
		m[a] = map[B]V{}
	}
	m[a][b] = v
}

func unindex[A, B comparable, V any](m map[A]map[B]V, a A, b B) {
	delete(m[a], b)
	if len(m[a]) == 0 {
		delete(m, a)
	}
}
