package claims

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Stamp is two numbers that only grow, across restores of the store too: a restore raises Generation, everything else
// Revision. The zero Stamp is before all others.
type Stamp struct {
	Generation uint64 `json:"generation"`
	Revision   uint64 `json:"revision"`
}

// Token orders the grants of a claim: the store's generation, and the revision at which the leader committed it.
type Token = Stamp

// Epoch orders configurations of the set of servers likewise.
type Epoch = Stamp

// Compare is negative when s is before o.
func (s Stamp) Compare(o Stamp) int {
	if c := cmp.Compare(s.Generation, o.Generation); c != 0 {
		return c
	}
	return cmp.Compare(s.Revision, o.Revision)
}

// Less tells whether s is before o.
func (s Stamp) Less(o Stamp) bool { return s.Compare(o) < 0 }

// IsZero tells whether this is no stamp at all.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// String is how it is written in names of slices and paths, and given to applications: 1-4711.
func (s Stamp) String() string {
	return strconv.FormatUint(s.Generation, 10) + "-" + strconv.FormatUint(s.Revision, 10)
}

// ParseStamp reads what String wrote, and nothing else.
func ParseStamp(text string) (Stamp, error) {
	g, r, ok := strings.Cut(text, "-")
	gen, errG := strconv.ParseUint(g, 10, 64)
	rev, errR := strconv.ParseUint(r, 10, 64)
	s := Stamp{gen, rev}
	if !ok || errG != nil || errR != nil || s.String() != text {
		return Stamp{}, fmt.Errorf("%q is no token: a generation and a revision are expected, such as 1-4711", text)
	}
	return s, nil
}

// CheckToken refuses what no store can have granted. A witness keeps the highest token that it saw for ever, so one at the
// end of the numbers would keep everybody else out of the claim.
func CheckToken(t Token) error {
	switch {
	case t.Generation == 0 || t.Revision == 0:
		return fmt.Errorf("token %v was never granted: generation and revision begin with 1", t)
	case t.Generation > math.MaxInt32 || t.Revision > math.MaxInt64-1:
		return fmt.Errorf("token %v is beyond what a store counts to", t)
	}
	return nil
}

// ID names a claim: the volume of a replica, as tenant/app/stack.number/volume.
type ID string

// IDOf names the claim of a replica's volume.
func IDOf(tenant, app, stack string, number uint32, volume string) ID {
	return ID(fmt.Sprintf("%s/%s/%s.%d/%s", tenant, app, stack, number, volume))
}

// Session is one life of a machine's guard: random, 128 bits, in hexadecimal. A session whose leases have run out never
// comes back.
type Session string

// Machine is a machine's id.
type Machine string

// Witness is the id of the server that a witness stands beside.
type Witness string

// maxName bounds every name that comes from outside.
const maxName = 512

func checkName(what, name string) error {
	switch {
	case name == "":
		return errors.New(what + " is missing")
	case len(name) > maxName:
		return fmt.Errorf("%s has %d bytes, and %d are allowed", what, len(name), maxName)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] == 0x7f {
			return fmt.Errorf("%s %.40q has a space or a control character", what, name)
		}
	}
	return nil
}
