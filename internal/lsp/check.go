package lsp

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// isManifest tells manifests from what else is YAML.
func (d *document) isManifest() bool {
	if d.language == "argosy" || d.sketch().Root.Child("argosy") != nil {
		return true
	}
	for range d.modelines() {
		return true
	}
	return false
}

// modelines are the comments `# argosy: …` in the head of a document, and the byte where what they say begins.
func (d *document) modelines() func(yield func(string, int) bool) {
	return func(yield func(string, int) bool) {
		for n := range d.lines {
			text, at := d.line(n)
			trimmed := strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
			switch {
			case trimmed == "" || trimmed == "---":
				continue
			case trimmed[0] != '#':
				return
			}
			if rest, ok := strings.CutPrefix(strings.TrimSpace(trimmed[1:]), "argosy:"); ok && !yield(rest, at+strings.Index(text, rest)) {
				return
			}
		}
	}
}

// companion is a file that is the same app as a document, as a modeline of it says.
type companion struct {
	name     string
	from, to int // where it is named
}

func (d *document) companions() []companion {
	var out []companion
	for rest, at := range d.modelines() {
		names, ok := strings.CutPrefix(strings.TrimLeft(rest, " "), "with ")
		if !ok {
			continue
		}
		at += len(rest) - len(names)
		for _, name := range strings.Fields(names) {
			from := at + strings.Index(names, name)
			at, names = from+len(name), names[from+len(name)-at:]
			if len(out) < manifest.MaxFiles {
				out = append(out, companion{name, from, from + len(name)})
			}
		}
	}
	return out
}

// load is a companion as the editor has it, or else as it is on disk. Its path is at or below the document's directory,
// as for every file that a manifest names: a manifest from elsewhere cannot have others read.
func (s *server) load(d *document, name string) (*document, []byte, error) {
	if d.path == "" || s.opts.ReadFile == nil {
		return nil, nil, errors.New("the document is not in a file, so none is beside it")
	}
	if filepath.IsAbs(name) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return nil, nil, errors.New("it is not at or below the directory of the manifest")
	}
	path := filepath.Join(filepath.Dir(d.path), filepath.FromSlash(name))
	for _, other := range s.docs {
		if other.path == path {
			return other, []byte(other.text), nil
		}
	}
	data, err := s.opts.ReadFile(d.path, filepath.ToSlash(filepath.Clean(name)), manifest.MaxFileSize)
	if err != nil {
		return nil, nil, err
	}
	return newDocument(fileURI(path), "yaml", strings.ToValidUTF8(string(data), "\ufffd")), data, nil
}

// app is the document and the companions that can be read.
func (s *server) app(d *document) []*document {
	out := []*document{d}
	for _, c := range d.companions() {
		if other, _, err := s.load(d, c.name); err == nil && other != d {
			out = append(out, other)
		}
	}
	return out
}

// check is what is wrong with a document, and what is worth knowing about it. What is wrong with its companions is said
// where it names them.
func (s *server) check(d *document) (faults, notes []placedFault) {
	own := filepath.Base(d.path)
	if d.path == "" {
		own = d.uri
	}
	var files []manifest.File
	names := map[string]companion{}
	for _, c := range d.companions() {
		_, data, err := s.load(d, c.name)
		if err != nil {
			faults = append(faults, placedFault{manifest.Fault{Message: fmt.Sprintf("the file %s cannot be read: %v", c.name, err)}, c.from, c.to})
			continue
		}
		if _, twice := names[c.name]; twice || filepath.Clean(c.name) == own {
			faults = append(faults, placedFault{manifest.Fault{Message: c.name + " is here twice"}, c.from, c.to})
			continue
		}
		names[c.name] = c
		files = append(files, manifest.File{Name: c.name, Data: data})
	}
	files = append(files, manifest.File{Name: own, Data: []byte(d.text)})
	_, source, wrong := manifest.Parse(files, s.parseOptions(d))
	mine, elsewhere := here(wrong, own)
	for _, f := range mine {
		faults = append(faults, d.place(f))
	}
	faults = append(faults, d.others(elsewhere, names)...)
	mine, _ = here(source.Notes(), own)
	for _, f := range mine {
		notes = append(notes, d.place(f))
	}
	return faults, notes
}

// here parts the faults of a file from those of others. One without a file is about all of them.
func here(list manifest.Faults, own string) (mine, others manifest.Faults) {
	for _, f := range list {
		if f.File == own || f.File == "" {
			mine = append(mine, f)
		} else {
			others = append(others, f)
		}
	}
	return mine, others
}

