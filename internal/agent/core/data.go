package core

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Key names a numbered copy of a stack, whatever its incarnation.
type Key struct {
	Tenant, App, Stack string
	Number             uint32
}

// KeyOf reads a key; a nil one gives the zero Key.
func KeyOf(k *argosyv1.ReplicaKey) Key {
	return Key{k.GetTenant(), k.GetApp(), k.GetStack(), k.GetNumber()}
}

// Proto is the inverse of KeyOf.
func (k Key) Proto() *argosyv1.ReplicaKey {
	return &argosyv1.ReplicaKey{Tenant: k.Tenant, App: k.App, Stack: k.Stack, Number: k.Number}
}

// Compare orders keys.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Tenant, o.Tenant), cmp.Compare(k.App, o.App), cmp.Compare(k.Stack, o.Stack), cmp.Compare(k.Number, o.Number))
}

// String is what people call it: shop/lamp.3, with the tenant in front (acme:shop/lamp.3) unless it is the default one.
func (k Key) String() string {
	s := k.App + "/" + k.Stack + "." + strconv.FormatUint(uint64(k.Number), 10)
	if k.Tenant == "" || k.Tenant == "default" {
		return s
	}
	return k.Tenant + ":" + s
}

// ID names one incarnation of a replica.
type ID struct {
	Key
	AppUID      string
	Incarnation uint64
}

// IDOf returns the incarnation that an assignment is about.
func IDOf(a *argosyv1.Assignment) ID {
	return ID{KeyOf(a.GetKey()), a.GetAppUid(), a.GetIncarnation()}
}

// Compare orders incarnations; those of one replica are neighbours.
func (id ID) Compare(o ID) int {
	return cmp.Or(id.Key.Compare(o.Key), cmp.Compare(id.AppUID, o.AppUID), cmp.Compare(id.Incarnation, o.Incarnation))
}

// MemberID names a member of an incarnation. An empty Member stands for the replica as a whole.
type MemberID struct {
	ID
	Member string
}

// ContainerState is where a container stands in its life. Within one life (one StartedAt) it only grows.
type ContainerState int

// States in order.
const (
	Created  ContainerState = iota + 1
	Running                 // a process lives
	Paused                  // a process lives, frozen by somebody
	Exited                  // no process
	Removing                // the engine is removing it
	Dead                    // the engine failed to remove it
)

var stateNames = map[ContainerState]string{Created: "created", Running: "running", Paused: "paused", Exited: "exited", Removing: "removing", Dead: "dead"}

func (s ContainerState) String() string { return stateNames[s] }

// Health is what the engine says of a running container's check.
type Health int

// NoCheck means that the container has no health check.
const (
	NoCheck Health = iota
	CheckStarting
	Healthy
	Unhealthy
)

// Container is one container of this cluster on this machine, as last seen. Strings come from the engine and are bounded
// by whoever fills them in.
type Container struct {
	// ContainerID is the engine's id.
	ContainerID string
	Owner       ID
	Member      string
	// Definition, Revision and Restart are what it was created for.
	Definition string
	Revision   uint64
	Restart    uint64
	// After names the members it depends on, so that it can be stopped in order when nobody knows its spec any more.
	After []string
	// Claims are the tokens that it was made for, as volume=token with commas between; empty when it mounts no shared volume.
	Claims string

	State        ContainerState
	Health       Health
	HealthOutput string // of the last failed check
	ExitCode     int
	OOMKilled    bool
	Error        string // the engine's, of the last start
	CreatedAt    time.Time
	StartedAt    time.Time // zero when it never ran
	FinishedAt   time.Time // zero when it never ended
	Address      string
	Ports        []*argosyv1.PublishedPort
	ImageID      string
	PID          int
	// Vanished is the process of a container that the engine calls running though it is gone, see Believe; 0 otherwise. Where State
	// says that it has ended, the engine cannot start it again.
	Vanished int
	// Unit is what systemd shows where the member is a unit; nil for a container.
	Unit *Unit
}

// Alive says whether a process of the container may exist.
func (c Container) Alive() bool {
	return c.State == Running || c.State == Paused || c.State == Removing || c.State == Dead && c.PID != 0
}

