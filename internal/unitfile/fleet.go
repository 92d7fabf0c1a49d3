package unitfile

import (
	"fmt"
	"path"
	"strings"

	"github.com/argosy-cluster/argosy/internal/fault"
	"github.com/argosy-cluster/argosy/internal/placement"
)

// FleetSection is where a unit file says what fleet, and Argosy, are to do with it.
const FleetSection = "X-Fleet"

// Fleet is what a unit's [X-Fleet] asks for, with specifiers expanded.
type Fleet struct {
	// MachineID is the machine's id, or the first eight digits of it; it says nothing when it is not asked for.
	MachineID Said
	// MachineOf are units on whose machine it has to be, all of them.
	MachineOf []Said
	// Metadata are the machine's labels: one of the values of every key.
	Metadata []Pair
	// Conflicts are globs of units that it is never beside.
	Conflicts []Said
	// Replaces are globs of units that have to leave its machine.
	Replaces []Said
	// Global: it runs on every machine that Metadata and Conflicts allow.
	Global bool
}

// Said is something said, and where.
type Said struct {
	Is        string
	Line, Col int

	s        *Setting
	from, to int // bytes of the setting's value
}

// Require is Metadata as expressions of a placement, all of which must hold, in the order in which their keys first come.
func (f Fleet) Require() []placement.Expr {
	var keys []string
	values := map[string][]string{}
	for _, p := range f.Metadata {
		if values[p.Key] == nil {
			keys = append(keys, p.Key)
		}
		values[p.Key] = append(values[p.Key], p.Value)
	}
	var out []placement.Expr
	for _, k := range keys {
		if e, err := placement.OneOf(k, values[k]); err == nil { // they were read as labels, and are not too many
			out = append(out, e)
		}
	}
	return out
}

// Pair is a key and a value of MachineMetadata.
type Pair struct {
	Key, Value string
	Line, Col  int
}

// oldFleet are the options as fleet spelled them before 0.8.
const (
	oldCondition = "X-Condition"
	oldConflicts = "X-Conflicts"
	bootID       = "X-ConditionMachineBootID"
)

func fleetNames() []string {
	return []string{"MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Replaces", "Global",
		oldCondition + "MachineID", oldCondition + "MachineOf", oldCondition + "MachineMetadata", oldConflicts}
}

// fleetOption is what the option is called since fleet 0.8, or "" if fleet had none of that name.
func fleetOption(name string) string {
	switch name {
	case oldConflicts:
		return "Conflicts"
	case oldCondition + "MachineID", oldCondition + "MachineOf", oldCondition + "MachineMetadata":
		return strings.TrimPrefix(name, oldCondition)
	case "MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Replaces", "Global":
		return name
	}
	return ""
}

// A machine's id is said in full or as fleet shortens it, in hexadecimal digits.
const (
	ShortID = 8
	fullID  = 32
)

const maxFleetValue = 4096 // bytes of one value of [X-Fleet]

// fleetReader gathers what [X-Fleet] says.
type fleetReader struct {
	f      *File
	unit   Name
	faults fault.Collector
	out    Fleet
	ids    []Said
	global Said
}

// Fleet reads [X-Fleet] for a unit of that name: a template as its instance 1 would be.
func (f *File) Fleet(unit Name) (Fleet, fault.Faults) {
	if unit.IsTemplate() {
		if instance, err := unit.Of("1"); err == nil {
			unit = instance
		}
	}
	r := &fleetReader{f: f, unit: unit}
	for i := range f.settings {
		if s := &f.settings[i]; s.Section == FleetSection {
			r.read(s)
		}
	}
	if len(r.ids) > 0 {
		r.out.MachineID = r.ids[0]
	}
	r.judge()
	return r.out, r.faults.Sorted()
}

func (r *fleetReader) bad(s *Setting, from, to int, format string, args ...any) *fault.Fault {
	if r.faults.Full() {
		return nil
	}
	return r.faults.Add(r.f.fault(s, from, to, fmt.Sprintf(format, args...)))
}

