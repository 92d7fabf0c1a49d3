package sim

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/storage"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/leases"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// Rules are the step functions of a single writer. What is nil is the real one; tests put mistakes there, to see that they are found.
type Rules struct {
	Guard   func(guard.State, time.Duration, guard.Event) (guard.State, []guard.Effect)
	Witness func(time.Duration, claims.Witness, claims.Profile, witness.Table, bool) (witness.State, []witness.Effect)
}

func (r Rules) stepGuard(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
	if r.Guard != nil {
		return r.Guard(s, now, e)
	}
	return guard.Step(s, now, e)
}

func (r Rules) openWitness(now time.Duration, id claims.Witness, p claims.Profile, t witness.Table, whole bool) (witness.State, []witness.Effect) {
	if r.Witness != nil {
		return r.Witness(now, id, p, t, whole)
	}
	return witness.Open(now, id, p, t, whole)
}

// writeOften and writeSeldom bound the time between two writes of a container.
const writeOften, writeSeldom = 100 * time.Millisecond, 2 * time.Second

// Guard gives the cluster witnesses, guards and storage that all machines reach, with a timing of leases. It comes before the
// machines.
func (w *World) Guard(p claims.Profile) {
	w.guarded, w.profile, w.shared = true, p, map[string]*sharedDisk{}
	if !w.cfg.Calm {
		for _, name := range spares {
			w.servers = append(w.servers, &server{w: w, name: name, clock: w.newClock(), heard: w.now, absent: true})
		}
	}
	for _, s := range w.servers {
		s.beside = stand{clock: w.leaseClock(), guards: map[string]bool{}}
		s.startWitness()
		s.attend()
	}
	w.insist(func(_ time.Time, v *core.View) (core.Proposal, error) {
		if v.Generation() > 0 {
			return core.Proposal{}, nil
		}
		var out core.Proposal
		for key, m := range map[string]proto.Message{store.GenerationKey: &storev1.Generation{Number: 1}, store.ClusterKey: &storev1.Cluster{Settings: &argosyv1.ClusterSettings{LeaseProfile: p.Name}}} {
			op, err := store.Put(key, m)
			if err != nil {
				return out, err
			}
			out.Ops = append(out.Ops, op)
		}
		for _, s := range w.present() {
			op, err := store.Put(store.ServerKey(s.name), s.recorded())
			if err != nil {
				return out, err
			}
			out.Ops = append(out.Ops, op)
		}
		slices.SortFunc(out.Ops, func(a, b store.Op) int { return strings.Compare(a.Key, b.Key) })
		return out, nil
	}, nil)
}

// leaseClock is a clock of a guard or a witness, which is never quite right.
func (w *World) leaseClock() *clock {
	c := w.newClock()
	if !w.cfg.Calm {
		c.rate = w.leaseRate()
	}
	return c
}

// leaseRate is how fast such a clock may run, often at the ends of what is allowed.
func (w *World) leaseRate() float64 {
	switch w.rng.IntN(4) {
	case 0:
		return 1 - w.profile.Drift
	case 1:
		return 1 + w.profile.Drift
	}
	return 1 - w.profile.Drift + 2*w.profile.Drift*w.rng.Float64()
}

// recorded is a server's record.
func (s *server) recorded() *storev1.Server {
	key := make([]byte, 32)
	copy(key, s.name)
	return &storev1.Server{Id: s.name, Name: s.name, WitnessAddress: s.name + ":7", WitnessKey: key}
}

// statuses is what the servers say of their witnesses.
func (w *World) statuses() (list []claims.Status) {
	for _, s := range w.servers {
		st := claims.Status{Witness: claims.Witness(s.name), Silent: true}
		if p := s.beside.now; p != nil && p.stops == 0 && s.joined() {
			st = p.state.Status(p.clock.elapsed())
		}
		list = append(list, st)
	}
	return list
}

// changeLeases makes the next step on the way to the servers that have a witness.
func (w *World) changeLeases(l *leaderProcess) {
	next := func(v *core.View) *storev1.Leases {
		r, _ := leases.Next(v.Leases(), v.Generation(), v.Revision(), w.known(v), w.statuses())
		return r
	}
	if next(l.view()) == nil {
		return
	}
	w.Propose(func(_ time.Time, v *core.View) (core.Proposal, error) {
		if r := next(v); r != nil {
			return put(store.LeasesKey, r)
		}
		return core.Proposal{}, nil
	}, func(err error) {
		if err == nil {
			w.tally.Sets++
		}
	})
}

