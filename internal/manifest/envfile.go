package manifest

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// envFile is an entry of env_file.
type envFile struct {
	path     placed[string]
	required bool
	raw      bool
}

func envFiles() shape[[]envFile] {
	short := shape[*envFile]{word: "text", schema: text().schema, read: func(r *reader, v value) (*envFile, bool) {
		s, ok := someText(r, v)
		return &envFile{path: placed[string]{s, v}, required: true}, ok
	}}
	long := within(newObject("env_file",
		field("path", where(text()), "The file.", func(_ *reader, f *envFile, v placed[string], _ value) { f.path = v }).must().like("path: db.env"),
		field("required", boolean(), "When false, the file may be missing.", func(_ *reader, f *envFile, v bool, _ value) { f.required = v }).like("required: false"),
		field("format", choice("word", map[string]bool{"raw": true}), "`raw` takes values as they are, quotes and dollar signs included.",
			func(_ *reader, f *envFile, v bool, _ value) { f.raw = v }).like("format: raw"),
	), func() *envFile { return &envFile{required: true} })
	list := oneOrMore(shortOrLong(short, long))
	return shape[[]envFile]{word: list.word, schema: list.schema, keys: list.keys, read: func(r *reader, v value) ([]envFile, bool) {
		got, ok := list.read(r, v)
		out := make([]envFile, 0, len(got))
		for _, f := range got {
			out = append(out, *f)
		}
		return out, ok
	}}
}

// readEnvFiles reads the files in order; what a later one says wins.
func (r *reader) readEnvFiles(files []envFile) []pair {
	var out []pair
	for _, f := range files {
		if f.path.is == "" {
			continue
		}
		data, err := r.readBounded(f.path.at.f.home(), f.path.is)
		switch {
		case err != nil && f.required:
			r.fault(f.path.at, "the file %s cannot be read: %v", quoted(f.path.is), err)
		case err != nil:
		case !utf8.Valid(data):
			r.fault(f.path.at, "the file %s is not UTF-8 text", quoted(f.path.is))
		default:
			if !r.visit(f.path.at, bytes.Count(data, []byte("\n"))) {
				return nil
			}
			p := envParser{r: r, file: f, lines: strings.Split(string(bytes.TrimPrefix(data, []byte("\ufeff"))), "\n")}
			out = append(out, p.parse()...)
		}
	}
	return out
}

// envParser reads one file of NAME=VALUE lines.
type envParser struct {
	r     *reader
	file  envFile
	lines []string
	line  int // index of the current line
}

func (p *envParser) fault(format string, args ...any) *Fault {
	if p.r.faults.Full() {
		return nil
	}
	text := strings.TrimRight(p.lines[p.line], "\r")
	text = text[:runeOffset(text, longLine)]
	return p.r.faults.Add(Fault{File: p.file.path.is, Order: p.file.path.at.f.index, Line: p.line + 1, Col: 1,
		EndCol: 1 + utf8.RuneCountInString(text), Message: fmt.Sprintf(format, args...), Text: text, TextCol: 1})
}

func (p *envParser) parse() []pair {
	var out []pair
	for ; p.line < len(p.lines); p.line++ {
		s := strings.TrimSpace(p.lines[p.line])
		if s == "" || s[0] == '#' {
			continue
		}
		if rest, ok := strings.CutPrefix(s, "export "); ok && !p.file.raw {
			s = strings.TrimSpace(rest)
		}
		name, val, has := strings.Cut(s, "=")
		name = strings.TrimSpace(name)
		if name == "" || strings.ContainsAny(name, " \t\"'\x00") {
			p.fault("%s is not the name of a variable", quoted(name)).Advise("write NAME=VALUE")
			continue
		}
		one := pair{key: name, at: p.file.path.at}
		if has {
			text, ok := p.value(strings.TrimSpace(val))
			if !ok {
				continue
			}
			one.value = &text
		}
		out = append(out, one)
	}
	return out
}

// value unquotes and interpolates what stands behind the equals sign; a quoted value may go on in the next lines.
func (p *envParser) value(s string) (string, bool) {
	if p.file.raw || s == "" {
		return s, true
	}
	if s[0] != '"' && s[0] != '\'' {
		if i := strings.Index(s, " #"); i >= 0 {
			s = strings.TrimSpace(s[:i])
		} else if s[0] == '#' {
			s = ""
		}
		return p.interpolate(s)
	}
	body, ok := p.quoted(s[1:], s[0])
	if !ok || s[0] == '\'' {
		return body, ok
	}
	text, ok := p.interpolate(body)
	return strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t", `\"`, `"`, `\\`, `\`).Replace(text), ok
}

// quoted reads on to the closing quote.
func (p *envParser) quoted(part string, quote byte) (string, bool) {
	const longest = 64 << 10
	start := p.line
	var body strings.Builder
	for {
		end := closing(part, quote)
		if end >= 0 {
			if rest := strings.TrimSpace(part[end+1:]); rest != "" && rest[0] != '#' {
				p.fault("%s stands behind the closing quote", quoted(rest))
				return "", false
			}
			body.WriteString(part[:end])
			return body.String(), true
		}
		body.WriteString(part)
		if p.line+1 >= len(p.lines) || body.Len() > longest {
			end, p.line = p.line, start
			p.fault("the quote %c is not closed", quote)
			p.line = end
			return "", false
		}
		p.line++
		part = "\n" + strings.TrimRight(p.lines[p.line], "\r")
	}
}

// closing is where the quote ends that s stands in, or -1.
func closing(s string, quote byte) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote == '"':
			i++
		case s[i] == quote:
			return i
		}
	}
	return -1
}

func (p *envParser) interpolate(s string) (string, bool) {
	if strings.IndexByte(s, '$') < 0 {
		return s, true
	}
	// The faults of interpolation point at the manifest's mention of the file; this one says which line it was.
	in := interpolator{r: p.r, v: p.file.path.at, text: s, quiet: true}
	out := in.until(0, false, true)
	if in.failed {
		p.fault("%s", in.message)
	}
	return out, !in.failed
}

// finishEnvironment joins env_file and environment, and labels.
func (c *container) finishEnvironment(r *reader) {
	s := c.spec
	set := func(list []pair, from string) {
		for _, p := range list {
			if strings.ContainsAny(p.key, "=\x00") {
				r.fault(p.at.name(), "%s is not the name of a variable", quoted(p.key))
				continue
			}
			if s.Environment == nil {
				s.Environment = make(map[string]string, len(list))
			}
			if p.value != nil {
				s.Environment[p.key] = *p.value
				continue
			}
			// A later mention without a value hides an earlier one, as in Compose.
			if v, ok := r.env(p.key); ok {
				s.Environment[p.key] = v
			} else {
				delete(s.Environment, p.key)
				r.note(p.at.orName(), "%s names the variable %s, which is not set: the container does not get it", from, p.key)
			}
		}
	}
	set(c.fileEnv, "env_file")
	set(c.env, "environment")
	for _, list := range [][]pair{c.fileLabels, c.labels} {
		for _, p := range list {
			if strings.HasPrefix(p.key, "argosy.") || strings.HasPrefix(p.key, "io.argosy.") {
				r.fault(p.at.name(), "labels that begin with argosy are Argosy's own")
			}
		}
		for k, v := range plainPairs(list) {
			if s.Labels == nil {
				s.Labels = map[string]string{}
			}
			s.Labels[k] = v
		}
	}
}