func (r *fleetReader) badSaid(what Said, format string, args ...any) *fault.Fault {
	return r.bad(what.s, what.from, what.to, format, args...)
}

func (r *fleetReader) read(s *Setting) {
	option := fleetOption(s.Name)
	switch {
	case s.Name == bootID:
		r.bad(s, s.name-s.value, s.name-s.value+len(s.Name), "%s is not honoured: a boot's id is another after the next boot", bootID).Meant("MachineID")
		return
	case option == "":
		at := r.bad(s, s.name-s.value, s.name-s.value+len(s.Name), "[%s] has no option %s", FleetSection, fault.Quoted(s.Name)).Near(s.Name, fleetNames())
		if where := elsewhere(s.Name, Sections(r.unit.Type), ""); where != "" {
			at.Advise("it belongs to [%s]", where)
		} else {
			at.Advise("it has MachineID, MachineOf, MachineMetadata, Conflicts, Replaces and Global")
		}
		return
	case len(s.Value) > maxFleetValue:
		r.bad(s, 0, len(s.Value), "the value of %s has %d bytes; %d are allowed", s.Name, len(s.Value), maxFleetValue)
		return
	case s.Value == "":
		r.reset(option)
		return
	}
	words, open := splitWords(s.Value)
	if open >= 0 {
		r.bad(s, open, open+1, "the quote %c is not closed", s.Value[open])
		return
	}
	switch option {
	case "MachineMetadata":
		r.metadata(s, words)
	case "Global":
		if v, ok := r.single(s, words); ok {
			r.global = v
			if r.out.Global, ok = parseBool(v.Is); !ok {
				r.badSaid(v, "Global is a boolean, not %s", fault.Quoted(v.Is)).Advise("write true or false")
			}
		}
	case "MachineID":
		if v, ok := r.single(s, words); ok {
			r.machineID(v)
		}
	case "MachineOf":
		r.each(s, words, &r.out.MachineOf, r.unitName)
	case "Conflicts":
		r.each(s, words, &r.out.Conflicts, r.glob)
	case "Replaces":
		r.each(s, words, &r.out.Replaces, r.glob)
	}
}

// reset takes back what was said before: an empty assignment.
func (r *fleetReader) reset(option string) {
	switch option {
	case "MachineID":
		r.ids = nil
	case "MachineOf":
		r.out.MachineOf = nil
	case "MachineMetadata":
		r.out.Metadata = nil
	case "Conflicts":
		r.out.Conflicts = nil
	case "Replaces":
		r.out.Replaces = nil
	case "Global":
		r.out.Global, r.global = false, Said{}
	}
}

// said is a word with its specifiers expanded.
func (r *fleetReader) said(s *Setting, w word) (Said, bool) {
	text, bad := r.unit.expand(w.text)
	if bad >= 0 {
		end := min(bad+2, len(w.text))
		r.bad(s, w.from, w.to, "%s means nothing in [%s]", fault.Quoted(w.text[bad:end]), FleetSection).
			Advise("there are %%n, the unit's name; %%N, without its type; %%p, what stands before the @; %%i, the instance; and %%%% for a percent sign")
		return Said{}, false
	}
	p := r.f.fault(s, w.from, w.to, "")
	return Said{Is: text, Line: p.Line, Col: p.Col, s: s, from: w.from, to: w.to}, true
}

// single is a value of one word.
func (r *fleetReader) single(s *Setting, words []word) (Said, bool) {
	if len(words) != 1 {
		r.bad(s, 0, len(s.Value), "%s takes one value, not %d", s.Name, len(words))
		return Said{}, false
	}
	return r.said(s, words[0])
}

// each reads a list, of which fine judges every word.
func (r *fleetReader) each(s *Setting, words []word, into *[]Said, fine func(*Setting, Said) bool) {
	for _, w := range words {
		if len(*into) == MaxRules {
			r.bad(s, w.from, w.to, "%s has more than %d values", s.Name, MaxRules)
			return
		}
		if v, ok := r.said(s, w); ok && fine(s, v) {
			*into = append(*into, v)
		}
	}
}

