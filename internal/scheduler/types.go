package scheduler

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/argosy-cluster/argosy/internal/placement"
)

// Condition is what a machine is good for. Only Ready machines take replicas.
type Condition uint8

const (
	Ready Condition = iota
	Draining
	Unreachable
	Lost
	Hung        // it answers, and its container engine does not
	Unconnected // it cannot connect containers
)

func (c Condition) String() string {
	switch c {
	case Ready:
		return "ready"
	case Draining:
		return "draining"
	case Unreachable:
		return "unreachable"
	case Lost:
		return "lost"
	case Hung:
		return "hung"
	case Unconnected:
		return "unconnected"
	}
	return fmt.Sprintf("condition %d", uint8(c))
}

// Resources is an amount of what machines have and replicas need. Negative
// amounts count as none.
type Resources struct {
	CPU    int64 // thousandths of a core
	Memory int64 // bytes
}

// Port is a port of the machine. The zero IP means every address of it.
type Port struct {
	IP       netip.Addr
	Port     uint16 // 0 asks for nothing and is ignored
	Protocol string // "tcp", "udp" or "sctp"; "" is "tcp"
}

// TakenPort is a port that something outside Argosy holds.
type TakenPort struct {
	Port Port
	By   string // for people: "sshd"; may be empty
}

// Machine is what the scheduler knows of a machine. The maps and slices are
// kept, not copied: they must not change after SetMachine.
type Machine struct {
	ID        string // unique, never empty; ties are broken by it
	Name      string // for people and for "machine" in expressions
	Labels    map[string]string
	Capacity  Resources
	Reserve   Resources // kept back from Capacity
	Condition Condition
	Ports     []TakenPort
	Storage   placement.Storage // what it has a way to
}

// Stack names a stack of an app.
type Stack struct {
	Tenant, App, Name string
}

// Replica names a replica.
type Replica struct {
	Stack  Stack
	Number int
}

// Strategy says what is best among machines that are otherwise equal.
type Strategy uint8

const (
	Balance Strategy = iota // the least loaded machine
	Pack                    // the fullest machine that still fits
)

// Preference draws a replica to machines where When holds, or pushes it away
// if Weight is negative. Weights of all that hold are added; the sum is
// limited to ±32,000.
type Preference struct {
	When   placement.Expr
	Weight int
}

// SpreadMachine in Shape.Spread means the machine itself; every other key is a
// label. Machines without the label are one domain of their own.
const SpreadMachine = placement.Machine

// Shape is what the replicas of one revision of a stack ask for. It is shared
// by pointer and must not change once it was passed to the scheduler; equal
// shapes behind different pointers are equal.
type Shape struct {
	Need     Resources
	Ports    []Port
	Require  []placement.Expr // all must hold
	Prefer   []Preference
	Spread   []string // most important first
	Apart    []Stack  // never on one machine with a replica of these; may name the own stack
	Together []Stack  // only where a replica of each of these is
	Units    []Unit   // systemd units that it brings
	Strategy Strategy
}

// Pin ties a replica to one machine.
type Pin struct {
	Machine string // id, or name if no machine has that id; "" is no pin
	Why     string // for people, after "because": "volume shop/lamp.3/data is there"
}

// Request is a replica incarnation that needs a machine.
type Request struct {
	Replica     Replica
	Incarnation uint64
	Shape       *Shape // nil asks for nothing
	Pin         Pin
}

// Placed is a replica incarnation that occupies a machine. It is identified by
// Replica, Incarnation and Machine.
type Placed struct {
	Replica     Replica
	Incarnation uint64
	Shape       *Shape // may be nil for Remove
	Machine     string // id; the machine need not be known yet
}

// Decision answers the request of the same index in the batch.
type Decision struct {
	Request   *Request // the element of the batch; never nil
	MachineID string   // "" if the replica has to wait
	At        time.Time
	Reason    Reason
}

// Placed reports whether a machine was found (and is reserved).
func (d *Decision) Placed() bool { return d.MachineID != "" }

// Placement is what Decide reserved. It is meaningful only if Placed.
func (d *Decision) Placement() Placed {
	return Placed{Replica: d.Request.Replica, Incarnation: d.Request.Incarnation, Shape: d.Request.Shape, Machine: d.MachineID}
}

// String is app/stack, and the name of a unit where one stands for a stack.
func (s Stack) String() string {
	if s.App == "" {
		return s.Name
	}
	return s.App + "/" + s.Name
}

func (r Replica) String() string { return fmt.Sprintf("%s.%d", r.Stack, r.Number) }

func (p Port) String() string {
	proto := p.Protocol
	if proto == "" {
		proto = "tcp"
	}
	if !p.IP.IsValid() {
		return fmt.Sprintf("%d/%s", p.Port, proto)
	}
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(p.IP, p.Port), proto)
}
