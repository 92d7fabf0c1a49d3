package scheduler

import "slices"

// Scheduler is the index of machines and of what is placed on them. It is not
// safe for concurrent use. The zero Scheduler is not ready: call New.
type Scheduler struct {
	machines  []machine // by slot
	freeSlots []int32
	byID      map[string]int32
	byName    map[string][]int32 // known machines; names need not be unique
	known     int

	ports map[portNumber]*tally
	units unitsOf

	stacks      map[Stack]*stack
	stackByID   []*stack // nil where free
	freeStacks  []int32
	byPointer   map[*Shape]*demand   // by a shape's pointer, of the first stack that asked with it
	byShape     map[shapeKey]*demand // those of other stacks that ask with the same pointer
	bySign      map[signKey]*demand  // of stacks with more than one
	signing     signer               // memory for classSign
	demands     []*demand            // nil where free
	freeDemands []int32
	sweepAt     int
	lastDemand  *demand // answer of demandOf for lastShape and the same stack
	lastShape   *Shape

	// replaced are the bookings in whose place others came, while decideAside is noting them.
	noting   bool
	replaced []Placed

	// changes lists slots in the order in which they changed; its first entry
	// has number changesFrom. A class knows up to which number it is current.
	changes     []int32
	changesFrom uint64
	classes     map[string]*class
	classUses   uint64

	marks  []mark // by slot, valid if of the current epoch
	epoch  uint32
	spare  []tree       // memory for private trees
	group  group        // the one under way
	groups []batchGroup // memory for the groups of a batch
	survey survey       // the last made

	limits limits
}

type portNumber struct {
	port     uint16
	protocol string
}

// limits trade memory for time; they never change what is decided.
type limits struct {
	// patience is how many steps beyond two for each machine a group searches
	// in shared trees before it makes private ones.
	patience int
	// changes is how many changes, beyond four for each machine, are listed for
	// classes to follow. A class further behind looks at every machine.
	changes int
	// classes is how many classes are kept in any case, leaves how many leaves
	// all classes may have beyond that.
	classes, leaves int
	// survey is from how many nodes looked at a survey is kept.
	survey int
	// interned is how many stacks and shapes are kept before those that nothing
	// refers to are looked for.
	interned int
}

// New returns an empty index.
func New() *Scheduler {
	return &Scheduler{
		byID:      map[string]int32{},
		byName:    map[string][]int32{},
		ports:     map[portNumber]*tally{},
		stacks:    map[Stack]*stack{},
		byShape:   map[shapeKey]*demand{},
		byPointer: map[*Shape]*demand{},
		bySign:    map[signKey]*demand{},
		classes:   map[string]*class{},
		limits:    limits{patience: 256, survey: 128, changes: 4096, classes: 16, leaves: 500_000, interned: 4096},
	}
}

// SetMachine makes a machine known or replaces what is known of it. What is
// placed on it stays.
func (s *Scheduler) SetMachine(m Machine) {
	slot := s.slotOf(m.ID)
	old := &s.machines[slot]
	if old.known {
		s.dropPorts(slot)
		s.unname(slot)
	} else {
		s.known++
	}
	old.known = true
	old.describe(m)
	s.byName[m.Name] = append(s.byName[m.Name], slot)
	for _, t := range m.Ports {
		if t.Port.Port != 0 {
			s.takePort(slot, portUse{port: normalPort(t.Port), stack: -1, by: t.By})
		}
	}
	s.changed(slot)
}

// RemoveMachine forgets a machine. What is placed on it is remembered until it
// is removed, and counts again if the machine comes back.
func (s *Scheduler) RemoveMachine(id string) {
	slot, ok := s.byID[id]
	if !ok || !s.machines[slot].known {
		return
	}
	s.dropPorts(slot)
	s.unname(slot)
	s.known--
	m := &s.machines[slot]
	m.known = false
	m.describe(Machine{ID: id})
	s.changed(slot)
	s.release(slot)
}

// Add records that a replica occupies a machine. Adding what is there already
// replaces its shape.
func (s *Scheduler) Add(p Placed) {
	s.sweep()
	d := s.demandOf(p.Replica.Stack, p.Shape)
	slot := s.slotOf(p.Machine)
	s.book(d, booking{p.Replica.Number, p.Incarnation, slot, d.id})
}

// Remove records that a replica no longer occupies a machine. Removing what is
// not there does nothing. Shape is not looked at.
func (s *Scheduler) Remove(p Placed) {
	slot, ok := s.byID[p.Machine]
	if !ok {
		return
	}
	st, ok := s.stacks[p.Replica.Stack]
	if !ok {
		return
	}
	if i := st.booked.find(booking{p.Replica.Number, p.Incarnation, slot, 0}); i >= 0 {
		s.vacate(st, i)
		s.release(slot)
	}
}

