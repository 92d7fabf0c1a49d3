package sim

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/storage"
)

// Machine is a machine: an engine, what its agent keeps on disk, and the agent while it runs.
type Machine struct {
	w        *World
	ID, Name string
	prefix   string // of addresses of its containers
	record   *argosyv1.Machine
	engine   *engine
	clock    *clock
	boots    int
	up       bool // the machine runs
	cut      bool // nobody can reach it, nor it anybody
	removed  bool
	force    [faults]int // faults of this machine that are in force

	disk disk
	// synced is what the disk has really written while it lies; lied says that it lost something so.
	synced *synced
	lied   bool
	// beaten is when its agent last sent a beat to the servers that do not lead.
	beaten time.Time

	agent *agentProcess
	// kernel is what outlives processes, and guard the one that keeps leases; nil while none runs.
	kernel *kernel
	guard  *guardProcess
}

// agentProcess is a run of the agent.
type agentProcess struct {
	process
	id     string
	memory agent.Memory
	// acting: steps are taken. Before, it only looks: a leader may have moved what was here.
	acting bool
	wanted map[agent.Key]*argosyv1.Assignment
	// told is what is reported of each incarnation.
	told  map[agent.Key]map[agent.ID]*argosyv1.ReplicaObservation
	marks map[agent.Key]bool // groups to be looked at
	due   bool               // a look is due already

	journal journal
	written time.Time // until when the disk is busy

	conns  []*conn
	met    uint64 // the latest leader's term
	dirty  map[agent.ID]bool
	ticked time.Time // when it last beat

	strays    *argosyv1.StrayReport // as last told
	strayLook bool                  // a look is due already

	// storage speaks to the guard, over link while there is one; nil in a cluster without shared volumes.
	storage *storage.Keeper
	link    *link
	reaches *argosyv1.StorageReport // as last told
}

// startAgent starts the agent, if it does not run.
func (m *Machine) startAgent() {
	if !m.up || m.agent != nil {
		return
	}
	w := m.w
	a := &agentProcess{process: process{w: w, clock: m.clock}, id: w.id("a"), told: map[agent.Key]map[agent.ID]*argosyv1.ReplicaObservation{},
		marks: map[agent.Key]bool{}, dirty: map[agent.ID]bool{}, wanted: maps.Clone(m.disk.wanted), met: m.disk.met}
	a.memory.Complete = m.disk.complete
	a.memory.Members = map[agent.MemberID]*agent.MemberMemory{}
	for id, mm := range m.disk.memory {
		a.memory.Members[id] = &mm
	}
	a.journal = newJournal(m.disk.states)
	for id, o := range m.disk.states {
		a.tell(id, o)
		a.marks[id.Key] = true
	}
	for k := range a.wanted {
		a.marks[k] = true
	}
	for k := range m.engine.byKey {
		a.marks[k] = true
	}
	m.agent = a
	m.prepareStorage(a)
	w.trace("%s: agent %s starts", m.Name, a.id)
	m.soon(a)
	grace := 2 * time.Second
	if m.disk.complete && m.boots > 1 {
		grace = 5 * time.Second
	}
	a.after(grace, func() { m.begin(a) })
	a.after(w.span(10*time.Millisecond, 200*time.Millisecond), func() { m.keepDialling(a) })
	a.ticked = m.clock.now()
	m.beat(a)
}

func (a *agentProcess) tell(id agent.ID, o *argosyv1.ReplicaObservation) {
	if a.told[id.Key] == nil {
		a.told[id.Key] = map[agent.ID]*argosyv1.ReplicaObservation{}
	}
	a.told[id.Key][id] = o
}

// killAgent kills the agent at once. Steps in flight may or may not take effect.
func (m *Machine) killAgent() {
	a := m.agent
	if a == nil {
		return
	}
	m.w.trace("%s: agent %s is killed", m.Name, a.id)
	a.dead = true
	for _, c := range a.conns {
		c.hangUp()
	}
	if a.link != nil {
		a.link.g.port.Leave(a.link.l)
		a.link = nil
	}
	m.agent = nil
}

// begin lets the agent act.
func (m *Machine) begin(a *agentProcess) {
	if a.acting {
		return
	}
	a.acting = true
	for k := range a.wanted {
		a.marks[k] = true
	}
	if a.storage != nil {
		for _, k := range a.storage.Keys() {
			a.marks[k] = true
		}
	}
	for k := range m.engine.byKey {
		a.marks[k] = true
	}
	m.soon(a)
}

