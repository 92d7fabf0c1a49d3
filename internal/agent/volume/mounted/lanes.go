package mounted

import (
	"context"
	"fmt"
	"sync"
)

// Lanes lets one thing be done at a time for each key, and callers go before it is done. The zero value is ready.
type Lanes struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// Do does f when nothing else is being done for the key. When ctx ends first, f may still be at it; the key stays taken
// until it has ended, and f is to look at ctx before it makes anything visible.
func (l *Lanes) Do(ctx context.Context, key string, f func() error) error {
	for {
		l.mu.Lock()
		if l.held == nil {
			l.held = map[string]chan struct{}{}
		}
		ended, taken := l.held[key]
		if !taken {
			ended = make(chan struct{})
			l.held[key] = ended
			l.mu.Unlock()
			return l.run(ctx, key, ended, f)
		}
		l.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("what was begun at %s has not ended yet: %w", key, ctx.Err())
		}
	}
}

func (l *Lanes) run(ctx context.Context, key string, ended chan struct{}, f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := ctx.Err()
		if err == nil {
			err = f()
		}
		result <- err
		l.mu.Lock()
		delete(l.held, key)
		l.mu.Unlock()
		close(ended)
	}()
	select {
	case <-ended:
		return <-result
	case <-ctx.Done():
		return fmt.Errorf("it has not ended in time at %s: %w", key, ctx.Err())
	}
}
