package server

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A server whose store gave up ends, though something waits for that store for ever; it would be taken for one that runs.
func TestOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full, other := errors.New("no space left"), errors.New("another")
		ended, gaveUp := make(chan error, 1), make(chan error, 1)
		ended <- other
		if err := outcome(ended, gaveUp); err != other {
			t.Errorf("one that ended: %v", err)
		}
		gaveUp <- full
		begun := time.Now()
		if err := outcome(ended, gaveUp); err != full || time.Since(begun) != gaveUpTime {
			t.Errorf("one that hangs: %v after %s", err, time.Since(begun))
		}
		gaveUp <- full
		time.AfterFunc(time.Second, func() { ended <- full })
		begun = time.Now()
		if err := outcome(ended, gaveUp); err != full || time.Since(begun) != time.Second {
			t.Errorf("one that ends by itself: %v after %s", err, time.Since(begun))
		}
	})
}
