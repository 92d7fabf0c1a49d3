package check

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/gate"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// World is everything at one instant. Step functions never change what they are given, so worlds share their states; what
// belongs to a world alone is copied by clone.
type World struct {
	scenario *Scenario
	mutant   *Mutant
	choose   func(n int) int
	story    *[]string // what happens, where somebody wants to know

	Left     Budget
	Time     time.Duration // in ticks
	Machines [2]machine
	Servers  []server
	Net      []message
	Store    store
	Storage  storage
	broken   string // the invariant that does not hold
	only     string // where it is set, no other invariant is judged
}

// store is what etcd keeps and the leader decides.
type store struct {
	Config claims.Config
	Stage  int          // of Scenario.Sets
	Last   claims.Token // the last one that was granted
	Epochs uint64
}

// storage is what the volume lies on, and what was confirmed of it.
type storage struct {
	// Refuses are the machines that it refuses now.
	Refuses [2]bool
	// Bound is the highest token that was granted when it was first told to refuse a machine. Witnesses may be told of it at any time after, where
	// that is Sure: nobody could have had the storage take the machine back since. Late says that somebody may: a program of a leader of before
	// that is under way.
	Bound      [2]claims.Token
	Sure, Late [2]bool
}

// machine is one, with its guard, its agent, its kernel and its Engine.
type machine struct {
	Guard *guard.State
	Saved *guard.State // on tmpfs
	Dead  bool         // the guard's process is not there
	// Sessions counts those that were used; those up to Lost were on this machine before it lost power.
	Sessions, Lost int
	Offer          claims.Token // what the leader granted here last
	Orders         []order
	Slots          []slot
	Watchdog       guard.Watchdog
	Answers        []answered // the checker's own notes
}

// answered is a yes that reached a guard, with the time by its clock at which the question was sent.
type answered struct {
	Server  int
	Sent    time.Duration
	Session claims.Session
	Token   claims.Token
}

// order is one that the actuator has yet to carry out.
type order struct {
	What  guard.Effect
	Token claims.Token
}

// slot is what there is of a token on a machine.
type slot struct {
	Token    claims.Token
	Gate     gate.State
	Mounted  bool
	Verified bool
	Live     bool // a process is in the slice
	Starting bool // the Engine was asked to start one, and may do so at any time
	Opened   bool // the gate was open once
}

func (s slot) exposed() bool { return s.Mounted || s.Live }

// server is one with its witness.
type server struct {
	State *witness.State
	Saved *witness.Table
	// Heard is when it said yes to each machine last, to a question that was sent later than all before (Asked, by the
	// machine's clock), and Forgot when it lost its table. They are the checker's own notes.
	Heard, Asked [2]time.Duration
	Forgot       time.Duration
	// Highest is the highest token that it had on disk since then.
	Highest claims.Token
}

// message is one that is under way.
type message struct {
	Server, Machine int
	Sent            time.Duration   // when the question was, by the guard's clock
	Renewal         *claims.Renewal // to the server, or else
	Ack             *claims.Ack     // from it
}

const claim claims.ID = "c"

var ever = -time.Duration(1 << 40) // long ago

func witnessID(n int) claims.Witness { return claims.Witness("s" + strconv.Itoa(n)) }

func machineID(m int) claims.Machine { return machineIDs[m] }

var machineIDs = [...]claims.Machine{"a", "b"}

func session(m, n int) claims.Session {
	return claims.Session(machineIDs[m]) + claims.Session(strconv.Itoa(n))
}

// parse tells a session's machine and number.
func parse(s claims.Session) (m, n int) {
	if s == "" {
		return 0, 0
	}
	m = int(s[0] - 'a')
	for _, c := range s[1:] {
		n = n*10 + int(c-'0')
	}
	return m, n
}

// New is the initial world of a scenario.
func New(s *Scenario, m *Mutant) *World {
	if m == nil {
		m = &Mutant{}
	}
	w := &World{scenario: s, mutant: m, Left: s.Budget, Time: 100}
	w.Store.Config = claims.Config{Epoch: claims.Epoch{Generation: 1, Revision: 1}}
	w.Store.Epochs = 1
	all := map[int]bool{}
	for i, set := range s.Sets {
		for _, n := range set {
			if i == 0 {
				w.Store.Config.Members = append(w.Store.Config.Members, witnessID(n))
			}
			all[n] = true
		}
	}
	for n := 1; all[n]; n++ {
		st, _ := witness.Open(0, witnessID(n), w.profile(), witness.Table{}, false)
		st, _ = witness.Step(st, 0, witness.Configure{Config: w.Store.Config})
		st, _ = witness.Step(st, 100*s.Servers, witness.Tick{})
		table := st.Table
		w.Servers = append(w.Servers, server{State: &st, Saved: &table, Heard: [2]time.Duration{ever, ever}, Asked: [2]time.Duration{ever, ever}, Forgot: ever})
	}
	for i := range w.Machines {
		w.boot(i)
	}
	w.Store.Last = claims.Token{Generation: 1}
	if s.Ready {
		w.ready()
	}
	return w
}

// ready takes the world to where machine a is armed by a majority of servers.
func (w *World) ready() {
	if w.scenario.Cut {
		defer func(s *Scenario) { w.scenario = s }(w.scenario)
		calm := *w.scenario
		calm.Cut = false
		w.scenario = &calm
	}
	sent := 0
	w.choose = func(n int) int {
		sent++
		if w.scenario.Two && sent == 3 {
			return lost
		}
		return prompt
	}
	left := w.Left
	w.Left = Budget{Grants: 1}
	if w.scenario.Two {
		w.Left.Loss = forever
	}
	w.grant(0)
	w.want(0)
	for len(w.Machines[0].Orders) > 0 {
		w.actuate(0)
	}
	w.Left = left
	if left.Slow == 0 {
		w.engineStarts(0, 0)
	}
}