// book records a booking, instead of the same with another demand if there is
// one.
func (s *Scheduler) book(d *demand, b booking) {
	st := d.stack
	if i := st.booked.find(b); i >= 0 {
		if was := st.booked.list[i]; s.noting {
			s.replaced = append(s.replaced, Placed{Replica: Replica{st.name, b.number}, Incarnation: b.incarnation,
				Shape: s.demands[was.demand].shape, Machine: s.machines[b.slot].spec.ID})
		}
		if st.booked.list[i] == b {
			return
		}
		s.vacate(st, i)
	}
	st.booked.add(b)
	d.refs++
	st.at.add(b.slot, 1)
	for _, o := range d.apart {
		o.shun(st, b.slot, 1)
	}
	for _, p := range d.ports {
		s.takePort(b.slot, portUse{port: p, stack: st.id, number: b.number})
	}
	if len(d.brings) > 0 {
		s.bookUnits(d, b.slot, 1)
	}
	s.machines[b.slot].use(d.need, 1)
	s.changed(b.slot)
}

// vacate undoes book for the booking at position i.
func (s *Scheduler) vacate(st *stack, i int) {
	b := st.booked.list[i]
	d := s.demands[b.demand]
	st.booked.remove(i)
	d.refs--
	st.at.add(b.slot, -1)
	for _, o := range d.apart {
		o.shun(st, b.slot, -1)
	}
	m := &s.machines[b.slot]
	for _, p := range d.ports {
		at := slices.Index(m.ports, portUse{port: p, stack: st.id, number: b.number})
		m.ports = slices.Delete(m.ports, at, at+1)
		s.dropPort(b.slot, p)
	}
	if len(d.brings) > 0 {
		s.bookUnits(d, b.slot, -1)
	}
	m.use(d.need, -1)
	s.changed(b.slot)
}

// takePort records a normal port with the machine and in the index by port.
// Ports taken from outside come first, so that dropPorts finds them.
func (s *Scheduler) takePort(slot int32, use portUse) {
	m := &s.machines[slot]
	at := len(m.ports)
	if use.stack < 0 {
		at = 0
	}
	m.ports = slices.Insert(m.ports, at, use)
	key := portNumber{use.port.Port, use.port.Protocol}
	t := s.ports[key]
	if t == nil {
		t = &tally{}
		s.ports[key] = t
	}
	t.add(slot, 1)
}

func (s *Scheduler) dropPort(slot int32, p Port) {
	key := portNumber{p.Port, p.Protocol}
	t := s.ports[key]
	t.add(slot, -1)
	if len(t.entries) == 0 {
		delete(s.ports, key)
	}
}

// dropPorts forgets the ports taken from outside.
func (s *Scheduler) dropPorts(slot int32) {
	m := &s.machines[slot]
	for len(m.ports) > 0 && m.ports[0].stack < 0 {
		s.dropPort(slot, m.ports[0].port)
		m.ports = slices.Delete(m.ports, 0, 1)
	}
}

func (s *Scheduler) unname(slot int32) {
	name := s.machines[slot].spec.Name
	list := s.byName[name]
	i := slices.Index(list, slot)
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(s.byName, name)
		return
	}
	s.byName[name] = list
}

// slotOf finds or takes a slot for a machine.
func (s *Scheduler) slotOf(id string) int32 {
	if slot, ok := s.byID[id]; ok {
		return slot
	}
	slot := int32(len(s.machines))
	if n := len(s.freeSlots); n > 0 {
		slot = s.freeSlots[n-1]
		s.freeSlots = s.freeSlots[:n-1]
	} else {
		s.machines = append(s.machines, machine{})
		s.marks = append(s.marks, mark{})
	}
	s.machines[slot].describe(Machine{ID: id})
	s.byID[id] = slot
	return slot
}

// release gives a slot back if nothing holds it. Versions go on growing, so
// that classes notice the slot's next tenant.
func (s *Scheduler) release(slot int32) {
	m := &s.machines[slot]
	if m.known || m.placed > 0 {
		return
	}
	delete(s.byID, m.spec.ID)
	s.machines[slot] = machine{version: m.version + 1, fixed: m.fixed + 1}
	s.freeSlots = append(s.freeSlots, slot)
	s.changed(slot)
}

// changed appends to the list of changes.
func (s *Scheduler) changed(slot int32) {
	if len(s.changes) >= s.limits.changes+4*len(s.machines) {
		s.changesFrom += uint64(len(s.changes))
		s.changes = s.changes[:0]
	}
	s.changes = append(s.changes, slot)
}

// find resolves a pin: an id, or else the lowest id with that name.
func (s *Scheduler) find(pin string) (int32, bool) {
	if slot, ok := s.byID[pin]; ok && s.machines[slot].known {
		return slot, true
	}
	best, found := int32(-1), false
	for _, slot := range s.byName[pin] {
		if !found || s.machines[slot].spec.ID < s.machines[best].spec.ID {
			best, found = slot, true
		}
	}
	return best, found
}
