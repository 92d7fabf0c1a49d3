package check

import (
	"slices"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Budget says how often each thing may go wrong on the way from the initial world to any other. Without a budget a
// scenario would have everything happen everywhere, and no bound would reach anything of interest.
type Budget struct {
	Grants   uint8 // tokens that the leader gives, to anybody at any time
	Late     uint8 // messages under way at once; all others arrive at once, or are lost
	Loss     uint8 // messages that are lost, either way
	Twice    uint8 // late messages that arrive and stay under way
	Releases uint8 // claims that the agent gives back
	Leaves   uint8 // machines that are about to be shut down, and are not after all
	Again    uint8 // agents that start again, and ask for what they have
	Kills    uint8 // guards that are killed, between any two effects
	Lazy     uint8 // ticks that pass while a guard that has something to do stands still
	Slow     uint8 // ticks that pass while orders wait; without any, orders, starts and wants are carried out at once
	Power    uint8 // machines that lose power
	Restarts uint8 // witnesses whose process restarts, between any two effects
	Forgets  uint8 // witnesses that lose their table
	Busy     uint8 // looks for quiet that find none
	Wrong    uint8 // mounts of something else
	Drops    uint8 // records that witnesses are told to drop, whatever becomes of the claim: the cluster no longer has it, and makes it again
	Fences   uint8 // fences of sessions whose machine lost power
	Refusals uint8 // the storage is told to refuse a machine, whatever becomes of that; late, too, by a leader of before
	Restores uint8 // the store comes back from an old snapshot
	Ticks    uint8 // of time, in all
}

// Scenario is an initial world and what may happen in it.
type Scenario struct {
	Name string
	Budget
	// Ready: the story begins when machine a holds the claim by a majority and is armed.
	Ready bool
	// Rates are what the clocks of the two machines and of the servers advance in one tick.
	Rates   [2]time.Duration
	Servers time.Duration
	// Watchdog tells whether machines have one. Without, guards neither stand still nor die: that is what it is for.
	Watchdog bool
	// Whole: a message that arrives is answered; none of the answers is lost.
	Whole bool
	// Two: only two of the servers know that it holds the claim.
	Two bool
	// Swap: several servers are replaced in one change.
	Swap bool
	// Told: servers learn of another set at once. Guards do not.
	Told bool
	// Cut: of a round, all messages arrive and are answered, or none.
	Cut bool
	// Sets are the sets of servers that are wanted, one after another; the first is there from the beginning.
	Sets [][]int
}

// profile is in units of which slow clocks advance two in a tick and fast ones three: ρ is 0.2, and W is exactly what it
// has to be. T is four ticks of a slow clock, G and P are one.
func profile() claims.Profile {
	return claims.Profile{Name: "check", Lease: 8, Wait: 12, Kill: 2, Renew: 2, Drift: 0.2}
}

const slow, fast = 2, 3

func with(name string, change func(*Scenario)) Scenario {
	s := Scenario{Name: name, Rates: [2]time.Duration{slow, slow}, Servers: fast, Watchdog: true, Sets: [][]int{{1, 2, 3}}}
	change(&s)
	return s
}

// Scenarios are what is explored.
func Scenarios() []Scenario { return slices.Concat(ofNetworks(), ofMachines(), ofTables(), ofLives()) }

// ofNetworks is about messages.
func ofNetworks() []Scenario {
	return []Scenario{
		with("cut off", func(s *Scenario) { s.Ready, s.Cut = true, true; s.Budget = Budget{Grants: 2, Loss: forever, Ticks: 12} }),
		with("takeover", func(s *Scenario) { s.Ready = true; s.Budget = Budget{Grants: 2, Loss: forever, Ticks: 8} }),
		with("late messages", func(s *Scenario) { s.Ready = true; s.Budget = Budget{Grants: 1, Late: 2, Loss: 6, Ticks: 7} }),
		with("doubled messages", func(s *Scenario) {
			s.Budget = Budget{Grants: 2, Late: 1, Loss: 4, Twice: 1, Releases: 2, Ticks: 2}
		}),
		with("release", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Grants: 2, Loss: 2, Releases: 1, Again: 1, Busy: 1, Slow: 2, Ticks: 4}
		}),
		with("late releases", func(s *Scenario) {
			s.Ready, s.Two = true, true
			s.Budget = Budget{Grants: 1, Late: 1, Releases: 1, Ticks: 2}
		}),
	}
}

