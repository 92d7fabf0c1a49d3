package live

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// maxInput is how long a filter may be.
const maxInput = 200

// key takes in a key.
func (m *Model) key(k Key) []Effect {
	switch {
	case k.Name == "ctrl+c":
		return []Effect{Quit{}}
	case k.Name == "ctrl+z":
		return []Effect{Suspend{}}
	case m.editing:
		m.edit(k)
		return nil
	case m.help:
		m.help = false
		return nil
	case m.text != nil:
		m.read(k)
		return nil
	}
	m.notice = ""
	if m.navigate(k.Name) {
		m.moved = m.now
		return nil
	}
	return m.command(k.Name)
}

// navigate moves the cursor, if that is what the key does.
func (m *Model) navigate(name string) bool {
	l := m.list()
	at, page := l.cursor(), max(m.bodyHeight()-1, 1)
	switch name {
	case "up", "k":
		l.move(at - 1)
	case "down", "j":
		l.move(at + 1)
	case "pgup", "ctrl+b":
		l.move(at - page)
	case "pgdown", "ctrl+f":
		l.move(at + page)
	case "home", "g":
		l.move(0)
	case "end", "G":
		l.move(len(l.shown) - 1)
	default:
		return false
	}
	return true
}

func (m *Model) command(name string) []Effect {
	l := m.list()
	switch name {
	case "q":
		return []Effect{Quit{}}
	case "?", "h":
		m.help = true
	case "/":
		m.editing, m.input = true, l.filter.text
	case "esc":
		return m.back()
	case "enter", "right":
		return m.enter()
	case "left", "backspace":
		return m.leave()
	case "tab", "shift+tab":
		return m.other()
	case ">", ".", "s":
		m.sortNext(1)
	case "<", ",":
		m.sortNext(-1)
	case "S":
		l.down = !l.down
		l.rebuild()
	case "space":
		m.pause()
	case "l":
		return m.act(Logs)
	case "e":
		return m.act(Shell)
	case "x":
		if r := l.current(); r != nil && r.replica != nil {
			return []Effect{Explain{r.replica.GetReplica().GetKey()}}
		}
		m.say("An explanation is of a replica: press Enter to see those of this machine.")
	}
	return nil
}

// edit takes in a key while a filter is typed. The list follows at once.
func (m *Model) edit(k Key) {
	switch k.Name {
	case "enter":
		m.editing = false
	case "esc":
		m.editing, m.input = false, ""
	case "ctrl+u":
		m.input = ""
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(m.input)
		m.input = m.input[:len(m.input)-n]
	default:
		if m.navigate(k.Name) && len(k.Text) == 0 {
			return
		}
		if s := k.Text; s != "" && len(m.input)+len(s) <= maxInput {
			m.input += strings.Map(func(r rune) rune {
				if r < ' ' {
					return -1
				}
				return r
			}, s)
		}
	}
	m.list().refilter(m.input)
}

// read takes in a key while a text is read.
func (m *Model) read(k Key) {
	page := max(m.height-2, 1)
	switch k.Name {
	case "q", "esc", "enter", "left", "x":
		m.text = nil
		return
	case "up", "k":
		m.text.top--
	case "down", "j":
		m.text.top++
	case "pgup", "ctrl+b":
		m.text.top -= page
	case "pgdown", "ctrl+f", "space":
		m.text.top += page
	case "home", "g":
		m.text.top = 0
	case "end", "G":
		m.text.top = len(m.text.lines)
	}
	m.text.top = max(min(m.text.top, len(m.text.lines)-page), 0)
}

func (m *Model) scroll(lines int) {
	switch {
	case m.text != nil:
		m.text.top = max(min(m.text.top+lines, len(m.text.lines)-max(m.height-2, 1)), 0)
	case !m.help:
		m.moved = m.now
		l := m.list()
		l.move(l.cursor() + lines)
	}
}

// back undoes one thing: the filter, then the way that led here.
func (m *Model) back() []Effect {
	if m.list().filter.text != "" {
		m.list().refilter("")
		return nil
	}
	return m.leave()
}

