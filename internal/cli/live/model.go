package live

import (
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Options are what a view is asked to be.
type Options struct {
	// Title is the command: argosy top.
	Title string
	// Target is what of the cluster is shown, empty for all of the tenant's.
	Target string
	// Plain is the table of `argosy ps`: no usage, no machines.
	Plain bool
	// Members shows the members of each replica below it.
	Members bool
	// Tenants: replicas of all tenants are shown, and named with theirs.
	Tenants bool
	// Color: styles are drawn.
	Color bool
	// Machines begins with the machines.
	Machines bool
	// Filter and Sort are what to begin with; both may be empty.
	Filter, Sort string
}

// view is which list is looked at.
type view int

const (
	machinesView view = iota
	replicasView
	membersView
)

// lists are what is known of the cluster.
type lists [3]*list

// Model is a view and everything it knows. It is changed by Update alone.
type Model struct {
	opts          Options
	width, height int
	now           time.Time

	// data follows the cluster. shown is what is looked at: data, or while paused a copy of it.
	data, shown lists
	paused      time.Time // zero when not

	view  view
	of    *argosyv1.ReplicaKey // whose members
	usage map[string]usage     // of members, by name

	// early is what was told of rows that were not there yet: what changes is told once.
	early map[string]func(r *row)

	// link: whether the cluster answers, since when, why not. fresh is when it last did.
	linked    bool
	linkSince time.Time
	linkErr   string
	fresh     time.Time
	loaded    bool // replicas came once

	states [maxState]int // replicas by state
	moved  time.Time     // when somebody last moved the cursor

	editing  bool
	input    string
	help     bool
	text     *pane
	notice   string
	noticed  time.Time
	barWidth int // of the column that is being drawn
}

// pane is a text that is read instead of a list.
type pane struct {
	title string
	lines []string
	top   int
}

const maxState = 16

// New is a model that knows nothing yet.
func New(o Options) *Model {
	m := &Model{opts: o, view: replicasView}
	replicas := replicaColumns()
	if o.Plain {
		replicas = psColumns()
	}
	m.data = lists{newList(machineColumns()), newList(replicas), newList(memberColumns())}
	m.shown = m.data
	if o.Machines {
		m.view = machinesView
	}
	if o.Sort != "" {
		m.sortBy(o.Sort)
	}
	m.list().filter = parseFilter(o.Filter)
	return m
}

func (m *Model) list() *list { return m.shown[m.view] }

// sortBy sorts by the column of a name, a number's largest first. Unknown names change nothing.
func (m *Model) sortBy(name string) bool {
	l := m.list()
	for i, c := range l.columns {
		if equalFold(c.title, name) && c.rank != nil {
			l.sort, l.down = i, c.right
			l.rebuild()
			return true
		}
	}
	return false
}

// Update takes in what happened and returns what is to be done about it.
func (m *Model) Update(msg Msg) []Effect {
	switch msg := msg.(type) {
	case Key:
		return m.key(msg)
	case Wheel:
		m.scroll(msg.Lines)
	case Resize:
		m.width, m.height = max(msg.Width, 0), max(msg.Height, 0)
	case Tick:
		m.tick(msg.Now)
	case Link:
		m.link(msg)
	case Machines:
		m.machines(msg)
	case Replicas:
		m.replicas(msg)
	case Usage:
		m.used(msg)
	case Text:
		m.text = newPane(msg)
	case Notice:
		m.say(msg.Text)
	}
	return nil
}

// Calm: a list that is sorted by what changes all the time is sorted anew only so often, and not while somebody moves in it.
const (
	resortEvery = 4 * time.Second
	stillFor    = 3 * time.Second
	noticeFor   = 6 * time.Second
)

func (m *Model) at(t time.Time) {
	if t.After(m.now) {
		m.now = t
	}
}

func (m *Model) tick(now time.Time) {
	m.at(now)
	if m.notice != "" && m.now.Sub(m.noticed) > noticeFor {
		m.notice = ""
	}
	for _, l := range m.data {
		m.calm(l)
	}
}

// calm sorts a list anew if that is due.
func (m *Model) calm(l *list) {
	if !l.unsorted || !l.columns[l.sort].steady && (m.now.Sub(l.sorted) < resortEvery || m.now.Sub(m.moved) < stillFor) {
		return
	}
	l.resort()
	l.sorted = m.now
}

func (m *Model) link(msg Link) {
	m.at(msg.At)
	if ok := msg.Err == ""; ok != m.linked {
		m.linked, m.linkSince = ok, msg.At
	}
	m.linkErr = clean(msg.Err)
	if m.linked {
		m.fresh = m.now
	}
}

// current reports whether the cluster answers, and did just now.
func (m *Model) current() bool { return m.linked && m.now.Sub(m.fresh) < recently }

// heard is when what a row shows was last confirmed. Every beat of a machine confirms what it said of its replicas: while the
// cluster answers, it would have told of a change.
func (m *Model) heard(r *row) time.Time {
	if r.machine != nil || r.replica.GetState() == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED || r.heard.IsZero() {
		return r.heard
	}
	lists := &m.data
	if !m.paused.IsZero() {
		lists = &m.shown
	}
	if on := lists[machinesView].rows[r.machineID()]; on != nil && on.heard.After(r.heard) {
		return on.heard
	}
	return r.heard
}

// usageFor is how long a sample counts: agents take one every 15 seconds, more often once they know that somebody watches.
const usageFor = 45 * time.Second

// counts reports whether what a row is said to use is so now.
func (m *Model) counts(r *row) bool {
	if !running(r) {
		return false
	}
	id := r.machineID()
	if on := m.data[machinesView].rows[id]; on != nil && !on.sampled.IsZero() {
		return m.now.Sub(on.sampled) < usageFor
	}
	return false
}

func (m *Model) machines(msg Machines) {
	m.at(msg.At)
	m.fresh = m.now
	l := m.data[machinesView]
	seen := make(map[string]bool, len(msg.List))
	for _, s := range msg.List {
		id := s.GetMachine().GetId()
		seen[id] = true
		r := l.rows[id]
		if r != nil && r.name != clean(s.GetMachine().GetName()) { // another name is another place
			l.remove(id)
			r = nil
		}
		if r == nil {
			r = &row{}
		}
		m.late(id, r)
		r.setMachine(msg.At, s)
		l.changed(r)
	}
	for id := range l.rows {
		if !seen[id] {
			l.remove(id)
		}
	}
	m.calm(l)
}

func (m *Model) replicas(msg Replicas) {
	m.at(msg.At)
	m.fresh, m.loaded = m.now, true
	l := m.data[replicasView]
	old := l.rows
	if msg.Change.GetFull() {
		l.rows = make(map[string]*row, len(msg.Change.GetReplicas()))
		m.states = [maxState]int{}
	}
	anew := msg.Change.GetFull() || len(msg.Change.GetReplicas()) > bulk
	for _, s := range msg.Change.GetReplicas() {
		id := replicaID(s.GetReplica().GetKey())
		r := l.rows[id]
		switch {
		case r != nil:
			m.count(r, -1)
		case old[id] != nil: // said anew: what it uses is still known
			r = old[id]
		default:
			r = &row{}
		}
		m.late(id, r)
		r.setReplica(msg.At, s, m.opts.Tenants)
		m.count(r, 1)
		m.place(l, r, anew)
	}
	for _, k := range msg.Change.GetRemoved() {
		id := replicaID(k)
		if r := l.rows[id]; r != nil {
			m.count(r, -1)
			m.dropMembers(l, r)
			l.remove(id)
		}
	}
	if anew {
		l.rebuild()
		l.sorted = m.now
	}
	m.calm(l)
	m.members()
}

// place puts a replica's row into its list, and where members are shown theirs. In bulk, the order is left to a rebuild.
func (m *Model) place(l *list, r *row, later bool) {
	put := l.changed
	if later {
		put = func(r *row) { l.rows[r.id] = r; l.measure(r) }
	}
	if !m.opts.Members {
		put(r)
		return
	}
	m.dropMembers(l, r)
	var members []*row
	own := r.haystack
	for i, mo := range r.replica.GetObservation().GetMembers() {
		member := &row{parent: r}
		member.setMember(r, mo, i)
		r.haystack += "\n" + member.haystack
		member.name, member.haystack = "  "+member.name, own+"\n"+member.haystack
		r.below = append(r.below, member.id)
		members = append(members, member)
	}
	put(r)
	for _, member := range members {
		put(member)
	}
}

func (m *Model) dropMembers(l *list, r *row) {
	for _, id := range r.below {
		l.remove(id)
	}
	r.below = nil
}

func (m *Model) count(r *row, n int) {
	if s := int(r.replica.GetState()); s >= 0 && s < maxState {
		m.states[s] += n
	}
}

func (m *Model) used(msg Usage) {
	m.at(msg.At)
	m.fresh = m.now
	machines, replicas := m.data[machinesView], m.data[replicasView]
	if msg.Change.GetFull() && msg.Of == nil {
		m.early = nil
		for _, r := range replicas.rows {
			r.usage = usage{}
		}
	}
	for _, u := range msg.Change.GetMachines() {
		m.tell(machines, u.GetId(), func(r *row) {
			r.sampled = msg.At.Add(-u.GetAge().AsDuration())
			r.usage = machineUsage(u.GetUsage())
		})
	}
	for _, u := range msg.Change.GetReplicas() {
		id := replicaID(u.GetKey())
		m.tell(replicas, id, func(r *row) { r.usage = replicaUsage(u) })
		if m.of != nil && id == replicaID(m.of) && len(u.GetMembers()) > 0 {
			m.usage = map[string]usage{}
			for _, mu := range u.GetMembers() {
				m.usage[mu.GetMember()] = memberUsage(mu)
			}
		}
	}
	m.calm(machines)
	m.calm(replicas)
	m.members()
}

// tell changes a row, now or as soon as there is one.
func (m *Model) tell(l *list, id string, change func(r *row)) {
	if r := l.rows[id]; r != nil {
		change(r)
		l.changed(r)
		return
	}
	if m.early == nil {
		m.early = map[string]func(*row){}
	}
	m.early[id] = change
}

// late tells a row that has come what was said of it before.
func (m *Model) late(id string, r *row) {
	if change := m.early[id]; change != nil {
		change(r)
		delete(m.early, id)
	}
}

// members makes the list of members of the replica that is looked into.
func (m *Model) members() {
	l := m.data[membersView]
	if m.of == nil {
		return
	}
	of := m.data[replicasView].rows[replicaID(m.of)]
	seen := map[string]bool{}
	if of != nil {
		for i, mo := range of.replica.GetObservation().GetMembers() {
			id := memberID(of, mo, i)
			r := l.rows[id]
			if r == nil {
				r = &row{}
			}
			r.setMember(of, mo, i)
			r.usage = m.usage[mo.GetName()]
			seen[id] = true
			l.changed(r)
		}
	}
	for id := range l.rows {
		if !seen[id] {
			l.remove(id)
		}
	}
	m.calm(l)
}
