package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/gate"
)

// record is what has to be known of a claim that is not sealed.
type record struct {
	Claim  claims.ID
	Token  claims.Token
	Volume volume.Volume
	Gate   gate.State
	// Touched: it may have been mounted here, so that quiet has to be verified.
	Touched bool
	// Published is what containers bind.
	Published volume.Published
}

// recordKind marks the file.
const recordKind = "guard-claim"

func (m *Machine) path(id claims.ID, t claims.Token) string {
	return filepath.Join(m.cfg.Dir, m.cfg.Groups.Name(id, t)+".json")
}

func (m *Machine) save(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := m.path(r.Claim, r.Token)
	if err := os.WriteFile(path+".new", claims.Frame(recordKind, text), 0o600); err != nil {
		return fmt.Errorf("keep where the volume of claim %s is: %w", r.Claim, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("keep where the volume of claim %s is: %w", r.Claim, err)
	}
	return nil
}

// errUnplaced tells that nobody said where a volume is.
var errUnplaced = errors.New("nobody said where its volume is")

func (m *Machine) load(id claims.ID, t claims.Token) (record, error) {
	file, err := os.ReadFile(m.path(id, t))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, errUnplaced
	}
	if err != nil {
		return record{}, err
	}
	text, err := claims.Unframe(recordKind, file)
	if err != nil {
		return record{}, fmt.Errorf("the record of claim %s: %w", id, err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, fmt.Errorf("the record of claim %s: %w", id, err)
	}
	if r.Claim != id || r.Token != t || r.Gate > gate.Sealed {
		return record{}, fmt.Errorf("the record of claim %s is that of %s with token %v", id, r.Claim, r.Token)
	}
	return r, nil
}
