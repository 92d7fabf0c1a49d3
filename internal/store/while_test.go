package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What is done with a store that gave up ends, though something waits for that store for ever; a server would be taken for
// one that runs.
func TestWhile(t *testing.T) {
	full, other := errors.New("no space left"), errors.New("another")
	after := func(d time.Duration, err error) func(context.Context) error {
		return func(context.Context) error { time.Sleep(d); return err }
	}
	for _, c := range []struct {
		name   string
		fails  time.Duration // until the store fails; 0 is never
		do     func(context.Context) error
		want   error
		within time.Duration
	}{
		{"it ends", 0, after(time.Second, nil), nil, time.Second},
		{"it ends with an error", 0, after(time.Second, other), other, time.Second},
		{"it waits for the store", time.Second, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, full, time.Second},
		{"it takes a moment to end", time.Second, after(2*time.Second, nil), full, 2 * time.Second},
		{"it hangs", time.Second, after(time.Hour, nil), full, time.Second + failedTime},
		{"it hears first of what the failure does", time.Second, after(2*time.Second, other), full, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failed := make(chan error, 1)
				if c.fails > 0 {
					time.AfterFunc(c.fails, func() { failed <- full })
				}
				begun := time.Now()
				err := While(t.Context(), failed, c.do)
				if !errors.Is(err, c.want) || time.Since(begun) != c.within {
					t.Errorf("%v after %s, not %v after %s", err, time.Since(begun), c.want, c.within)
				}
				time.Sleep(2 * time.Hour) // what hangs ends, for synctest
			})
		})
	}
	t.Run("the failure was there before", func(t *testing.T) {
		failed := make(chan error, 1)
		do := func(context.Context) error { failed <- full; return other }
		if err := While(t.Context(), failed, do); !errors.Is(err, full) {
			t.Errorf("it is %v", err)
		}
	})
}
