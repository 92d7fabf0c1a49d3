package agent

import (
	"context"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestPaceOf(t *testing.T) {
	const own = 15 * time.Second
	for _, c := range []struct{ asked, own, want time.Duration }{
		{0, own, own}, {2 * time.Second, own, 2 * time.Second}, {time.Second, own, time.Second},
		{time.Nanosecond, own, time.Second}, {999 * time.Millisecond, own, time.Second},
		{time.Minute, own, own}, {math.MaxInt64, own, own}, {-time.Second, own, own}, {math.MinInt64, own, own},
		{2 * time.Second, time.Second, time.Second}, {time.Nanosecond, 100 * time.Millisecond, 100 * time.Millisecond},
	} {
		if got := paceOf(c.asked, c.own); got != c.want {
			t.Errorf("asked for %v with a pace of %v: %v, want %v", c.asked, c.own, got, c.want)
		}
	}
}

// TestPaceChanges: a quicker pace holds at once, and changes by themselves have nothing done.
func TestPaceChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun, every, changed := time.Now(), 15*time.Second, make(chan struct{})
		var at []int // seconds
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			atPace(ctx, func() (time.Duration, <-chan struct{}) { return every, changed }, func() {
				at = append(at, int(time.Since(begun)/time.Second))
			})
		}()
		set := func(pace time.Duration) {
			synctest.Wait()
			every = pace
			before := changed
			changed = make(chan struct{})
			close(before)
			synctest.Wait()
		}
		until := func(second int, want ...int) {
			t.Helper()
			time.Sleep(time.Until(begun.Add(time.Duration(second) * time.Second)))
			synctest.Wait()
			if !slices.Equal(at, want) {
				t.Errorf("until %d s it was done at %v, want %v", second, at, want)
			}
			at = nil
		}
		until(25, 0, 15)
		set(2 * time.Second) // the last was ten seconds ago: at once
		until(30, 25, 27, 29)
		for range 100 { // nothing comes of it
			set(15 * time.Second)
			set(2 * time.Second)
		}
		until(32, 31)
		set(15 * time.Second)
		until(60, 46)
		set(2 * time.Second)
		until(60, 60)
		set(15 * time.Second)
		set(2 * time.Second)
		until(61)
		cancel()
		<-ended
	})
}
