package claims

import (
	"fmt"
	"slices"
	"time"
)

// Config is a set of servers whose witnesses decide about leases. While it changes from one set to another, both decide:
// Members is the earlier set and Next the later one, and a lease needs a majority of each.
type Config struct {
	Epoch   Epoch     `json:"epoch"`
	Members []Witness `json:"members"`
	Next    []Witness `json:"next,omitempty"`
}

// MaxMembers bounds a set. More than seven servers are slower and no safer.
const MaxMembers = 9

// Validate refuses what would make majorities meaningless.
func (c Config) Validate() error {
	if err := CheckToken(c.Epoch); err != nil {
		return fmt.Errorf("configuration: epoch: %w", err)
	}
	if len(c.Members) == 0 {
		return fmt.Errorf("configuration %v names no servers", c.Epoch)
	}
	for _, set := range [][]Witness{c.Members, c.Next} {
		if len(set) > MaxMembers {
			return fmt.Errorf("configuration %v names %d servers, and %d are allowed", c.Epoch, len(set), MaxMembers)
		}
		for i, w := range set {
			if err := checkName("a server's id", string(w)); err != nil {
				return fmt.Errorf("configuration %v: %w", c.Epoch, err)
			}
			if slices.Contains(set[:i], w) {
				return fmt.Errorf("configuration %v names server %s twice", c.Epoch, w)
			}
		}
	}
	return nil
}

// Joint tells whether two sets decide.
func (c Config) Joint() bool { return len(c.Next) > 0 }

// Everybody lists whom a guard talks to, each once.
func (c Config) Everybody() []Witness {
	out := slices.Clone(c.Members)
	for _, w := range c.Next {
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// Has tells whether a server belongs to either set.
func (c Config) Has(w Witness) bool {
	return slices.Contains(c.Members, w) || slices.Contains(c.Next, w)
}

// Majority tells whether those for whom yes is true are a majority of each set that decides.
func (c Config) Majority(yes func(Witness) bool) bool {
	return len(c.Members) > 0 && most(c.Members, yes) && (!c.Joint() || most(c.Next, yes))
}

func most(set []Witness, yes func(Witness) bool) bool {
	n := 0
	for _, w := range set {
		if yes(w) {
			n++
		}
	}
	return 2*n > len(set)
}

// Clone returns a copy that shares nothing.
func (c Config) Clone() Config {
	c.Members, c.Next = slices.Clone(c.Members), slices.Clone(c.Next)
	return c
}

// Status is what a witness says of itself to the server that leads.
type Status struct {
	Witness Witness
	Epoch   Epoch
	// Settled: it has refused everything before Epoch, with its table whole, for W.
	Settled bool
	// Silent: it does not vote yet, for about Left more.
	Silent bool
	Left   time.Duration
}

// Change decides the next configuration on the way from the present one to the set that is wanted, one server at a time;
// its Epoch is for whoever commits it. A nil result says that there is nothing to do, or what it waits for.
//
// A newcomer is taken in only when it votes, which it does after W of silence: until then it would count as one that is
// down. Two sets decide until a majority of both has been at that epoch for W. By then every lease that the earlier set
// alone gave has run out or is known to a majority of the later one too, and so the earlier set may go. Back to the earlier
// set there is no wait, since every lease of the meantime has a majority of it: so it goes where that is wanted, and where the later
// set has lost its majority to servers that are gone.
func Change(now Config, wanted []Witness, seen []Status) (next *Config, reason string) {
	status := func(w Witness) Status {
		for _, s := range seen {
			if s.Witness == w {
				return s
			}
		}
		return Status{Witness: w, Silent: true}
	}
	if now.Joint() && same(wanted, now.Members) {
		return &Config{Members: slices.Clone(now.Members)}, "the change of the set of servers is taken back"
	}
	votes := func(w Witness) bool { return !status(w).Silent }
	gone := func(w Witness) bool { return !votes(w) && !slices.Contains(wanted, w) }
	if now.Joint() && slices.ContainsFunc(now.Next, gone) && !most(now.Next, votes) && most(now.Members, votes) {
		return &Config{Members: slices.Clone(now.Members)}, "too few of the later set of servers are left: the change is taken back"
	}
	if now.Joint() {
		settled := func(w Witness) bool { s := status(w); return s.Settled && s.Epoch == now.Epoch }
		if !now.Majority(settled) {
			var waits []Witness
			for _, w := range now.Everybody() {
				if !settled(w) {
					waits = append(waits, w)
				}
			}
			return nil, fmt.Sprintf("both sets of servers decide until majorities of them have known of it for long enough; not yet: %v", waits)
		}
		return &Config{Members: slices.Clone(now.Next)}, "majorities of both sets of servers know of the change"
	}
	for _, w := range wanted {
		if slices.Contains(now.Members, w) {
			continue
		}
		if s := status(w); s.Silent {
			return nil, fmt.Sprintf("server %s does not vote yet, for %s", w, Tenths(s.Left))
		}
		return &Config{Members: slices.Clone(now.Members), Next: append(slices.Clone(now.Members), w)}, fmt.Sprintf("server %s is taken in", w)
	}
	// Those without a vote go first: the others have to be enough once they have gone.
	parting := slices.DeleteFunc(slices.Clone(now.Members), func(w Witness) bool { return slices.Contains(wanted, w) || len(wanted) == 0 })
	if len(parting) == 0 {
		return nil, ""
	}
	w := parting[max(0, slices.IndexFunc(parting, func(w Witness) bool { return !votes(w) }))]
	rest := slices.DeleteFunc(slices.Clone(now.Members), func(m Witness) bool { return m == w })
	if !most(rest, votes) {
		return nil, fmt.Sprintf("server %s is not let go while too few of the others have a vote: %v", w, rest)
	}
	return &Config{Members: slices.Clone(now.Members), Next: rest}, fmt.Sprintf("server %s is let go", w)
}

func same(a, b []Witness) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// Tenths writes a duration as people read it: 7.2 s.
func Tenths(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	d = (d + 99*time.Millisecond) / (100 * time.Millisecond) // never shorter than it is
	return fmt.Sprintf("%d.%d s", d/10, d%10)
}
