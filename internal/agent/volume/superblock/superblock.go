// Package superblock reads what an ext4 file system says of itself, from the 1,024 bytes at offset 1,024 of its device. It
// is pure, and the device may hold anything:
//
//	sb, err := superblock.Parse(bytes)
//	if errors.Is(err, superblock.ErrOther) { … }
//	if sb.NeedsRepair() { … }
package superblock

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// Where it is, and how long.
const (
	Offset = 1024
	Size   = 1024
)

// ErrOther tells that there is no ext file system.
var ErrOther = errors.New("it holds no ext4 file system")

const (
	magic = 0xEF53

	stateValid  = 0x1
	stateErrors = 0x2

	compatJournal   = 0x4
	incompatRecover = 0x4
	incompatJournal = 0x8 // the device is another file system's journal
	incompatExtents = 0x40
	incompat64bit   = 0x80
	incompatMMP     = 0x100
)

// Superblock is what is looked at.
type Superblock struct {
	UUID  string
	Label string
	// Extents tells ext4 from ext3 and ext2, Journal ext2 from the others.
	Extents, Journal bool
	// Replay: it was not unmounted; the next mount brings it up to date from its journal.
	Replay bool
	// MMP: the file system notices when it is mounted twice. Interval is how often the holder says that it lives, in seconds.
	MMP         bool
	MMPInterval uint16
	// Errors counts what the kernel found wrong since it was last checked.
	Errors uint32
	// Bytes is its size.
	Bytes uint64

	state uint16
}

// Parse reads a superblock. A copy in another block group is not one, nor is the journal of another file system.
func Parse(b []byte) (Superblock, error) {
	le := binary.LittleEndian
	if len(b) < Size || le.Uint16(b[0x38:]) != magic {
		return Superblock{}, ErrOther
	}
	compat, incompat := le.Uint32(b[0x5C:]), le.Uint32(b[0x60:])
	shift, blocks := le.Uint32(b[0x18:]), uint64(le.Uint32(b[0x04:]))
	if incompat&incompat64bit != 0 {
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	switch {
	case incompat&incompatJournal != 0:
		return Superblock{}, fmt.Errorf("%w: it is the journal of another one", ErrOther)
	case le.Uint16(b[0x5A:]) != 0:
		return Superblock{}, fmt.Errorf("%w: its first superblock is a copy from within one", ErrOther)
	case shift > 6 || blocks == 0 || blocks > 1<<63>>(10+shift):
		return Superblock{}, fmt.Errorf("%w: its superblock makes no sense", ErrOther)
	}
	sb := Superblock{
		UUID: uuid(b[0x68:0x78]), Label: label(b[0x78:0x88]),
		Extents: incompat&incompatExtents != 0, Journal: compat&compatJournal != 0, Replay: incompat&incompatRecover != 0,
		MMP: incompat&incompatMMP != 0, MMPInterval: le.Uint16(b[0x166:]), Errors: le.Uint32(b[0x194:]),
		Bytes: blocks << (10 + shift), state: le.Uint16(b[0x3A:]),
	}
	return sb, nil
}

// NeedsRepair says whether the file system asks to be checked before it is mounted: the kernel found it damaged, or it has
// no journal and was not unmounted.
func (s Superblock) NeedsRepair() bool {
	return s.state&stateErrors != 0 || s.state&stateValid == 0
}

func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// label is empty when it cannot be shown: a manifest cannot name it either.
func label(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return ""
		}
	}
	return string(b)
}
