package manifest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// file is one manifest file and its tree.
type file struct {
	index int
	name  string
	text  string  // UTF-8, without a byte order mark
	lines []int32 // where each line begins; made when first asked for
	root  *yaml.Node

	argument bool                 // it is a --set
	set      map[*yaml.Node]*file // which nodes of all files were set, and by what
	below    string               // the file in which it was put

	longASCII map[int]bool // of long lines, whether a character is a byte
}

// line is the text of line n, counted from 1, or "".
func (f *file) line(n int) string {
	if f.lines == nil {
		f.lines = make([]int32, 1, strings.Count(f.text, "\n")+1)
		for i := range len(f.text) {
			if f.text[i] == '\n' {
				f.lines = append(f.lines, int32(i+1))
			}
		}
	}
	if n < 1 || n > len(f.lines) {
		return ""
	}
	s := f.text[f.lines[n-1]:]
	if n < len(f.lines) {
		s = f.text[f.lines[n-1]:f.lines[n]]
	}
	return strings.TrimRight(s, "\r\n")
}

// home is the manifest beside which the files are that f names: f itself, or the file that a --set was put into.
func (f *file) home() string {
	if f.argument {
		return f.below
	}
	return f.name
}

// longLine is the length in bytes from which on only a part of a line is looked at.
const longLine = 2000

// excerpt is the line around a column, and the column that it begins with. It is short, and finding it costs little
// however long the line is; where that cannot be, it is empty.
func (f *file) excerpt(n, column int) (text string, first int) {
	s := f.line(n)
	if len(s) <= longLine {
		return s, 1
	}
	if f.longASCII == nil {
		f.longASCII = map[int]bool{}
	}
	ascii, known := f.longASCII[n]
	if !known {
		ascii = strings.IndexFunc(s, func(c rune) bool { return c >= utf8.RuneSelf }) < 0
		f.longASCII[n] = ascii
	}
	if !ascii {
		return "", 0
	}
	from := min(max(0, column-1-longLine/2), len(s))
	return s[from:min(len(s), from+longLine)], from + 1
}

// value is a node of a manifest together with its file. n is never an alias; key is the node that names the value, or
// nil for an element of a list.
type value struct {
	f   *file
	n   *yaml.Node
	key *yaml.Node
}

// name is the place of the value's key, for faults about what is missing in the value.
func (v value) name() value {
	if v.key == nil {
		return v
	}
	return value{f: v.f, n: v.key}
}

func (v value) isMap() bool    { return v.n.Kind == yaml.MappingNode }
func (v value) isList() bool   { return v.n.Kind == yaml.SequenceNode }
func (v value) isScalar() bool { return v.n.Kind == yaml.ScalarNode }
func (v value) isNull() bool   { return v.isScalar() && v.n.ShortTag() == "!!null" }
func (v value) isString() bool {
	tag := v.n.ShortTag()
	return v.isScalar() && (tag == "!!str" || tag == "!!timestamp")
}

// kind is what the value is, as a message says it.
func (v value) kind() string {
	switch {
	case v.isMap():
		return "a map"
	case v.isList():
		return "a list"
	case v.isNull():
		return "empty"
	}
	switch v.n.ShortTag() {
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	default:
		return "text"
	}
}

// weigh is an upper bound for the number of nodes in a text, or rather for what the YAML library spends on them, so that
// it can be refused before the library makes them. In flow style a value costs twice as much.
func weigh(text string) int {
	weight := 0
	for i := range len(text) {
		switch text[i] {
		case ',', '[', '{':
			weight += 2
		case ':':
			weight++
		case '-', '?':
			if i+1 == len(text) || text[i+1] == ' ' || text[i+1] == '\n' || text[i+1] == '\t' || text[i+1] == '\r' {
				weight++
			}
		}
	}
	return weight
}

// depthLimit bounds nesting while the library parses. Aliases are bounded by the reader, which follows them.
type depthLimit struct{}

var errDepth = fmt.Errorf("nested deeper than %d levels", maxDepth)

func (depthLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return errDepth
	}
	return nil
}

func (depthLimit) CheckAlias(int, int) error { return nil }

// open parses one file; what keeps it from being read at all is a fault, and ok is false.
func (r *reader) open(index int, in File) (f *file, ok bool) {
	f = &file{index: index, name: in.Name}
	fail := func(line, col int, format string, args ...any) *Fault {
		fault := Fault{File: f.name, Order: index, Line: line, Col: col, EndCol: col + 1, Message: fmt.Sprintf(format, args...)}
		fault.Text, fault.TextCol = f.excerpt(line, col)
		return r.faults.Add(fault)
	}
	if len(in.Data) > MaxFileSize {
		fail(0, 0, "the file has %d bytes; a manifest may have %d", len(in.Data), MaxFileSize).
			Advise("put large contents into files of their own and name them with `file:` below configs")
		return f, false
	}
	if r.size += len(in.Data); r.size > maxTotalSize {
		fail(0, 0, "the files of the manifest have more than %d bytes together", maxTotalSize)
		return f, false
	}
	f.text = strings.TrimPrefix(string(in.Data), "\ufeff")
	if !utf8.ValidString(f.text) {
		at := 1
		for i, c := range f.text {
			if c == utf8.RuneError && !strings.HasPrefix(f.text[i:], "\ufffd") {
				at += strings.Count(f.text[:i], "\n")
				break
			}
		}
		f.text = strings.ToValidUTF8(f.text, "\ufffd")
		fail(at, 1, "the file is not UTF-8 text")
		return f, false
	}
	if r.weight += weigh(f.text); r.weight > maxWeight {
		fail(0, 0, "the manifest has too many values: more than about %d", maxWeight).
			Advise("split it into several apps, or put large contents into files named with `file:` below configs")
		return f, false
	}
	if err := f.parse(); err != nil {
		line, col, message := explainYAML(err)
		fault := fail(line, col, "%s", message)
		if strings.ContainsRune(f.line(line), '\t') {
			fault.Advise("indent with spaces: YAML does not allow tabs")
		}
		return f, false
	}
	if f.root == nil {
		fail(1, 1, "the file is empty").Advise("a manifest begins with `argosy: v1` and `app: NAME`")
		return f, false
	}
	return f, true
}

var errSecondDocument = errors.New("a second document begins here; a manifest is one document")

// parse fills root, which stays nil when there is nothing in the file.
func (f *file) parse() error {
	loader, err := yaml.NewLoader(strings.NewReader(f.text), yaml.WithPlugin(depthLimit{}))
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		if root := doc.Content[0]; root.Kind != yaml.ScalarNode || root.ShortTag() != "!!null" {
			f.root = root
		}
	}
	var second yaml.Node
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		at := yaml.Mark{Line: max(1, second.Line), Column: max(1, second.Column)}
		return yaml.NewLoadError(yaml.ComposerStage, errSecondDocument.Error(), at, errSecondDocument)
	}
}

// explainYAML turns the library's error into a place and a sentence.
func explainYAML(err error) (line, col int, message string) {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		return 1, 1, "not YAML: " + err.Error()
	}
	mark := load.Mark
	if mark.Line == 0 {
		mark = load.ContextMark
	}
	line, col = max(1, mark.Line), max(1, mark.Column)
	switch {
	case errors.Is(err, errSecondDocument):
		return line, col, errSecondDocument.Error()
	case strings.Contains(load.Message, errDepth.Error()):
		return line, col, errDepth.Error()
	case load.ContextMsg != "":
		return line, col, fmt.Sprintf("not YAML: %s %s", load.ContextMsg, load.Message)
	default:
		return line, col, "not YAML: " + load.Message
	}
}
