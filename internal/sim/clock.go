package sim

import (
	"time"
	"unsafe"
)

// rho bounds how much faster or slower than true time a clock may run: ρ of SINGLE-WRITER.md.
const rho = 0.02

// clock is a machine's or a server's. The processes there know no other time.
type clock struct {
	w *World
	// shown is what its monotonic reading was at the true instant from; since then it runs at rate.
	from  time.Time
	shown time.Duration
	rate  float64
	// wrong is how far its wall reading is ahead of what it would be had nobody set it.
	wrong time.Duration
}

func (w *World) newClock() *clock { return &clock{w: w, from: w.now, shown: w.Since(), rate: 1} }

func (c *clock) elapsed() time.Duration {
	return c.shown + time.Duration(c.rate*float64(c.w.now.Sub(c.from)))
}

// now is what time.Now returns there.
func (c *clock) now() time.Time {
	e := c.elapsed()
	return reading(c.w.start.Add(e+c.wrong), e)
}

// wall is what an engine writes down, or what comes back from a file: without a monotonic reading.
func (c *clock) wall() time.Time { return c.w.start.Add(c.elapsed() + c.wrong) }

// run changes the rate.
func (c *clock) run(rate float64) {
	c.shown, c.from, c.rate = c.elapsed(), c.w.now, rate
}

// lasts is how much true time passes while this clock passes d.
func (c *clock) lasts(d time.Duration) time.Duration { return time.Duration(float64(d) / c.rate) }

// passes is how much this clock passes in a true time.
func (c *clock) passes(d time.Duration) time.Duration { return time.Duration(float64(d) * c.rate) }

// reading makes a time with a wall and a monotonic reading, as time.Now does, which the package time offers no other way to:
// instants compare by the monotonic reading, are stored and shown by the wall's. TestReading holds what is relied on.
func reading(wall time.Time, mono time.Duration) time.Time {
	const hasMonotonic, nsecBits, to1885 = 1 << 63, 30, 2682288000 // seconds from 1885 to 1970
	t := time.Time{}
	(*instant)(unsafe.Pointer(&t)).wall = hasMonotonic | uint64(wall.Unix()+to1885)<<nsecBits | uint64(wall.Nanosecond())
	(*instant)(unsafe.Pointer(&t)).ext = int64(mono)
	return t
}

// instant is how package time lays out a Time.
type instant struct {
	wall uint64
	ext  int64
	loc  *time.Location
}
