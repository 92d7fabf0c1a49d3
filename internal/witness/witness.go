package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/argosy-cluster/argosy/internal/claims"
	table "github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// Config says what a witness needs to know.
type Config struct {
	// Dir is where it keeps what it keeps. It is made if it is not there.
	Dir string
	// ID is the id of the server beside it.
	ID claims.Witness
	// Profile is the cluster's timing.
	Profile claims.Profile
	Log     *slog.Logger
	// Clock is a witness's, unless a test has another.
	Clock interface{ Now() time.Duration }
}

// Witness is one that was opened.
type Witness struct {
	cfg      Config
	id       *lease.Identity
	files    *files
	lock     *os.File
	machines *machines

	mu      sync.Mutex
	state   table.State
	trouble string

	guards guards
}

// Open reads what a witness keeps. Whoever it gave claims to before counts as heard now; if its table is not surely the newest, it
// has no vote for the waiting time, which the log says.
func Open(cfg Config) (*Witness, error) {
	if err := cfg.Profile.Validate(); err != nil {
		return nil, err
	}
	if cfg.ID == "" {
		return nil, errors.New("a witness needs the id of the server that it stands beside")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the witness's directory: %w", err)
	}
	w := &Witness{cfg: cfg}
	if err := w.open(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *Witness) open() (err error) {
	if w.lock, err = lock(w.cfg.Dir); err != nil {
		return err
	}
	if w.id, err = lease.LoadIdentity(filepath.Join(w.cfg.Dir, "key")); err != nil {
		return err
	}
	if w.machines, err = openMachines(w.cfg.Dir); err != nil {
		return err
	}
	if w.files, err = openFiles(w.cfg.Dir); err != nil {
		return err
	}
	if w.cfg.Clock == nil {
		if w.cfg.Clock, err = lease.NewWitnessClock(); err != nil {
			return err
		}
	}
	t, whole, why, err := w.files.read()
	if err != nil {
		return err
	}
	if why != "" {
		w.cfg.Log.Warn("the lease table begins anew", "why", why)
	}
	state, effects := table.Open(w.cfg.Clock.Now(), w.cfg.ID, w.cfg.Profile, t, whole)
	if _, err := w.carryOut(effects); err != nil {
		return err
	}
	w.state = state
	return nil
}

// Close lets go of the files. Run must have returned.
func (w *Witness) Close() error {
	var errs []error
	if w.files != nil {
		errs = append(errs, w.files.close())
	}
	if w.lock != nil {
		errs = append(errs, w.lock.Close())
	}
	return errors.Join(errs...)
}

// Key is what guards know this witness by.
func (w *Witness) Key() lease.Pin { return w.id.Pin }

// Run serves guards and the server until ctx is done, and closes both listeners.
func (w *Witness) Run(ctx context.Context, guards, server net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _, _ = guards.Close(), server.Close() })
	defer stop()
	g.Go(func() error { return w.serve(ctx, guards, w.guard) })
	g.Go(func() error { return w.serve(ctx, server, w.server) })
	g.Go(func() error { return w.wake(ctx) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// serve takes connections in. One that cannot be taken in for want of files or memory is tried again.
func (w *Witness) serve(ctx context.Context, l net.Listener, each func(context.Context, net.Conn)) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			w.cfg.Log.Warn("a connection could not be taken in", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		all.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			defer c.Close()
			each(ctx, c)
		})
	}
}

// step has one thing happen to the table, and returns the answer where there is one. If the table cannot be written, nothing
// has happened.
func (w *Witness) step(e table.Event) (*claims.Ack, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next, effects := table.Step(w.state, w.cfg.Clock.Now(), e)
	ack, err := w.carryOut(effects)
	if err != nil {
		if w.trouble == "" {
			w.cfg.Log.Error("the lease table cannot be written: guards are not answered where it would change", "err", err)
		}
		w.trouble = err.Error()
		return nil, err
	}
	w.state = next
	return ack, nil
}

// carryOut does what a step asked for, in that order.
func (w *Witness) carryOut(effects []table.Effect) (ack *claims.Ack, err error) {
	for _, e := range effects {
		switch e := e.(type) {
		case table.Save:
			if err := w.files.write(e.Table); err != nil {
				return nil, err
			}
			w.trouble = ""
		case table.Reply:
			ack = &e.Ack
		}
	}
	return ack, nil
}

// wake steps when the table wants it to, though nothing came.
func (w *Witness) wake(ctx context.Context) error {
	const look = time.Second
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		w.mu.Lock()
		at, due := table.Wake(w.state)
		due = due && w.cfg.Clock.Now() >= at
		w.mu.Unlock()
		if due {
			_, _ = w.step(table.Tick{}) // that it could not be written is in the trouble, and it is tried again
		}
	}
}