// others are the faults of other files, those of one file together, where the document names the file.
func (d *document) others(list manifest.Faults, names map[string]companion) []placedFault {
	count := map[string]int{}
	for _, f := range list {
		count[f.File]++
	}
	var out []placedFault
	for _, f := range list {
		n := count[f.File]
		if n == 0 {
			continue // told of already
		}
		count[f.File] = 0
		c, ok := names[f.File]
		if !ok {
			c = d.named(f.File)
		}
		message := f.String()
		if n > 1 {
			message += fmt.Sprintf(" (and %d more in this file)", n-1)
		}
		out = append(out, placedFault{manifest.Fault{Message: message}, c.from, c.to})
	}
	return out
}

// named is where a manifest names a file with variables or labels.
func (d *document) named(file string) companion {
	for _, c := range declarations([]*document{d}, aContainer) {
		for _, key := range []string{"env_file", "label_file"} {
			for _, item := range c.node.Child(key).Items() {
				if path := item.Child("path"); path != nil {
					item = path
				}
				if filepath.Clean(item.Text.Value) == filepath.Clean(file) {
					return companion{file, item.Text.Start, item.Text.End}
				}
			}
		}
	}
	for _, u := range declarations([]*document{d}, aUnit) {
		if item := u.node.Child("file"); item != nil && filepath.Clean(item.Text.Value) == filepath.Clean(file) {
			return companion{file, item.Text.Start, item.Text.End}
		}
	}
	return companion{}
}

func (s *server) parseOptions(d *document) manifest.Options {
	o := manifest.Options{LookupEnv: s.opts.LookupEnv}
	if d.path != "" && s.opts.ReadFile != nil {
		o.ReadFile = func(name, path string, limit int) ([]byte, error) {
			return s.opts.ReadFile(filepath.Join(filepath.Dir(d.path), filepath.FromSlash(name)), path, limit)
		}
	}
	return o
}

// publish checks a document and tells the editor.
func (s *server) publish(d *document) error {
	if !d.isManifest() {
		if !d.published {
			return nil
		}
		d.published, d.faults = false, nil
		return s.notify("textDocument/publishDiagnostics", publishParams{d.uri, d.version, []diagnostic{}})
	}
	faults, notes := s.check(d)
	d.published, d.faults = true, faults
	list := make([]diagnostic, 0, len(faults)+len(notes))
	for _, f := range faults {
		list = append(list, d.diagnostic(f, severityError))
	}
	for _, n := range notes {
		list = append(list, d.diagnostic(n, severityInformation))
	}
	return s.notify("textDocument/publishDiagnostics", publishParams{d.uri, d.version, list})
}

func (d *document) diagnostic(f placedFault, severity int) diagnostic {
	return diagnostic{d.span(f.from, f.to), severity, "argosy", strings.Join(append([]string{f.Message}, f.Help()...), "\n")}
}

// fixes are the edits that put what was probably meant in place of what a fault in a range is about. Only one that the
// parser then finds nothing wrong with at this place is offered.
func (s *server) fixes(d *document, r span) []codeAction {
	from, to := d.offset(r.Start), d.offset(r.End)
	out := []codeAction{}
	for _, f := range d.faults {
		if f.Suggestion == "" || f.to < from || f.from > to || len(out) == maxFixes {
			continue
		}
		with := f.Suggestion
		if was := d.text[f.from:f.to]; was != "" && (was[0] == '"' || was[0] == '\'') && !strings.ContainsAny(with, `"'\`) {
			with = was[:1] + with + was[:1]
		}
		fixed := newDocument(d.uri, d.language, d.text[:f.from]+with+d.text[f.to:])
		after, _ := s.check(fixed)
		if still(after, f) {
			continue
		}
		out = append(out, codeAction{Title: fmt.Sprintf("Replace with %s", with), Kind: "quickfix", IsPreferred: true,
			Diagnostics: []diagnostic{d.diagnostic(f, severityError)},
			Edit:        workspaceEdit{map[string][]textEdit{d.uri: {{d.span(f.from, f.to), with}}}}})
	}
	return out
}

// maxFixes bounds how many fixes are tried for one range: each costs a parse.
const maxFixes = 8

func still(faults []placedFault, f placedFault) bool {
	for _, other := range faults {
		if other.Line == f.Line && other.from == f.from {
			return true
		}
	}
	return false
}
