package dispatcher

import (
	"cmp"
	"slices"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Source is what machines are told, as it is now.
type Source interface {
	// Welcome greets a machine; nil when it is not in the cluster.
	Welcome(machine string) *argosyv1.Welcome
	// Assigned lists the replicas of which a machine should know something, by key.
	Assigned(machine string) []state.Key
	// Assignment is what a machine should know of a replica; nil when nothing.
	Assignment(machine string, k state.Key) *argosyv1.Assignment
	// Foreseen is what a machine would get if those that are silent were lost.
	Foreseen(machine string) []*argosyv1.Assignment
	// LeaseServers is whom guards ask for leases; nil while nobody decides.
	LeaseServers() *argosyv1.LeaseServers
}

// Incarnation names an incarnation of a replica. An app that is applied again after it was deleted has another id, and counts
// its incarnations anew.
type Incarnation struct {
	state.Key
	AppUID string
	N      uint64
}

// Observation is what a machine said of an incarnation.
type Observation struct {
	*argosyv1.ReplicaObservation
	// Said is when it was said at the earliest.
	Said time.Time
}

// Core is the table of machines and sessions. It is not safe for concurrent use.
type Core struct {
	source   Source
	machines map[string]*machine
	net      network
	held     bool
	// wakes are the sessions for which there may be something to send since somebody last asked.
	wakes  map[*Session]struct{}
	news   News
	serial uint64 // of the last session
	// pace is how often machines shall report usage, 0 for as they like. watched says that somebody watches it, or did
	// until lately; slowAt is when that is over, or zero.
	pace    time.Duration
	watched bool
	slowAt  time.Time
}

// News lists what machines showed since somebody last asked.
type News struct {
	// Replicas of which something was seen that differs from before.
	Replicas state.Set[state.Key]
	// Machines that were heard of after silence, confirmed what they had not for a while, opened or closed a session, or reported in full.
	Machines state.Set[string]
	// Hellos are machines that opened a session, with what they said of themselves.
	Hellos map[string]*argosyv1.Hello
	// Storage: machines that said what shared storage they reach.
	Storage state.Set[string]
	// Outboxes are machines with transitions to commit.
	Outboxes state.Set[string]
	// Intruders are sessions that were refused because the machine has one, which has shown since that it is alive.
	Intruders []Intruder
}

// Intruder is a second process that claims to be a machine.
type Intruder struct {
	Machine, Why string
}

func newNews() News {
	return News{Replicas: state.Set[state.Key]{}, Machines: state.Set[string]{}, Hellos: map[string]*argosyv1.Hello{},
		Storage: state.Set[string]{}, Outboxes: state.Set[string]{}}
}

// machine is what is known of one machine since this core was made.
type machine struct {
	id string
	// last is the last sign of life. What was reported was so until confirmed, at least.
	last, confirmed time.Time
	session         *Session
	// reported: the live session has reported in full.
	reported bool
	seen     map[Incarnation]Observation
	gone     map[Incarnation]struct{}
	usage    *argosyv1.MachineUsage
	members  map[memberKey]*argosyv1.MemberUsage
	usageAt  time.Time // when both came
	// trouble is what the machine's engine has, empty while it answers.
	trouble string
	// network is why its containers cannot be connected or do not reach others, empty when they can and do; unconnected, that none
	// starts for it.
	network     string
	unconnected bool
	// strays are volumes there that belong to nothing assigned, as last reported.
	strays []*argosyv1.StrayVolume
	// storage is which shared storage it last said that it reaches, and who guards it; nil when it never did.
	storage *argosyv1.StorageReport
	agent   string // the version of the last session's
	// outbox holds transitions that were received and not yet committed, in order.
	outbox []*argosyv1.Transition
	// intruder is the session id that was last refused. suspect says why, until the session that was first shows that it is
	// alive, which is when the other is reported: after a quick reboot the first one is only not noticed to be dead.
	intruder, suspect string
}

type memberKey struct {
	state.Key
	member string
}

// Session is a machine's open stream.
type Session struct {
	machine *machine
	serial  uint64
	hello   *argosyv1.Hello
	// What is to be sent.
	welcome, full bool
	foreseen      bool
	leases        bool
	dirty         state.Set[state.Key]
	outboxAt      uint64 // last transition received
	acked         uint64
	ackDue        bool
	netAt         uint64
	netFull       bool
	pace          time.Duration // as the machine was told
	work          []*argosyv1.Work
	refusal       *argosyv1.Refusal
	closed        bool
	marks         marks
}

// Machine is the id of the session's machine.
func (s *Session) Machine() string { return s.machine.id }

// Closed reports whether the session has ended or been replaced.
func (s *Session) Closed() bool { return s.closed }

// Limits of what one machine may make a server remember.
const (
	maxReplicas    = 8192 // incarnations shown
	maxMembers     = 256  // members of one
	maxText        = 2048 // bytes of one message
	maxOutbox      = 4096 // transitions waiting to be committed
	maxUsage       = 16384
	maxWork        = 256
	maxStrays      = 1000
	maxClaims      = 64   // of one incarnation
	maxDevices     = 4096 // that a machine reaches
	maxMountTypes  = 64
	deltaSize      = 256 // assignments in one message
	transitionText = 1024
)

// New makes an empty core.
func New(source Source) *Core {
	return &Core{source: source, machines: map[string]*machine{}, net: newNetwork(), held: true,
		wakes: map[*Session]struct{}{}, news: newNews()}
}

// Take returns what machines showed since the last call and forgets it.
func (c *Core) Take() News {
	n := c.news
	c.news = newNews()
	return n
}

// Wakes returns the sessions that should be asked for what to send, and forgets them.
func (c *Core) Wakes() []*Session {
	if len(c.wakes) == 0 {
		return nil
	}
	out := make([]*Session, 0, len(c.wakes))
	for s := range c.wakes {
		out = append(out, s)
	}
	clear(c.wakes)
	slices.SortFunc(out, func(a, b *Session) int { return cmp.Compare(a.serial, b.serial) })
	return out
}

func (c *Core) wake(s *Session) { c.wakes[s] = struct{}{} }

// Open begins a session. A refusal says why it may not be; it is to be sent, and the stream ended. live is how long a
// session counts as living without a beat.
func (c *Core) Open(now time.Time, id string, hello *argosyv1.Hello, live time.Duration) (*Session, *argosyv1.Refusal) {
	if c.source.Welcome(id) == nil {
		return nil, &argosyv1.Refusal{Final: true,
			Reason: "this machine is not in the cluster (it was removed): join it again with a new token"}
	}
	m := c.machines[id]
	if m == nil {
		m = &machine{id: id, seen: map[Incarnation]Observation{}, gone: map[Incarnation]struct{}{}}
		c.machines[id] = m
		c.setPace()
	}
	if old := m.session; old != nil {
		same := old.hello.GetSessionId() == hello.GetSessionId() && old.hello.GetBootId() == hello.GetBootId()
		if !same && now.Sub(m.last) < live {
			return nil, c.refuseSecond(m, hello)
		}
		c.Close(now, old)
	}
	if m.agent != hello.GetAgentVersion() {
		m.storage = nil // an agent of another release may not know what that is
	}
	m.agent = hello.GetAgentVersion()
	c.serial++
	s := &Session{machine: m, serial: c.serial, hello: hello, welcome: true, full: true, netFull: true, foreseen: len(c.source.Foreseen(id)) > 0, dirty: state.Set[state.Key]{}, marks: newMarks(now, hello)}
	m.session, m.reported, m.last = s, false, now
	m.trouble, m.network, m.unconnected = "", "", false
	m.outbox, m.suspect = nil, ""
	c.news.Machines.Add(id)
	c.news.Hellos[id] = hello
	c.wake(s)
	return s, nil
}

func (c *Core) refuseSecond(m *machine, hello *argosyv1.Hello) *argosyv1.Refusal {
	what := "another agent process on the same boot"
	if hello.GetBootId() != m.session.hello.GetBootId() {
		what = "another boot, maybe a copy of the machine"
	}
	if m.intruder != hello.GetSessionId() {
		m.intruder = hello.GetSessionId()
		m.suspect = "a second session with this machine's identity was refused while the first is alive: " + what
	}
	return &argosyv1.Refusal{Reason: "this machine already has a session: " + what +
		" holds its identity; stop the other one, or join this one under an identity of its own"}
}

// Close ends a session. What was seen stays, and ages.
func (c *Core) Close(_ time.Time, s *Session) {
	if s.closed {
		return
	}
	s.closed = true
	c.wake(s)
	if s.machine.session == s {
		s.machine.session = nil
		s.machine.reported = false
		s.machine.outbox = nil
		c.news.Machines.Add(s.machine.id)
	}
}

// Forget drops a machine that was removed from the cluster; its session is refused for good.
func (c *Core) Forget(id string) {
	m := c.machines[id]
	if m == nil {
		return
	}
	for i := range m.seen {
		c.news.Replicas.Add(i.Key)
	}
	if s := m.session; s != nil {
		s.refusal = &argosyv1.Refusal{Final: true, Reason: "this machine was removed from the cluster: join it again with a new token"}
		c.wake(s)
	}
	delete(c.machines, id)
	c.setPace()
}

// LastHeard is when a machine last gave a sign of life to this core, zero for never.
func (c *Core) LastHeard(id string) time.Time {
	if m := c.machines[id]; m != nil {
		return m.last
	}
	return time.Time{}
}

// Connected reports whether a machine has a session, and whether that has reported in full.
func (c *Core) Connected(id string) (session, reported bool) {
	m := c.machines[id]
	return m != nil && m.session != nil, m != nil && m.reported
}

// Trouble is what a machine's container engine has, empty while it answers.
func (c *Core) Trouble(id string) string {
	if m := c.machines[id]; m != nil {
		return m.trouble
	}
	return ""
}

// Network is why a machine's containers cannot be connected, or do not reach those of others; empty when they can and do. It says, too,
// whether none starts for it.
func (c *Core) Network(id string) (trouble string, unconnected bool) {
	if m := c.machines[id]; m != nil {
		return m.network, m.unconnected
	}
	return "", false
}

// Strays are volumes on a machine that belong to nothing assigned to it, as it last said.
func (c *Core) Strays(id string) []*argosyv1.StrayVolume {
	if m := c.machines[id]; m != nil {
		return m.strays
	}
	return nil
}

// Storage is which shared storage a machine last said that it reaches, and who guards it; nil when it never did.
func (c *Core) Storage(id string) *argosyv1.StorageReport {
	if m := c.machines[id]; m != nil {
		return m.storage
	}
	return nil
}

// Hello is what the machine's session said of itself, nil without one.
func (c *Core) Hello(id string) *argosyv1.Hello {
	if m := c.machines[id]; m != nil && m.session != nil {
		return m.session.hello
	}
	return nil
}

// Seen is what a machine last said of an incarnation and when that was last confirmed; ok is false when it never said
// anything, or that nothing is left.
func (c *Core) Seen(id string, i Incarnation) (o *argosyv1.ReplicaObservation, at time.Time, ok bool) {
	m := c.machines[id]
	if m == nil {
		return nil, time.Time{}, false
	}
	obs, ok := m.seen[i]
	if !ok {
		return nil, time.Time{}, false
	}
	at = obs.Said
	if m.confirmed.After(at) {
		at = m.confirmed
	}
	return obs.ReplicaObservation, at, true
}

// Since is when a machine said what it last said of an incarnation, zero when it never said anything. It may have been so before.
func (c *Core) Since(id string, i Incarnation) time.Time {
	if m := c.machines[id]; m != nil {
		return m.seen[i].Said
	}
	return time.Time{}
}

// Gone reports whether a machine said in so many words that nothing is left of an incarnation.
func (c *Core) Gone(id string, i Incarnation) bool {
	m := c.machines[id]
	if m == nil {
		return false
	}
	_, gone := m.gone[i]
	return gone
}

// Absent reports whether a machine's live session reported in full and does not name an incarnation.
func (c *Core) Absent(id string, i Incarnation) bool {
	m := c.machines[id]
	if m == nil || !m.reported {
		return false
	}
	_, seen := m.seen[i]
	return !seen
}

// Incarnations lists those of a replica that a machine names, in no order; ok is false unless its live session has reported in full.
func (c *Core) Incarnations(id string, k state.Key) (list []Incarnation, ok bool) {
	m := c.machines[id]
	if m == nil || !m.reported {
		return nil, false
	}
	for i := range m.seen {
		if i.Key == k {
			list = append(list, i)
		}
	}
	return list, true
}

// ForgetGone drops what a machine said of incarnations that nobody asks about any more.
func (c *Core) ForgetGone(id string, i Incarnation) {
	if m := c.machines[id]; m != nil {
		delete(m.gone, i)
	}
}

// Usage is what a machine last reported of itself, nil when nothing.
func (c *Core) Usage(id string) *argosyv1.MachineUsage {
	if m := c.machines[id]; m != nil {
		return m.usage
	}
	return nil
}

// UsageAt is when a machine last reported usage, zero when never.
func (c *Core) UsageAt(id string) time.Time {
	if m := c.machines[id]; m != nil {
		return m.usageAt
	}
	return time.Time{}
}

// MemberUsage is what a machine last reported of one of its members, nil when nothing.
func (c *Core) MemberUsage(id string, k state.Key, member string) *argosyv1.MemberUsage {
	if m := c.machines[id]; m != nil {
		return m.members[memberKey{k, member}]
	}
	return nil
}
