package live

import (
	"fmt"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/cli/words"
)

// View draws the screen: at most as many lines as the terminal has, none wider than it.
func (m *Model) View() string {
	if m.width <= 0 || m.height <= 0 {
		return ""
	}
	var lines []string
	switch {
	case m.help:
		lines = m.helpLines()
	case m.text != nil:
		lines = m.textLines()
	default:
		lines = m.listLines()
	}
	if len(lines) > m.height {
		lines = lines[:m.height]
	}
	return strings.Join(lines, "\n")
}

// The lines around a list, in the order in which they are given up when there is little room: the summary first.
const (
	roomForTitle   = 4
	roomForKeys    = 6
	roomForDetail  = 8
	roomForSummary = 10
)

// bodyHeight is how many rows the screen has room for.
func (m *Model) bodyHeight() int {
	n := m.height
	if n >= 2 {
		n-- // the columns' titles
	}
	for _, room := range []int{roomForTitle, roomForKeys, roomForDetail, roomForSummary} {
		if m.height >= room {
			n--
		}
	}
	return max(n, 0)
}

func (m *Model) listLines() []string {
	var lines []string
	add := func(room int, line func() string) {
		if m.height >= room {
			lines = append(lines, line())
		}
	}
	add(roomForTitle, m.titleLine)
	add(roomForSummary, m.summaryLine)
	columns, gap := m.list().arrange(m.width - 1)
	add(2, func() string { return m.headerLine(columns, gap) })
	n := m.bodyHeight()
	rows, selected := m.list().window(n)
	for i, r := range rows {
		lines = append(lines, m.rowLine(r, columns, gap, i == selected))
	}
	if len(rows) == 0 && n > 0 {
		lines = append(lines, m.paint(cell{head(m.nothing(), m.width), words.Dim}))
		rows = make([]*row, 1)
	}
	for range n - len(rows) {
		lines = append(lines, "")
	}
	add(roomForDetail, m.detailLine)
	add(roomForKeys, m.keysLine)
	if m.editing && m.height < roomForKeys {
		lines[len(lines)-1] = m.promptLine() // somebody who types sees it
	}
	return lines
}

func (m *Model) paint(c cell) string {
	if !m.opts.Color || c.style == words.Plain || c.text == "" {
		return c.text
	}
	return string(c.style) + c.text + words.Reset
}

// sides is a line of two texts, one on each side; the right one is kept whole as long as it fits at all.
func (m *Model) sides(left, right cell) string {
	right.text = head(right.text, m.width)
	room := m.width - width(right.text)
	if right.text != "" {
		room--
	}
	left.text = head(left.text, max(room, 0))
	gap := max(m.width-width(left.text)-width(right.text), 0)
	if right.text == "" {
		gap = 0
	}
	return m.paint(left) + strings.Repeat(" ", gap) + m.paint(right)
}

// titleLine says what is looked at, and whether it is so now.
func (m *Model) titleLine() string {
	l := m.list()
	title := m.opts.Title
	if m.opts.Target != "" {
		title += " " + m.opts.Target
	}
	what := "replicas"
	switch {
	case m.view == machinesView:
		what = "machines"
	case m.view == membersView:
		what = "containers of " + clean(words.Replica(m.of))
	case l.within != "":
		if on := m.shown[machinesView].rows[l.within]; on != nil {
			what = "replicas on " + on.name
		}
	}
	title += "  " + what
	if len(l.shown) != len(l.rows) {
		title += fmt.Sprintf(" (%d of %d)", len(l.shown), len(l.rows))
	}
	if l.filter.text != "" {
		title += "  /" + clean(l.filter.text)
	}
	return m.sides(cell{title, words.Bold}, m.linkCell())
}

// linkCell says whether what is shown is so now, and if not, how old it is.
func (m *Model) linkCell() cell {
	age := func(t time.Time) string { return words.Seconds(m.now.Sub(t)) }
	switch {
	case !m.paused.IsZero():
		return cell{"paused, " + age(m.paused) + " old", words.Yellow}
	case m.fresh.IsZero() && m.linkErr == "", !m.linked && m.linkErr == "":
		return cell{"asking …", words.Dim}
	case m.fresh.IsZero():
		return cell{"disconnected, retrying", words.Red}
	case m.linked && m.current():
		return cell{"live", words.Green}
	case m.linked:
		return cell{"no answer; data is " + age(m.fresh) + " old", words.Red}
	}
	return cell{"disconnected, retrying; data is " + age(m.fresh) + " old", words.Red}
}

