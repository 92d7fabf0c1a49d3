package systemd

import (
	"maps"
	"reflect"
	"strings"
	"sync"
)

// told is what systemd has said of units by itself. With each change of one it sends all that can change of it, so that who was told
// once what never changes need not ask again.
type told struct {
	mu    sync.Mutex
	ours  func(name string) string // see Bus.Watch; nil while nobody watches, and then nothing is kept
	units map[string]*saying
	news  map[string]bool // units of which something was said that is new
	wake  chan struct{}   // 1: there are news
}

// saying is about one unit. Numbers say in which order things were said.
type saying struct {
	id    string          // of its file
	whole part            // all that is looked at, as it was asked for; nil when it was not
	parts map[string]part // what was told last, by interface
}

type part struct {
	Properties
	at uint64
}

// changing are the properties of all units that can change, and that a look is about.
var changing = []string{"ActiveState", "SubState", "InactiveExitTimestamp", "InactiveEnterTimestamp", "ConditionTimestamp", "ConditionResult", "InvocationID"}

// lasting are those of them that never change while the unit stays loaded.
var lasting = []string{"LoadState", "After"}

// loading are the properties of all units that say from which file systemd has one.
var loading = []string{"LoadState", "LoadError", "ActiveState", "FragmentPath", "NeedDaemonReload"}

// ofType are the properties of a type that are looked at.
var ofType = map[string][]string{
	"Service": {"Result", "MainPID", "NRestarts", "ExecMainStatus", "ExecMainCode"},
	"Socket":  {"Result"}, "Mount": {"Result"}, "Automount": {"Result"}, "Swap": {"Result"}, "Timer": {"Result"}, "Path": {"Result"},
}

// typeOf is the type of a unit as D-Bus writes it: Service.
func typeOf(name string) string {
	kind := name[strings.LastIndexByte(name, '.')+1:]
	if kind == "" {
		return ""
	}
	return strings.ToUpper(kind[:1]) + kind[1:]
}

// looked are the properties of one interface of a unit that are looked at, and can change.
func looked(unit, face string) []string {
	switch kind := typeOf(unit); face {
	case "Unit":
		return changing
	case kind:
		return ofType[kind]
	}
	return nil
}

func newTold() *told {
	return &told{units: map[string]*saying{}, news: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// watch begins anew with what is heard of our units from now on.
func (t *told) watch(ours func(name string) string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ours = ours
	clear(t.units)
	clear(t.news)
}

// wants says whether what happens to a unit is to be heard. What was heard of one before it is not, is not all any more.
func (t *told) wants(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ours != nil && t.ours(name) != "" {
		return true
	}
	delete(t.units, name)
	return false
}

// of is what was said of a unit; it is another once that may not be so any more. It is nil where nothing is heard.
func (t *told) of(name string) *saying {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.own(name)
}

func (t *told) own(name string) *saying {
	if t.ours == nil {
		return nil
	}
	id := t.ours(name)
	if id == "" {
		return nil
	}
	s := t.units[name]
	if s == nil || s.id != id {
		s = &saying{id: id, parts: map[string]part{}}
		t.units[name] = s
	}
	return s
}

// hear takes in what systemd says of one interface of a unit: of that no more than what is looked at.
func (t *told) hear(name, face string, said Properties, at uint64) {
	names := looked(name, face)
	if len(names) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.own(name)
	if s == nil {
		return
	}
	now := part{said, at}
	if len(now.Properties) < len(names) { // a systemd that does not tell all: it is asked
		delete(t.units, name)
	} else {
		before := s.latest(face, names)
		s.parts[face] = now
		if reflect.DeepEqual(before, now.Properties) {
			return
		}
	}
	t.news[name] = true
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// latest is what was said last of one interface.
func (s *saying) latest(face string, names []string) Properties {
	if p := s.parts[face]; p.Properties != nil && p.at >= s.whole.at {
		return p.Properties
	}
	return s.whole.only(names)
}

// said is what was told last of one interface of a unit.
func (t *told) said(s *saying, face string) (Properties, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s == nil {
		return nil, false
	}
	p, ok := s.parts[face]
	return p.Properties, ok
}

// keep notes the answer to a question about everything, unless something has come between.
func (t *told) keep(name string, asked *saying, p Properties, at uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if asked != nil && t.units[name] == asked {
		asked.whole = part{p.only(lasting, changing, ofType[typeOf(name)]), at}
	}
}

// show is what is known of a unit without asking.
func (t *told) show(name string) (Properties, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.own(name)
	if s == nil || s.whole.Properties == nil {
		return nil, false
	}
	return s.whole.with(s.parts), true
}

// with is an answer with what was said after it.
func (p part) with(parts map[string]part) Properties {
	out := maps.Clone(p.Properties)
	for _, later := range parts {
		if later.at > p.at {
			maps.Copy(out, later.Properties)
		}
	}
	return out
}

// forget drops what was said of a unit that may be another one now.
func (t *told) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.units, name)
}

// reread notes that systemd reads all files again: what never changes may have.
func (t *told) reread() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, s := range t.units {
		t.units[name] = &saying{id: s.id, parts: s.parts}
	}
}

// begin drops everything, so that what was not told for whatever reason is asked for when it is looked at next.
func (t *told) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.units)
}

// take returns the units of which there are news.
func (t *told) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for name := range t.news {
		names = append(names, name)
	}
	clear(t.news)
	return names
}

// only is a copy with no more than these properties.
func (p Properties) only(lists ...[]string) Properties {
	out := Properties{}
	for _, list := range lists {
		for _, name := range list {
			if v, ok := p[name]; ok {
				out[name] = v
			}
		}
	}
	return out
}
