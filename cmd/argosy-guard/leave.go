package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/lease"
)

const (
	// answerTime is how long a guard may take to answer: one that was killed is back long before.
	answerTime = 5 * time.Second
	// clearTime is for killing, unmounting and looking for quiet, when patience is over; the longest of the timings takes less.
	clearTime = 20 * time.Second
	// tellTime is how long is waited for the servers to hear of it once nothing can write any more. Without them nobody else gets a
	// lease either.
	tellTime = 5 * time.Second
)

// leave has the guard that runs give everything back, and says what it did.
func leave(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.patience+clearTime+answerTime, errors.New("it takes too long"))
	defer cancel()
	quiet := time.Time{}
	begun := time.Now()
	err := order(ctx, o, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Leave{Leave: &leasev1.Leave{Patience: int64(o.patience)}}},
		func(s *leasev1.GuardState) (bool, error) {
			if s.GetExposed() == 0 && quiet.IsZero() {
				quiet = time.Now()
			}
			return left(s, quiet, time.Now())
		})
	if err == nil {
		fmt.Fprintf(os.Stderr, "argosy-guard: everything is given back, after %s\n", time.Since(begun).Round(time.Millisecond))
	}
	return err
}

// left decides whether the guard has given everything back; quiet is since when nothing can write, zero while something may.
func left(s *leasev1.GuardState, quiet, now time.Time) (bool, error) {
	switch {
	case !s.GetLeaving() || s.GetExposed() > 0:
		return false, nil
	case s.GetUntold() == 0:
		return true, nil
	case now.Sub(quiet) >= tellTime:
		return true, fmt.Errorf("nothing writes any more, and no majority of the servers hears of it for %d claims: whoever follows waits for their leases", s.GetUntold())
	}
	return false, nil
}

// stays is true of a guard that takes volumes.
func stays(s *leasev1.GuardState) (bool, error) { return !s.GetLeaving(), nil }

// order gives the guard that runs an order, and waits until it is as that asks. A guard that is started anew meanwhile is asked again.
func order(ctx context.Context, o options, what *leasev1.GuardOrder, done func(*leasev1.GuardState) (bool, error)) error {
	silent := time.Now()
	for {
		c, err := net.Dial("unix", filepath.Join(o.state, "guard.sock"))
		if err == nil {
			silent = time.Now()
			var is bool
			if is, err = converse(ctx, c, what, done); is {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("the guard has not done as it was told: %w", context.Cause(ctx))
		case time.Since(silent) >= answerTime:
			return fmt.Errorf("no guard answers at %s: %w", o.state, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// converse gives the order and listens until it is carried out; false when the guard broke off.
func converse(ctx context.Context, c net.Conn, what *leasev1.GuardOrder, done func(*leasev1.GuardState) (bool, error)) (bool, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	if err := errors.Join(lease.SameUser(c), lease.Write(c, what)); err != nil {
		return false, err
	}
	// What the guard says is read by another goroutine, since it says nothing while nothing changes, and time passes.
	said, broke := make(chan *leasev1.GuardState), make(chan error, 1)
	ended, end := context.WithCancel(ctx)
	defer end()
	go func() {
		for {
			m := &leasev1.GuardReport{}
			if err := lease.Read(c, m); err != nil {
				broke <- err
				return
			}
			if s := m.GetGuard(); s != nil {
				select {
				case said <- s:
				case <-ended.Done():
					return
				}
			}
		}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last *leasev1.GuardState
	for {
		select {
		case err := <-broke:
			return false, err
		case last = <-said:
		case <-tick.C:
		}
		if last == nil {
			continue
		}
		if is, err := done(last); is {
			return true, err
		}
	}
}