// summaryOrder is the order in which states are counted.
var summaryOrder = []argosyv1.ReplicaState{
	argosyv1.ReplicaState_REPLICA_STATE_READY, argosyv1.ReplicaState_REPLICA_STATE_FAILED, argosyv1.ReplicaState_REPLICA_STATE_DEGRADED,
	argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED, argosyv1.ReplicaState_REPLICA_STATE_PENDING, argosyv1.ReplicaState_REPLICA_STATE_STARTING,
	argosyv1.ReplicaState_REPLICA_STATE_STOPPING, argosyv1.ReplicaState_REPLICA_STATE_COMPLETED, argosyv1.ReplicaState_REPLICA_STATE_GONE,
}

// summaryLine counts, and adds up what machines use. While the cluster does not answer, it says why instead.
func (m *Model) summaryLine() string {
	if !m.linked && m.linkErr != "" {
		return m.sides(cell{m.linkErr, words.Red}, cell{})
	}
	total := 0
	var states []string
	for _, s := range summaryOrder {
		if n := m.states[s]; n > 0 {
			name, _ := words.State(s)
			total += n
			states = append(states, fmt.Sprintf("%d %s", n, name))
		}
	}
	left := fmt.Sprintf("%d replicas", total)
	if total == 1 {
		left = "1 replica"
	}
	if len(states) > 0 {
		left += ": " + strings.Join(states, ", ")
	}
	var cpu, ofCPU, memory, ofMemory int64
	ready, known := 0, false
	machines := m.data[machinesView].rows
	for _, r := range machines {
		if r.machine.GetCondition() == argosyv1.MachineCondition_MACHINE_CONDITION_READY {
			ready++
		}
		ofCPU += r.machine.GetMachine().GetCapacity().GetCpuMilli()
		ofMemory += r.machine.GetMachine().GetCapacity().GetMemory()
		if r.usage.known && m.counts(r) {
			known = true
			cpu += r.usage.cpu
			memory += r.usage.memory
		}
	}
	right := fmt.Sprintf("%d/%d machines", ready, len(machines))
	if known {
		right += fmt.Sprintf("  cpu %s/%s  mem %s/%s", words.CPUs(cpu), words.CPUs(ofCPU), words.Bytes(memory), words.Bytes(ofMemory))
	}
	if len(machines) == 0 {
		right = ""
	}
	return m.sides(cell{left, words.Plain}, cell{right, words.Plain})
}

func (m *Model) headerLine(columns []placed, gap int) string {
	l := m.list()
	var b strings.Builder
	for i, c := range columns {
		title := c.title
		if c.index == l.sort {
			mark := "▲"
			if l.down {
				mark = "▼"
			}
			title += mark
		}
		if i > 0 {
			b.WriteString(strings.Repeat(" ", gap))
		}
		b.WriteString(pad(head(title, c.width), c.width, c.right))
	}
	return m.paint(cell{head(" "+strings.TrimRight(b.String(), " "), m.width), words.Dim})
}

// rowLine is a row behind a margin of one column, in which the cursor stands: it is seen without colour too.
func (m *Model) rowLine(r *row, columns []placed, gap int, selected bool) string {
	var b strings.Builder
	for i, c := range columns {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", gap))
		}
		m.barWidth = c.width
		t := c.cell(m, r)
		if c.name {
			t.text = middle(t.text, c.width)
		} else {
			t.text = head(t.text, c.width)
		}
		if i < len(columns)-1 || selected || c.right {
			t.text = pad(t.text, c.width, c.right)
		}
		if selected {
			t.style = words.Plain // the whole line is marked
		}
		b.WriteString(m.paint(t))
	}
	switch line := b.String(); {
	case m.width < 2:
		return head(line, m.width)
	case !selected:
		return strings.TrimRight(" "+line, " ")
	case m.opts.Color:
		return string(words.Reverse) + ">" + line + words.Reset
	default:
		return strings.TrimRight(">"+line, " ")
	}
}

// stateCell is the state of a row, with a question mark where nobody can say that it is still so.
func (m *Model) stateCell(r *row) cell {
	s, style := r.state()
	if m != nil && !m.current() {
		return cell{head(s, 8) + "?", words.Dim}
	}
	return cell{s, style}
}

func (m *Model) nothing() string {
	l := m.list()
	switch {
	case !m.loaded && m.view != machinesView, m.fresh.IsZero():
		return "Asking …"
	case l.filter.text != "":
		return fmt.Sprintf("Nothing of %d matches; press Esc to see all.", len(l.rows))
	case m.view == machinesView:
		return "No machines yet. Make a token with 'argosy token create' and run 'argosy join TOKEN' on a machine."
	case m.view == membersView:
		return "Nobody has seen a container of it yet."
	case l.within != "":
		return "Nothing that you may see runs on this machine."
	}
	return "Nothing is wanted here. Apply a manifest: argosy apply FILE"
}

