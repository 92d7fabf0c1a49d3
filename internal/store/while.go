package store

import (
	"context"
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
