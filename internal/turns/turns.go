package turns

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Delay is what RFC 8305 gives one address before the next is tried as well.
const Delay = 250 * time.Millisecond

// ErrAnother is the cause with which the context of one that is let go ends.
var ErrAnother = errors.New("another one answered")

// Said is what one of them said.
type Said[T any] struct {
	Index int
	Value T
	Err   error
}

// Ask asks n of them and yields what they say, as it comes. The next one is asked when what was yielded was not enough, or nothing came for
// the delay. Once no more is taken, the contexts of those that are still asked end, and what they say nevertheless is dropped. The context
// that was given to one that answered lives on as long as ctx.
func Ask[T any](ctx context.Context, delay time.Duration, n int, ask func(ctx context.Context, i int) (T, error), drop func(T)) iter.Seq[Said[T]] {
	return func(yield func(Said[T]) bool) {
		heard := make(chan Said[T], n)
		asked := map[int]context.CancelCauseFunc{}
		turn := time.NewTimer(0)
		defer turn.Stop()
		for next := 0; next < n || len(asked) > 0; {
			select {
			case <-turn.C:
				if next == n {
					continue
				}
				i := next
				next++
				ctx, cancel := context.WithCancelCause(ctx)
				asked[i] = cancel
				go func() {
					v, err := ask(ctx, i)
					heard <- Said[T]{i, v, err}
				}()
				turn.Reset(delay)
			case said := <-heard:
				if said.Err != nil {
					asked[said.Index](said.Err) // nothing of it lives on
				}
				delete(asked, said.Index)
				if !yield(said) {
					letGo(asked, heard, drop)
					return
				}
				turn.Reset(0)
			}
		}
	}
}

func letGo[T any](asked map[int]context.CancelCauseFunc, heard <-chan Said[T], drop func(T)) {
	for _, cancel := range asked {
		cancel(ErrAnother)
	}
	go func() {
		for range len(asked) {
			if late := <-heard; late.Err == nil {
				drop(late.Value)
			}
		}
	}()
}
