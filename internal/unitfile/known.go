package unitfile

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/argosy-cluster/argosy/internal/fault"
)

//go:embed known.txt
var knownText string

// known are the options of systemd's sections; they are read when first asked for. Lists are sorted.
var known = sync.OnceValue(func() map[string][]string {
	out, plus := map[string][]string{}, map[string][]string{}
	section := ""
	for line := range strings.Lines(knownText) {
		head, names, begins := strings.Cut(line, ":")
		switch {
		case line[0] == '#' || strings.TrimSpace(line) == "newer":
			continue
		case begins:
			section = head
		default:
			names = line
		}
		for _, n := range strings.Fields(names) {
			if group, is := strings.CutPrefix(n, "+"); is {
				plus[section] = append(plus[section], "%"+group)
			} else {
				out[section] = append(out[section], n)
			}
		}
	}
	for section, groups := range plus {
		for _, g := range groups {
			out[section] = append(out[section], out[g]...)
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
})

// Known are the options that systemd knows in a section, sorted; none of a section that it does not know.
func Known(section string) []string { return known()[section] }

// Sections are those that mean something in a unit of that type.
func Sections(kind string) []string {
	out := []string{"Unit"}
	if kind != "target" && kind != "device" && kind != "" {
		out = append(out, strings.ToUpper(kind[:1])+kind[1:])
	}
	return append(out, "Install", FleetSection)
}

// Check finds sections and options that systemd does not know in a unit of that name: it would leave them out. What begins
// with X- is for other readers, and [Fleet]'s own section is judged by [File.Fleet].
func (f *File) Check(unit Name) fault.Faults {
	var c fault.Collector
	sections := Sections(unit.Type)
	strange := map[string]bool{}
	for _, h := range f.headers {
		if h.name == "" || slices.Contains(sections, h.name) || strings.HasPrefix(h.name, "X-") {
			continue
		}
		strange[h.name] = true
		if c.Full() {
			continue
		}
		message := fmt.Sprintf("a unit of type %s has no section [%s]", unit.Type, h.name)
		if len(Known(h.name)) == 0 {
			message = fmt.Sprintf("systemd knows no section [%s]", h.name)
		}
		at := c.Add(f.faultAt(h.line, h.at, h.at+len(h.name)+2, message))
		switch near := fault.Nearest(h.name, sections); {
		case slices.Contains(sections, "X-"+h.name):
			at.Meant("[X-" + h.name + "]")
		case near != "":
			at.Meant("[" + near + "]")
		default:
			at.Advise("it may have [%s], and sections for other readers that begin with X-", strings.Join(sections, "], ["))
		}
	}
	for i := range f.settings {
		s := &f.settings[i]
		if strange[s.Section] || s.Section == "" || strings.HasPrefix(s.Section, "X-") || strings.HasPrefix(s.Name, "X-") {
			continue
		}
		if _, found := slices.BinarySearch(Known(s.Section), s.Name); found || c.Full() {
			continue
		}
		at := c.Add(f.faultAt(s.line, s.name, s.name+len(s.Name), fmt.Sprintf("systemd knows no option %s in [%s]", fault.Quoted(s.Name), s.Section)))
		at.Near(s.Name, Known(s.Section))
		if where := elsewhere(s.Name, sections, s.Section); where != "" {
			at.Advise("it belongs to [%s]", where)
		} else if fleetOption(s.Name) != "" {
			at.Advise("it belongs to [%s]", FleetSection)
		}
	}
	return c.Sorted()
}

// elsewhere is the section of the same file that knows the option, or "".
func elsewhere(name string, sections []string, not string) string {
	for _, s := range sections {
		if _, found := slices.BinarySearch(Known(s), name); found && s != not {
			return s
		}
	}
	return ""
}