func (r *fleetReader) machineID(v Said) {
	id := strings.ToLower(v.Is)
	if len(id) != ShortID && len(id) != fullID || strings.Trim(id, "0123456789abcdef") != "" {
		r.badSaid(v, "%s is not the id of a machine", fault.Quoted(v.Is)).
			Advise("an id has 32 hexadecimal digits; the first 8 of them are enough; `argosy machines` tells them")
		return
	}
	v.Is = id
	r.ids = append(r.ids, v)
}

// unitName judges a name in MachineOf.
func (r *fleetReader) unitName(s *Setting, v Said) bool {
	name, err := ParseName(v.Is)
	switch {
	case strings.ContainsAny(v.Is, "*?["):
		r.badSaid(v, "%s names one unit, and %s is a pattern", s.Name, fault.Quoted(v.Is))
	case err != nil:
		r.badSaid(v, "%s", err.Error()).Meant(err.(*NameError).Suggestion) //nolint:errorlint // ParseName returns no other
	case name.IsTemplate():
		r.badSaid(v, "%s is a template, and only instances of it run", fault.Quoted(v.Is)).Meant(name.Prefix + "@%i." + name.Type)
	default:
		return true
	}
	return false
}

// glob judges a pattern in Conflicts and Replaces.
func (r *fleetReader) glob(s *Setting, v Said) bool {
	if _, err := path.Match(literal(v.Is), ""); err != nil || len(v.Is) > 2*MaxName {
		r.badSaid(v, "%s is not a pattern: a bracket is not closed, or has nothing in it", fault.Quoted(v.Is))
		return false
	}
	if strings.ContainsAny(v.Is, "*?[") {
		return true
	}
	if _, err := ParseName(v.Is); err != nil {
		r.badSaid(v, "%s in %s can be no unit: %s", fault.Quoted(v.Is), s.Name, strings.TrimPrefix(err.Error(), fault.Quoted(v.Is)+" is not the name of a unit: ")).
			Meant(err.(*NameError).Suggestion) //nolint:errorlint // ParseName returns no other
		return false
	}
	return true
}

// metadata reads key=value pairs. As in fleet, a value that is not in quotes is one pair, blanks included.
func (r *fleetReader) metadata(s *Setting, words []word) {
	if !strings.ContainsAny(s.Value, `"'`) {
		if len(words) > 1 && strings.Count(s.Value, "=") > 1 {
			var pairs []string
			for _, w := range words {
				pairs = append(pairs, `"`+w.text+`"`)
			}
			r.bad(s, 0, len(s.Value), "several pairs in one MachineMetadata stand in quotes, each in its own").Meant(strings.Join(pairs, " "))
			return
		}
		words = []word{{s.Value, 0, len(s.Value)}}
	}
	for _, w := range words {
		if len(r.out.Metadata) == MaxRules {
			r.bad(s, w.from, w.to, "%s has more than %d pairs", s.Name, MaxRules)
			return
		}
		v, ok := r.said(s, w)
		if !ok {
			continue
		}
		key, value, pair := strings.Cut(v.Is, "=")
		switch {
		case !pair || strings.Contains(value, "=") || key == "" || value == "":
			r.badSaid(v, "%s in MachineMetadata is not KEY=VALUE", fault.Quoted(v.Is)).
				Advise("fleet left such a condition out in silence and put the unit anywhere")
		case strings.TrimSpace(key) != key || strings.TrimSpace(value) != value:
			r.badSaid(v, "blanks stand around the equals sign of %s", fault.Quoted(v.Is)).Meant(strings.TrimSpace(key) + "=" + strings.TrimSpace(value))
		case placement.CheckValue(key, value) != nil:
			r.badSaid(v, "no machine can have it: %s", placement.CheckValue(key, value))
		case key != placement.Machine && placement.CheckKey(key) != nil:
			r.badSaid(v, "no machine can have it: %s", placement.CheckKey(key))
		default:
			r.out.Metadata = append(r.out.Metadata, Pair{key, value, v.Line, v.Col})
		}
	}
}