// prepareStorage makes what speaks to the machine's guard, for a run of the agent.
func (m *Machine) prepareStorage(a *agentProcess) {
	if !m.w.guarded {
		return
	}
	k, err := storage.New(storage.Config{
		Device: finder{detects: true}, Mount: finder{}, Log: silent, Now: m.clock.now,
		Value: func(name string) (string, error) { return m.disk.values[name], nil },
		Keep: func(name, value string) error {
			if m.suffers(DiskFull) && m.w.chance(0.9) {
				return errNoSpace
			}
			m.disk.values[name] = value
			return nil
		},
		Changed: func(k agent.Key) { m.claimed(a, k) },
		Report: func(r *argosyv1.StorageReport) {
			a.reaches = r
			m.tellStorage(a)
		},
	})
	if err != nil {
		m.w.violate("%s: what an earlier agent kept of claims: %v", m.Name, err)
		return
	}
	a.storage = k
	for _, key := range k.Keys() {
		a.marks[key] = true
	}
	k.Reaches(m.w.devices(), []string{mountType})
	a.after(time.Millisecond, func() { m.speak(a) })
	m.keepSpeaking(a)
}

// claimed notes that something about a replica's claims changed, or with the zero key something about the machine's guard.
func (m *Machine) claimed(a *agentProcess, k agent.Key) {
	if a.storage == nil || m.agent != a {
		return
	}
	if k != (agent.Key{}) {
		m.look(k)
		return
	}
	for k := range a.wanted {
		a.marks[k] = true
	}
	for _, k := range a.storage.Keys() {
		a.marks[k] = true
	}
	m.soon(a)
}

// tellStorage tells the leader what the machine reaches and who guards it.
func (m *Machine) tellStorage(a *agentProcess) {
	for _, c := range a.conns {
		if c.leading() && c.reported && a.reaches != nil {
			c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Storage{Storage: proto.CloneOf(a.reaches)}})
		}
	}
}

// seen is what the machine shows of a group: its containers, and its claims where it has a guard.
func (m *Machine) seen(a *agentProcess, k agent.Key) agent.Seen {
	s := m.engine.seen(k)
	if a.storage != nil {
		s.Claims, s.Unguarded = a.storage.Claims(k)
	}
	return s
}

const mountType = "sim"

// sharedApps and sharedStacks are those that scenarios know; each of their stacks has storage of its own.
var sharedApps, sharedStacks = []string{"shop", "blog", "wiki"}, []string{"s0", "s1", "s2"}

// devices are what manifests may call the devices that all machines reach.
func (w *World) devices() (list []string) {
	for _, app := range sharedApps {
		for _, stack := range sharedStacks {
			for n := uint32(1); n <= 8; n++ {
				list = append(list, volumesource.For(device(app, stack), n))
			}
		}
	}
	return list
}

func device(app, stack string) string {
	return "/dev/disk/by-label/" + app + "-" + stack + "-" + volumesource.Replica
}

// share gives a stack a shared volume: a device, or something that is mounted by its type.
func (s *Scenario) share(app string, stack *argosyv1.StackSpec, first *argosyv1.ContainerSpec, entry *argosyv1.ClusterEntry) bool {
	at := app + "/" + stack.GetName()
	if _, known := s.storage[at]; !known {
		s.storage[at] = s.rng.IntN(4)
	}
	if !s.shares(app, stack.GetName()) {
		return false
	}
	v := &argosyv1.VolumeSpec{Name: "data"}
	if s.storage[at] == byDevice {
		v.Device = &argosyv1.DeviceSource{Device: device(app, stack.GetName()), CreateIfEmpty: true}
	} else {
		v.Mount = &argosyv1.MountSource{Type: mountType, Source: device(app, stack.GetName())}
	}
	if fenced(s.cfg.Seed, at) {
		v.Fence = "storage"
	}
	stack.Volumes = []*argosyv1.VolumeSpec{v}
	first.Mounts = []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}}
	entry.EachMachine, entry.Count = false, uint32(1+s.rng.IntN(2))
	return true
}

// Where the shared volume of a stack is; others have none.
const byDevice, byMount = 0, 1

func (s *Scenario) shares(app, stack string) bool {
	at, known := s.storage[app+"/"+stack]
	return known && at <= byMount
}

// guardedLife reports whether the life of a seed has shared volumes, and with which timing. It takes nothing from what else is random.
func guardedLife(seed uint64) (bool, claims.Profile) {
	rng := rand.New(rand.NewPCG(seed, 0x636c61696d))
	p := claims.Default()
	if rng.IntN(3) == 0 {
		p = claims.Fast()
	}
	return rng.IntN(3) == 0, p
}

func slicesOf(m map[string]*slot) []string { return slices.Sorted(maps.Keys(m)) }

// ending reports whether a container has to stop because the lease ends that it was made for, or another one was granted.
func (m *Machine) ending(a *agentProcess, b *box) bool {
	if b.slice == "" {
		return false
	}
	list, _ := a.storage.Claims(b.Owner.Key)
	for _, c := range list {
		if c.Label() == b.Claims {
			return c.Phase >= argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING
		}
	}
	return true
}
