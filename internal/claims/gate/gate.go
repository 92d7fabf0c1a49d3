// Package gate is what stands between a token and a process that writes with it: the claim's slice, and the path at which
// its volume is mounted, both of which carry the token in their names.
//
//	Frozen ──Arm──▶ Armed ──Shut──▶ Shut ──Seal──▶ Sealed
//	   └───────────────Shut──────────▲
//
// States are ordered and only grow, so an order that comes late or twice does nothing that a newer one did not want:
//
//	next, ok := gate.Step(state, order)
//	if !ok { refuse: gate.Why(state, order) }
//	make the slice be as next says, and only then keep next
package gate

import "fmt"

// State is how far a gate is. The zero State is that of a slice that was just made.
type State uint8

// The states of a gate.
const (
	Frozen State = iota // the slice is frozen: what is started in it does not run
	Armed               // thawed: the only state in which anything runs
	Shut                // frozen for ever; what is in it is being killed
	Sealed              // empty, unmounted and removed: a start that comes now finds neither slice nor path
)

func (s State) String() string {
	switch s {
	case Frozen:
		return "frozen"
	case Armed:
		return "armed"
	case Shut:
		return "shut"
	case Sealed:
		return "sealed"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Runs tells whether a process in the slice may run.
func (s State) Runs() bool { return s == Armed }

// Accepts tells whether a process can be put into the slice at all.
func (s State) Accepts() bool { return s == Frozen || s == Armed }

// Step moves a gate towards a state. What is reached already, or passed, stays as it is; ok is false when that is not
// what was asked for, which is so for arming what was shut, and for sealing what was never shut.
func Step(s, towards State) (next State, ok bool) {
	switch {
	case towards > Sealed || s > Sealed:
		return s, false
	case towards == Frozen:
		return s, s == Frozen
	case towards == Armed:
		if s > Armed {
			return s, false
		}
		return Armed, true
	case towards == Sealed && s < Shut:
		return s, false
	}
	return max(s, towards), true
}

// Why says why Step refused.
func Why(s, towards State) string {
	return fmt.Sprintf("the gate is %v and cannot become %v: a token is used once", s, towards)
}
