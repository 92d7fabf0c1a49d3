package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Fault is one thing that is wrong with a manifest, and where.
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

	file     int    // index of the file, for sorting
	argument bool   // it is a --set: a line of its own has no number
	word     string // to be compared with among, once it is known which faults are shown
	among    []string
}

// String is the fault on one line: `shop.yaml:3:5: what is wrong`.
func (f Fault) String() string {
	switch {
	case f.File == "":
		return f.Message
	case f.Line == 0 || f.argument:
		return f.File + ": " + f.Message
	default:
		return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Col, f.Message)
	}
}

// Faults is what is wrong with a manifest, sorted by place. At most [MaxFaults] are kept; a last one without a place then
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
		if f.argument {
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
		return printable(s)
	}
	return quoted(s)
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
		line, lead, before = line[runeOffset(line, skip):], "…", maxShown/2
	}
	tail := ""
	if cut := runeOffset(line, maxShown); cut < len(line) {
		line, tail = line[:cut], "…"
	}
	var p strings.Builder
	p.WriteString(strings.Repeat(" ", utf8.RuneCountInString(lead)))
	for _, c := range line[:runeOffset(line, before)] {
		if c != '\t' {
			c = ' '
		}
		p.WriteRune(c)
	}
	rest := utf8.RuneCountInString(line) - before
	width = max(1, min(f.EndCol-f.Col, rest))
	return lead + printable(line) + tail, p.String(), width
}

// printable keeps a terminal from obeying what stands in a manifest. One character stays one character.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if (c < ' ' && c != '\t') || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) {
			return '\ufffd'
		}
		return c
	}, s)
}

// runeOffset is the byte at which character n of s begins, or len(s).
func runeOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// quoted is a word of the manifest as it appears in a message: in quotes, made printable, and not too long.
func quoted(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = s[:runeOffset(s, most)] + "…"
	}
	if strings.ContainsAny(s, "\n\t\r") {
		s = strings.NewReplacer("\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s)
	}
	return `"` + printable(s) + `"`
}

// hint says what to do about the fault. It does nothing on a fault that is not kept.
func (f *Fault) hint(format string, args ...any) {
	if f != nil {
		f.Hint = clip(fmt.Sprintf(format, args...))
	}
}

// meant says what to write instead.
func (f *Fault) meant(suggestion string) *Fault {
	if f != nil {
		f.Suggestion = clip(suggestion)
	}
	return f
}

// near suggests the candidate that is most like word, when one is near. Looking for it is put off until the fault is
// shown: there may be many faults and many candidates.
func (f *Fault) near(word string, candidates []string) *Fault {
	if f != nil {
		f.word, f.among = word, candidates
	}
	return f
}

// nearNow is near at once.
func (f *Fault) nearNow(word string, candidates []string) *Fault {
	if f != nil {
		f.Suggestion = nearest(word, candidates)
	}
	return f
}

// suggested is the suggestion, "" when there is none.
func (f *Fault) suggested() string {
	if f == nil {
		return ""
	}
	return f.Suggestion
}

// collector keeps faults up to a bound and counts the others.
type collector struct {
	kept []*Fault
	more int
}

// keptFaults bounds what is remembered before sorting; what a person sees is bounded by MaxFaults.
const keptFaults = 10 * MaxFaults

// full is true when a further fault would only be counted, which it then is.
func (c *collector) full() bool {
	if len(c.kept) < keptFaults {
		return false
	}
	c.more++
	return true
}

// add returns nil when the fault is only counted.
func (c *collector) add(f Fault) *Fault {
	if c.full() {
		return nil
	}
	f.Message = clip(f.Message)
	c.kept = append(c.kept, &f)
	return &f
}

// clip makes a text that may have words of the manifest in it fit for people and terminals.
func clip(s string) string {
	const most = 400 // characters
	if len(s) > most {
		if cut := runeOffset(s, most); cut < len(s) {
			s = s[:cut] + "…"
		}
	}
	return printable(s)
}

// sorted is the faults by place, each once, cut to MaxFaults.
func (c *collector) sorted() Faults {
	slices.SortStableFunc(c.kept, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Message, b.Message))
	})
	c.kept = slices.CompactFunc(c.kept, func(a, b *Fault) bool {
		return a.file == b.file && a.Line == b.Line && a.Col == b.Col && a.Message == b.Message
	})
	var out Faults
	for _, f := range c.kept[:min(len(c.kept), MaxFaults)] {
		if f.Suggestion == "" {
			f.Suggestion = nearest(f.word, f.among)
		}
		f.word, f.among = "", nil
		out = append(out, *f)
	}
	if more := c.more + len(c.kept) - len(out); more > 0 {
		out = append(out, Fault{Message: fmt.Sprintf("and %d more", more)})
	}
	return out
}

// longestNear bounds words that are compared, in bytes.
const longestNear = 64

// Nearest is the candidate that was probably meant by a mistyped word, or "" when none is near.
func Nearest(word string, candidates []string) string { return nearest(word, candidates) }

// nearest is the candidate with the smallest edit distance to word, or "" when none is near.
func nearest(word string, candidates []string) string {
	const most = 4096
	if word == "" || len(word) > longestNear {
		return ""
	}
	lower := strings.ToLower(word)
	best, bestDistance := "", max(1, len(word)/3)+1
	if len(word) < 3 {
		bestDistance = 2
	}
	for _, c := range candidates[:min(len(candidates), most)] {
		if len(c) > longestNear || c == word || c == "" {
			continue
		}
		d := distance(lower, strings.ToLower(c), bestDistance+1)
		if d < bestDistance || (d == bestDistance && best != "" && c < best) {
			best, bestDistance = c, d
		}
	}
	// A word of one or two letters is near to almost everything.
	if bestDistance >= len(word) && !strings.EqualFold(word, best) {
		return ""
	}
	return best
}

// distance is the number of letters to change, add, drop or swap with their neighbour to turn a into b, or limit when
// it is not below that.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	var rows [3][longestNear + 1]int
	before, prev, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(b)], limit)
}
