package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-cluster/argosy/internal/cli/words"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// isTerminal says whether w is a terminal that a person looks at.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colorful says whether output to w may carry colour: asked for, or a terminal without NO_COLOR.
func (a *app) colorful(w io.Writer) bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal(w) && a.sys.Getenv("NO_COLOR") == "" && a.sys.Getenv("TERM") != "dumb"
}

type style = words.Style

const (
	plain  = words.Plain
	bold   = words.Bold
	dim    = words.Dim
	red    = words.Red
	green  = words.Green
	yellow = words.Yellow
	blue   = words.Blue
)

// cell is a piece of text with the style it has where colour is wanted.
type cell struct {
	text  string
	style style
}

func text(s string) cell { return cell{text: s} }

// table is rows under a header, aligned in columns.
type table struct {
	header []string
	rows   [][]cell
	// wide and more are further columns, for those who ask for them; more may be shorter than rows.
	wide []string
	more [][]cell
}

func (t *table) add(cells ...cell) {
	t.rows = append(t.rows, cells)
}

// also gives the last row its further columns.
func (t *table) also(cells ...cell) {
	for len(t.more) < len(t.rows) {
		t.more = append(t.more, nil)
	}
	t.more[len(t.rows)-1] = cells
}

// widened is the table with its further columns.
func (t *table) widened() *table {
	w := &table{header: slices.Concat(t.header, t.wide)}
	for i, row := range t.rows {
		cells := slices.Clone(row)
		if i < len(t.more) {
			cells = append(cells, t.more[i]...)
		}
		for len(cells) < len(w.header) {
			cells = append(cells, text(""))
		}
		w.add(cells...)
	}
	return w
}

// write aligns columns by the width of their widest cell; the last column is not padded.
func (t *table) write(w io.Writer, colorful bool) error {
	head := make([]cell, len(t.header))
	for i, h := range t.header {
		head[i] = cell{h, dim}
	}
	with := table{rows: append([][]cell{head}, t.rows...)}
	return with.writeRows(w, colorful)
}

// writeRows is write without the header.
func (t *table) writeRows(w io.Writer, colorful bool) error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	spaces := strings.Repeat(" ", slices.Max(append(widths, 0))+2)
	line := 1
	for _, width := range widths {
		line += width + 2
	}
	out := make([]byte, 0, len(t.rows)*line) // all but for colours and for letters of several bytes
	for _, row := range t.rows {
		end := len(out) // of the line without spaces at its end
		for i, c := range row {
			if colorful && c.style != plain && c.text != "" {
				out = append(append(append(out, c.style...), c.text...), "\x1b[0m"...)
			} else {
				out = append(out, c.text...)
			}
			if c.text != "" {
				end = len(out)
			}
			if i < len(row)-1 {
				out = append(out, spaces[:widths[i]-utf8.RuneCountInString(c.text)+2]...)
			}
		}
		out = append(out[:end], '\n')
	}
	_, err := w.Write(out)
	return err
}

// printJSON writes a message as JSON: the names of the protocol, and fields that are zero too, so that programs need not
// know which may be missing.
func (a *app) printJSON(m proto.Message) error {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true, UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	// protojson varies its white space on purpose; programs and people get it indented the same each time.
	return a.writeJSON(json.RawMessage(b))
}

// writeJSON writes what is no message of the protocol as JSON.
func (a *app) writeJSON(v any) error {
	if a.yaml {
		return a.writeYAML(v)
	}
	enc := json.NewEncoder(a.sys.Out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// writeJSONLine writes what is no message of the protocol as one line of JSON, or as a document of YAML, for streams.
func (a *app) writeJSONLine(v any) error {
	if a.yaml {
		a.written = true // the first has the line, too: who follows a stream waits for it
		return a.writeYAML(v)
	}
	return json.NewEncoder(a.sys.Out).Encode(v)
}

// writeYAML writes the same document as writeJSON.
func (a *app) writeYAML(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if b, err = manifest.YAML(b); err != nil {
		return err
	}
	if a.written {
		b = append([]byte("---\n"), b...)
	}
	a.written = true
	_, err = a.sys.Out.Write(b)
	return err
}

// printJSONLine writes a message as one line of JSON, or as a document of YAML, for streams.
func (a *app) printJSONLine(m proto.Message) error {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true, UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return a.writeJSONLine(json.RawMessage(b))
}

// show prints the answer of a command in the format that was asked for.
func (a *app) show(m proto.Message, t *table, names []string) error {
	switch a.output {
	case "json":
		return a.printJSON(m)
	case "name":
		for _, n := range names {
			fmt.Fprintln(a.sys.Out, n)
		}
		return nil
	}
	if a.wide {
		t = t.widened()
	}
	return t.write(a.sys.Out, a.colorful(a.sys.Out))
}

// answer says what a command did: a sentence for people, the protocol's answer or the names of what it was done to for
// programs.
func (a *app) answer(m proto.Message, names []string, format string, args ...any) error {
	switch a.output {
	case "json":
		return a.printJSON(m)
	case "name":
		return a.show(nil, nil, names)
	}
	a.done(format, args...)
	return nil
}

// told is answer for what is no message of the protocol.
func (a *app) told(doc any, names []string, format string, args ...any) error {
	if a.output == "json" {
		return a.writeJSON(doc)
	}
	return a.answer(nil, names, format, args...)
}

// note tells a person something beside the answer; programs that read JSON or names are not disturbed by it.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.sys.Err, format+"\n", args...)
}

// done says what was done.
func (a *app) done(format string, args ...any) {
	if a.output == "table" {
		fmt.Fprintf(a.sys.Out, format+"\n", args...)
	}
}

func span(d time.Duration) string { return words.Span(d) }

func seconds(d time.Duration) string { return words.Seconds(d) }

func age(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return span(d.AsDuration())
}

func since(t *timestamppb.Timestamp, now time.Time) string {
	if t == nil {
		return "-"
	}
	return span(now.Sub(t.AsTime()))
}

// size is an amount of bytes as people say it.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for v >= unit && i < 4 {
		v /= unit
		i++
	}
	if v >= 10 || v == float64(int64(v)) {
		return fmt.Sprintf("%.0f %ciB", v, "KMGTP"[i])
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}

// cpus is thousandths of a cpu as people say it.
func cpus(milli int64) string {
	if milli%1000 == 0 {
		return fmt.Sprint(milli / 1000)
	}
	return fmt.Sprintf("%.2f", float64(milli)/1000)
}

func orDash(s string) string { return words.OrDash(s) }
