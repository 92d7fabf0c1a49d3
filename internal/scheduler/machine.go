package scheduler

import (
	"math"
	"math/bits"

	"github.com/argosy-cluster/argosy/internal/placement"
)

// slot is the index of a machine in Scheduler.machines. A slot is taken while
// the machine is known or something is placed on it.

// machine is a slot's content.
//
// Invariant: used is the sum over what is placed here; free, load and size
// follow from spec and used.
type machine struct {
	spec    Machine
	known   bool   // SetMachine was called and RemoveMachine was not since
	version uint32 // grows with every change
	fixed   uint32 // grows with changes of spec only
	tie     uint64
	placed  int32 // number of replicas here

	usable           amount
	usedCPU, usedMem int64 // may exceed usable: Add takes what is true
	free             amount
	perCPU, perMem   float64 // load per unit used
	load, size       uint32
	ports            []portUse
}

// demandLimit stands for every larger need; no machine has that much, since
// usable is limited to one less.
const (
	demandLimit = math.MaxUint32
	pageSize    = 4096
)

func demandAmount(r Resources) amount {
	return amount{
		cpu: uint32(min(max(r.CPU, 0), demandLimit)),
		mem: uint32(min(pagesUp(max(r.Memory, 0)), demandLimit)),
	}
}

func pagesUp(b int64) int64 {
	p := b / pageSize
	if b%pageSize != 0 {
		p++
	}
	return p
}

func usableAmount(capacity, reserve Resources) amount {
	left := func(c, r int64) int64 { return max(max(c, 0)-max(r, 0), 0) }
	return amount{
		cpu: uint32(min(left(capacity.CPU, reserve.CPU), demandLimit-1)),
		mem: uint32(min(left(capacity.Memory, reserve.Memory)/pageSize, demandLimit-1)),
	}
}

// describe takes over a new spec.
func (m *machine) describe(spec Machine) {
	m.spec = spec
	m.tie = tieOf(spec.ID)
	m.usable = usableAmount(spec.Capacity, spec.Reserve)
	m.perCPU, m.perMem = 0, 0
	if m.usable.cpu > 0 {
		m.perCPU = fullLoad / float64(m.usable.cpu)
	}
	if m.usable.mem > 0 {
		m.perMem = fullLoad / float64(m.usable.mem)
	}
	m.size = sizeOf(m.usable)
	m.fixed++
	m.account()
}

// account derives free and load from used.
func (m *machine) account() {
	m.free = amount{
		cpu: uint32(max(int64(m.usable.cpu)-m.usedCPU, 0)),
		mem: uint32(max(int64(m.usable.mem)-m.usedMem, 0)),
	}
	share := max(float64(m.usedCPU)*m.perCPU, float64(m.usedMem)*m.perMem)
	m.load = uint32(min(share, fullLoad))
	m.version++
}

// permille is the load in thousandths.
func (m *machine) permille() int { return int((uint64(m.load)*1000 + fullLoad/2) / fullLoad) }

func (m *machine) use(a amount, sign int64) {
	m.usedCPU += sign * int64(a.cpu)
	m.usedMem += sign * int64(a.mem)
	m.placed += int32(sign)
	m.account()
}

// label answers placement expressions.
func (m *machine) label(key string) (string, bool) {
	if key == SpreadMachine {
		return m.spec.Name, true
	}
	if what, ok := placement.Reached(key); ok {
		return what, m.spec.Storage.Has(what)
	}
	v, ok := m.spec.Labels[key]
	return v, ok
}

// tieOf is the first eight bytes of an id as a number, so that comparing ties
// compares ids up to there.
func tieOf(id string) (t uint64) {
	for i := range 8 {
		t <<= 8
		if i < len(id) {
			t |= uint64(id[i])
		}
	}
	return t
}

// sizeOf is a logarithm of the machine's size with five binary digits after
// the point, from 0 to 1<<sizeBits-1.
func sizeOf(a amount) uint32 {
	log := func(x uint32) uint32 {
		n := bits.Len32(x)
		return uint32(n)<<5 | uint32(uint64(x)<<6>>n)&31
	}
	return log(a.cpu) + log(a.mem)
}

// portUse is one host port held on a machine: by a replica, or by something
// outside Argosy if stack is -1.
type portUse struct {
	port   Port
	stack  int32
	number int
	by     string
}

func normalPort(p Port) Port {
	if p.Protocol == "" {
		p.Protocol = "tcp"
	}
	p.IP = p.IP.Unmap()
	return p
}

// clash reports whether two normal ports cannot both be open. 0.0.0.0 is every
// IPv4 address; :: and none are every address.
func clash(a, b Port) bool {
	if a.Port != b.Port || a.Protocol != b.Protocol || a.Port == 0 {
		return false
	}
	all := func(p Port) bool { return !p.IP.IsValid() || p.IP.IsUnspecified() && p.IP.Is6() }
	if all(a) || all(b) {
		return true
	}
	if a.IP.Is4() != b.IP.Is4() {
		return false
	}
	return a.IP == b.IP || a.IP.IsUnspecified() || b.IP.IsUnspecified()
}

// taken reports whether somebody holds a port that clashes with p.
func (m *machine) taken(p Port) bool {
	for i := range m.ports {
		if clash(m.ports[i].port, p) {
			return true
		}
	}
	return false
}

// tally counts things by slot. The order of entries depends on history, so
// nothing decided may depend on it.
type tally struct {
	entries []tallyEntry
	index   map[int32]int32 // slot to entry, once there are many
}

type tallyEntry struct{ slot, n int32 }

const tallyIndexFrom = 24

func (t *tally) find(slot int32) int {
	if t.index != nil {
		if i, ok := t.index[slot]; ok {
			return int(i)
		}
		return -1
	}
	for i := range t.entries {
		if t.entries[i].slot == slot {
			return i
		}
	}
	return -1
}

func (t *tally) get(slot int32) int32 {
	if i := t.find(slot); i >= 0 {
		return t.entries[i].n
	}
	return 0
}

func (t *tally) add(slot, n int32) {
	i := t.find(slot)
	if i < 0 {
		t.entries = append(t.entries, tallyEntry{slot, n})
		t.reindex(len(t.entries) - 1)
		return
	}
	if t.entries[i].n += n; t.entries[i].n > 0 {
		return
	}
	last := len(t.entries) - 1
	t.entries[i] = t.entries[last]
	t.entries = t.entries[:last]
	if t.index != nil {
		delete(t.index, slot)
		if i < last {
			t.index[t.entries[i].slot] = int32(i)
		}
	}
}

func (t *tally) reindex(i int) {
	if t.index != nil {
		t.index[t.entries[i].slot] = int32(i)
		return
	}
	if len(t.entries) < tallyIndexFrom {
		return
	}
	t.index = make(map[int32]int32, 2*len(t.entries))
	for j, e := range t.entries {
		t.index[e.slot] = int32(j)
	}
}
