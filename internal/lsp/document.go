package lsp

import (
	"net/url"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/argosy-cluster/argosy/internal/lsp/sketch"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// document is a text that the editor has open, or a file that belongs to one.
type document struct {
	uri, language string
	path          string // of the file, or empty
	version       int
	text          string
	lines         []int // where each line begins

	read *sketch.Doc // nil until it is asked for

	faults    []placedFault // as published last
	published bool
}

// placedFault is a fault of the document, and the bytes that it is about.
type placedFault struct {
	manifest.Fault
	from, to int
}

func newDocument(uri, language, text string) *document {
	d := &document{uri: uri, language: language, path: filePath(uri)}
	d.set(text)
	return d
}

// filePath is the path of a file's URI, and empty for others.
func filePath(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" || u.Path == "" || strings.ContainsRune(u.Path, 0) {
		return ""
	}
	return filepath.Clean(filepath.FromSlash(u.Path))
}

func fileURI(path string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

// set takes a new text, which is UTF-8.
func (d *document) set(text string) {
	d.text, d.read = text, nil
	d.lines = append(d.lines[:0], 0)
	for i := range len(text) {
		// Lines end as the protocol has it: \n, \r\n, or \r alone.
		if text[i] == '\n' || text[i] == '\r' && (i+1 == len(text) || text[i+1] != '\n') {
			d.lines = append(d.lines, i+1)
		}
	}
}

func (d *document) sketch() *sketch.Doc {
	if d.read == nil {
		text := d.text
		if len(text) > manifest.MaxFileSize {
			text = "" // the parser refuses it as well
		}
		d.read = sketch.Read(text)
	}
	return d.read
}

// line is the text of a line without its line break, and where it begins.
func (d *document) line(n int) (text string, begin int) {
	begin = d.lines[n]
	end := len(d.text)
	if n+1 < len(d.lines) {
		end = d.lines[n+1]
	}
	return strings.TrimRight(d.text[begin:end], "\r\n"), begin
}

// offset is the byte at a position. One outside the text is moved to the nearest that there is.
func (d *document) offset(p position) int {
	if p.Line < 0 {
		return 0
	}
	if p.Line >= len(d.lines) {
		return len(d.text)
	}
	text, at := d.line(p.Line)
	units := p.Character
	for _, c := range text {
		if units -= utf16Length(c); units < 0 {
			break
		}
		at += utf8.RuneLen(c)
	}
	return at
}

// position is where a byte is.
func (d *document) position(offset int) position {
	n := sort.SearchInts(d.lines, offset+1) - 1
	text, begin := d.line(n)
	p := position{Line: n}
	for _, c := range text[:min(offset-begin, len(text))] {
		p.Character += utf16Length(c)
	}
	return p
}

func utf16Length(c rune) int {
	if c >= 0x10000 {
		return 2
	}
	return 1
}

func (d *document) span(from, to int) span { return span{d.position(from), d.position(to)} }

// apply takes one change.
func (d *document) apply(c change) {
	if c.Range == nil {
		d.set(c.Text)
		return
	}
	from := d.offset(c.Range.Start)
	to := max(from, d.offset(c.Range.End))
	d.set(d.text[:from] + c.Text + d.text[to:])
}

// place finds the bytes that a fault is about. Faults count characters.
func (d *document) place(f manifest.Fault) placedFault {
	if f.Line == 0 {
		return placedFault{Fault: f}
	}
	if f.Line > len(d.lines) {
		return placedFault{f, len(d.text), len(d.text)}
	}
	text, begin := d.line(f.Line - 1)
	if f.Line == 1 && strings.HasPrefix(text, "\ufeff") {
		text, begin = text[len("\ufeff"):], begin+len("\ufeff")
	}
	from, to := len(text), len(text)
	column := 1
	for i := range text {
		if column == f.Col {
			from = i
		}
		if column == f.EndCol {
			to = i
			break
		}
		column++
	}
	return placedFault{f, begin + from, begin + max(from, to)}
}
