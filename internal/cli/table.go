package cli

import (
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/argosy-cluster/argosy/internal/cli/words"
)

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

// table is rows under a header, aligned in columns. Rows are kept as bytes and not as cells: of ten thousand of them, a third of
// what a command took was for memory that it touched for the first time.
type table struct {
	header []string
	// wide are the names of further columns, for those who ask for them.
	wide []string

	n      int      // rows
	blocks [][]byte // rows one after another, each whole in one block
	styles []style  // by the numbers that rows have for them
	// widths of the columns, in letters; of the further ones behind those of the header.
	widths []int
}

const (
	// blockSize is how much room a block has; a longer row has a larger one to itself.
	blockSize = 32 << 10
	// around is how many bytes a cell has around its text, at most: its style, and the text's length.
	around = 1 + binary.MaxVarintLen32
)

// add adds a row. Its further columns follow by also.
func (t *table) add(cells ...cell) {
	t.n++
	t.put(rowBegins, 0, cells)
}

// also gives the last row its further columns.
func (t *table) also(cells ...cell) { t.put(rowGoesOn, len(t.header), cells) }

// What a row in a block begins with, before the number of its cells.
const (
	rowBegins byte = iota
	rowGoesOn      // with the further columns
)

func (t *table) put(how byte, column int, cells []cell) {
	need := 2
	for _, c := range cells {
		need += around + len(c.text)
	}
	last := len(t.blocks) - 1
	if last < 0 || cap(t.blocks[last])-len(t.blocks[last]) < need {
		t.blocks = append(t.blocks, make([]byte, 0, max(need, blockSize)))
		last++
	}
	b := append(t.blocks[last], how, byte(len(cells)))
	for i, c := range cells {
		b = append(b, t.style(c.style))
		b = append(binary.AppendUvarint(b, uint64(len(c.text))), c.text...)
		t.widen(column+i, utf8.RuneCountInString(c.text))
	}
	t.blocks[last] = b
}

func (t *table) widen(column, width int) {
	for len(t.widths) <= column {
		t.widths = append(t.widths, 0)
	}
	t.widths[column] = max(t.widths[column], width)
}

// style is the number of a style.
func (t *table) style(s style) byte {
	i := slices.Index(t.styles, s)
	if i < 0 {
		i = len(t.styles)
		t.styles = append(t.styles, s)
	}
	return byte(i)
}

// write writes header and rows, aligned by the widest cell of each column; the last column is not padded. The further columns
// are written if wide.
func (t *table) write(w io.Writer, colorful, wide bool) error {
	header := t.header
	if wide {
		header = slices.Concat(t.header, t.wide)
	}
	out := tableWriter{w: w, colorful: colorful, widths: slices.Clone(t.widths)}
	if !wide && len(header) > 0 {
		out.widths = out.widths[:min(len(out.widths), len(header))]
	}
	for i, h := range header {
		if i == len(out.widths) {
			out.widths = append(out.widths, 0)
		}
		out.widths[i] = max(out.widths[i], utf8.RuneCountInString(h))
	}
	out.spaces = strings.Repeat(" ", slices.Max(append(out.widths, 0))+2)
	if len(header) > 0 {
		for i, h := range header {
			out.cell(i, dim, []byte(h))
		}
		out.line()
	}
	begun := false
	for _, b := range t.blocks {
		for len(b) > 0 {
			how, n := b[0], int(b[1])
			b = b[2:]
			first := 0
			switch {
			case how == rowGoesOn:
				first = len(t.header)
			case begun:
				out.line()
			}
			begun = true
			for i := range n {
				s := t.styles[b[0]]
				size, used := binary.Uvarint(b[1:])
				b = b[1+used:]
				if how == rowBegins || wide {
					out.cell(first+i, s, b[:size])
				}
				b = b[size:]
			}
		}
	}
	if begun {
		out.line()
	}
	return out.flush()
}

// tableWriter writes lines of cells. Its first failure is the last thing that it does.
type tableWriter struct {
	w        io.Writer
	colorful bool
	widths   []int
	spaces   string

	out  []byte
	at   int // the column after the line's last cell
	pad  int // letters that are missing to that column
	fail error
}

// cell adds a cell to the line. Nothing is written for an empty one, and spaces only when something follows.
func (w *tableWriter) cell(column int, s style, text []byte) {
	for ; w.at < column; w.at++ {
		w.pad += w.widths[w.at] + 2
	}
	w.at = column + 1
	if len(text) == 0 {
		w.pad += w.widths[column] + 2
		return
	}
	for w.pad > 0 {
		n := min(w.pad, len(w.spaces))
		w.out = append(w.out, w.spaces[:n]...)
		w.pad -= n
	}
	if w.colorful && s != plain {
		w.out = append(append(append(w.out, s...), text...), words.Reset...)
	} else {
		w.out = append(w.out, text...)
	}
	w.pad = w.widths[column] - utf8.RuneCount(text) + 2
}

// line ends a line.
func (w *tableWriter) line() {
	w.out = append(w.out, '\n')
	w.at, w.pad = 0, 0
	if len(w.out) >= blockSize {
		_ = w.flush()
	}
}

func (w *tableWriter) flush() error {
	if w.fail == nil && len(w.out) > 0 {
		_, w.fail = w.w.Write(w.out)
	}
	w.out = w.out[:0]
	return w.fail
}