// detailLine is what there is to say about the row under the cursor that its columns have no room for.
func (m *Model) detailLine() string {
	r := m.list().current()
	if r == nil {
		return ""
	}
	text := r.name
	if msg := r.message(); msg != "" {
		text += ": " + msg
	}
	if r.machine != nil {
		cap := r.machine.GetMachine().GetCapacity()
		text += fmt.Sprintf(": reserved cpu %s of %s, memory %s of %s", words.CPUs(r.machine.GetReservedCpuMilli()), words.CPUs(cap.GetCpuMilli()-cap.GetReserveCpuMilli()),
			words.Bytes(r.machine.GetReservedMemory()), words.Bytes(cap.GetMemory()-cap.GetReserveMemory()))
	}
	return m.paint(cell{head(strings.TrimSpace(text), m.width), words.Dim})
}

func (m *Model) promptLine() string { return head("/"+clean(m.input)+"▏", m.width) }

func (m *Model) keysLine() string {
	switch {
	case m.editing:
		if width(m.input)+60 < m.width {
			return m.sides(cell{m.promptLine(), words.Plain}, cell{"text, state:failed, machine:m2, app:… Enter keeps, Esc clears", words.Dim})
		}
		return m.promptLine()
	case m.notice != "":
		return m.paint(cell{head(m.notice, m.width), words.Yellow})
	}
	keys := "↑↓ move  / filter  < > sort  l logs  e shell  x explain  space pause  ? help  q quit"
	switch {
	case m.opts.Plain:
	case m.view == machinesView:
		keys = "↑↓ move  Enter its replicas  Tab replicas  / filter  < > sort  ? help  q quit"
	case m.view == replicasView && m.list().within != "":
		keys = "↑↓ move  Esc back  Enter open  / filter  < > sort  l logs  e shell  x explain  ? help  q quit"
	case m.view == replicasView:
		keys = "↑↓ move  Enter open  Tab machines  / filter  < > sort  l logs  e shell  x explain  ? help  q quit"
	default:
		keys = "↑↓ move  Esc back  l logs  e shell  x explain  ? help  q quit"
	}
	if width(keys) > m.width {
		keys = strings.NewReplacer("↑↓ move  ", "", "< > sort", "<> sort", "  q quit", "").Replace(keys)
	}
	return m.paint(cell{head(keys, m.width), words.Dim})
}

// Help says what the keys do.
const Help = `↑ ↓ j k PgUp PgDn Home End   move
Enter   look into it: a machine's replicas, a replica's containers
Esc     clear the filter; go back
Tab     machines, or all replicas
/       filter by text, or name: state: machine: message: app: stack: tenant:
< >     sort by the column to the left or right
S       turn the order round
l       logs (Ctrl-C comes back)
e       a shell in a container (exit comes back)
x       explain why it is where it is
space   hold the screen, and go on
? q     this help; quit`

func (m *Model) helpLines() []string {
	lines := []string{m.paint(cell{head(m.opts.Title+"  keys", m.width), words.Bold}), ""}
	for l := range strings.Lines(Help) {
		lines = append(lines, head(strings.TrimRight(l, "\n"), m.width))
	}
	for _, l := range []string{"",
		"SEEN    how long ago an agent confirmed it; now is less than 5 s",
		"FOR     how long it has been so",
		"RX TX   received and sent, RD WR read and written, in bytes a second",
		"██▒▒··  in use, reserved beyond that, free",
		"", "Any key comes back."} {
		lines = append(lines, m.paint(cell{head(l, m.width), words.Dim}))
	}
	return lines
}

func newPane(t Text) *pane {
	p := &pane{title: clean(t.Title)}
	for l := range strings.Lines(t.Body) {
		p.lines = append(p.lines, strings.TrimRight(cleanLine(l), " "))
	}
	return p
}

// cleanLine is clean, but for the white space that aligns.
func cleanLine(s string) string {
	indent := len(s) - len(strings.TrimLeft(s, " "))
	words := strings.Split(strings.TrimRight(s, "\r\n"), " ")
	for i, w := range words {
		words[i] = clean(w)
	}
	_ = indent
	return strings.Join(words, " ")
}

func (m *Model) textLines() []string {
	p, n := m.text, max(m.height-2, 1)
	lines := []string{m.sides(cell{p.title, words.Bold}, cell{"↑↓ move  Esc back", words.Dim})}
	for _, l := range p.lines[min(p.top, len(p.lines)):min(p.top+n, len(p.lines))] {
		lines = append(lines, head(l, m.width))
	}
	return lines
}
