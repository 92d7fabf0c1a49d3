package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A Fault is one thing that is wrong with a text, and where.
type Fault struct {
	File string `json:"file,omitempty"`
	// Line and Col count from 1, Col in characters; EndCol is the column after the last character meant. All three are 0
	// when the fault has no place.
	Line   int `json:"line,omitempty"`
	Col    int `json:"col,omitempty"`
	EndCol int `json:"end_col,omitempty"`
	// Message says what is wrong, Hint what to do about it (may be empty).
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Suggestion is what was probably meant, to be put in place of what stands there; may be empty.
	Suggestion string `json:"suggestion,omitempty"`
	// Text is the source line without its line break, or the part of a very long one from the column TextCol on; may be
	// empty.
	Text    string `json:"text,omitempty"`
	TextCol int    `json:"text_col,omitempty"`

	// Order is the index of the file, for sorting.
	Order int `json:"-"`
	// Argument tells that the text is an argument of the command: its line has no number.
	Argument bool `json:"-"`

	word  string // to be compared with among, once it is known which faults are shown
	among []string
}

// String is the fault on one line: `shop.yaml:3:5: what is wrong`.
func (f Fault) String() string {
	switch {
	case f.File == "":
		return f.Message
	case f.Line == 0 || f.Argument:
		return f.File + ": " + f.Message
	default:
		return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Col, f.Message)
	}
}

// Faults is what is wrong with a text, sorted by place. At most [Max] are kept; a last one without a place then
// says how many more there were.
type Faults []Fault

// Err is nil when there is no fault, and else an error whose text is every fault on a line of its own.
func (fs Faults) Err() error {
	if len(fs) == 0 {
		return nil
	}
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return errors.New(strings.Join(lines, "\n"))
}

// Style paints the parts of a rendered fault. A nil function leaves its part as it is.
type Style struct {
	Place, Message, Source, Caret, Hint func(string) string
}

// Render writes the faults as a person reads them, each with its source line and a caret:
//
//	shop.yaml:5:5: unknown key "imge" in container web
//	    5 |     imge: httpd:2.4
//	      |     ^~~~
//	      did you mean "image"?
func (fs Faults) Render(w io.Writer, style Style) error {
	var b strings.Builder
	for _, f := range fs {
		f.render(&b, style)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the faults as one JSON list, for programs.
func (fs Faults) WriteJSON(w io.Writer) error {
	if fs == nil {
		fs = Faults{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(fs)
}

func (f Fault) render(b *strings.Builder, style Style) {
	if place := strings.TrimSuffix(f.String(), f.Message); place != "" {
		b.WriteString(paint(style.Place, place))
	}
	b.WriteString(paint(style.Message, f.Message))
	b.WriteByte('\n')
	if f.Text != "" {
		text, pad, width := f.window()
		number := fmt.Sprintf("%5d", f.Line)
		if f.Argument {
			number = "     "
		}
		fmt.Fprintf(b, "%s | %s\n", number, paint(style.Source, text))
		fmt.Fprintf(b, "      | %s%s\n", pad, paint(style.Caret, "^"+strings.Repeat("~", width-1)))
	}
	for _, line := range f.Help() {
		b.WriteString("      " + paint(style.Hint, line) + "\n")
	}
}

// Help is what to do about the fault, in sentences.
func (f Fault) Help() []string {
	var lines []string
	if f.Suggestion != "" {
		lines = append(lines, "did you mean "+suggestion(f.Suggestion)+"?")
	}
	if f.Hint != "" {
		lines = append(lines, f.Hint)
	}
	return lines
}

// suggestion is in quotes, unless it has its own.
func suggestion(s string) string {
	if strings.ContainsRune(s, '"') {
		return Printable(s)
	}
	return Quoted(s)
}

func paint(with func(string) string, s string) string {
	if with == nil {
		return s
	}
	return with(s)
}

// maxShown bounds how much of a long source line is shown, in characters.
const maxShown = 110

// window is the part of the source line to show, what to put before the caret so that it stands below its place, and how
// many characters are meant.
func (f Fault) window() (text, pad string, width int) {
	length := utf8.RuneCountInString(f.Text)
	before := min(f.Col-f.TextCol, length)
	line, lead := f.Text, ""
	if skip := before - maxShown/2; skip > 0 && length > maxShown {
		line, lead, before = line[RuneOffset(line, skip):], "…", maxShown/2
	}
	tail := ""
	if cut := RuneOffset(line, maxShown); cut < len(line) {
		line, tail = line[:cut], "…"
	}
	var p strings.Builder
	p.WriteString(strings.Repeat(" ", utf8.RuneCountInString(lead)))
	for _, c := range line[:RuneOffset(line, before)] {
		if c != '\t' {
			c = ' '
		}
		p.WriteRune(c)
	}
	rest := utf8.RuneCountInString(line) - before
	width = max(1, min(f.EndCol-f.Col, rest))
	return lead + Printable(line) + tail, p.String(), width
}

// Advise says what to do about the fault. Like all that follow, it does nothing on a fault that is not kept, which is nil.
func (f *Fault) Advise(format string, args ...any) {
	if f != nil {
		f.Hint = Clip(fmt.Sprintf(format, args...))
	}
}

// Meant says what to write instead.
func (f *Fault) Meant(suggestion string) *Fault {
	if f != nil {
		f.Suggestion = Clip(suggestion)
	}
	return f
}

// Near suggests the candidate that is most like word, when one is near. Looking for it is put off until the fault is
// shown: there may be many faults and many candidates.
func (f *Fault) Near(word string, candidates []string) *Fault {
	if f != nil {
		f.word, f.among = word, candidates
	}
	return f
}

// NearNow is Near at once.
func (f *Fault) NearNow(word string, candidates []string) *Fault {
	if f != nil {
		f.Suggestion = Nearest(word, candidates)
	}
	return f
}

// Suggested is the suggestion, "" when there is none.
func (f *Fault) Suggested() string {
	if f == nil {
		return ""
	}
	return f.Suggestion
}