// Supersedes says whether c may replace old as what is known of the same container: looks that were overtaken by later
// ones are not believed.
func (c Container) Supersedes(old Container) bool {
	if c.StartedAt.Equal(old.StartedAt) {
		return rank(c.State) >= rank(old.State)
	}
	return c.StartedAt.After(old.StartedAt)
}

func rank(s ContainerState) int {
	if s == Paused {
		return int(Running)
	}
	return int(s)
}

// Seen is what the engine shows.
type Seen struct {
	// Known is false until the engine has been listed, and again while it does not answer.
	Known bool
	// Trouble says why Known is false, in a sentence; it may be empty.
	Trouble    string
	Containers []Container
	// UnitsUnknown is true until systemd has been asked for the machine's units, and again while it does not answer;
	// UnitsTrouble says why. A machine without systemd has none, which is known.
	UnitsUnknown bool
	UnitsTrouble string
	// Unconnected says why containers cannot be connected on this machine, so that none is to start; empty when they can be.
	Unconnected string
	// Claims are what the machine's guard knows of shared volumes, or is about to be asked for. Unguarded says why no guard
	// answers, and is empty when one does.
	Claims    []Claim
	Unguarded string
}

// StepKind is what is to be done.
type StepKind int

// The kinds of steps. Each is idempotent: doing it again after a crash in the middle is right.
const (
	// Wait: nothing now. At says when to decide again; zero when it waits for something to change.
	Wait StepKind = iota + 1
	// Pull makes the member's image present.
	Pull
	// Prepare makes volumes and the files of secrets and configs as the member needs them.
	Prepare
	// Create creates the member's container.
	Create
	// Start starts ContainerID.
	Start
	// Stop stops ContainerID: its stop signal, then the kill after Grace.
	Stop
	// Remove removes ContainerID, which does not run, whatever the engine calls it where Force says so.
	Remove
	// Clean removes what a replica leaves behind: its files and, where asked, its volumes.
	Clean
)

var stepNames = map[StepKind]string{Wait: "wait", Pull: "pull", Prepare: "prepare", Create: "create", Start: "start", Stop: "stop", Remove: "remove", Clean: "clean"}

func (k StepKind) String() string { return stepNames[k] }

// Step is one move, with its reason.
type Step struct {
	Kind StepKind
	MemberID
	// Assignment is the one that wants the step; nil when the step settles what nobody wants.
	Assignment *argosyv1.Assignment
	// Spec is the member's; nil for Clean, for units and where nobody knows it.
	Spec *argosyv1.ContainerSpec
	// Unit is the member's where it is a unit; nil otherwise.
	Unit *argosyv1.Unit
	// Definition of Spec.
	Definition string
	// ContainerID for Start, Stop and Remove.
	ContainerID string
	// Grace for Stop; negative means what the container was created with.
	Grace time.Duration
	// Force for Remove: the engine calls it running, though its process is gone.
	Force bool
	// RemoveVolumes for Clean: the replica's data goes too.
	RemoveVolumes bool
	// Lease is the claim, armed, that the container is made for, of Create; nil when the member mounts no shared volume.
	Lease *Claim
	// Attempt counts starts in a row that did not last; 0 for the first start of a container.
	Attempt int
	// At, for Wait.
	At     time.Time
	Reason string
}

func (s Step) String() string {
	what := s.Key.String()
	if s.Member != "" {
		what += "/" + s.Member
	}
	return fmt.Sprintf("%s %s: %s", s.Kind, what, s.Reason)
}

// FaultKind sorts errors of steps by what they mean for the next step.
type FaultKind int

// Kinds of faults.
const (
	// FaultOther is tried again after a while.
	FaultOther FaultKind = iota
	// FaultNoImage: the image that was there is not there any more.
	FaultNoImage
	// FaultBroken: this container cannot be started ever again; a new one is needed.
	FaultBroken
	// FaultGone: the container does not exist any more, which for Remove and Stop is success.
	FaultGone
	// FaultRefused: whoever was asked said no (no such image, not allowed); tried again, more slowly.
	FaultRefused
)

// Fault is an error of a step. Errors that are no Fault count as FaultOther.
type Fault struct {
	Kind FaultKind
	// Message is a plain sentence for people.
	Message string
	Err     error
}

func (f *Fault) Error() string { return f.Message }
func (f *Fault) Unwrap() error { return f.Err }
