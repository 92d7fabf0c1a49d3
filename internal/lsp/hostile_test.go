package lsp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"pgregory.net/rapid"
)

// FuzzServe: whatever an editor sends, the server answers or ends, and what it says is in frames.
func FuzzServe(f *testing.F) {
	frame := func(bodies ...string) []byte {
		var b bytes.Buffer
		for _, body := range bodies {
			fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
		}
		return b.Bytes()
	}
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}`
	open := `{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":{"uri":"file:///a/b.yaml","languageId":"argosy","version":1,"text":"argosy: v1\ncontainers:\n  web: {imge: a}\n"}}}`
	f.Add(frame(hello, open, `{"jsonrpc":"2.0","id":2,"method":"textDocument/completion","params":{"textDocument":{"uri":"file:///a/b.yaml"},"position":{"line":2,"character":11}}}`))
	f.Add(frame(hello, open, `{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":{"uri":"file:///a/b.yaml","version":2},"contentChanges":[{"range":{"start":{"line":-1,"character":9},"end":{"line":99999999,"character":-1}},"text":"x"}]}}`))
	f.Add(frame(hello, open, `{"jsonrpc":"2.0","id":"a","method":"textDocument/codeAction","params":{"textDocument":{"uri":"file:///a/b.yaml"},"range":{"start":{"line":0,"character":0},"end":{"line":9,"character":9}}}}`))
	f.Add(frame(hello, `{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":[1]}}`, `{"jsonrpc":"2.0","id":3,"method":"shutdown"}`, `{"jsonrpc":"2.0","method":"exit"}`))
	f.Add([]byte("Content-Length: 2147483647\r\n\r\n{"))
	f.Add([]byte("Content-Length: -1\r\n\r\n"))
	f.Add([]byte("Content-Length: 99999999999999999999\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		_ = Serve(context.Background(), bytes.NewReader(in), &out, Options{})
		r := bufio.NewReader(&out)
		for {
			_, err := readMessage(r)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("the server says something that is no message: %v", err)
			}
		}
	})
}

// FuzzQuestions: in any text, at any place, every question has an answer whose places are in the text.
func FuzzQuestions(f *testing.F) {
	for _, c := range manifestCases(f) {
		f.Add(string(c.files[0].Data), 2, 7)
	}
	f.Add("a: [\U0001d11e", 0, 5)
	f.Add("\ufeffargosy: v1\rapp: b\r\nc: $A", 2, 4)
	f.Fuzz(func(t *testing.T, text string, line, character int) {
		text = strings.ToValidUTF8(text, "")
		s := &server{opts: Options{}, snippets: true, asIs: true, docs: map[string]*document{}}
		d := newDocument(manifestURI, "argosy", text)
		p := position{line, character}
		for _, i := range s.complete(d, p).Items {
			from, to := d.offset(i.TextEdit.Range.Start), d.offset(i.TextEdit.Range.End)
			if from > to || i.TextEdit.Range.Start.Line != i.TextEdit.Range.End.Line {
				t.Fatalf("%s replaces %+v", i.Label, i.TextEdit.Range)
			}
		}
		_ = s.hover(d, p)
		_ = s.definition(d, p)
		_ = d.symbols()
		d.faults, _ = s.check(d)
		for _, f := range d.faults {
			if f.from > f.to || f.to > len(text) {
				t.Fatalf("%s lies at %d to %d", f.Message, f.from, f.to)
			}
		}
		_ = s.fixes(d, span{p, p})
	})
}

