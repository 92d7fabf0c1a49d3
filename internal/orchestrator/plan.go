package orchestrator

import (
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Kind is what a change does.
type Kind uint8

const (
	// Create makes the record of a replica and places it.
	Create Kind = iota + 1
	// Adopt gives a replica another revision of which its containers notice nothing; it must still fit its machine.
	Adopt
	// Renew gives a replica that is on no machine the wanted revision and restart.
	Renew
	// Restart gives a replica another revision or restart count that makes its machine recreate containers.
	Restart
	// Replace makes the next incarnation and places it. While Optional and no machine takes it, the present one stays: it
	// may yet return, and then nothing need be restarted.
	Replace
	// Remove sets the goal REMOVE.
	Remove
	// Move makes the next incarnation on another machine. The present one goes on until that is ready, if it is ready itself.
	Move
	// Forget deletes the record of a replica of which nothing is left.
	Forget
	// Settle drops entries of Past: nothing is left of them.
	Settle
	// DropVolume deletes the record of a volume whose machine was removed from the cluster, or which nothing is left of.
	DropVolume
	// Clear makes a record with the goal REMOVE for a volume that outlived its replica, so that its machine deletes it.
	Clear
)

var kindNames = [...]string{"", "create", "adopt", "renew", "restart", "replace", "remove", "move", "forget", "settle", "drop-volume", "clear"}

func (k Kind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

// Change is one thing to be done to a stack, with its reason.
type Change struct {
	Kind Kind
	Key  state.Key
	// Replica is the record as it is; nil for Create, Clear and DropVolume.
	Replica *argosyv1.Replica
	// Revision and Restart are what the replica is to have; for Create, Adopt, Renew, Restart and Replace.
	Revision, Restart uint64
	// Past: for Replace and Move, what to remember of earlier incarnations; for Settle, what is left of the list.
	Past []*argosyv1.PastIncarnation
	// RemoveVolumes: for Remove and Clear, volumes go too; for Forget, their records do.
	RemoveVolumes bool
	// Optional, for Replace.
	Optional bool
	// Volume is the name, for DropVolume; Machine the id, for Clear.
	Volume, Machine string
	// Why is a plain sentence without a full stop.
	Why string
}

// Plan is what should happen to a stack now.
type Plan struct {
	// Changes are independent of each other; there is at most one for each replica besides DropVolume.
	Changes []Change
	// Roll lists the replicas to be changed to the target one at a time, the next one first; it is empty while one that
	// was changed is awaited. The first that can be changed is; one that cannot is no hindrance to those behind it.
	Roll []Change
	// Halted says what a rolling update waits for; Roll is empty then. It is empty when nothing stands in the way. Again is after
	// what time it may go on though nothing else happens, zero when something has to.
	Halted string
	Again  time.Duration
	// Moves lists the replicas that should be elsewhere, to be moved one at a time like those of Roll. MovesHalted says what
	// the next move waits for, empty when nothing stands in the way. One that Changes adopt or restart moves afterwards.
	Moves       []Change
	MovesHalted string
	// Waits says what replicas wait for that are not mentioned in Changes.
	Waits map[state.Key]string
	// Done reports that nothing of the stack is left but, maybe, volumes.
	Done bool
}

// Seen is what the machine of a replica last showed of its current incarnation.
type Seen struct {
	// State is UNSPECIFIED when nobody has seen it lately.
	State             argosyv1.ReplicaState
	Revision, Restart uint64
	// Message is the agent's.
	Message string
	// For is how long it has been seen in that state; less when nobody knows longer.
	For time.Duration
	// Ended: one of its members has ended since it was made, and was started again.
	Ended bool
}

// Machine is what deciding needs to know of a machine. The zero value is a machine that is not in the cluster.
type Machine struct {
	Known     bool
	Name      string
	Condition argosyv1.MachineCondition
	// Draining: it shall have nothing to run, however it stands now. StopData: what has local data there is stopped, too.
	// StopAll: everything is, whether it has a place elsewhere or not.
	Draining, StopData, StopAll bool
}

func (m Machine) lost() bool { return m.Condition == argosyv1.MachineCondition_MACHINE_CONDITION_LOST }

func (m Machine) live() bool {
	return m.Known && (m.Condition == argosyv1.MachineCondition_MACHINE_CONDITION_READY ||
		m.Condition == argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING)
}

// Input is all that decides about one stack.
type Input struct {
	Key state.StackKey
	// App is nil when there is none; then everything of the stack is removed.
	App *argosyv1.App
	// Target is the app's current revision; Spec and Entry are the stack's part in it, nil when it has none.
	Target uint64
	Spec   *argosyv1.StackSpec
	Entry  *argosyv1.ClusterEntry
	// Replicas by number, Volumes by number and name.
	Replicas []*argosyv1.Replica
	Volumes  []*argosyv1.Volume

	// Same reports whether the stack's containers at a revision are defined as at Target.
	Same func(revision uint64) bool
	// Machine describes a machine of the cluster.
	Machine func(id string) Machine
	// Unmet is what a machine does not meet of what Spec requires, empty when it meets all.
	Unmet func(machine string) string
	// Unleased says why a replica cannot have its shared storage where it is, although its machine is not lost: the machine is silent
	// and its lease is over, or it gives it back, or cannot get it. Empty when that is not so. May be nil.
	Unleased func(r *argosyv1.Replica) string
	// Allowed lists, for a stack with one replica on each machine, the ids of the machines that qualify, ascending.
	Allowed []string
	// Seen is what was seen of a replica's current incarnation.
	Seen func(r *argosyv1.Replica) Seen
	// Gone reports whether a machine said that nothing is left of an incarnation.
	Gone func(k state.Key, incarnation uint64, machine string) bool
}

// RestartCount is the restart number that a replica should have: restarts of the whole stack in the upper half, of this
// replica alone in the lower one. It only grows.
func RestartCount(a *argosyv1.App, k state.Key) uint64 {
	return a.GetRestarts()[k.Stack]<<32 + a.GetReplicaRestarts()[ReplicaRestartKey(k.Stack, k.Number)]
}
