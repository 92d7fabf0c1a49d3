package scheduler

// decidePinned looks at the one machine that will do; with are the stacks that
// must be there.
func (s *Scheduler) decidePinned(d *demand, with []*stack, req *Request, out *Decision) {
	r := &out.Reason
	r.Pinned = req.Pin.Why
	if r.Pinned == "" {
		r.Pinned = "it belongs there"
	}
	r.Rejected = &Rejections{Machines: 1}
	slot, ok := s.find(req.Pin.Machine)
	if !ok {
		r.Wait, r.Machine = WaitPin, req.Pin.Machine
		r.Rejected.Counts[CauseUnknown] = 1
		r.Rejected.Near = []Miss{{Machine: req.Pin.Machine, Cause: CauseUnknown}}
		return
	}
	m := &s.machines[slot]
	r.Machine = m.spec.Name
	r.shape, r.labels = d.shape, m.spec.Labels
	r.Load = m.permille()
	r.Preference = int(preferenceOf(m, d.shape.Prefer))
	if misses := s.faults(d, with, slot); len(misses) > 0 {
		r.Wait = WaitPin
		r.Rejected.Counts[misses[0].Cause] = 1
		r.Rejected.Near = misses[:1]
		return
	}
	r.Fit = 1
	s.book(d, booking{req.Replica.Number, req.Incarnation, slot, d.id})
	out.MachineID = m.spec.ID
}

// faults lists everything that keeps a machine from taking a replica, in the
// order of causes; with are the stacks that must be there.
func (s *Scheduler) faults(d *demand, with []*stack, slot int32) []Miss {
	m := &s.machines[slot]
	var misses []Miss
	add := func(v near) { misses = append(misses, s.miss(d, with, &v)) }
	if cause, _ := m.standing(nil); cause != CauseNone {
		add(near{cause: cause, slot: slot})
	}
	for _, e := range d.shape.Require {
		if detail, bad := e.Mismatch(m.label); bad {
			misses = append(misses, Miss{Machine: m.spec.Name, Cause: CauseRequire, Detail: detail})
		}
	}
	for _, o := range with {
		if o.at.get(slot) == 0 {
			misses = append(misses, Miss{Machine: m.spec.Name, Cause: CauseTogether,
				Detail: s.neighbour(d, o, Neighbour{Missing: true})})
		}
	}
	if n := s.tooNear(d, slot); n != (Neighbour{}) {
		misses = append(misses, Miss{Machine: m.spec.Name, Cause: CauseApart, Detail: n})
	}
	for _, p := range d.ports {
		if m.taken(p) {
			misses = append(misses, Miss{Machine: m.spec.Name, Cause: CausePort, Detail: s.holder(d, m, p)})
		}
	}
	if c, found := s.clashAt(d, slot); found {
		misses = append(misses, Miss{Machine: m.spec.Name, Cause: CauseUnit, Detail: c})
	}
	if short, ratio := shortage(m.free, d.need); ratio > 0 || short != (amount{}) {
		add(near{cause: causeOfShortage(short), slot: slot, short: short, ratio: ratio})
	}
	return misses
}
