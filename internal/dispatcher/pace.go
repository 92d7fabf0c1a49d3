package dispatcher

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// How often machines report what they use while somebody watches that. Otherwise they go by their own pace, which is slow.
const (
	watchedPace = 2 * time.Second
	// usageReports bounds what comes in in a second: of 400 machines and less each reports every two seconds, of a thousand
	// every five.
	usageReports = 200
	// paceLinger is how long the last watcher is gone before machines are told, so that one who connects again does not have
	// all of them told twice.
	paceLinger = 10 * time.Second
)

// paceOf is how often each of so many machines reports usage that is watched. It moves in whole seconds, so that not every
// machine that joins has all others told.
func paceOf(machines int) time.Duration {
	return max(watchedPace, time.Duration((machines+usageReports-1)/usageReports)*time.Second)
}

// Watched says how many watch what machines use.
func (c *Core) Watched(now time.Time, watchers int) {
	switch {
	case watchers > 0:
		c.watched, c.slowAt = true, time.Time{}
	case c.watched && c.slowAt.IsZero():
		c.slowAt = now.Add(paceLinger)
	}
	c.setPace()
}

// SlowAt is when Slow has something to do; ok is false when that is not foreseen.
func (c *Core) SlowAt() (at time.Time, ok bool) { return c.slowAt, !c.slowAt.IsZero() }

// Slow has machines go by their own pace again when nobody has watched them for long enough.
func (c *Core) Slow(now time.Time) {
	if at, ok := c.SlowAt(); ok && !now.Before(at) {
		c.watched, c.slowAt = false, time.Time{}
		c.setPace()
	}
}

// setPace follows up on whatever the pace depends on. Sessions compare it with what they were told.
func (c *Core) setPace() {
	var pace time.Duration
	if c.watched {
		pace = paceOf(len(c.machines))
	}
	if pace == c.pace {
		return
	}
	c.pace = pace
	for _, m := range c.machines {
		if m.session != nil {
			c.wake(m.session)
		}
	}
}

func (c *Core) usagePace(s *Session) *argosyv1.UsagePace {
	s.pace = c.pace
	out := &argosyv1.UsagePace{}
	if c.pace > 0 {
		out.Interval = durationpb.New(c.pace)
	}
	return out
}
