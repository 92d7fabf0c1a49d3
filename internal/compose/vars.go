package compose

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// variables are what Compose interpolates.
type variables struct {
	env      map[string]string // of the process, as far as the files name variables
	files    map[string]string // those that only files with variables say
	from     map[string]string // the file of each of those
	made     map[string]string // text that interpolation made, and what of
	required map[string]bool   // variables that must be set, and are not
}

func (v *variables) lookup(name string) (string, bool) {
	if s, ok := v.env[name]; ok {
		return s, true
	}
	s, ok := v.files[name]
	return s, ok
}

// merged are all variables, those of the process first.
func (v *variables) merged() map[string]string {
	out := make(map[string]string, len(v.env)+len(v.files))
	for k, s := range v.files {
		out[k] = s
	}
	for k, s := range v.env {
		out[k] = s
	}
	return out
}

// readVariables reads the files with variables: those told, or .env beside the first Compose file, and those of includes.
func (im *importer) readVariables() []manifest.Fault {
	v := &variables{env: map[string]string{}, files: map[string]string{}, from: map[string]string{}, made: map[string]string{}, required: map[string]bool{}}
	im.vars = v
	type file struct {
		name string
		data []byte
	}
	var files []file
	var faults []manifest.Fault
	fail := func(name string, err error) {
		faults = append(faults, manifest.Fault{File: name, Message: "the file with variables cannot be read: " + err.Error()})
	}
	if len(im.opts.EnvFiles) == 0 {
		if data, err := im.src.readFile(filepath.Join(im.src.abs, ".env"), manifest.MaxReadSize); err == nil {
			files = append(files, file{filepath.Join(im.src.dir, ".env"), data})
		}
	}
	for _, name := range im.opts.EnvFiles {
		data, err := manifest.FilesBelow(name, filepath.Base(name), manifest.MaxReadSize)
		if err != nil {
			fail(name, err)
			continue
		}
		files = append(files, file{name, data})
	}
	for _, abs := range im.src.env {
		if data, err := im.src.readFile(abs, manifest.MaxReadSize); err == nil {
			files = append(files, file{abs, data})
		}
	}
	for _, src := range im.src.files {
		im.learn(string(src.data))
	}
	for _, f := range files {
		im.learn(string(f.data))
	}
	for _, f := range files {
		got, err := dotenv.ParseWithLookup(strings.NewReader(string(f.data)), func(name string) (string, bool) { return v.lookup(name) })
		if err != nil {
			fail(f.name, err)
			continue
		}
		for name, value := range got {
			if _, there := v.lookup(name); !there {
				v.files[name], v.from[name] = value, f.name
			}
		}
	}
	return faults
}

// learn looks up the variables that a text names.
func (im *importer) learn(text string) {
	if im.opts.LookupEnv == nil {
		return
	}
	ask := func(name string) {
		if _, known := im.vars.env[name]; !known && name != "" {
			if s, ok := im.opts.LookupEnv(name); ok {
				im.vars.env[name] = s
			}
		}
	}
	for i := 0; i < len(text); i++ {
		if text[i] == '$' {
			rest := strings.TrimPrefix(text[i+1:], "{")
			ask(rest[:manifest.VariableLength(rest)])
		}
	}
	// A file with variables gives way to the environment also where no Compose file names the variable.
	for line := range strings.Lines(text) {
		name, _, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if name = strings.TrimSpace(name); ok && manifest.VariableLength(name) == len(name) {
			ask(name)
		}
	}
}

// substitute interpolates as Compose does. A variable that must be set and is not counts as 1, which fits everywhere: it
// must be set when the manifest is used, not now.
func (v *variables) substitute(text string, lookup template.Mapping) (string, error) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	var missing map[string]bool
	with := func(name string) (string, bool) {
		if missing[name] {
			return "1", true
		}
		return lookup(name)
	}
	for {
		out, err := template.SubstituteWithOptions(text, with, template.WithoutLogging)
		var required *template.MissingRequiredError
		if errors.As(err, &required) && !missing[required.Variable] && len(missing) < 100 {
			if missing == nil {
				missing = map[string]bool{}
			}
			missing[required.Variable] = true
			v.required[required.Variable] = true
			continue
		}
		if err == nil && len(v.made) < maxValues && out != strings.ReplaceAll(text, "$$", "$") {
			v.made[out] = text
		}
		return out, err
	}
}

