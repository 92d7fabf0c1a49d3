package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// plainTable is a table the simple way: cells by row and column.
type plainTable struct {
	header, wide []string
	rows, more   [][]cell
}

func (p *plainTable) text(colorful, wide bool) string {
	header := slices.Clone(p.header)
	if wide {
		header = append(header, p.wide...)
	}
	var rows [][]cell
	if len(header) > 0 {
		var head []cell
		for _, h := range header {
			head = append(head, cell{h, dim})
		}
		rows = append(rows, head)
	}
	for i, row := range p.rows {
		row = slices.Clone(row)
		if wide {
			row = append(row, p.more[i]...)
		}
		rows = append(rows, row)
	}
	widths := map[int]int{}
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		for len(row) > 0 && row[len(row)-1].text == "" {
			row = row[:len(row)-1]
		}
		for i, c := range row {
			shown := c.text
			if colorful && c.style != plain && c.text != "" {
				shown = string(c.style) + c.text + "\x1b[0m"
			}
			out.WriteString(shown)
			if i < len(row)-1 {
				out.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func TestTable(t *testing.T) {
	words := rapid.SampledFrom([]string{"", "", "a", "ready", "ä–ö", "a longer text of several words", strings.Repeat("long ", 300)})
	cells := func(n int) *rapid.Generator[[]cell] {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) cell {
			return cell{words.Draw(t, "text"), rapid.SampledFrom([]style{plain, green, red}).Draw(t, "style")}
		}), n, n)
	}
	names := func(t *rapid.T, what string, most int) []string {
		return rapid.SliceOfN(rapid.StringMatching("[A-Z]{1,8}"), 0, most).Draw(t, what)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := plainTable{header: names(t, "header", 4)}
		if len(want.header) > 0 {
			want.wide = names(t, "wide", 3)
		}
		got := &table{header: want.header, wide: want.wide}
		for range rapid.IntRange(0, 60).Draw(t, "rows") {
			n := len(want.header)
			if n == 0 {
				n = rapid.IntRange(0, 3).Draw(t, "cells")
			}
			row, more := cells(n).Draw(t, "row"), cells(rapid.IntRange(0, len(want.wide)).Draw(t, "more")).Draw(t, "further")
			want.rows, want.more = append(want.rows, row), append(want.more, more)
			got.add(row...)
			if len(more) > 0 {
				got.also(more...)
			}
		}
		for _, wide := range []bool{false, true} {
			for _, colorful := range []bool{false, true} {
				var out bytes.Buffer
				if err := got.write(&out, colorful, wide); err != nil {
					t.Fatal(err)
				}
				if out.String() != want.text(colorful, wide) {
					t.Fatalf("wide %v, colour %v: got\n%s\nwant\n%s", wide, colorful, &out, want.text(colorful, wide))
				}
			}
		}
	})
}

// brokenPipe takes a few bytes, and no more.
type brokenPipe struct{ left int }

func (p *brokenPipe) Write(b []byte) (int, error) {
	if p.left -= len(b); p.left < 0 {
		return 0, errors.New("nobody reads any more")
	}
	return len(b), nil
}

func TestTableNobodyReads(t *testing.T) {
	tb := &table{header: []string{"A"}}
	for range 3 * blockSize {
		tb.add(text("a"))
	}
	if err := tb.write(&brokenPipe{left: blockSize}, false, false); err == nil || err.Error() != "nobody reads any more" {
		t.Errorf("got %v", err)
	}
}

// BenchmarkTable is what a list of 10,000 replicas takes; bytes are memory that is touched for the first time.
func BenchmarkTable(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		t := replicaTable(false)
		for i := range 10_000 {
			t.add(text(fmt.Sprintf("app%03d/stack%d.%d", i/100, i/10%10, i%10)), text("run"), cell{"ready", green}, text("machine-0001"), text("2s"), text(""))
		}
		if err := t.write(io.Discard, false, false); err != nil {
			b.Fatal(err)
		}
	}
}
