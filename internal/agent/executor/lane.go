package executor

import (
	"context"
	"sync"
	"time"
)

// lane bounds how many works are under way. One that takes longer than patience gives its place to the next and goes on
// outside, so that what hangs holds nobody up.
type lane struct {
	places   chan struct{}
	patience time.Duration
}

func newLane(places int, patience time.Duration) *lane {
	return &lane{make(chan struct{}, places), patience}
}

func (l *lane) do(ctx context.Context, work func() error) error {
	select {
	case l.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	leave := sync.OnceFunc(func() { <-l.places })
	timer := time.AfterFunc(l.patience, leave)
	defer timer.Stop()
	defer leave()
	return work()
}
