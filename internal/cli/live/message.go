package live

import (
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Msg is something that happened.
type Msg interface{ isMsg() }

type (
	// Key is a key that was pressed: its name (up, enter, ctrl+c), and the text that it types, if any.
	Key struct{ Name, Text string }
	// Wheel is a turn of the mouse's wheel, in lines.
	Wheel struct{ Lines int }
	// Resize is the terminal's size.
	Resize struct{ Width, Height int }
	// Tick says what time it is.
	Tick struct{ Now time.Time }
	// Link says that the cluster answers, or, with an Err, that it does not.
	Link struct {
		At  time.Time
		Err string
	}
	// Machines is all machines.
	Machines struct {
		At   time.Time
		List []*argosyv1.MachineStatus
	}
	// Replicas is what changed of replicas.
	Replicas struct {
		At     time.Time
		Change *argosyv1.WatchReplicasResponse
	}
	// Usage is what changed of what they use; with Of, of that replica and its members alone.
	Usage struct {
		At     time.Time
		Change *argosyv1.WatchUsageResponse
		Of     *argosyv1.ReplicaKey
	}
	// Text is what an effect has to show.
	Text struct{ Title, Body string }
	// Notice is a sentence about what could not be done.
	Notice struct{ Text string }
)

func (Key) isMsg()      {}
func (Wheel) isMsg()    {}
func (Resize) isMsg()   {}
func (Tick) isMsg()     {}
func (Link) isMsg()     {}
func (Machines) isMsg() {}
func (Replicas) isMsg() {}
func (Usage) isMsg()    {}
func (Text) isMsg()     {}
func (Notice) isMsg()   {}

// Effect is something that a model wants done.
type Effect interface{ isEffect() }

type (
	// Quit ends the view.
	Quit struct{}
	// Suspend stops the process, as Ctrl-Z does.
	Suspend struct{}
	// HandOver hands the terminal to a command on a replica or, if Member is not empty, a member of it.
	HandOver struct {
		What   Action
		Key    *argosyv1.ReplicaKey
		Member string
	}
	// Explain asks why a replica is where it is; the answer comes as Text.
	Explain struct{ Key *argosyv1.ReplicaKey }
	// WatchMembers asks for the usage of a replica's members from now on, or, without a Key, for none.
	WatchMembers struct{ Key *argosyv1.ReplicaKey }
)

func (Quit) isEffect()         {}
func (Suspend) isEffect()      {}
func (HandOver) isEffect()     {}
func (Explain) isEffect()      {}
func (WatchMembers) isEffect() {}

// Action is what a terminal is handed over for.
type Action int

// The actions.
const (
	Logs Action = iota + 1
	Shell
)