// ofMachines is about guards, mounts and power.
func ofMachines() []Scenario {
	return []Scenario{
		with("guards", func(s *Scenario) {
			s.Ready, s.Cut = true, true
			s.Budget = Budget{Grants: 1, Loss: forever, Kills: 1, Again: 1, Lazy: 6, Slow: 2, Ticks: 6}
		}),
		with("guards, late", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Late: 2, Loss: 3, Kills: 1, Ticks: 3}
		}),
		with("leaving", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Grants: 2, Loss: 2, Leaves: 1, Kills: 1, Busy: 1, Slow: 2, Ticks: 4}
		}),
		with("mounts", func(s *Scenario) {
			s.Cut = true
			s.Budget = Budget{Grants: 1, Loss: forever, Wrong: 1, Busy: 1, Lazy: 6, Slow: 6, Ticks: 6}
		}),
		with("no watchdog", func(s *Scenario) {
			s.Ready, s.Watchdog, s.Cut = true, false, true
			s.Budget = Budget{Grants: 1, Loss: forever, Busy: 1, Slow: 6, Ticks: 6}
		}),
	}
}

// ofTables is about witnesses, and the set of servers.
func ofTables() []Scenario {
	return []Scenario{
		with("restarts", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Grants: 1, Loss: 3, Restarts: 1, Ticks: 5}
		}),
		with("witnesses", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Grants: 1, Late: 1, Loss: 4, Restarts: 1, Forgets: 1, Ticks: 6}
		}),
		with("dropped", func(s *Scenario) {
			s.Ready, s.Two = true, true
			s.Budget = Budget{Grants: 1, Late: 1, Twice: 1, Releases: 1, Restarts: 1, Drops: 2, Ticks: 2}
		}),
		with("dropped, silent", func(s *Scenario) {
			s.Ready, s.Two = true, true
			s.Budget = Budget{Grants: 2, Loss: forever, Releases: 1, Restarts: 1, Drops: 3, Ticks: 7}
		}),
		with("forgetting", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Grants: 1, Loss: forever, Restarts: 1, Forgets: 2, Ticks: 6}
		}),
		with("power", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Grants: 2, Loss: 3, Power: 1, Fences: 3, Restores: 1, Ticks: 5}
		}),
		with("storage", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Grants: 2, Loss: forever, Restarts: 1, Refusals: 2, Ticks: 6}
		}),
		with("storage undone", func(s *Scenario) {
			s.Budget = Budget{Grants: 2, Refusals: 3, Ticks: 2}
		}),
		with("storage, late messages", func(s *Scenario) {
			s.Ready, s.Two = true, true
			s.Budget = Budget{Grants: 2, Late: 1, Loss: 3, Again: 1, Kills: 1, Refusals: 1, Slow: 2, Ticks: 4}
		}),
		with("fast guards", func(s *Scenario) {
			s.Ready, s.Rates, s.Servers = true, [2]time.Duration{fast, slow}, slow
			s.Budget = Budget{Grants: 1, Late: 1, Loss: forever, Ticks: 7}
		}),
		with("servers change", func(s *Scenario) {
			s.Ready = true
			s.Sets = [][]int{{1, 2, 3}, {2, 3, 4}, {3, 4, 5}}
			s.Whole, s.Two = true, true
			s.Budget = Budget{Grants: 1, Loss: forever, Ticks: 24}
		}),
		with("servers told", func(s *Scenario) {
			s.Ready = true
			s.Sets = [][]int{{1, 2, 3}, {3, 4, 5}}
			s.Two, s.Swap, s.Told, s.Cut = true, true, true, true
			s.Budget = Budget{Grants: 1, Loss: 1, Ticks: 6}
		}),
		with("servers replaced", func(s *Scenario) {
			s.Ready = true
			s.Sets = [][]int{{1, 2, 3}, {3, 4, 5}}
			s.Whole, s.Two, s.Swap = true, true, true
			s.Budget = Budget{Grants: 1, Loss: forever, Ticks: 12}
		}),
	}
}

// ofLives is about everything at once, too much to be explored far.
func ofLives() []Scenario {
	return []Scenario{
		with("long lives", func(s *Scenario) {
			s.Ready = true
			s.Budget = Budget{Grants: 6, Late: 2, Loss: 40, Twice: 2, Releases: 2, Leaves: 1, Again: 2, Kills: 2, Lazy: 4, Slow: 4, Power: 1, Restarts: 2, Forgets: 1, Busy: 2, Drops: 4, Fences: 1, Refusals: 1, Ticks: 60}
		}),
		with("everything", func(s *Scenario) {
			s.Sets = [][]int{{1, 2, 3}, {2, 3, 4}, {3, 4, 5}}
			s.Budget = Budget{Grants: 6, Late: 3, Loss: 60, Twice: 4, Releases: 3, Leaves: 2, Again: 3, Kills: 3, Lazy: 8, Slow: 8, Power: 2, Restarts: 3, Forgets: 2, Busy: 3, Wrong: 1, Drops: 6, Fences: 3, Refusals: 3, Restores: 1, Ticks: 60}
		}),
	}
}

// Named finds a scenario.
func Named(name string) Scenario {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s
		}
	}
	panic("there is no scenario " + name)
}
