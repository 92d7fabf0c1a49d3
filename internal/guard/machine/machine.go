package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/gate"
	"github.com/argosy-cluster/argosy/internal/guard"
)

// Groups are a machine's cgroups; slice.Groups are.
type Groups interface {
	Name(id claims.ID, t claims.Token) string
	Path(name string) string
	Freeze(name string) error
	Thaw(name string) error
	Kill(ctx context.Context, name string) error
	Remove(name string) error
	List() ([]string, error)
}

// Config says what a Machine is made of.
type Config struct {
	// Dir is for the records; on tmpfs.
	Dir    string
	Groups Groups
	// Device and Mount are the drivers of volumes.
	Device, Mount volume.Driver
	// Patience is how long one attempt to clear may take; it is made again until the machine is reset.
	Patience time.Duration
}

// Machine acts. Calls about one claim come one after another; those about several, at the same time.
type Machine struct {
	cfg Config
	mu  sync.Mutex // of records
}

var _ guard.Actuator = (*Machine)(nil)

// Open makes a Machine that goes on where one of this boot was.
func Open(cfg Config) (*Machine, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory for records of claims: %w", err)
	}
	return &Machine{cfg: cfg}, nil
}

// Left names the slices of claims that there are. A guard that does not know until when they may run has to reset the machine.
func (m *Machine) Left() ([]string, error) { return m.cfg.Groups.List() }

// Place says where a claim's volume is. Of a claim that is known nothing is changed.
func (m *Machine) Place(id claims.ID, t claims.Token, v volume.Volume) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.load(id, t)
	switch {
	case errors.Is(err, errUnplaced):
		return m.save(record{Claim: id, Token: t, Volume: v})
	case err != nil:
		return err
	case !reflect.DeepEqual(r.Volume, v) && r.Gate == gate.Frozen && !r.Touched:
		r.Volume = v // nothing came of what was said before
		return m.save(r)
	}
	return nil
}

// Shown is what containers need of a claim, and what people want to know of it.
type Shown struct {
	// Armed: the gate is open. The rest is empty until it is.
	Armed bool
	// Path is to be bound; Slice is to be the parent in the cgroups, and Group where that is.
	Path, Slice, Group, UUID string
	Size, Free               int64
}

// Show says how a claim's gate is.
func (m *Machine) Show(id claims.ID, t claims.Token) Shown {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.load(id, t)
	if err != nil || r.Gate != gate.Armed {
		return Shown{}
	}
	name := m.cfg.Groups.Name(id, t)
	return Shown{Armed: true, Path: r.Published.Path, Slice: name, Group: m.cfg.Groups.Path(name), UUID: r.Published.UUID, Size: r.Published.Size, Free: r.Published.Free}
}

// change reads a record, has it changed, and keeps it before anything is done.
func (m *Machine) change(id claims.ID, t claims.Token, how func(*record) error) (record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.load(id, t)
	if err != nil {
		return r, err
	}
	before := r
	if err := how(&r); err != nil {
		return before, err
	}
	if reflect.DeepEqual(before, r) {
		return r, nil
	}
	return r, m.save(r)
}

// towards moves the gate in a record.
func towards(state gate.State) func(*record) error {
	return func(r *record) error {
		next, ok := gate.Step(r.Gate, state)
		if !ok {
			return errors.New(gate.Why(r.Gate, state))
		}
		r.Gate = next
		return nil
	}
}

func (m *Machine) driver(v volume.Volume) volume.Driver {
	if v.Device != nil {
		return m.cfg.Device
	}
	return m.cfg.Mount
}

