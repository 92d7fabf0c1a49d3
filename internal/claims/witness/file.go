package witness

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/argosy-cluster/argosy/internal/claims"
)

const kind = "leases"

// Encode makes the bytes of a table's file.
func Encode(t Table) ([]byte, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("write the lease table: %w", err)
	}
	return claims.Frame(kind, text), nil
}

// Decode reads a table's file. Whatever it refuses must be opened as lost.
func Decode(file []byte) (Table, error) {
	text, err := claims.Unframe(kind, file)
	if err != nil {
		return Table{}, err
	}
	var t Table
	if err := json.Unmarshal(text, &t); err != nil {
		return Table{}, fmt.Errorf("read the lease table: %w", err)
	}
	if err := t.validate(); err != nil {
		return Table{}, fmt.Errorf("read the lease table: %w", err)
	}
	return t, nil
}

// Choose reads a table of which two files are written in turn, so that one is whole when the power fails during a write.
// Empty files (nil, or nothing but zeros) were never written. One that is damaged may have been the newer one, answered for
// long ago: what the other says is then not known to be the newest, and whole is false.
func Choose(a, b []byte) (t Table, whole bool, why string) {
	ta, errA := Decode(a)
	tb, errB := Decode(b)
	switch {
	case errA == nil && errB == nil && ta.Serial == tb.Serial:
		return ta, false, fmt.Sprintf("both files of the lease table claim to be number %d; this server has no vote until the waiting time has passed", ta.Serial)
	case errA == nil && errB == nil:
		if ta.Serial < tb.Serial {
			ta = tb
		}
		return ta, true, ""
	case errA == nil && blank(b):
		return ta, ta.Serial == 1, first(ta)
	case errB == nil && blank(a):
		return tb, tb.Serial == 1, first(tb)
	case blank(a) && blank(b):
		return Table{}, false, "there is no lease table yet; this server has no vote until the waiting time has passed"
	}
	t, err := ta, errB
	if errA != nil {
		t, err = tb, errA
	}
	return Table{Serial: t.Serial}, false, fmt.Sprintf("a file of the lease table cannot be used (%v); this server has no vote until the waiting time has passed", err)
}

// first explains why a table alone is believed only when it is the very first: later ones leave two files.
func first(t Table) string {
	if t.Serial == 1 {
		return ""
	}
	return fmt.Sprintf("of the lease table only number %d is there, and the other file is gone; this server has no vote until the waiting time has passed", t.Serial)
}

func blank(file []byte) bool {
	for _, b := range file {
		if b != 0 {
			return false
		}
	}
	return true
}

func (t Table) validate() error {
	if t.Config.Epoch.IsZero() {
		if len(t.Records) > 0 || !t.Silent {
			return errors.New("it has no set of servers, and yet claims to know something")
		}
	} else if err := t.Config.Validate(); err != nil {
		return err
	}
	if len(t.Records) > MaxRecords {
		return fmt.Errorf("it has %d claims, and %d are allowed", len(t.Records), MaxRecords)
	}
	if !t.Floor.IsZero() {
		if err := claims.CheckToken(t.Floor); err != nil {
			return fmt.Errorf("the floor of what was dropped: %w", err)
		}
	}
	for i, r := range t.Records {
		switch {
		case r.Claim == "" || r.Machine == "" || r.Session == "":
			return fmt.Errorf("record %d has no claim, machine or session", i)
		case r.State > Fenced:
			return fmt.Errorf("claim %s is in state %d, which this release does not know", r.Claim, r.State)
		case i > 0 && r.Claim <= t.Records[i-1].Claim:
			return fmt.Errorf("claim %s is out of order", r.Claim)
		}
		if err := claims.CheckToken(r.Token); err != nil {
			return fmt.Errorf("claim %s: %w", r.Claim, err)
		}
	}
	return nil
}
