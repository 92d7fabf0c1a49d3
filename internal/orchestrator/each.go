package orchestrator

import (
	"fmt"
	"slices"
)

// wantedEach is the set of numbers of a stack with one replica on each machine that qualifies. Numbers are stable: a
// replica keeps its number for as long as its machine qualifies, a machine that comes back to its volume gets the number
// of that volume, and new machines get the lowest free numbers. A pending replica belongs to no machine yet; the
// scheduler gives it one of those without.
func (d *decision) wantedEach() (map[uint32]bool, func(uint32) string) {
	wanted := map[uint32]bool{}
	reasons := map[uint32]string{}
	lacking := map[string]bool{}
	for _, id := range d.in.Allowed {
		lacking[id] = true
	}
	var pending []uint32
	for _, r := range d.in.Replicas {
		n := r.GetKey().GetNumber()
		switch m := r.GetMachine(); {
		case r.GetGoal() == goalRemove:
			// A machine that qualifies again waits until the old copy has gone; then its number is free.
			if m != "" && lacking[m] {
				delete(lacking, m)
				wanted[n] = true
			}
		case m == "":
			pending = append(pending, n)
		case lacking[m]:
			delete(lacking, m)
			wanted[n] = true
		case d.keepsData(n, m):
			wanted[n] = true
		default:
			reasons[n] = d.whyNotHere(m)
		}
	}
	for _, n := range pending {
		if len(lacking) == 0 {
			reasons[n] = fmt.Sprintf("each of %d machines has its replica", len(d.in.Allowed))
			continue
		}
		d.settleOn(lacking, n)
		wanted[n] = true
	}
	d.number(wanted, lacking)
	return wanted, func(n uint32) string { return reasons[n] }
}

// keepsData reports whether a replica stays on a machine that is being drained, because its data is there.
func (d *decision) keepsData(n uint32, machine string) bool {
	m, v := d.in.Machine(machine), d.homes[n]
	return m.Draining && !m.StopData && !m.StopAll && v != nil && v.GetMachine() == machine
}

func (d *decision) whyNotHere(machine string) string {
	m := d.in.Machine(machine)
	switch {
	case !m.Known:
		return fmt.Sprintf("its machine %s was removed from the cluster", machine)
	case slices.Contains(d.in.Allowed, machine):
		return fmt.Sprintf("%s has another replica of the stack, and one belongs to each machine", m.Name)
	case m.Draining:
		return m.Name + " is being drained"
	default:
		return fmt.Sprintf("%s no longer meets what the stack requires", m.Name)
	}
}

// settleOn takes one machine off the list for a replica: the one with its volume, else the lowest.
func (d *decision) settleOn(lacking map[string]bool, n uint32) {
	if v := d.homes[n]; v != nil && lacking[v.GetMachine()] {
		delete(lacking, v.GetMachine())
		return
	}
	for _, id := range d.in.Allowed {
		if lacking[id] {
			delete(lacking, id)
			return
		}
	}
}

// number finds numbers for machines without a replica.
func (d *decision) number(wanted map[uint32]bool, lacking map[string]bool) {
	taken := map[uint32]bool{}
	for _, r := range d.in.Replicas {
		taken[r.GetKey().GetNumber()] = true
	}
	for _, n := range sortedKeys(d.homes) {
		if m := d.homes[n].GetMachine(); lacking[m] && !taken[n] {
			delete(lacking, m)
			wanted[n], taken[n] = true, true
		}
	}
	for next := uint32(1); len(lacking) > 0; next++ {
		if taken[next] || d.homes[next] != nil {
			continue
		}
		wanted[next] = true
		for _, id := range d.in.Allowed {
			if lacking[id] {
				delete(lacking, id)
				break
			}
		}
	}
}