// now is a text with its variables replaced.
func (v *variables) now(text string) string {
	out, err := v.substitute(text, v.lookup)
	if err != nil {
		return text
	}
	return out
}

// literal is a text such that interpolation gives it.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// secret is true for a variable whose value should not be written down.
func secret(name string) bool {
	name = strings.ToUpper(name)
	if name == "PASS" || name == "PW" {
		return true
	}
	for _, word := range []string{"PASSW", "PASSPH", "_PASS", "PASS_", "_PW", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "PRIVATE", "SALT", "DSN"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// keep is a text with its variables as a manifest has them. Argosy reads no .env, so a variable from such a file gets its
// value there as the default, unless it looks like a secret.
func (im *importer) keep(text string, at manifest.Node) string {
	if !strings.Contains(text, "$") {
		return text
	}
	k := keeper{im: im, at: at, text: text}
	return k.until(false)
}

// keeper is one pass over one text.
type keeper struct {
	im   *importer
	at   manifest.Node
	text string
	pos  int
}

func (k *keeper) until(braces bool) string {
	var b strings.Builder
	open := 0
	for k.pos < len(k.text) {
		c := k.text[k.pos]
		rest := k.text[k.pos+1:]
		switch {
		case braces && c == '}' && open == 0:
			return b.String()
		case c == '$' && strings.HasPrefix(rest, "$"):
			b.WriteString("$$")
			k.pos += 2
		case c == '$' && strings.HasPrefix(rest, "{") && manifest.VariableLength(rest[1:]) > 0:
			n := manifest.VariableLength(rest[1:])
			k.pos += 2 + n
			b.WriteString(k.variable(rest[1:1+n], true))
		case c == '$' && manifest.VariableLength(rest) > 0:
			n := manifest.VariableLength(rest)
			k.pos += 1 + n
			b.WriteString(k.variable(rest[:n], false))
		default:
			switch c {
			case '{':
				open++
			case '}':
				open--
			}
			b.WriteByte(c)
			k.pos++
		}
	}
	return b.String()
}

// variable reads what follows a name, and writes the variable with the default that it gets.
func (k *keeper) variable(name string, braces bool) string {
	op, word := "", ""
	written := "$" + name
	if braces {
		for _, o := range []string{":-", ":+", ":?", "-", "+", "?"} {
			if strings.HasPrefix(k.text[k.pos:], o) {
				op = o
				break
			}
		}
		k.pos += len(op)
		if op != "" {
			word = k.until(true)
		}
		if k.pos < len(k.text) {
			k.pos++ // the closing brace
		}
		written = "${" + name + op + word + "}"
	}
	value, fromFile := k.im.vars.files[name]
	if !fromFile {
		return written
	}
	file := k.im.vars.from[name]
	switch {
	case secret(name):
		k.im.note(k.at, "%s is in %s, which Argosy does not read, and looks like a secret: set it in the environment of argosy, or better make it one (argosy secret set)", name, file)
		k.im.before(fmt.Sprintf("export %s=…   # it is in %s", name, file))
		return written
	case strings.HasSuffix(op, "+"):
		if op == ":+" && value == "" {
			return ""
		}
		return word
	case value == "" && strings.HasPrefix(op, ":"):
		return written
	case !balanced(value):
		return literal(value)
	case strings.HasPrefix(op, ":"):
		return "${" + name + ":-" + literal(value) + "}"
	default:
		return "${" + name + "-" + literal(value) + "}"
	}
}

// balanced is true for what may stand within ${…}.
func balanced(s string) bool {
	open := 0
	for _, c := range s {
		switch c {
		case '{':
			open++
		case '}':
			if open--; open < 0 {
				return false
			}
		}
	}
	return open == 0
}
