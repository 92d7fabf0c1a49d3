package unitfile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/fault"
)

// Types are the types of units that have a file, in systemd's words. fleet's API knew scope, snapshot and busname too: no
// version of systemd reads them from a file.
func Types() []string {
	return []string{"service", "socket", "timer", "path", "mount", "automount", "swap", "target", "slice", "device"}
}

// A Name is what systemd calls a unit: web.service, a template web@.service, or its instance web@3.service.
type Name struct {
	Full     string // web@3.service
	Stem     string // web@3
	Prefix   string // web
	Instance string // 3
	Type     string // service
	At       bool   // it is a template or an instance
}

// IsTemplate tells whether it is a template, of which only instances run.
func (n Name) IsTemplate() bool { return n.At && n.Instance == "" }

// IsInstance tells whether it is an instance of a template.
func (n Name) IsInstance() bool { return n.At && n.Instance != "" }

// Template is what an instance is of, or "".
func (n Name) Template() string {
	if !n.At {
		return ""
	}
	return n.Prefix + "@." + n.Type
}

// Of is the template's instance of that name.
func (n Name) Of(instance string) (Name, error) {
	if !n.IsTemplate() {
		return Name{}, fmt.Errorf("%s is no template", fault.Quoted(n.Full))
	}
	return ParseName(n.Prefix + "@" + instance + "." + n.Type)
}

func (n Name) String() string { return n.Full }

// IsName tells whether s is the name of a unit file. No DNS label is one.
func IsName(s string) bool {
	_, err := ParseName(s)
	return err == nil
}

// ForReplica is what a unit of a stack is called on the machine of a replica: a template's instance is the replica's number.
// Any other name is one unit of its machine.
func ForReplica(name string, number uint32) string {
	n, err := ParseName(name)
	if err != nil || !n.IsTemplate() {
		return name
	}
	return n.Stem + strconv.FormatUint(uint64(number), 10) + "." + n.Type
}

// ReplicaOf is the number of the replica for which a template's unit is called like that; 0 when there is none.
func ReplicaOf(template, name string) uint32 {
	_, after, _ := strings.Cut(name, "@")
	number, _, _ := strings.Cut(after, ".")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || name == template || ForReplica(template, uint32(n)) != name {
		return 0
	}
	return uint32(n)
}

// A NameError says why a text is not the name of a unit.
type NameError struct {
	Message    string
	Suggestion string // what was probably meant; may be empty
}

func (e *NameError) Error() string { return e.Message }

// ParseName reads the name of a unit file.
func ParseName(s string) (Name, error) {
	refuse := func(suggestion, format string, args ...any) (Name, error) {
		return Name{}, &NameError{fault.Quoted(s) + " is not the name of a unit: " + fmt.Sprintf(format, args...), suggestion}
	}
	dot := strings.LastIndexByte(s, '.')
	switch {
	case len(s) > MaxName:
		return refuse("", "it has %d bytes; systemd allows %d", len(s), MaxName)
	case s == "":
		return refuse("", "it is empty")
	case dot < 0:
		return refuse(s+".service", "it does not end with its type, such as .service")
	}
	n := Name{Full: s, Stem: s[:dot], Type: s[dot+1:]}
	switch {
	case n.Type == "scope":
		return refuse("", "scopes are made by programs, not by files")
	case !slices.Contains(Types(), n.Type):
		suggestion := fault.Nearest(n.Type, Types())
		if suggestion != "" {
			suggestion = n.Stem + "." + suggestion
		}
		return refuse(suggestion, "%s is not a type of unit: %s", fault.Quoted(n.Type), strings.Join(Types(), ", "))
	}
	n.Prefix, n.Instance, n.At = strings.Cut(n.Stem, "@")
	if n.Prefix == "" {
		return refuse("", "nothing stands before %s", s[len(n.Prefix):])
	}
	for i := range n.Stem {
		if !nameByte(n.Stem[i]) {
			return refuse("", "it may have letters, digits and the characters : - _ . \\ @")
		}
	}
	return n, nil
}

func nameByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte(`:-_.\@`, c) >= 0
}

// Escape writes any text so that it can be a part of a unit's name, as systemd-escape does.
func Escape(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '/':
			b.WriteByte('-')
		case nameByte(c) && c != '-' && c != '\\' && c != '@' && (c != '.' || i > 0):
			b.WriteByte(c)
		default:
			b.WriteString(`\x` + string(hex[c>>4]) + string(hex[c&15]))
		}
	}
	return b.String()
}

// EscapePath is what a path is called in the name of the unit that is about it: -, or what systemd-escape --path writes. The
// path is absolute, and has no . or .. in it.
func EscapePath(path string) (string, error) {
	var parts []string
	for _, p := range strings.Split(path, "/") {
		switch p {
		case "":
		case ".", "..":
			return "", fmt.Errorf("the path %s has %s in it", fault.Quoted(path), p)
		default:
			parts = append(parts, p)
		}
	}
	switch {
	case !strings.HasPrefix(path, "/"):
		return "", fmt.Errorf("the path %s does not begin with /", fault.Quoted(path))
	case len(parts) == 0:
		return "-", nil
	}
	return Escape(strings.Join(parts, "/")), nil
}

// Unescape takes [Escape] back.
func Unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '-':
			b.WriteByte('/')
		case '\\':
			if i+3 >= len(s) || s[i+1] != 'x' {
				return "", fmt.Errorf("a backslash in %s is not followed by x and two hexadecimal digits", fault.Quoted(s))
			}
			high, low := digit(s[i+2]), digit(s[i+3])
			if high < 0 || low < 0 {
				return "", fmt.Errorf("a backslash in %s is not followed by x and two hexadecimal digits", fault.Quoted(s))
			}
			b.WriteByte(byte(high<<4 | low))
			i += 3
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// expand puts a unit's names for the specifiers %n, %N, %p and %i, and % for %%. bad is where one stands that means nothing
// here, or -1; the text then ends there.
func (n Name) expand(s string) (out string, bad int) {
	if !strings.Contains(s, "%") {
		return s, -1
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return b.String(), i - 1
		}
		switch s[i] {
		case 'n':
			b.WriteString(n.Full)
		case 'N':
			b.WriteString(n.Stem)
		case 'p':
			b.WriteString(n.Prefix)
		case 'i':
			b.WriteString(n.Instance)
		case '%':
			b.WriteByte('%')
		default:
			return b.String(), i - 1
		}
	}
	return b.String(), -1
}
