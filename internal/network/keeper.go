package network

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// DefaultRecheck is how often a Keeper looks for drift. A look that finds
// nothing changed costs a few netlink requests.
const DefaultRecheck = 5 * time.Second

// retryFirst is how long a Keeper waits after a first failure; it doubles up to
// the recheck interval.
const retryFirst = 500 * time.Millisecond

// Keeper keeps a machine's network as it was last told to: it applies at once
// what is new, looks again when nudged and every recheck interval, and retries
// what failed.
type Keeper struct {
	// Changed is called when the network is not as wanted, or for another reason than before, and with nil when it is again. Set it
	// before Run; it may be nil.
	Changed func(error)

	driver  Driver
	log     *slog.Logger
	recheck time.Duration
	wake    chan struct{} // holds one: something is to be done

	mu      sync.Mutex
	cfg     Config
	peers   []Peer
	wanted  uint64        // counts calls of Set
	done    uint64        // the wanted that was last applied, well or not
	err     error         // of the last application
	applied chan struct{} // closed and replaced after each application
}

// NewKeeper returns a Keeper that does nothing until Set and Run. A nil log is
// silent; a recheck of 0 means DefaultRecheck.
func NewKeeper(driver Driver, log *slog.Logger, recheck time.Duration) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if recheck <= 0 {
		recheck = DefaultRecheck
	}
	return &Keeper{driver: driver, log: log, recheck: recheck, wake: make(chan struct{}, 1), applied: make(chan struct{})}
}

// Set says what the network shall be from now on. It does not wait.
func (k *Keeper) Set(cfg Config, peers []Peer) {
	k.mu.Lock()
	k.cfg, k.peers = cfg, slices.Clone(peers)
	k.wanted++
	k.mu.Unlock()
	k.Check()
}

// Check asks for a look now, because something may have changed the machine's
// network: Docker was restarted, say. It does not wait.
func (k *Keeper) Check() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Err returns why the network is not wholly as wanted, nil if it is or nothing
// was applied yet.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Wait returns when what was last Set has been applied, with the error of that
// application, or when ctx ends.
func (k *Keeper) Wait(ctx context.Context) error {
	k.mu.Lock()
	target := k.wanted
	for k.done < target {
		ch := k.applied
		k.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
		k.mu.Lock()
	}
	defer k.mu.Unlock()
	return k.err
}

// Run keeps the network until ctx ends. It leaves everything in place: stopping
// the agent stops no traffic.
func (k *Keeper) Run(ctx context.Context) error {
	retry := retryFirst
	timer := time.NewTimer(k.recheck)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.wake:
		case <-timer.C:
		}
		next := k.recheck
		if k.apply(ctx) != nil {
			next = min(retry, k.recheck)
			retry = min(2*retry, k.recheck)
		} else {
			retry = retryFirst
		}
		timer.Reset(next)
	}
}

func (k *Keeper) apply(ctx context.Context) error {
	k.mu.Lock()
	cfg, peers, wanted, before := k.cfg, k.peers, k.wanted, k.err
	k.mu.Unlock()
	if wanted == 0 {
		return nil
	}
	err := k.driver.Apply(ctx, cfg, peers)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k.mu.Lock()
	k.done, k.err = wanted, err
	close(k.applied)
	k.applied = make(chan struct{})
	k.mu.Unlock()

	// Said once when it begins and once when it ends, not at each retry.
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		k.log.Warn("network is not as wanted", "error", err)
		k.tell(err)
	case err == nil && before != nil && !errors.Is(before, context.Canceled):
		k.log.Info("network is as wanted again")
		k.tell(nil)
	}
	return err
}

func (k *Keeper) tell(err error) {
	if k.Changed != nil {
		k.Changed(err)
	}
}
