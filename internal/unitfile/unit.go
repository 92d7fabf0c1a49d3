package unitfile

import (
	"errors"
	"slices"

	"github.com/argosy-cluster/argosy/internal/fault"
)

// A Unit is a unit file that nothing is wrong with, as far as can be told without systemd.
type Unit struct {
	Name    Name
	File    *File
	Fleet   Fleet
	Install Install
}

// Install is what [Install] says. Nothing is done with it before somebody enables the unit.
type Install struct {
	WantedBy, RequiredBy, UpheldBy, Also, Alias []string
	// DefaultInstance is what a template's instance is called when nobody says.
	DefaultInstance string
}

// Read reads a unit's file, and finds everything that is wrong with it or with its name. The name also is what faults call the
// file.
func Read(name, text string) (*Unit, fault.Faults) {
	file, faults := Parse(name, text)
	return file.Unit(name, faults)
}

// ReadOptions is [Read] for a file that came as a list of options.
func ReadOptions(name string, options []Option) (*Unit, fault.Faults) {
	file, faults := FromOptions(name, options)
	return file.Unit(name, faults)
}

// Unit judges a file as that of a unit; faults are what is known to be wrong with it already. The unit is nil when anything
// is wrong.
func (f *File) Unit(name string, faults fault.Faults) (*Unit, fault.Faults) {
	n, err := ParseName(name)
	var bad *NameError
	if errors.As(err, &bad) {
		faults = append(faults, fault.Fault{File: f.name, Message: bad.Message, Suggestion: bad.Suggestion})
		return nil, fault.Gather(faults)
	}
	u := &Unit{Name: n, File: f}
	faults = append(slices.Clone(faults), f.Check(n)...)
	var wrong fault.Faults
	u.Fleet, wrong = f.Fleet(n)
	faults = append(faults, wrong...)
	u.Install, wrong = f.install(n)
	if faults = append(faults, wrong...); len(faults) > 0 {
		return nil, fault.Gather(faults)
	}
	return u, nil
}

// install reads [Install].
func (f *File) install(unit Name) (Install, fault.Faults) {
	var out Install
	var c fault.Collector
	for i := range f.settings {
		s := &f.settings[i]
		if s.Section != "Install" {
			continue
		}
		var into *[]string
		switch s.Name {
		case "WantedBy":
			into = &out.WantedBy
		case "RequiredBy":
			into = &out.RequiredBy
		case "UpheldBy":
			into = &out.UpheldBy
		case "Also":
			into = &out.Also
		case "Alias":
			into = &out.Alias
		case "DefaultInstance":
			if !unit.At && s.Value != "" && !c.Full() {
				c.Add(f.faultAt(s.line, s.name, s.name+len(s.Name), "DefaultInstance is for templates, and "+fault.Quoted(unit.Full)+" is none"))
			}
			out.DefaultInstance = s.Value
			continue
		default:
			continue
		}
		words, open := splitWords(s.Value)
		if open >= 0 && !c.Full() {
			c.Add(f.fault(s, open, open+1, "the quote is not closed"))
		}
		if s.Value == "" {
			*into = nil
		}
		for _, w := range words {
			*into = append(*into, w.text)
		}
	}
	return out, c.Sorted()
}
