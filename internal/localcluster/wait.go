package localcluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// errNotYet tells poll to ask again. An error that wraps it says what is missing.
var errNotYet = errors.New("not yet")

// pollInterval is short: what is waited for comes within seconds, and people
// wait with it.
const pollInterval = 50 * time.Millisecond

// poll calls f until it returns nil or an error other than errNotYet, for at
// most limit. Its error when time runs out is what f said last.
func poll(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var last error // from before the time ran out, when errors still told of the matter
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			if !errors.Is(err, errNotYet) {
				return err
			}
			last = err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("gave up after %s: %w", limit, cmp.Or(last, err))
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// notYet is an errNotYet that says what is missing.
func notYet(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errNotYet, fmt.Errorf(format, args...))
}

// answers reports whether somebody listens on the Unix socket.
func answers(socket string) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
