package sim

import (
	"errors"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
)

// disk is what a machine's agent keeps: package agent/database, in which every method is one transaction that is synced
// before it returns. A disk that lies about that loses the last of them when the power goes.
type disk struct {
	wanted   map[agent.Key]*argosyv1.Assignment
	complete bool
	outbox   []*argosyv1.Transition
	last     uint64 // number of the last transition ever recorded
	states   map[agent.ID]*argosyv1.ReplicaObservation
	memory   map[agent.MemberID]agent.MemberMemory
	met      uint64 // the latest leader's term
	values   map[string]string
}

func newDisk() disk {
	return disk{wanted: map[agent.Key]*argosyv1.Assignment{}, states: map[agent.ID]*argosyv1.ReplicaObservation{},
		memory: map[agent.MemberID]agent.MemberMemory{}, values: map[string]string{}}
}

// clone copies a disk. Records are never written to.
func (d *disk) clone() disk {
	c := *d
	c.wanted, c.states, c.memory = maps.Clone(d.wanted), maps.Clone(d.states), maps.Clone(d.memory)
	c.outbox, c.values = slices.Clone(d.outbox), maps.Clone(d.values)
	return c
}

var errNoSpace = errors.New("no space left on device")

// write is a transaction of the agent's database. It fails while the disk is full, and lasts while it is slow: then is
// called in the agent with what came of it.
func (m *Machine) write(a *agentProcess, do func(*disk), then func(error)) {
	write := func() {
		if m.suffers(DiskFull) && m.w.chance(0.9) {
			then(errNoSpace)
			return
		}
		do(&m.disk)
		then(nil)
	}
	if m.suffers(DiskSlow) {
		at := m.w.now.Add(m.w.span(0, 3*time.Second))
		if at.Before(a.written) {
			at = a.written // one transaction at a time
		}
		a.written = at
	}
	if !a.written.After(m.w.now) {
		write()
		return
	}
	m.w.after(a.written.Sub(m.w.now), func() { a.run(write) })
}

func (d *disk) assign(as *argosyv1.Assignments) {
	if as.GetFull() {
		clear(d.wanted)
		d.complete = true
	}
	for _, k := range as.GetRemoved() {
		delete(d.wanted, agent.KeyOf(k))
	}
	for _, a := range as.GetSet() {
		d.wanted[agent.KeyOf(a.GetKey())] = a
	}
}

// acknowledge forgets what the cluster has. A number that this disk never gave out means that an earlier one was lost and
// the cluster remembers more: what waits is numbered again.
func (d *disk) acknowledge(seq uint64) (taken []*argosyv1.Transition) {
	if seq > d.last {
		for i, t := range d.outbox {
			seq++
			d.outbox[i] = proto.CloneOf(t)
			d.outbox[i].OutboxSeq = seq
		}
		d.last = seq
		return nil
	}
	i := 0
	for i < len(d.outbox) && d.outbox[i].GetOutboxSeq() <= seq {
		i++
	}
	taken, d.outbox = d.outbox[:i:i], d.outbox[i:]
	return taken
}

// synced is what a disk that lies has really written.
type synced struct {
	disk       disk
	containers map[string]bool
}

// sync has a lying disk write down what it was given.
func (m *Machine) sync() {
	s := synced{m.disk.clone(), map[string]bool{}}
	for id := range m.engine.containers {
		s.containers[id] = true
	}
	m.synced = &s
}

// lying has a disk that lies catch up from time to time, as long as it does.
func (m *Machine) lying() {
	if !m.suffers(FsyncLost) {
		m.synced = nil
		return
	}
	m.sync()
	m.w.after(m.w.span(500*time.Millisecond, 10*time.Second), m.lying)
}

// Lie has a machine's disk write nothing more of what it says is written, until the power goes.
func (w *World) Lie(m *Machine) {
	w.trace("%s: its disk lies", m.Name)
	m.sync()
}

// lose is what a power cut does to a disk that lied: the agent's database and the engine are as they were a while ago, or the
// database is damaged, and the agent sets it aside and begins with none.
func (m *Machine) lose() {
	if m.synced == nil {
		return
	}
	m.lied = true
	m.disk = m.synced.disk
	if !m.w.cfg.Calm && m.w.chance(0.3) {
		m.disk = newDisk()
	}
	m.w.trace("%s: its disk lost what was written last: %d assignments are left", m.Name, len(m.disk.wanted))
	m.engine.forget(m.synced.containers)
	m.synced = nil
}
