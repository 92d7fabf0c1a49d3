package dispatcher

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// ErrSessionOver says that a session was closed or replaced.
var ErrSessionOver = errors.New("the session is over")

// Receive takes in what a machine said. An error ends the session.
func (c *Core) Receive(now time.Time, s *Session, msg *argosyv1.SessionRequest) error {
	if s.closed {
		return ErrSessionOver
	}
	m := s.machine
	m.last = now
	if m.suspect != "" {
		c.news.Intruders = append(c.news.Intruders, Intruder{Machine: m.id, Why: m.suspect})
		m.suspect = ""
	}
	said := s.marks.said(now, msg.GetMark())
	switch what := msg.GetMessage().(type) {
	case *argosyv1.SessionRequest_Beat:
		if m.reported && said.After(m.confirmed) {
			if now.Sub(m.confirmed) > unconfirmed {
				c.news.Machines.Add(m.id)
			}
			m.confirmed = said
		}
		if !what.Beat.GetAnswer() && s.marks.set(now) {
			c.wake(s)
		}
	case *argosyv1.SessionRequest_Report:
		return c.report(said, m, what.Report)
	case *argosyv1.SessionRequest_Transitions:
		return c.transitions(s, what.Transitions)
	case *argosyv1.SessionRequest_Usage:
		c.usage(now, m, what.Usage)
	case *argosyv1.SessionRequest_Engine:
		m.trouble, m.network = cut(what.Engine.GetTrouble(), transitionText), cut(what.Engine.GetNetwork(), transitionText)
		m.unconnected = what.Engine.GetUnconnected()
		c.news.Machines.Add(m.id)
	case *argosyv1.SessionRequest_Strays:
		c.strays(m, what.Strays)
	case *argosyv1.SessionRequest_Storage:
		return c.storage(s, what.Storage)
	case *argosyv1.SessionRequest_Hello:
		return errors.New("a session says hello only once")
	}
	return nil
}

// storage takes in which shared storage a machine reaches.
func (c *Core) storage(s *Session, r *argosyv1.StorageReport) error {
	if len(r.GetDevices()) > maxDevices || len(r.GetMountTypes()) > maxMountTypes {
		return fmt.Errorf("a machine cannot report more than %d devices and %d types of mounts", maxDevices, maxMountTypes)
	}
	if g := r.GetGuard(); g != nil {
		if n := len(g.GetKey()); n != 0 && n != 32 {
			return fmt.Errorf("a guard is known by 32 bytes, and these are %d", n)
		}
		g.Version, g.Watchdog, g.Trouble = cut(g.GetVersion(), maxName), cut(g.GetWatchdog(), maxName), cut(g.GetTrouble(), transitionText)
	}
	for i, t := range r.GetMountTypes() {
		r.MountTypes[i] = cut(t, maxName)
	}
	slices.Sort(r.Devices)
	s.machine.storage = r
	s.leases = true
	c.wake(s)
	c.news.Storage.Add(s.machine.id)
	return nil
}

// maxName is the longest name of something small, in bytes.
const maxName = 128

// unconfirmed is after how long it is news that what a machine reported is still so.
const unconfirmed = 2 * time.Second

func (c *Core) report(said time.Time, m *machine, r *argosyv1.Report) error {
	if !m.reported && !r.GetFull() {
		return errors.New("a session's first report must be full")
	}
	old := m.seen
	if r.GetFull() {
		m.seen = make(map[Incarnation]Observation, len(r.GetReplicas()))
		clear(m.gone)
		m.strays = nil // it says them again
	}
	for _, o := range r.GetReplicas() {
		if o == nil {
			continue
		}
		i := incarnationOf(o)
		if o.GetState() == argosyv1.ReplicaState_REPLICA_STATE_GONE {
			c.markGone(m, i)
			continue
		}
		if len(m.seen) >= maxReplicas {
			return fmt.Errorf("a machine cannot report more than %d replicas", maxReplicas)
		}
		bound(o)
		if was, ok := old[i]; !ok || !same(was.ReplicaObservation, o) {
			c.news.Replicas.Add(i.Key)
		}
		m.seen[i] = Observation{o, said}
		delete(m.gone, i)
	}
	for _, o := range r.GetGone() {
		c.markGone(m, incarnationOf(o))
	}
	if r.GetFull() {
		for i := range old {
			if _, still := m.seen[i]; !still {
				c.news.Replicas.Add(i.Key)
			}
		}
		m.reported, m.confirmed = true, said
		c.news.Machines.Add(m.id)
	}
	return nil
}

func incarnationOf(o *argosyv1.ReplicaObservation) Incarnation {
	return Incarnation{state.KeyOf(o.GetKey()), o.GetAppUid(), o.GetIncarnation()}
}

