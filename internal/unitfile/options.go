package unitfile

import (
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/fault"
)

// FromOptions makes a file of options, which are kept as they are. It is refused when the text that systemd gets would say
// something else than the options do. Name is what faults call the file, whose text is that of [File.Text].
func FromOptions(name string, options []Option) (*File, fault.Faults) {
	size := 0
	for _, o := range options {
		size += len(o.Section) + len(o.Name) + len(o.Value)
	}
	var c fault.Collector
	refuse := func(format string, args ...any) {
		c.Add(fault.Fault{File: name, Message: fmt.Sprintf(format, args...)})
	}
	switch {
	case len(options) > MaxOptions:
		refuse("the unit file has %d options; %d are allowed", len(options), MaxOptions)
	case size > MaxSize:
		refuse("the unit file has %d bytes; %d are allowed", size, MaxSize)
	}
	for i, o := range options {
		if what := o.problem(); what != "" && !c.Full() {
			refuse("option %d: %s", i+1, what)
		}
	}
	if faults := c.Sorted(); len(faults) > 0 {
		return &File{name: name, lines: []string{""}}, faults
	}
	file, faults := Parse(name, serialize(options))
	if len(faults) > 0 {
		return file, faults
	}
	if i := differs(options, file.options); i >= 0 {
		o := options[i]
		refuse("the value of %s in [%s] does not end where its option ends: a line of it, or what follows it, would be read as something else", fault.Quoted(o.Name), fault.Printable(o.Section))
		return file, c.Sorted()
	}
	file.options = append([]Option(nil), options...)
	return file, nil
}

// problem is what keeps the names of an option from being written in a unit file.
func (o Option) problem() string {
	switch {
	case o.Section == "" || strings.ContainsAny(o.Section, "[]\"'\\") || control(o.Section):
		return fault.Quoted(o.Section) + " is not the name of a section"
	case o.Name == "" || strings.Trim(o.Name, blanks) != o.Name || strings.Contains(o.Name, "=") || control(o.Name) ||
		strings.IndexByte("[#;", o.Name[0]) >= 0:
		return fault.Quoted(o.Name) + " is not the name of an option"
	}
	return ""
}

func control(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// differs is the index of the first option that came out of the text as another, or -1. The text has the options section by
// section.
func differs(said, read []Option) int {
	order := map[string][]int{}
	var sections []string
	for i, o := range said {
		if order[o.Section] == nil {
			sections = append(sections, o.Section)
		}
		order[o.Section] = append(order[o.Section], i)
	}
	n := 0
	for _, s := range sections {
		for _, i := range order[s] {
			if n == len(read) || read[n].Section != s || read[n].Name != said[i].Name || plain(read[n].Value) != plain(said[i].Value) {
				return i
			}
			n++
		}
	}
	if n < len(read) {
		return len(said) - 1
	}
	return -1
}

// plain is a value without what no reader sees.
func plain(value string) string {
	return strings.Trim(strings.ReplaceAll(value, "\r\n", "\n"), blanks)
}
