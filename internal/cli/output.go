package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

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
	return t.write(a.sys.Out, a.colorful(a.sys.Out), a.wide)
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
