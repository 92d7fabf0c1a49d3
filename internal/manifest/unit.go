package manifest

import (
	"errors"
	"strings"
	"unicode/utf8"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// unit is a systemd unit while it is read.
type unit struct {
	spec *argosyv1.Unit
	at   value
	// text is where the unit's text was said: in the manifest, or in file.
	text value
	file string
	said int
	used bool
	// read is what the text says, or nil when something is wrong with it.
	read *unitfile.Unit
}

func unitTable() *object[*unit] {
	return newObject("unit",
		field("content", verbatim(), "The unit file, as systemd reads it. Variables are not interpolated: a dollar sign is systemd's.",
			func(_ *reader, u *unit, v string, at value) { u.say(v, at, "") }).ours().like(`content: "[Service]\nExecStart=/usr/bin/sleep infinity\n"`),
		field("file", text(), "The unit file, at or below the directory of the manifest.", func(r *reader, u *unit, v string, at value) {
			if data, ok := r.named(at, v); ok {
				u.say(string(data), at, v)
			} else {
				u.said++
			}
		}).ours().like("file: units/web.service"),
		field("start", boolean(), "Whether it is started. One that is not is there for a timer, a socket or another unit to start.",
			func(_ *reader, u *unit, v bool, _ value) { u.spec.NotStarted = !v }).ours().like("start: false").unsaid(true),
		refuse[*unit]("enable", "what a stack has is started with it", "leave it out; start: false keeps it from being started"),
		refuse[*unit]("count", "a unit is replicated with its stack", "call it NAME@.service, and say how many below cluster: STACK: NUMBER"),
	)
}

func (u *unit) say(content string, at value, file string) {
	u.said++
	u.spec.Content, u.text, u.file = content, at, file
}

// verbatim is a text that is taken as it is: nothing in it is a variable.
func verbatim() shape[string] {
	return shape[string]{word: "text", schema: jsonSchema{"type": "string", "minLength": 1}, read: func(r *reader, v value) (string, bool) {
		switch {
		case !v.isScalar():
			r.fault(v, "%s must be a single value, not %s", v.what(), v.kind())
		case v.isNull():
			r.fault(v.orName(), "%s has no value", v.what()).Advise("write the unit file behind `|`, its lines indented")
		case !v.isString():
			r.fault(v, "%s must be text, not %s", v.what(), v.kind())
		case r.plain(v) && r.visit(v, 1):
			return v.n.Value, true
		}
		return "", false
	}}
}

// unitsShape is the map from units' names to their files, or to maps.
func unitsShape(o *object[*unit]) shape[additions[*unit]] {
	inline := verbatim()
	return shape[additions[*unit]]{word: "map from names of units to unit files, or to maps", keys: o.docs(),
		schema: jsonSchema{"type": "object", "propertyNames": unitNameSchema(), "additionalProperties": jsonSchema{"anyOf": []any{inline.schema, o.schema()}}},
		read: func(r *reader, v value) (additions[*unit], bool) {
			entries, ok := r.entries(v)
			out := additions[*unit]{into: func(d *draft) *named[*unit] { return &d.units }, what: "unit"}
			for _, e := range entries {
				if r.stopped {
					return out, false
				}
				name := e.key.Value
				if err := checkUnitName(name); err != nil {
					_, _ = parsedText(r, e.name(), name, func(string) (string, error) { return "", err })
				}
				u := &unit{spec: &argosyv1.Unit{Name: name}, at: e.name()}
				switch {
				case !e.isMap():
					if s, fine := inline.read(r, e.value); fine {
						u.say(s, e.value, "")
					}
				case o.read(r, e.value, "unit "+name, u) && u.said != 1:
					r.fault(e.name(), "unit %s must have one of content and file, not %d of them", name, u.said)
				}
				out.names = append(out.names, placed[string]{name, e.name()})
				out.list = append(out.list, u)
			}
			return out, ok || len(entries) > 0
		}}
}

func unitNameSchema() jsonSchema {
	return jsonSchema{"type": "string", "pattern": `^[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.(` + strings.Join(unitfile.Types(), "|") + ")$",
		"patternErrorMessage": "a unit is called as its file is: web.service, data.mount, web@.service"}
}

func checkUnitName(s string) error {
	_, err := unitfile.ParseName(s)
	var problem *unitfile.NameError
	if !errors.As(err, &problem) {
		return err
	}
	return &betterError{message: problem.Message, suggestion: problem.Suggestion,
		hint: "a unit is called as its file is: web.service, data.mount, web@.service"}
}

// CheckAppName says what keeps s from being the name of an app: it is a name as others are, or that of the unit that is all
// the app has.
func CheckAppName(s string) error {
	if unitfile.IsName(s) {
		return nil
	}
	return checkName(s)
}

// check finds what is wrong with the unit's text, each fault at its line of the manifest or of the file.
func (u *unit) check(r *reader) {
	u.spec.Resources = UnitResources(u.spec.Name, u.spec.Content)
	if u.text.n == nil || !unitfile.IsName(u.spec.Name) {
		return // what is wrong has been said
	}
	var faults Faults
	u.read, faults = unitfile.Read(u.spec.Name, u.spec.Content)
	for _, f := range faults {
		r.faults.Add(u.placed(f))
	}
}

// placed is a fault about the unit's text, at its line of the manifest or of the file.
func (u *unit) placed(f Fault) Fault {
	line, column, ok := u.text.within(u.spec.Content, f.Line)
	switch {
	case u.file != "":
		f.File = u.file
	case ok:
		f.File, f.Line, f.Col, f.EndCol = u.text.f.name, line, column+f.Col-1, column+f.EndCol-1
		f.Text, f.TextCol = u.text.f.excerpt(line, f.Col)
	default:
		at := u.at.fault(f.Message)
		f.File, f.Line, f.Col, f.EndCol, f.Text, f.TextCol = at.File, at.Line, at.Col, at.EndCol, at.Text, at.TextCol
	}
	f.Order = u.text.f.index
	return f
}

// within is where a line of a block of text stands in its file, and in which column it begins there. It is not ok where the
// text is written in another way than line by line.
func (v value) within(content string, n int) (line, column int, ok bool) {
	want := lineOf(content, n)
	line = v.n.Line + n
	got := strings.TrimRight(v.f.line(line), "\r")
	if v.f.argument || want == "" || !strings.HasSuffix(got, want) {
		return 0, 0, false
	}
	indent := got[:len(got)-len(want)]
	return line, 1 + utf8.RuneCountInString(indent), strings.TrimLeft(indent, " ") == ""
}

// lineOf is a line of a text, counted from 1, without its end.
func lineOf(s string, n int) string {
	for ; n > 1; n-- {
		_, rest, more := strings.Cut(s, "\n")
		if !more {
			return ""
		}
		s = rest
	}
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimRight(s, "\r")
}