// Mount makes the slice, frozen, and the volume visible at the token's path.
func (m *Machine) Mount(ctx context.Context, id claims.ID, t claims.Token) error {
	r, err := m.change(id, t, towards(gate.Frozen))
	if err != nil {
		return err
	}
	if err := m.cfg.Groups.Freeze(m.cfg.Groups.Name(id, t)); err != nil {
		return err
	}
	c, d := volume.Claim{Volume: r.Volume, Token: t}, m.driver(r.Volume)
	// What cannot be had at all must not leave a machine that has to prove that it is quiet.
	if _, err := d.Attach(ctx, r.Volume); err != nil {
		return err
	}
	touch := func(yes bool) error {
		_, err := m.change(id, t, func(r *record) error { r.Touched = yes; return nil })
		return err
	}
	if err := touch(true); err != nil {
		return err
	}
	if err := d.Stage(ctx, c); err != nil {
		if volume.ReasonOf(err) != 0 && d.Unstage(ctx, c) == nil {
			return errors.Join(err, touch(false)) // refused: nothing was mounted, and nothing is
		}
		return err
	}
	pub, err := d.Publish(ctx, c)
	if err != nil {
		return err
	}
	_, err = m.change(id, t, func(r *record) error { r.Published = pub; return nil })
	return err
}

// Arm opens the gate.
func (m *Machine) Arm(_ context.Context, id claims.ID, t claims.Token) error {
	m.mu.Lock()
	r, err := m.load(id, t)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if err := towards(gate.Armed)(&r); err != nil {
		return err
	}
	if err := m.cfg.Groups.Thaw(m.cfg.Groups.Name(id, t)); err != nil {
		return err
	}
	_, err = m.change(id, t, towards(gate.Armed))
	return err
}

// Clear ends what there is. One attempt takes Patience at most; what is not quiet then is told.
func (m *Machine) Clear(ctx context.Context, id claims.ID, t claims.Token) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Patience)
	defer cancel()
	name := m.cfg.Groups.Name(id, t)
	r, err := m.change(id, t, towards(gate.Shut))
	if err != nil {
		return err
	}
	// What does not freeze is killed all the same, and quiet only when it is gone.
	froze := m.cfg.Groups.Freeze(name)
	c, d := volume.Claim{Volume: r.Volume, Token: t}, m.driver(r.Volume)
	// A path in use by somebody outside the slice is tried again once everybody in it is dead.
	hidden := d.Unpublish(ctx, c)
	if err := m.cfg.Groups.Kill(ctx, name); err != nil {
		return errors.Join(err, froze)
	}
	if hidden != nil {
		if err := d.Unpublish(ctx, c); err != nil {
			return err
		}
	}
	var said error
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := d.Unstage(ctx, c)
		if err == nil && r.Touched {
			err = d.Quiet(ctx, r.Volume)
		}
		if err == nil {
			// Whoever was about to start while the path was still there is found now, or held by nothing.
			return m.cfg.Groups.Kill(ctx, name)
		}
		if ctx.Err() == nil || said == nil {
			said = err // what keeps it, and not that there was no time to look again
		}
		// A dead process's mounts are gone a moment after it.
		select {
		case <-ctx.Done():
			return said
		case <-time.After(pause):
		}
		if err := m.cfg.Groups.Kill(ctx, name); err != nil {
			return err
		}
	}
}

// Forget drops the record of a claim of which nothing ever was on this machine. Of any other nothing is dropped.
func (m *Machine) Forget(id claims.ID, t claims.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.load(id, t)
	if errors.Is(err, errUnplaced) || err == nil && (r.Gate != gate.Frozen || r.Touched) {
		return nil
	}
	return errors.Join(err, os.Remove(m.path(id, t)))
}

// Seal removes the slice, and the record with it.
func (m *Machine) Seal(_ context.Context, id claims.ID, t claims.Token) error {
	_, err := m.change(id, t, towards(gate.Sealed))
	if errors.Is(err, errUnplaced) {
		return nil // it was sealed before
	}
	if err != nil {
		return err
	}
	if err := m.cfg.Groups.Remove(m.cfg.Groups.Name(id, t)); err != nil {
		return err
	}
	if err := os.Remove(m.path(id, t)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget claim %s: %w", id, err)
	}
	return nil
}
