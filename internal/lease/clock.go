package lease

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Reading is what the two clocks showed at one instant, since the machine's boot.
type Reading struct {
	Boot time.Duration // CLOCK_BOOTTIME: goes on while the machine is suspended; its rate is corrected by NTP
	Raw  time.Duration // CLOCK_MONOTONIC_RAW: as the hardware counts
}

// Clock says how much time has passed, erring to the side that is safe. Of what the two clocks advanced since it was asked last
// it takes the greater for a guard, whose leases then end rather too early, and the smaller for a witness, which then waits
// rather too long. It never runs backwards, and nobody can set it.
type Clock struct {
	read   func() (Reading, error)
	choose func(a, b time.Duration) time.Duration

	mu      sync.Mutex
	last    Reading
	elapsed time.Duration
}

// NewGuardClock is a guard's. It begins at zero.
func NewGuardClock() (*Clock, error) { return newClock(readClocks, longer) }

// ResumeGuardClock goes on where another process of the same boot was at.
func ResumeGuardClock(at Moment) (*Clock, error) {
	c, err := NewGuardClock()
	if err != nil {
		return nil, err
	}
	c.elapsed, c.last = at.Elapsed, at.Reading
	c.Now()
	return c, nil
}

// NewWitnessClock is a witness's. It begins at zero.
func NewWitnessClock() (*Clock, error) { return newClock(readClocks, shorter) }

// Moment is what a clock has to know to go on in another process of the same boot.
type Moment struct {
	Elapsed time.Duration
	Reading Reading
}

// Moment is now.
func (c *Clock) Moment() Moment {
	c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Moment{c.elapsed, c.last}
}

func longer(a, b time.Duration) time.Duration  { return max(a, b) }
func shorter(a, b time.Duration) time.Duration { return min(a, b) }

func newClock(read func() (Reading, error), choose func(a, b time.Duration) time.Duration) (*Clock, error) {
	first, err := read()
	if err != nil {
		return nil, err
	}
	return &Clock{read: read, choose: choose, last: first}, nil
}

// Now is the time that has passed since the clock was made. It panics if the kernel no longer answers, which it did once: to go
// on without a clock is the one thing that is not safe.
func (c *Clock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.read()
	if err != nil {
		panic(err)
	}
	c.elapsed += max(0, c.choose(r.Boot-c.last.Boot, r.Raw-c.last.Raw))
	c.last = r
	return c.elapsed
}

func readClocks() (Reading, error) {
	var boot, raw unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return Reading{}, fmt.Errorf("reading CLOCK_BOOTTIME: %w", err)
	}
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &raw); err != nil {
		return Reading{}, fmt.Errorf("reading CLOCK_MONOTONIC_RAW: %w", err)
	}
	return Reading{time.Duration(boot.Nano()), time.Duration(raw.Nano())}, nil
}