func (c *Core) markGone(m *machine, i Incarnation) {
	delete(m.seen, i)
	m.strays = slices.DeleteFunc(slices.Clone(m.strays), func(v *argosyv1.StrayVolume) bool { return state.KeyOf(v.GetReplica()) == i.Key })
	if len(m.gone) < maxReplicas {
		m.gone[i] = struct{}{}
	}
	c.news.Replicas.Add(i.Key)
}

// strays keeps which volumes a machine has that belong to nothing assigned to it.
func (c *Core) strays(m *machine, r *argosyv1.StrayReport) {
	m.strays = nil
	for _, v := range r.GetVolumes()[:min(len(r.GetVolumes()), maxStrays)] {
		if v.GetReplica() != nil && len(v.GetName()) <= 128 && len(v.GetEngineName()) <= 512 {
			m.strays = append(m.strays, v)
		}
	}
	c.news.Machines.Add(m.id)
}

// same reports whether a new observation says the same as an old one, whenever they were made. Others may be reading the
// old one.
func same(old, o *argosyv1.ReplicaObservation) bool {
	at := o.ObservedAt
	defer func() { o.ObservedAt = at }()
	o.ObservedAt = old.ObservedAt
	return proto.Equal(old, o)
}

// bound cuts an observation to what a server is willing to remember.
func bound(o *argosyv1.ReplicaObservation) {
	o.Message = cut(o.GetMessage(), maxText)
	if len(o.Claims) > maxClaims {
		o.Claims = o.Claims[:maxClaims]
	}
	for _, cl := range o.Claims {
		if cl == nil {
			continue
		}
		cl.Message, cl.At, cl.Uuid = cut(cl.GetMessage(), maxText), cut(cl.GetAt(), maxText), cut(cl.GetUuid(), maxName)
	}
	if len(o.Members) > maxMembers {
		o.Members = o.Members[:maxMembers]
	}
	for _, m := range o.Members {
		if m == nil {
			continue
		}
		m.Message = cut(m.GetMessage(), maxText)
	}
}

// cut shortens a text to at most n bytes of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// transitions keeps what came out of a machine's outbox until it is committed. A machine that sends more than is
// remembered is cut off; it sends again from the last acknowledged one.
func (c *Core) transitions(s *Session, t *argosyv1.Transitions) error {
	m := s.machine
	for _, tr := range t.GetTransitions() {
		if tr == nil {
			continue
		}
		// The first of a session may follow anything: what went before it, the machine no longer has. Within a session a
		// gap would have transitions acknowledged that never came.
		if next := max(s.outboxAt, s.acked) + 1; s.outboxAt != 0 && tr.GetOutboxSeq() > next {
			return fmt.Errorf("transition %d came after %d of the machine's outbox", tr.GetOutboxSeq(), s.outboxAt)
		}
		s.outboxAt = tr.GetOutboxSeq()
		if tr.GetOutboxSeq() <= s.acked {
			s.ackDue = true
			c.wake(s)
			continue
		}
		if len(m.outbox) >= maxOutbox {
			return fmt.Errorf("more than %d transitions wait to be committed", maxOutbox)
		}
		tr.From, tr.To = cut(tr.GetFrom(), transitionText), cut(tr.GetTo(), transitionText)
		tr.Cause = cut(tr.GetCause(), transitionText)
		m.outbox = append(m.outbox, tr)
	}
	if len(m.outbox) > 0 {
		c.news.Outboxes.Add(m.id)
	}
	return nil
}

// Outbox lists at most n transitions of a machine that wait to be committed, in order.
func (c *Core) Outbox(id string, n int) []*argosyv1.Transition {
	m := c.machines[id]
	if m == nil {
		return nil
	}
	return m.outbox[:min(n, len(m.outbox))]
}

// Ack notes that all transitions of a machine's outbox up to a number are safe, and tells the machine.
func (c *Core) Ack(id string, seq uint64) {
	m := c.machines[id]
	if m == nil {
		return
	}
	i := 0
	for i < len(m.outbox) && m.outbox[i].GetOutboxSeq() <= seq {
		i++
	}
	m.outbox = m.outbox[i:]
	if len(m.outbox) == 0 {
		m.outbox = nil
	}
	if s := m.session; s != nil && seq > 0 {
		s.acked, s.ackDue = max(s.acked, seq), true
		c.wake(s)
	}
}

func (c *Core) usage(now time.Time, m *machine, u *argosyv1.UsageReport) {
	if u.GetMachine() != nil {
		m.usage = u.GetMachine()
	}
	if len(u.GetMembers()) > maxUsage {
		return
	}
	m.usageAt = now
	m.members = make(map[memberKey]*argosyv1.MemberUsage, len(u.GetMembers()))
	for _, mu := range u.GetMembers() {
		m.members[memberKey{state.KeyOf(mu.GetKey()), mu.GetMember()}] = mu
	}
}
