package unitfile

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/argosy-cluster/argosy/internal/fault"
)

const (
	blanks        = " \t\n\r" // what systemd calls white space
	byteOrderMark = "\ufeff"
)

// parser reads one file.
type parser struct {
	f       *File
	faults  fault.Collector
	section string
	within  bool // a section has begun

	open   bool     // the line before ended in a backslash
	line   logical  // the line so far; its text is in joined
	joined []byte   // is made a text when the line is complete
	raw    []string // its lines as they stand, with comments between them
	begin  int      // of raw
}

// Parse reads a unit file. Name is what faults call it. When something is wrong, file has what could be read.
func Parse(name, text string) (file *File, faults fault.Faults) {
	p := &parser{f: &File{name: name, text: text, lines: []string{""}}}
	if p.bounded(text) {
		p.f.lines = strings.Split(strings.TrimPrefix(text, byteOrderMark), "\n")
		for i := range p.f.lines {
			p.read(i)
		}
		if p.open {
			p.take()
		}
		if len(p.f.settings) == 0 && len(p.faults.Kept()) == 0 {
			p.whole("the unit file says nothing, and systemd would take it for a unit that is masked").
				Advise("a unit file has sections with options, such as [Service] with ExecStart=…")
		}
	}
	return p.f, p.faults.Sorted()
}

// bounded says whether the text is fit to be read.
func (p *parser) bounded(text string) bool {
	switch n := strings.IndexByte(text, 0); {
	case len(text) > MaxSize:
		p.whole("the unit file has %d bytes; %d are allowed", len(text), MaxSize)
	case n >= 0:
		f := p.whole("there is a byte 0 in the unit file, so it is no text")
		f.Line, f.Col = 1+strings.Count(text[:n], "\n"), 1+utf8.RuneCountInString(text[strings.LastIndexByte(text[:n], '\n')+1:n])
		f.EndCol = f.Col + 1
	default:
		return true
	}
	return false
}

func (p *parser) whole(format string, args ...any) *fault.Fault {
	return p.faults.Add(fault.Fault{File: p.f.name, Line: 1, Col: 1, EndCol: 2, Message: fmt.Sprintf(format, args...)})
}

// read takes in one line of the file.
func (p *parser) read(i int) {
	text := strings.TrimSuffix(p.f.lines[i], "\r")
	p.f.lines[i] = text
	if at := strings.IndexByte(text, '\r'); at >= 0 {
		p.bad(logical{text, []part{{0, i}}}, at, at+1, "a carriage return stands within the line, and systemd ends the line there").
			Advise("end lines with a line feed")
		text = strings.ReplaceAll(text, "\r", " ")
	}
	if !utf8.ValidString(text) {
		at := 0
		for r, size := utf8.DecodeRuneInString(text); r != utf8.RuneError || size != 1; r, size = utf8.DecodeRuneInString(text[at:]) {
			at += size
		}
		p.bad(logical{text, []part{{0, i}}}, at, at+1, "the line is not UTF-8, and systemd leaves it out")
	}
	if rest := strings.TrimLeft(text, blanks); rest != "" && (rest[0] == '#' || rest[0] == ';') {
		if p.open {
			p.raw = append(p.raw, text)
		}
		return
	}
	if !p.open {
		p.line, p.joined, p.raw, p.begin = logical{}, p.joined[:0], p.raw[:0], i
	}
	p.raw = append(p.raw, text)
	p.line.parts = append(p.line.parts, part{len(p.joined), i})
	if p.open = continues(text); p.open {
		p.joined = append(append(p.joined, text[:len(text)-1]...), ' ')
		return
	}
	p.joined = append(p.joined, text...)
	p.take()
}

