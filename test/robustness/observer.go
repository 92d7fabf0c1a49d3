package robustness

import (
	"fmt"
	"sync"
	"time"
)

// Sample is what ran on a machine at some instant between Begin and End, by docker ps there.
type Sample struct {
	Begin, End time.Time
	Running    map[string]bool // by replica
}

// Claim is what the cluster said of a replica: that it was seen ready on a machine, Age before the question was answered.
type Claim struct {
	Replica, Machine string
	Asked, Answered  time.Time
	Age              time.Duration
}

// Observer compares what the cluster says with what machines do. Its methods may be called from many goroutines.
type Observer struct {
	mu      sync.Mutex
	samples map[string][]Sample // by machine, in order
	claims  []Claim
}

// NewObserver has seen nothing.
func NewObserver() *Observer { return &Observer{samples: map[string][]Sample{}} }

// Saw takes in what ran on a machine. Samples of one machine come in order.
func (o *Observer) Saw(machine string, s Sample) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.samples[machine] = append(o.samples[machine], s)
}

// Claimed takes in what the cluster said.
func (o *Observer) Claimed(c Claim) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.claims = append(o.claims, c)
}

// Lies lists the claims that cannot be true: those for which the machine was looked at before, during and after the time
// that the claim is about, and never ran the replica. Slack is how far the clocks and the events of an engine may be off.
// Judged is how many claims there were such samples for.
func (o *Observer) Lies(slack time.Duration) (lies []string, judged int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.claims {
		from, to := c.Asked.Add(-c.Age-slack), c.Answered.Add(-c.Age+slack)
		ran, before, during, after := false, false, false, false
		for _, s := range o.samples[c.Machine] {
			if s.End.Before(from.Add(-slack)) {
				continue
			}
			if s.Begin.After(to.Add(slack)) {
				break
			}
			ran = ran || s.Running[c.Replica]
			before = before || s.End.Before(c.Asked.Add(-c.Age))
			after = after || s.Begin.After(c.Answered.Add(-c.Age))
			during = during || s.Begin.After(from) && s.End.Before(to)
		}
		if !before || !during || !after {
			continue
		}
		judged++
		if !ran {
			lies = append(lies, fmt.Sprintf("%s was said to be ready on %s at %s, seen %s before, and did not run there around then",
				c.Replica, c.Machine, c.Answered.Format("15:04:05.000"), c.Age))
		}
	}
	return lies, judged
}

// Blind lists the claims of a replica on a machine that nobody could see between from and to, made later than limit after
// from: by then it had to be unknown.
func (o *Observer) Blind(machine string, from, to time.Time, limit time.Duration) (late []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.claims {
		if c.Machine == machine && c.Asked.After(from.Add(limit)) && c.Answered.Before(to) {
			late = append(late, fmt.Sprintf("%s was said to be ready on %s %s after it could be seen last", c.Replica, machine, c.Asked.Sub(from).Round(time.Millisecond)))
		}
	}
	return late
}

// Counts says how much was seen and said.
func (o *Observer) Counts() (samples, claims int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.samples {
		samples += len(s)
	}
	return samples, len(o.claims)
}