func (w *World) profile() claims.Profile {
	p := profile()
	if w.mutant.Profile != nil {
		w.mutant.Profile(&p)
	}
	return p
}

func (w *World) clone() *World {
	n := *w
	n.Servers = slices.Clone(w.Servers)
	n.Net = slices.Clone(w.Net)
	for i := range n.Machines {
		n.Machines[i].Orders = slices.Clone(w.Machines[i].Orders)
		n.Machines[i].Slots = slices.Clone(w.Machines[i].Slots)
		n.Machines[i].Answers = slices.Clip(w.Machines[i].Answers)
	}
	return &n
}

func (w *World) now(m int) time.Duration { return w.Time * w.scenario.Rates[m] }

func (w *World) serverNow() time.Duration { return w.Time * w.scenario.Servers }

func (w *World) tell(format string, args ...any) {
	if w.story != nil {
		*w.story = append(*w.story, fmt.Sprintf("%3d  ", w.Time)+fmt.Sprintf(format, args...))
	}
}

func (w *World) breaks(invariant, format string, args ...any) {
	if w.broken == "" && (w.only == "" || w.only == invariant) {
		w.broken = invariant + ": " + fmt.Sprintf(format, args...)
		w.tell("%s", w.broken)
	}
}

// forever is a budget that is never used up.
const forever = 255

func spend(of *uint8) { spendN(of, 1) }

func spendN(of *uint8, n uint8) {
	if *of != forever {
		*of -= n
	}
}

func (w *World) tick(_, _ int) {
	spendN(&w.Left.Lazy, w.late())
	spendN(&w.Left.Slow, w.pending())
	spend(&w.Left.Ticks)
	w.Time++
	w.tell("time passes")
	w.Net = slices.DeleteFunc(w.Net, w.old)
	for m := range w.Machines {
		d := w.Machines[m].Watchdog
		if w.scenario.Watchdog && !w.mutant.NoWatchdog && d.On && w.now(m) >= d.Until+w.profile().Watchdog() {
			w.tell("machine %s is reset by its watchdog", machineID(m))
			w.boot(m)
		}
	}
}

// longest is the number of rounds that a message is under way at most.
const longest = 6

// old tells whether a message has been under way for so long that it is taken for lost.
func (w *World) old(msg message) bool {
	g := w.Machines[msg.Machine].Guard
	if msg.Ack != nil {
		return msg.Ack.Session != g.Session || msg.Ack.Round+longest < g.Round
	}
	return msg.Renewal.Session == g.Session && msg.Renewal.Round+longest < g.Round
}

// grant gives the next token to a machine, whatever the leader ought to do.
func (w *World) grant(m int) {
	spend(&w.Left.Grants)
	w.Store.Last.Revision++
	w.Machines[m].Offer = w.Store.Last
	w.tell("the leader grants %v to %s", w.Store.Last, machineID(m))
}

// restore brings the store back from an old snapshot: revisions begin anew, the generation is raised.
func (w *World) restore(_, _ int) {
	spend(&w.Left.Restores)
	w.Store.Last = claims.Token{Generation: w.Store.Last.Generation + 1}
	w.Store.Config = w.Store.Config.Clone()
	w.Store.Config.Epoch = claims.Epoch{Generation: w.Store.Config.Epoch.Generation + 1, Revision: 1}
	w.Store.Epochs = 1
	w.tell("the store comes back from an old snapshot, as generation %d", w.Store.Last.Generation)
}

// change is what the leader would do about the set of servers.
func (w *World) change() (*claims.Config, string) {
	stage := min(w.Store.Stage+1, len(w.scenario.Sets)-1)
	var wanted []claims.Witness
	for _, n := range w.scenario.Sets[stage] {
		wanted = append(wanted, witnessID(n))
	}
	var seen []claims.Status
	for i := range w.Servers {
		st := w.Servers[i].State.Status(w.serverNow())
		if w.mutant.NoSettling {
			st.Settled, st.Epoch = true, w.Store.Config.Epoch
		}
		seen = append(seen, st)
	}
	if !w.Store.Config.Joint() && w.mutant.AtOnce {
		return &claims.Config{Members: wanted}, ""
	}
	if !w.Store.Config.Joint() && w.scenario.Swap && w.Store.Stage+1 < len(w.scenario.Sets) {
		return &claims.Config{Members: w.Store.Config.Members, Next: wanted}, "several servers are replaced at once"
	}
	return claims.Change(w.Store.Config, wanted, seen)
}

func (w *World) reconfigure(_, _ int) {
	next, why := w.change()
	w.Store.Epochs++
	next.Epoch = claims.Epoch{Generation: w.Store.Config.Epoch.Generation, Revision: w.Store.Epochs}
	w.Store.Config = *next
	if stage := w.Store.Stage + 1; !next.Joint() && stage < len(w.scenario.Sets) && len(next.Members) == len(w.scenario.Sets[stage]) {
		in := true
		for _, n := range w.scenario.Sets[stage] {
			in = in && next.Has(witnessID(n))
		}
		if in {
			w.Store.Stage = stage
		}
	}
	w.tell("the set of servers is %v %v + %v: %s", next.Epoch, next.Members, next.Next, why)
	for i := range w.Servers {
		if w.scenario.Told {
			w.configureServer(i, 0)
		}
	}
}