// continues tells whether the line ends in a backslash that no other backslash escapes.
func continues(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// bad reports what is wrong with a part of a line.
func (p *parser) bad(l logical, from, to int, format string, args ...any) *fault.Fault {
	if p.faults.Full() {
		return nil
	}
	return p.faults.Add(p.f.faultAt(l, from, to, fmt.Sprintf(format, args...)))
}

// take reads a line that is complete.
func (p *parser) take() {
	p.open = false
	p.line.text = string(p.joined)
	l := p.line
	text := strings.Trim(l.text, blanks)
	if text == "" {
		return
	}
	from := len(l.text) - len(strings.TrimLeft(l.text, blanks))
	if text[0] == '[' {
		p.header(l, from, text)
		return
	}
	name, value, assigned := strings.Cut(text, "=")
	name = strings.TrimRight(name, blanks)
	switch {
	case !assigned:
		p.bad(l, from, from+len(text), "%s is neither a section nor NAME=VALUE", fault.Quoted(text)).
			Advise("a comment begins with # or ;, and a line that is continued ends in a backslash")
	case name == "":
		p.bad(l, from, from+1, "a name is missing before the equals sign")
	case control(name):
		p.bad(l, from, from+len(name), "%s is not the name of an option", fault.Quoted(name))
	case !p.within:
		p.bad(l, from, from+len(name), "%s stands before the first section", fault.Quoted(name)).
			Advise("begin with a section such as [Unit]")
	case len(p.f.settings) == MaxOptions:
		p.bad(l, from, from+len(name), "the unit file has more than %d options", MaxOptions)
		p.f.settings = append(p.f.settings, Setting{})[:MaxOptions]
	case len(p.f.settings) < MaxOptions:
		trimmed := strings.TrimLeft(value, blanks)
		s := Setting{Section: p.section, Name: name, Value: trimmed, line: l, name: from, value: from + len(text) - len(trimmed)}
		at, column := l.place(from)
		s.Line, s.Col = at+1, utf8.RuneCountInString(p.f.lines[at][:column])+1
		p.f.settings = append(p.f.settings, s)
		p.f.options = append(p.f.options, Option{p.section, name, p.rawValue(from + strings.IndexByte(text, '='))})
	}
}

func (p *parser) header(l logical, from int, text string) {
	name, fine := strings.CutSuffix(text[1:], "]")
	if !fine {
		f := p.bad(l, from, from+len(text), "%s is not a section: a section is written [NAME], and nothing else is in its line", fault.Quoted(text))
		if end := strings.IndexByte(text, ']'); end > 0 {
			name = text[1:end]
			f.Meant("[" + name + "]")
		}
	}
	if strings.ContainsAny(name, "[]\"'\\") || name == "" || control(name) {
		if fine {
			p.bad(l, from, from+len(text), "%s is not the name of a section", fault.Quoted(text))
		}
		name = ""
	}
	p.section, p.within = name, true
	p.f.headers = append(p.f.headers, header{name, l, from})
}

// rawValue is what stands behind the equals sign, at this offset of the line, as fleet keeps it. What follows it must not
// become a part of it: an empty line ends the last line when that is continued, and a blank stays behind a backslash that does
// not continue it.
func (p *parser) rawValue(equals int) string {
	line, column := p.line.place(equals)
	lines := p.raw[line-p.begin:]
	full := strings.Join(append([]string{strings.TrimLeft(lines[0][column+1:], blanks)}, lines[1:]...), "\n")
	raw := strings.TrimRight(full, blanks)
	open, commented := unfinished(raw)
	switch {
	case !open:
		return raw
	case !commented && len(full) > len(raw) && full[len(raw)] != '\n':
		return raw + " "
	default:
		return raw + "\n"
	}
}

// unfinished tells whether the next line would be a part of the value, and whether the last one is a comment.
func unfinished(raw string) (open, commented bool) {
	first := true
	for line := range strings.SplitSeq(raw, "\n") {
		rest := strings.TrimLeft(line, blanks)
		if commented = !first && rest != "" && (rest[0] == '#' || rest[0] == ';'); !commented {
			open = continues(line)
		}
		first = false
	}
	return open, commented
}
