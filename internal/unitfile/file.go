package unitfile

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // It is what fleet's clients compare; nothing rests on it.
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/argosy-cluster/argosy/internal/fault"
)

// An Option is one assignment as fleet's API has it. Value is what stands behind the equals sign, without blanks around it;
// where lines are continued it has the backslashes and the line breaks.
type Option struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	Value   string `json:"value"`
}

// A Setting is one assignment as systemd reads it: continued lines are joined.
type Setting struct {
	Section, Name, Value string
	Line, Col            int // of its name, from 1

	line  logical
	name  int // offset of Name in line
	value int // offset of Value in line
}

// A File is a unit file that was read. It never changes.
type File struct {
	name     string
	text     string
	lines    []string // of text, without their ends
	options  []Option
	settings []Setting
	headers  []header
}

// header is a line such as [Unit].
type header struct {
	name string
	line logical
	at   int // offset of the name in line
}

// logical is a line with those that continue it, joined.
type logical struct {
	text  string
	parts []part
}

// part is where a part of a logical line stands in the file.
type part struct {
	offset int // in the logical line
	line   int // from 0
}

// Options are the file's assignments in their order.
func (f *File) Options() []Option { return slices.Clone(f.options) }

// Settings are the file's assignments in their order, as systemd reads them.
func (f *File) Settings() []Setting { return slices.Clone(f.settings) }

// Values are those of one option, from the last empty assignment on, which takes back what stands before it.
func (f *File) Values(section, name string) []Setting {
	var out []Setting
	for _, s := range f.settings {
		switch {
		case s.Section != section || s.Name != name:
		case s.Value == "":
			out = nil
		default:
			out = append(out, s)
		}
	}
	return out
}

// Text is the file as it was read, or for one made of options, as fleet writes it.
func (f *File) Text() string { return f.text }

// Hash is what fleet calls the unit's hash: SHA-1 of the options as fleet writes them, in hexadecimal.
func (f *File) Hash() string {
	sum := sha1.Sum([]byte(serialize(f.options))) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// serialize writes options as fleet does: sections in the order in which they first come, an empty line between them.
func serialize(options []Option) string {
	at := map[string]int{}
	var sections [][]Option
	for _, o := range options {
		i, known := at[o.Section]
		if !known {
			i = len(sections)
			at[o.Section] = i
			sections = append(sections, nil)
		}
		sections[i] = append(sections[i], o)
	}
	var b strings.Builder
	for i, list := range sections {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("[" + list[0].Section + "]\n")
		for _, o := range list {
			b.WriteString(o.Name + "=" + o.Value + "\n")
		}
	}
	return b.String()
}

// faultAt is a fault about the bytes from from to to of a logical line.
func (f *File) faultAt(l logical, from, to int, message string) fault.Fault {
	line, column := l.place(from)
	endLine, end := l.place(max(from, to-1))
	text := f.lines[line]
	column = min(column, len(text))
	if end++; endLine != line || end > len(text) {
		end = len(text)
	}
	out := fault.Fault{File: f.name, Line: line + 1, Message: message}
	out.Col = utf8.RuneCountInString(text[:column]) + 1
	out.EndCol = max(out.Col+1, out.Col+utf8.RuneCountInString(text[column:max(column, end)]))
	out.Text, out.TextCol = text, 1
	if len(text) > maxLine {
		first := fault.RuneOffset(text, max(0, out.Col-1-maxLine/8))
		out.TextCol = max(1, out.Col-maxLine/8)
		out.Text = text[first:min(len(text), first+maxLine)]
	}
	return out
}

// fault is one about the bytes from from to to of the setting's value.
func (f *File) fault(s *Setting, from, to int, message string) fault.Fault {
	return f.faultAt(s.line, s.value+from, s.value+to, message)
}

// place is the line, from 0, and the byte in it of an offset.
func (l logical) place(offset int) (line, column int) {
	i, found := slices.BinarySearchFunc(l.parts, offset, func(p part, offset int) int { return cmp.Compare(p.offset, offset) })
	if !found {
		i--
	}
	// Parts without a byte of their own begin where the next one does.
	for i+1 < len(l.parts) && l.parts[i+1].offset == offset {
		i++
	}
	return l.parts[i].line, offset - l.parts[i].offset
}

// FaultAt is a fault about something that the file's [X-Fleet] says.
func (f *File) FaultAt(what Said, message string) fault.Fault {
	return f.fault(what.s, what.from, what.to, message)
}

// FaultIn is a fault about what stands in a line of the file, counted from 1: the option or the section of which the line is a
// part.
func (f *File) FaultIn(line int, message string) fault.Fault {
	for i := range f.settings {
		if s := &f.settings[i]; s.line.has(line - 1) {
			return f.fault(s, 0, len(s.Value), message)
		}
	}
	for _, h := range f.headers {
		if h.line.has(line - 1) {
			return f.faultAt(h.line, h.at, len(h.line.text), message)
		}
	}
	line = min(max(line, 1), len(f.lines))
	text := f.lines[line-1]
	return f.faultAt(logical{text, []part{{0, line - 1}}}, 0, len(text), message)
}

func (l logical) has(line int) bool {
	return len(l.parts) > 0 && l.parts[0].line <= line && line <= l.parts[len(l.parts)-1].line
}
