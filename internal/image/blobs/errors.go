package blobs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Errors that callers tell apart. Each is wrapped with what it is about.
var (
	ErrUnknown  = errors.New("not known here")
	ErrBusy     = errors.New("somebody else is sending this at the moment")
	ErrTooLarge = errors.New("too large")
	ErrFull     = errors.New("the server's disk is too full")
	ErrInvalid  = errors.New("not valid")
)

// OffsetError says that an upload was to go on at another place than it stands at.
type OffsetError struct{ Have, Want int64 }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("the upload stands at byte %d, not at %d: go on from there", e.Have, e.Want)
}

// DigestError says that content is not what it was announced as. The content is gone.
type DigestError struct{ Want, Got image.Digest }

func (e *DigestError) Error() string {
	return fmt.Sprintf("the content was announced as %s and is %s: it was damaged on its way, send it again", e.Want, e.Got)
}

// MissingError lists what a manifest needs and the tenant has not sent.
type MissingError struct{ Digests []image.Digest }

func (e *MissingError) Error() string {
	var names []string
	for _, d := range e.Digests {
		names = append(names, string(d))
	}
	return "the manifest needs blobs that were not sent: " + strings.Join(names, ", ")
}
