package store

import (
	"context"
	"errors"
	"fmt"
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

// TestAnswered: a store that is unavailable is asked again until it is not, or nobody waits any more; any other error is an answer.
func TestAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := errors.New("no")
		for _, c := range []struct {
			name   string
			silent int
			last   error
			told   int
		}{{"at once", 0, nil, 0}, {"the third time", 2, nil, 1}, {"an error", 0, other, 0}, {"an error, later", 5, other, 1}} {
			asked, told := 0, 0
			err := Answered(t.Context(), func(err error) {
				if told++; !errors.Is(err, ErrUnavailable) {
					t.Errorf("%s: waits for %v", c.name, err)
				}
			}, func(context.Context) error {
				if asked++; asked <= c.silent {
					return fmt.Errorf("reading: %w", ErrUnavailable)
				}
				return c.last
			})
			if !errors.Is(err, c.last) || asked != c.silent+1 || told != c.told {
				t.Errorf("%s: %v, asked %d times, told %d times", c.name, err, asked, told)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := Answered(ctx, func(error) {}, func(context.Context) error { return ErrUnavailable }); !errors.Is(err, ErrUnavailable) || ctx.Err() == nil {
			t.Errorf("%v", err)
		}
	})
}
