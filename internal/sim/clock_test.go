package sim

import (
	"testing"
	"time"
)

// TestReading: times that are made compare by their monotonic reading and show their wall, as those of time.Now.
func TestReading(t *testing.T) {
	wall := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	a, b := reading(wall, time.Hour), reading(wall.Add(-24*time.Hour), time.Hour+time.Second)
	if d := b.Sub(a); d != time.Second || !b.After(a) {
		t.Errorf("a second passed while the wall was set back a day, and it is %s", d)
	}
	if !a.Round(0).Equal(wall) || a.UnixNano() != wall.UnixNano() || a.Add(time.Minute).UTC().Round(0) != wall.Add(time.Minute) {
		t.Errorf("the wall shows %s and not %s", a, wall)
	}
	if d := a.Sub(wall.Add(-time.Minute)); d != time.Minute {
		t.Errorf("beside a time from a file a minute is %s", d)
	}
	if a.IsZero() {
		t.Error("it is the zero time")
	}
}

// TestClock: a clock that runs fast passes more than true time, and goes on from what it showed.
func TestClock(t *testing.T) {
	w := New(Config{Calm: true})
	c := w.newClock()
	begin := c.now()
	c.run(1 + rho)
	w.now = w.now.Add(100 * time.Second)
	c.run(1)
	w.now = w.now.Add(100 * time.Second)
	c.wrong = -time.Hour
	if d := c.now().Sub(begin).Round(time.Millisecond); d != 202*time.Second {
		t.Errorf("200 s are %s", d)
	}
	if d := c.wall().Sub(begin.Round(0)).Round(time.Millisecond); d != 202*time.Second-time.Hour {
		t.Errorf("by the wall, set back an hour, 200 s are %s", d)
	}
}
