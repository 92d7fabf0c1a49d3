package volume

import (
	"context"
	"errors"
	"fmt"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Volume is a shared volume of one replica, and where its data is. Strings of a source are as the replica has them: the
// number of the replica is filled in.
type Volume struct {
	// Name is TENANT/APP/STACK.NUMBER/VOLUME. It stands in the mark on the file system.
	Name string
	// UUID is that of the file system, once it is known; of storage without one, that of the mark. Empty before first use.
	UUID string

	Device *Device // of driver device
	Mount  *Mount  // of driver mount
}

// Device says which block device holds a volume.
type Device struct {
	Source  string // UUID=…, LABEL=… or a path
	Create  bool   // a device that is empty gets a file system
	Options []string
}

// Mount says what mount(8) mounts.
type Mount struct {
	Type, Source string
	Options      []string
}

// Token is the right of one incarnation to write. Tokens of a volume only grow.
type Token = claims.Token

// Claim is one incarnation's right to write a volume.
type Claim struct {
	Volume Volume
	Token  Token
}

// Attached is what was found where a volume shall be.
type Attached struct {
	// At says for people where: /dev/sdb, server:/export.
	At string
	// UUID is that of the file system; empty when there is none yet, or none that can be known before it is mounted.
	UUID string
	// Blank: there is no file system, and Stage makes one.
	Blank bool
	// Detects: the storage itself notices a second mount, so that the class of the volume is timed+detected, not timed.
	Detects bool
}

// Published is a volume that may be written.
type Published struct {
	// Path is what is bound into containers. It carries the token, and exists only while the volume is published.
	Path string
	// UUID is to be kept with the volume, and to be in Volume.UUID from now on.
	UUID string
	// Size and Free are bytes of the file system, as it was published.
	Size, Free int64
}

// Driver makes volumes of one kind reachable on this machine. Every call is idempotent and may be repeated after a crash in
// the middle. A [Refusal] says that trying again changes nothing until somebody did what it says.
type Driver interface {
	// Attach finds the storage and looks at it. It writes nothing, and needs no lease.
	Attach(ctx context.Context, v Volume) (Attached, error)
	// Stage mounts it where nobody looks, at a path with the claim's token. Only who holds the lease may ask for it: an
	// empty device gets its file system here, and a damaged one is repaired.
	Stage(ctx context.Context, c Claim) error
	// Publish verifies what is staged, writes the token into its mark, and makes it visible at a path. What was verified
	// and what is visible there is the same mount, whatever happened to paths meanwhile.
	Publish(ctx context.Context, c Claim) (Published, error)
	// Unpublish takes the path away. What is not published is already so.
	Unpublish(ctx context.Context, c Claim) error
	// Unstage unmounts. What is not staged is already so.
	Unstage(ctx context.Context, c Claim) error
	// Quiet is nil when nothing of this machine can write to the volume any more, whoever mounted it, at which path and in
	// which mount namespace. An error says what still can, or that it cannot be told.
	Quiet(ctx context.Context, v Volume) error
}

// Reason sorts refusals.
type Reason int

// The reasons, by what a person has to look at.
const (
	// Absent: nothing is there.
	Absent Reason = iota + 1
	// Ambiguous: it is there twice.
	Ambiguous
	// Foreign: something else is there.
	Foreign
	// Damaged: it is there and needs a person to repair it.
	Damaged
	// ReadOnly: it cannot be written.
	ReadOnly
	// Overtaken: a later token was there before.
	Overtaken
	// Unverified: what is mounted is not what must be.
	Unverified
	// Busy: something else holds it.
	Busy
	// Misdescribed: what is asked for cannot be.
	Misdescribed
)

// Refusal says that a volume cannot be had, why, and what to do. Nothing was written.
type Refusal struct {
	Reason  Reason
	Message string // a plain sentence, and after a semicolon what to do
	Err     error  // what is behind it, or nil
}

func (r *Refusal) Error() string { return r.Message }
func (r *Refusal) Unwrap() error { return r.Err }

// Refuse makes a refusal.
func Refuse(why Reason, format string, args ...any) *Refusal {
	err := fmt.Errorf(format, args...)
	return &Refusal{Reason: why, Message: err.Error(), Err: errors.Unwrap(err)}
}

// ReasonOf is why a volume was refused; 0 when err is no refusal.
func ReasonOf(err error) Reason {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return 0
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
