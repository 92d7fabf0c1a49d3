package witness

import (
	"fmt"
	"path/filepath"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// machines are those whose guards are spoken to, by their keys. They are kept, so that guards are answered while the server is
// away.
type machines struct {
	path string
	set  atomic.Pointer[map[lease.Pin]claims.Machine]
}

// machinesKind is what the file says that it is.
const machinesKind = "machines"

// maxMachines bounds what a server may tell.
const maxMachines = 20_000

func openMachines(dir string) (*machines, error) {
	m := &machines{path: filepath.Join(dir, "machines")}
	m.set.Store(&map[lease.Pin]claims.Machine{})
	file, err := readIfThere(m.path)
	if err != nil {
		return nil, fmt.Errorf("reading which machines there are: %w", err)
	}
	if file == nil {
		return m, nil
	}
	text, err := claims.Unframe(machinesKind, file)
	if err != nil {
		return m, nil // the server tells them again; until then nobody is spoken to
	}
	list := &leasev1.Machines{}
	if err := proto.Unmarshal(text, list); err != nil {
		return m, nil
	}
	if set, err := setOf(list); err == nil {
		m.set.Store(&set)
	}
	return m, nil
}

func setOf(list *leasev1.Machines) (map[lease.Pin]claims.Machine, error) {
	if n := len(list.GetMachines()); n > maxMachines {
		return nil, fmt.Errorf("%d machines, and %d are allowed", n, maxMachines)
	}
	set := make(map[lease.Pin]claims.Machine, len(list.GetMachines()))
	for _, m := range list.GetMachines() {
		pin, err := lease.PinOf(m.GetKey())
		if err != nil {
			return nil, fmt.Errorf("machine %q: %w", m.GetId(), err)
		}
		if other, twice := set[pin]; twice || m.GetId() == "" {
			return nil, fmt.Errorf("machine %q has no id, or the key of %q", m.GetId(), other)
		}
		set[pin] = claims.Machine(m.GetId())
	}
	return set, nil
}

// replace takes in all machines, instead of those known before.
func (m *machines) replace(list *leasev1.Machines) error {
	set, err := setOf(list)
	if err != nil {
		return err
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(list)
	if err != nil {
		return fmt.Errorf("keeping which machines there are: %w", err)
	}
	if err := lease.ReplaceFile(m.path, claims.Frame(machinesKind, text)); err != nil {
		return fmt.Errorf("keeping which machines there are: %w", err)
	}
	m.set.Store(&set)
	return nil
}

// of is the machine that has a key.
func (m *machines) of(p lease.Pin) (claims.Machine, bool) {
	id, ok := (*m.set.Load())[p]
	return id, ok
}
