package scheduler

// booking is a replica incarnation of a stack on a machine.
type booking struct {
	number      int
	incarnation uint64
	slot        int32
	demand      int32 // index in Scheduler.demands
}

// key is the booking without what does not identify it.
func (b booking) key() booking {
	b.demand = 0
	return b
}

// roster lists what is booked of one stack. Its order depends on history. It
// holds no pointers, so that the garbage collector need not look into it.
type roster struct {
	list  []booking
	index map[booking]int32 // position by key, once the list is long
}

const rosterIndexFrom = 24

// find returns the position of what has the same key, or -1.
func (r *roster) find(b booking) int {
	if r.index != nil {
		if i, ok := r.index[b.key()]; ok {
			return int(i)
		}
		return -1
	}
	for i := range r.list {
		if r.list[i].key() == b.key() {
			return i
		}
	}
	return -1
}

func (r *roster) add(b booking) {
	r.list = append(r.list, b)
	switch {
	case r.index != nil:
		r.index[b.key()] = int32(len(r.list) - 1)
	case len(r.list) == rosterIndexFrom:
		r.index = make(map[booking]int32, 2*rosterIndexFrom)
		for i := range r.list {
			r.index[r.list[i].key()] = int32(i)
		}
	}
}

func (r *roster) remove(i int) {
	last := len(r.list) - 1
	gone := r.list[i]
	r.list[i] = r.list[last]
	r.list = r.list[:last]
	if r.index != nil {
		delete(r.index, gone.key())
		if i < last {
			r.index[r.list[i].key()] = int32(i)
		}
	}
}