// look has the agent look at a group of containers soon.
func (m *Machine) look(k agent.Key) {
	if a := m.agent; a != nil {
		a.marks[k] = true
		m.soon(a)
	}
}

func (m *Machine) soon(a *agentProcess) {
	if a.due {
		return
	}
	a.due = true
	a.after(m.w.span(100*time.Microsecond, time.Millisecond), func() {
		a.due = false
		for _, k := range slices.SortedFunc(maps.Keys(a.marks), agent.Key.Compare) {
			delete(a.marks, k)
			m.decide(a, k)
		}
	})
}

// decide is the agent's loop for one group: decide, act, observe.
func (m *Machine) decide(a *agentProcess, k agent.Key) {
	now := m.clock.now()
	var wanted []*argosyv1.Assignment
	if as := a.wanted[k]; as != nil {
		wanted = append(wanted, as)
	}
	seen := m.seen(a, k)
	if a.acting {
		for _, s := range agent.Decide(now, wanted, seen, a.memory) {
			if s.Kind == agent.Wait {
				if !s.At.IsZero() {
					a.after(s.At.Sub(now), func() { m.look(k) })
				}
				continue
			}
			m.act(a, s)
		}
	}
	m.observe(a, k, wanted, seen)
	if a.acting && a.storage != nil {
		m.tellGuard(a, agent.Claims(wanted, seen, a.memory))
	}
}

// act carries out a step: its effect falls somewhere between its beginning and its end.
func (m *Machine) act(a *agentProcess, s agent.Step) {
	w := m.w
	a.memory.Begin(m.clock.now(), s)
	w.trace("%s: %s", m.Name, s)
	w.checkStep(m, a, s)
	boot := m.boots
	var err error
	total := w.span(2*time.Millisecond, 400*time.Millisecond)
	if m.suffers(DiskSlow) {
		total = w.span(time.Second, 15*time.Second)
	}
	effect := w.span(0, total)
	w.after(effect, func() {
		if m.boots == boot && m.up && (!a.dead || w.chance(0.5)) {
			err = m.engine.do(s)
		}
	})
	w.after(total, func() {
		a.run(func() {
			a.memory.Done(m.clock.now(), s, err)
			if s.Kind == agent.Clean || s.Kind == agent.Prepare {
				m.lookForStrays(a)
			}
			m.look(s.Key)
		})
	})
}

// lookForStrays has volumes looked for a moment later that belong to nothing assigned, and tells the leader when these changed.
func (m *Machine) lookForStrays(a *agentProcess) {
	if a.strayLook {
		return
	}
	a.strayLook = true
	a.after(time.Second, func() {
		a.strayLook = false
		if !a.memory.Complete {
			return
		}
		wanted := slices.Collect(maps.Values(a.wanted))
		a.after(20*time.Millisecond, func() {
			r := agent.Strays(wanted, m.engine.listVolumes())
			if proto.Equal(r, a.strays) {
				return
			}
			a.strays = r
			for _, c := range a.conns {
				if c.leading() && c.reported {
					c.toLeader(strayMessage(r))
				}
			}
		})
	})
}

func strayMessage(r *argosyv1.StrayReport) *argosyv1.SessionRequest {
	return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Strays{Strays: r}}
}

// observe notes what differs from what was last told, for the journal and for the leader.
func (m *Machine) observe(a *agentProcess, k agent.Key, wanted []*argosyv1.Assignment, seen agent.Seen) {
	now := map[agent.ID]*argosyv1.ReplicaObservation{}
	for _, o := range agent.Observe(m.clock.now(), wanted, seen, a.memory) {
		now[agent.ID{Key: k, AppUID: o.GetAppUid(), Incarnation: o.GetIncarnation()}] = o
	}
	ids := slices.Collect(maps.Keys(now))
	for id := range a.told[k] {
		if now[id] == nil {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, agent.ID.Compare)
	changed := false
	for _, id := range ids {
		before, after := a.told[k][id], now[id]
		if agent.Same(before, after) {
			continue
		}
		changed = true
		a.journal.changed(m, before, after)
		a.dirty[id] = true
		if after == nil {
			delete(a.told[k], id)
		} else {
			a.tell(id, after)
		}
	}
	if len(a.told[k]) == 0 {
		delete(a.told, k)
		a.memory.Forget(func(id agent.ID) bool { return id.Key != k })
	}
	if changed {
		m.writeDown(a)
		m.send(a)
	}
}