// TestLargeClaims: a length that is claimed costs nothing until the bytes come.
func TestLargeClaims(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		if _, err := readMessage(bufio.NewReader(strings.NewReader("Content-Length: 33554432\r\n\r\n{"))); err == nil {
			t.Fatal("a message that breaks off is taken")
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("it took %d bytes", used)
	}
	in := bufio.NewReader(io.MultiReader(strings.NewReader(fmt.Sprintf("Content-Length: %d\r\n\r\n", maxMessage+1)),
		io.LimitReader(zeros{}, maxMessage+1), strings.NewReader("Content-Length: 17\r\n\r\n{\"jsonrpc\":\"2.0\"}")))
	var wrong *errFrame
	if _, err := readMessage(in); !errors.As(err, &wrong) {
		t.Errorf("a message that is too large: %v", err)
	}
	if _, err := readMessage(in); err != nil {
		t.Errorf("the message behind it: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestChangesAreApplied: a text that is changed bit by bit, by positions in UTF-16, is the text that an editor has.
func TestChangesAreApplied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SampledFrom([]string{"a", "ü", "\U0001d11e", "\n", "\r\n", " b", ""})
		text := func(name string) string { return strings.Join(rapid.SliceOfN(words, 0, 8).Draw(t, name), "") }
		d := newDocument(manifestURI, "yaml", text("text"))
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			units := utf16.Encode([]rune(d.text))
			from := rapid.IntRange(0, len(units)).Draw(t, "from")
			to := rapid.IntRange(from, len(units)).Draw(t, "to")
			for _, i := range []*int{&from, &to} {
				// No editor cuts a character, or the end of a line, in two.
				if *i > 0 && *i < len(units) && (utf16.IsSurrogate(rune(units[*i])) && units[*i] >= 0xdc00 || units[*i] == '\n' && units[*i-1] == '\r') {
					*i--
				}
			}
			to = max(from, to)
			with := text("with")
			at := func(i int) position {
				before := string(utf16.Decode(units[:i]))
				line := strings.Count(before, "\n")
				return position{line, len(utf16.Encode([]rune(before[strings.LastIndexByte(before, '\n')+1:])))}
			}
			want := string(utf16.Decode(units[:from])) + with + string(utf16.Decode(units[to:]))
			r := span{at(from), at(to)}
			if got := d.span(d.offset(r.Start), d.offset(r.End)); got != r {
				t.Fatalf("%+v is found again at %+v", r, got)
			}
			d.apply(change{&r, with})
			if d.text != want {
				t.Fatalf("%q, want %q", d.text, want)
			}
		}
	})
}

// BenchmarkChange1000 types a letter into a manifest of 1,000 containers, and waits until its faults are there; then it
// asks for completions. The goal for either is less than 50 ms.
func BenchmarkChange1000(b *testing.B) {
	var text strings.Builder
	text.WriteString("argosy: v1\napp: large\ncontainers:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  c%d:\n    image: mariadb:10.11\n    environment: {NUMBER: \"%d\"}\n    volumes: [\"data:/var/lib/mysql\"]\n    mem_limit: 256m\n    expose: [80]\n", i, i)
	}
	text.WriteString("stacks:\n")
	for i := 0; i < 1000; i += 10 {
		fmt.Fprintf(&text, "  s%d:\n    containers: [c%d, c%d, c%d, c%d, c%d, c%d, c%d, c%d, c%d, c%d]\n    volumes: {data: {size: 1GiB}}\n", i, i, i+1, i+2, i+3, i+4, i+5, i+6, i+7, i+8, i+9)
	}
	text.WriteString("cluster:\n")
	for i := 0; i < 1000; i += 10 {
		fmt.Fprintf(&text, "  s%d: 5\n", i)
	}
	c := talk(b, Options{}, true)
	c.open(manifestURI, "yaml", text.String())
	version := 1
	b.Run("faults", func(b *testing.B) {
		start := processTime()
		for b.Loop() {
			version++
			c.tell("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": manifestURI, "version": version},
				"contentChanges": []change{{Range: &span{position{3005, 0}, position{3005, 0}}, Text: "#\n"}}})
			c.diagnostics(manifestURI, version)
		}
		report(b, start, "change")
	})
	b.Run("completion", func(b *testing.B) {
		start := processTime()
		for b.Loop() {
			var raw json.RawMessage
			c.ask("textDocument/completion", at(manifestURI, 3, 8), &raw)
		}
		report(b, start, "question")
	})
}

func report(b *testing.B, start time.Duration, of string) {
	b.ReportMetric(float64(b.Elapsed())/float64(time.Millisecond)/float64(b.N), "ms/"+of)
	b.ReportMetric(float64(processTime()-start)/float64(time.Millisecond)/float64(b.N), "cpu-ms/"+of)
	b.ReportMetric(50, "goal-ms")
}

// processTime is the time that the process has had a cpu for: the clock also counts what others take.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
