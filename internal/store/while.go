package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// failedTime is how long what is done with a store may take to end when the store failed.
const failedTime = 3 * time.Second

// While does something with a store until it has ended, or the store failed: then its context is done and the failure
// returned, soon, whatever still waits for the store. A store that gave up in the middle of a transaction never answers, and
// never says so; a server that waits for it would be taken for one that runs.
func While(ctx context.Context, failed <-chan error, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	var err error
	select {
	case err = <-ended:
		if err == nil {
			return nil
		}
		select {
		case cause := <-failed: // the reason of the other
			return storeFailed(cause)
		default:
			return err
		}
	case err = <-failed:
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(failedTime):
	}
	return storeFailed(err)
}

func storeFailed(cause error) error { return fmt.Errorf("the store failed: %w", cause) }

// askAgain is the time between two tries of Answered.
const askAgain = 250 * time.Millisecond

// Answered does something with a store, and again for as long as that is unavailable, as it is for a moment whenever its members elect
// another leader. Waiting is called with the first such error. What it does may be done more than once.
func Answered(ctx context.Context, waiting func(error), do func(context.Context) error) error {
	for first := true; ; first = false {
		err := do(ctx)
		if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		if first {
			waiting(err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askAgain):
		}
	}
}
