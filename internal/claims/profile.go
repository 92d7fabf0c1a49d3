package claims

import (
	"fmt"
	"math"
	"time"
)

// Profile is the timing that guards, witnesses and the leader agree on. It belongs to the cluster: all use the same.
type Profile struct {
	Name string
	// Lease (T) is for how long a majority's acknowledgement counts, from before the round was sent.
	Lease time.Duration
	// Wait (W) is the silence after which a witness gives a claim to another session.
	Wait time.Duration
	// Kill (G) is what killing, unmounting and looking for quiet may take.
	Kill time.Duration
	// Renew (P) is the time between rounds.
	Renew time.Duration
	// Drift (ρ) bounds the error of each clock's rate: 0.02 is two percent, either way.
	Drift float64
	// Slack (ε) is what a reset takes beyond the instant that it was asked for.
	Slack time.Duration
}

// Default is what holds unless an administrator chooses another.
func Default() Profile {
	return Profile{Name: "default", Lease: 12 * time.Second, Wait: 13 * time.Second, Kill: 3 * time.Second, Renew: 2 * time.Second, Drift: 0.02, Slack: 100 * time.Millisecond}
}

// Fast is for networks and disks that answer within a fraction of a second.
func Fast() Profile {
	return Profile{Name: "fast", Lease: 4 * time.Second, Wait: 4500 * time.Millisecond, Kill: time.Second, Renew: 500 * time.Millisecond, Drift: 0.02, Slack: 100 * time.Millisecond}
}

// Safe is for those that may be away for half a minute.
func Safe() Profile {
	return Profile{Name: "safe", Lease: 40 * time.Second, Wait: 42 * time.Second, Kill: 10 * time.Second, Renew: 5 * time.Second, Drift: 0.02, Slack: 100 * time.Millisecond}
}

// Named finds one of the profiles by its name; "" is the default.
func Named(name string) (Profile, error) {
	switch name {
	case "", "default":
		return Default(), nil
	case "fast":
		return Fast(), nil
	case "safe":
		return Safe(), nil
	}
	return Profile{}, fmt.Errorf("there is no timing profile %q: choose default, fast or safe", name)
}

// LeastWait is the shortest Wait that is safe with the other figures: T(1+ρ)/(1−ρ)+ε. A guard's clock may be slow while a
// witness's is fast; when the witness has seen that much time pass, the guard has seen T.
func (p Profile) LeastWait() time.Duration {
	t := float64(p.Lease)*(1+p.Drift)/(1-p.Drift) + float64(p.Slack)
	if !(t < math.MaxInt64) {
		return math.MaxInt64
	}
	return time.Duration(math.Ceil(t))
}

// Validate says what makes a profile unsafe or useless. Nothing may run with one that it refuses.
func (p Profile) Validate() error {
	switch {
	case !(p.Drift >= 0 && p.Drift < 0.5):
		return fmt.Errorf("timing profile %q: drift %v is not within 0 and 0.5", p.Name, p.Drift)
	case p.Lease <= 0 || p.Kill <= 0 || p.Renew <= 0 || p.Slack < 0:
		return fmt.Errorf("timing profile %q: lease %v, kill %v and renew %v have to be positive, and slack %v not negative", p.Name, p.Lease, p.Kill, p.Renew, p.Slack)
	case p.Lease > 24*time.Hour || p.Wait > 48*time.Hour:
		return fmt.Errorf("timing profile %q: lease %v and wait %v: no more than 24 and 48 hours", p.Name, p.Lease, p.Wait)
	case p.Wait < p.LeastWait():
		return fmt.Errorf("timing profile %q: wait %v is too short: with lease %v, drift %v and slack %v it has to be at least %v, or two machines may hold one volume",
			p.Name, p.Wait, p.Lease, p.Drift, p.Slack, p.LeastWait())
	case p.Lease-2*p.Kill < p.Renew:
		return fmt.Errorf("timing profile %q: lease %v less twice kill %v leaves %v, which is shorter than renew %v: every round that is late would stop what runs",
			p.Name, p.Lease, p.Kill, p.Lease-2*p.Kill, p.Renew)
	}
	return nil
}

// Watchdog is the time-out that a machine's watchdog is given. A guard feeds it no later than that before a deadline, so
// one that is hung or dead is followed by a reset at the deadline, and not after it.
func (p Profile) Watchdog() time.Duration { return p.Kill }
