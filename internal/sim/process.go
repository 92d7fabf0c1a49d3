package sim

import "time"

// process is a run of a program: an agent, or a server while it leads. Whatever happens in it goes through run or after, so
// that one that is over does nothing any more, and one that is stopped does it when it goes on.
type process struct {
	w     *World
	clock *clock
	dead  bool
	stops int // how many have it stopped
	since time.Time
	held  []func()
	// resumed is when it last went on, and stood how long it had been stopped then.
	resumed time.Time
	stood   time.Duration
}

// after has something happen in the process after a while of its own clock.
func (p *process) after(d time.Duration, do func()) {
	p.w.after(p.clock.lasts(max(d, 0)), func() { p.run(do) })
}

// run has something happen in the process now, or once it goes on.
func (p *process) run(do func()) {
	switch {
	case p.dead:
	case p.stops > 0:
		p.held = append(p.held, do)
	default:
		do()
	}
}

// stop is SIGSTOP, or a host that gives its virtual machine no time.
func (p *process) stop() {
	if p.stops++; p.stops == 1 {
		p.since = p.w.now
	}
}

// cont lets it go on: whatever it missed happens at once, in order.
func (p *process) cont() {
	if p.stops--; p.stops > 0 || p.dead {
		return
	}
	p.resumed, p.stood = p.w.now, p.w.now.Sub(p.since)
	held := p.held
	p.held = nil
	for _, do := range held {
		p.after(0, do)
	}
}

// blind is for how long what the process says may be of before it stood still: it notices only a longer stop.
func (p *process) blind() time.Duration {
	if p.w.now.Sub(p.resumed) > time.Second {
		return 0
	}
	return min(p.stood, stalled)
}
