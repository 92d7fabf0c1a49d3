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
	answers [][2]time.Time // when views were asked for and shown
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

// Answered takes in that a view was shown, whatever it claimed.
func (o *Observer) Answered(asked, answered time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = append(o.answers, [2]time.Time{asked, answered})
}

// Sight is what was claimed of a machine while nobody could see it.
type Sight struct {
	Late    []string      // claims that a replica is ready, at a time at which it had to be unknown
	Longest time.Duration // how long after sight was lost the last claim was
	Judged  bool          // ready replicas were claimed when sight was lost, and views were shown when they had to be unknown
}

// Blind judges the time between from and to, when nobody could see a machine: after limit what is on it has to be unknown.
func (o *Observer) Blind(machine string, from, to time.Time, limit time.Duration) (s Sight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	claimed := false
	for _, c := range o.claims {
		if c.Machine != machine || !c.Answered.Before(to) || c.Answered.Before(from.Add(-claimedLately)) {
			continue
		}
		claimed = true
		after := c.Asked.Sub(from)
		s.Longest = max(s.Longest, after)
		if after > limit {
			s.Late = append(s.Late, fmt.Sprintf("%s was said to be ready on %s %s after it could be seen last", c.Replica, machine, after.Round(time.Millisecond)))
		}
	}
	for _, a := range o.answers {
		s.Judged = s.Judged || claimed && a[0].After(from.Add(limit)) && a[1].Before(to)
	}
	return s
}

// claimedLately is how long before a machine is lost from sight a claim was made if there was anything to claim.
const claimedLately = 5 * time.Second

// Counts says how much was seen and said.
func (o *Observer) Counts() (samples, claims int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.samples {
		samples += len(s)
	}
	return samples, len(o.claims)
}