func (m *Model) leave() []Effect {
	switch {
	case m.view == membersView:
		m.view, m.of = replicasView, nil
		return []Effect{WatchMembers{}}
	case m.view == replicasView && m.list().within != "":
		m.within("")
		m.view = machinesView
	}
	return nil
}

// enter looks into what the cursor is on.
func (m *Model) enter() []Effect {
	r := m.list().current()
	switch {
	case r == nil || m.opts.Plain:
	case m.view == machinesView:
		m.within(r.id)
		m.view = replicasView
	case m.view == replicasView:
		m.view, m.of, m.usage = membersView, r.replica.GetReplica().GetKey(), nil
		m.data[membersView] = newList(memberColumns())
		m.shown[membersView] = m.data[membersView]
		m.members()
		return []Effect{WatchMembers{m.of}}
	}
	return nil
}

// within shows only one machine's replicas, or, with none named, all.
func (m *Model) within(id string) {
	for _, l := range []*list{m.data[replicasView], m.shown[replicasView]} {
		l.within = id
		l.pinned, l.top = false, 0
		l.rebuild()
	}
}

// other changes between machines and all replicas.
func (m *Model) other() []Effect {
	if m.opts.Plain {
		return nil
	}
	from := m.view
	m.within("")
	m.of = nil
	m.view = machinesView
	if from == machinesView {
		m.view = replicasView
	}
	if from == membersView {
		return []Effect{WatchMembers{}}
	}
	return nil
}

// sortNext sorts by the next or the last visible column that can be sorted by.
func (m *Model) sortNext(step int) {
	l := m.list()
	columns, _ := l.arrange(m.width - 1)
	at := 0
	for i, c := range columns {
		if c.index == l.sort {
			at = i
		}
	}
	for range columns {
		at = (at + step + len(columns)) % len(columns)
		if c := columns[at]; c.rank != nil {
			l.sort, l.down = c.index, c.right
			l.rebuild()
			l.sorted = m.now
			return
		}
	}
}

// pause holds what is shown; what happens meanwhile is there when it goes on.
func (m *Model) pause() {
	if m.paused.IsZero() {
		m.paused = m.now
		for i, l := range m.data {
			m.shown[i] = l.copy()
		}
		return
	}
	m.paused = time.Time{}
	for i, l := range m.data {
		from := m.shown[i]
		l.sort, l.down, l.filter, l.within = from.sort, from.down, from.filter, from.within
		l.selected, l.pinned, l.top = from.selected, from.pinned, from.top
		l.rebuild()
		l.sorted = m.now
	}
	m.shown = m.data
}

// act hands the terminal over, if there is something to hand it to.
func (m *Model) act(what Action) []Effect {
	r := m.list().current()
	switch {
	case r == nil:
		return nil
	case r.machine != nil:
		m.say("Logs and shells are of replicas: press Enter to see those of this machine.")
		return nil
	case r.member != nil:
		return []Effect{HandOver{what, r.replica.GetReplica().GetKey(), r.member.GetName()}}
	case what == Logs:
		return []Effect{HandOver{what, r.replica.GetReplica().GetKey(), ""}}
	}
	members := r.replica.GetObservation().GetMembers()
	switch {
	case len(members) == 0:
		m.say(fmt.Sprintf("%s has no container to enter: %s", r.name, cmp.Or(r.message(), "nobody has seen one yet")))
		return nil
	case len(members) == 1:
		return []Effect{HandOver{what, r.replica.GetReplica().GetKey(), members[0].GetName()}}
	case m.opts.Plain:
		m.say(fmt.Sprintf("%s has several containers: use 'argosy exec %s/%s', or 'argosy top' to choose one.", r.name, r.name, members[0].GetName()))
		return nil
	}
	out := m.enter()
	m.say("Choose a container, then press e again.")
	return out
}

func (m *Model) say(s string) { m.notice, m.noticed = clean(s), m.now }
