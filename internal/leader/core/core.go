package core

import (
	"fmt"
	"maps"
	"slices"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// SealFunc opens a record of the store and seals its content to a machine's sealing key.
type SealFunc func(m *argosyv1.Machine, s *storev1.Secret) ([]byte, error)

// Config is what a core needs besides the state.
type Config struct {
	// Term guards the transactions; Number counts leaders.
	Term   int64
	Number uint64
	// Server is the id of the server that leads.
	Server string
	// SealSecret and SealCredential may be nil when there are no secrets, as in tests.
	SealSecret, SealCredential SealFunc
	// Diff says in lines what a spec changes of another, for plans: `apache: image httpd:2.4 → httpd:2.5`. It may be nil.
	Diff func(before, after *argosyv1.AppSpec) []string
	// Heard is when machines were last heard of by this server before it led. Their silence counts from then; that of the
	// others from now.
	Heard map[string]time.Time
}

// Core is the leader of one term.
type Core struct {
	cfg   Config
	st    *state.State
	sched *scheduler.Scheduler
	disp  *dispatcher.Core

	timing orchestrator.Timing
	// awake is when the process last showed that it runs; slept says that it did not for a while.
	awake time.Time
	slept bool
	// since is when this core began; known is when it learned of each machine.
	since    time.Time
	known    map[string]time.Time
	verdicts map[string]orchestrator.Verdict
	paused   string
	// judgeAt is when conditions may change by silence; the zero time means at once.
	judgeAt time.Time
	// hellos are machines whose record may have to take over what their session said.
	hellos    map[string]*argosyv1.Hello
	machines  state.Set[string] // whose records are to be checked against verdicts and hellos
	intruders []dispatcher.Intruder
	notes     []*argosyv1.Transition // about machines, to be written
	outboxes  state.Set[string]

	// stacks are to be decided again, apps to be checked for their end.
	stacks state.Set[state.StackKey]
	apps   state.Set[state.AppKey]
	// pending are wanted replicas on no machine; stuck are stacks with something else that did not fit. Both are tried
	// again when capacity says that something may fit that did not before.
	pending state.Set[state.Key]
	stuck   state.Set[state.StackKey]
	rolling state.Set[state.StackKey]
	// proving is when an update may go on, of stacks in which it waits for a replica to stay ready.
	proving  map[state.StackKey]time.Time
	each     state.Set[state.StackKey]
	capacity bool
	retryAt  time.Time

	placed map[state.Key][]scheduler.Placed
	// held are replicas of which their machine, by its id, is told later: see heldBy.
	held map[string]state.Set[state.Key]
	// ahead is what the scheduler knows before the state does: where replicas were put by decisions that are being committed.
	ahead map[state.Key][]scheduler.Placed
	// derived holds what follows from an app's revisions; it is dropped whenever the app's record or revisions change, so
	// that nothing outlives an app and is taken for part of another of the same name.
	derived map[state.AppKey]*derived
	seals   map[sealKey]sealed
	given   map[string]scheduler.Machine

	// foreseen is where replicas of the machines foreseenOf would go, should these be lost; foresight says that other machines
	// may be silent than these.
	foreseen   map[state.Key]foreseen
	foreseenOf []string
	foresight  bool
	// sights are what this server's witness saw of claims last, and when it said so; claims are replicas whose claims are to be
	// decided again.
	sights   claims.Sights
	sightsAt time.Time
	claims   state.Set[state.Key]
	// asking are volumes whose machine asks for the lease in vain, and unable the machines that are known to get none.
	asking map[state.VolumeKey]asking
	unable map[string]time.Time
	// hushed are machines whose agent and guard both say nothing, and that hold a volume with a fence; late says that the holder of
	// some volume is overdue. fenceSaid is what came of having a storage refuse a machine or take it back, where that failed.
	hushed    state.Set[string]
	late      bool
	fenceSaid map[fenceKey]string

	waits     map[state.StackKey]map[state.Key]wait
	endpoints state.Set[state.Key]
	seq       uint64

	change     Change
	complaints []string
}

// Change lists what changed for people who watch.
type Change struct {
	// All says that anything may have changed: read everything again.
	All      bool
	Replicas state.Set[state.Key]
	Apps     state.Set[state.AppKey]
	Machines state.Set[string]
	// Seq is the number of the newest transition in history.
	Seq uint64
}

// NewChange is a change of nothing.
func NewChange() Change {
	return Change{Replicas: state.Set[state.Key]{}, Apps: state.Set[state.AppKey]{}, Machines: state.Set[string]{}}
}

// Empty reports whether nothing changed, whatever the number.
func (c *Change) Empty() bool {
	return !c.All && len(c.Replicas)+len(c.Apps)+len(c.Machines) == 0
}

// Add takes another change in.
func (c *Change) Add(o Change) {
	c.All = c.All || o.All
	maps.Copy(c.Replicas, o.Replicas)
	maps.Copy(c.Apps, o.Apps)
	maps.Copy(c.Machines, o.Machines)
	c.Seq = max(c.Seq, o.Seq)
}

// New begins a term with everything that the store holds.
func New(now time.Time, cfg Config, snap store.Snapshot) *Core {
	c := &Core{
		cfg: cfg, st: state.Load(snap), sched: scheduler.New(),
		known: map[string]time.Time{}, verdicts: map[string]orchestrator.Verdict{}, hellos: map[string]*argosyv1.Hello{},
		machines: state.Set[string]{}, outboxes: state.Set[string]{},
		stacks: state.Set[state.StackKey]{}, apps: state.Set[state.AppKey]{},
		pending: state.Set[state.Key]{}, stuck: state.Set[state.StackKey]{}, rolling: state.Set[state.StackKey]{},
		proving: map[state.StackKey]time.Time{},
		each:    state.Set[state.StackKey]{},
		placed:  map[state.Key][]scheduler.Placed{}, ahead: map[state.Key][]scheduler.Placed{}, held: map[string]state.Set[state.Key]{}, derived: map[state.AppKey]*derived{},
		seals: map[sealKey]sealed{}, claims: state.Set[state.Key]{},
		asking: map[state.VolumeKey]asking{}, unable: map[string]time.Time{}, hushed: state.Set[string]{}, fenceSaid: map[fenceKey]string{},
		given: map[string]scheduler.Machine{}, waits: map[state.StackKey]map[state.Key]wait{},
		endpoints: state.Set[state.Key]{}, change: NewChange(),
	}
	c.change.All = true
	maps.Copy(c.known, cfg.Heard)
	c.disp = dispatcher.New(c)
	c.since, c.awake = now, now
	c.seq = c.st.LastSeq()
	c.judge(now)
	c.settle()
	return c
}

// Term is what guards this core's transactions.
func (c *Core) Term() int64 { return c.cfg.Term }

// Apply takes in a batch of the watch.
func (c *Core) Apply(now time.Time, b store.Batch) {
	c.st.Apply(b)
	c.settle()
}

// Revision is the store's revision that the core has reached.
func (c *Core) Revision() int64 { return c.st.Revision() }

// settle follows up on whatever just changed: everything that needs no commit.
func (c *Core) settle() {
	if ch := c.st.Take(); !ch.Empty() {
		c.absorb(ch)
	}
	c.hear(c.disp.Take())
	c.refreshEndpoints()
}

// Stall is how long a process may stand still: stopped, or starved.
const Stall = 3 * time.Second

// Awake notes that the process runs, which it is to do often and before it takes in what a machine said. It is false once
// the process stood still for longer than Stall: what it takes in then may have waited for it as long, so that nobody can tell
// how old it is, and everything is to be begun anew.
func (c *Core) Awake(now time.Time) bool {
	if now.Sub(c.awake) > Stall {
		c.slept = true
	}
	c.awake = now
	return !c.slept
}

// Open begins a machine's session.
func (c *Core) Open(now time.Time, machine string, hello *argosyv1.Hello) (*dispatcher.Session, *argosyv1.Refusal) {
	if cluster := c.st.Settings().GetClusterId(); hello.GetClusterId() != "" && cluster != "" && hello.GetClusterId() != cluster {
		return nil, &argosyv1.Refusal{Reason: fmt.Sprintf("this machine belongs to cluster %s, and this server to cluster %s: "+
			"check the address the machine dials", clip(hello.GetClusterId()), cluster)}
	}
	s, refusal := c.disp.Open(now, machine, hello, c.timing.Unreachable)
	c.settle()
	return s, refusal
}

// Receive takes in a message of a session. An error ends the session.
func (c *Core) Receive(now time.Time, s *dispatcher.Session, msg *argosyv1.SessionRequest) error {
	err := c.disp.Receive(now, s, msg)
	switch c.verdicts[s.Machine()].Condition {
	case condUnknown, condUnreachable, condLost:
		c.judgeAt = time.Time{}
	}
	c.settle()
	return err
}

// Close ends a session.
func (c *Core) Close(now time.Time, s *dispatcher.Session) {
	c.disp.Close(now, s)
	c.settle()
}

// Next is the next message for a session, nil when it has been told everything.
func (c *Core) Next(s *dispatcher.Session) *argosyv1.SessionResponse { return c.disp.Next(s) }

// Wakes returns the sessions for which there may be something to send.
func (c *Core) Wakes() []*dispatcher.Session { return c.disp.Wakes() }

// Work hands work to a machine.
func (c *Core) Work(machine string, w *argosyv1.Work) error {
	if c.st.Machine(machine) == nil {
		return fmt.Errorf("there is no machine %s", clip(machine))
	}
	return c.disp.Work(machine, w)
}

// Watched says how many watch what machines use.
func (c *Core) Watched(now time.Time, watchers int) { c.disp.Watched(now, watchers) }

// TakeChange returns what changed for those who watch since the last call.
func (c *Core) TakeChange() Change {
	ch := c.change
	ch.Seq = c.st.LastSeq()
	c.change = NewChange()
	return ch
}

// Complaints returns what an operator should be told of, and forgets it.
func (c *Core) Complaints() []string {
	out := c.complaints
	c.complaints = nil
	return out
}

const maxComplaints = 100

func (c *Core) complain(format string, args ...any) {
	if len(c.complaints) < maxComplaints {
		c.complaints = append(c.complaints, fmt.Sprintf(format, args...))
	}
}

// NextWake is when a Step should be made although nothing happened; the zero time means at once.
func (c *Core) NextWake() time.Time {
	next := c.judgeAt
	if c.capacity && c.retryAt.Before(next) {
		next = c.retryAt
	}
	if at, ok := c.disp.SlowAt(); ok && at.Before(next) {
		next = at
	}
	if at, ok := c.provenAt(); ok && at.Before(next) {
		next = at
	}
	return next
}

// HistoryTrim lists operations that delete the transitions up to a number from the store. The newest one stays, since the
// next number follows from it.
func (c *Core) HistoryTrim(upTo uint64, most int) []store.Op {
	var ops []store.Op
	list := c.st.History()
	for _, seq := range list[:max(len(list)-1, 0)] {
		if seq > upTo || len(ops) >= most {
			break
		}
		ops = append(ops, store.Delete(store.HistoryKey(seq)))
	}
	return ops
}

// sortedSet lists a set in order.
func sortedSet[K comparable](set state.Set[K], compare func(a, b K) int) []K {
	out := make([]K, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.SortFunc(out, compare)
	return out
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:61] + "..."
	}
	return s
}

// Due reports whether a Step would have something to do.
func (c *Core) Due(now time.Time) bool {
	proven, waits := c.provenAt()
	return len(c.claims)+len(c.stacks)+len(c.apps)+len(c.machines)+len(c.outboxes)+len(c.intruders)+len(c.notes) > 0 ||
		c.capacity && !now.Before(c.retryAt) ||
		!now.Before(c.judgeAt) ||
		waits && !now.Before(proven)
}

// provenAt is when the first update may go on that waits for a replica to stay ready; ok is false when none does.
func (c *Core) provenAt() (first time.Time, ok bool) {
	for _, at := range c.proving {
		if !ok || at.Before(first) {
			first, ok = at, true
		}
	}
	return first, ok
}
