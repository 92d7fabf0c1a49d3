package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// plots is how many of the measures are plotted: the first ones.
const plots = 4

// shown are the measures, in their order.
func shown() []Measure { return []Measure{Running, Spent, Memory, Gone, SpentEnding, Command} }

// cell tells of a summary: median, and from where to where.
func cell(s Summary) string {
	if s.Count == 0 {
		if s.Failed > 0 {
			return "did not finish"
		}
		return "–"
	}
	text := number(s.Median, "")
	if s.Count > 1 {
		text += fmt.Sprintf(" (%s–%s)", number(s.Min, ""), number(s.Max, ""))
	}
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d of %d did not finish", s.Failed, s.Failed+s.Count)
	}
	return text
}

// rows are a table of one measure: sizes down, contestants across.
func (r Results) rows(m Measure) [][]string {
	head := []string{"containers"}
	for _, c := range r.Contestants {
		head = append(head, c.Title)
	}
	rows := [][]string{head}
	for _, n := range r.Sizes {
		row := []string{fmt.Sprint(n)}
		for _, c := range r.Contestants {
			row = append(row, cell(r.Summary(m, c.Key, n)))
		}
		rows = append(rows, row)
	}
	return rows
}

// WriteTable writes all measures for a terminal.
func WriteTable(w io.Writer, r Results) error {
	var b strings.Builder
	for _, m := range shown() {
		fmt.Fprintf(&b, "\n%s, %s\n", m.Name, m.Unit)
		rows := r.rows(m)
		width := make([]int, len(rows[0]))
		for _, row := range rows {
			for i, c := range row {
				width[i] = max(width[i], utf8.RuneCountInString(c))
			}
		}
		for _, row := range rows {
			var line strings.Builder
			for i, c := range row {
				line.WriteString("  " + c + strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)))
			}
			b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		}
	}
	fmt.Fprintf(&b, "\nMedian (smallest–largest) of %d rounds, and of a third of them with more than 100 containers.\n", r.Rounds)
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown is all measures as tables for a page of documentation.
func Markdown(r Results) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.Where())
	for _, m := range shown() {
		fmt.Fprintf(&b, "### %s, %s\n\n", m.Name, m.Unit)
		for i, row := range r.rows(m) {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				b.WriteString("|" + strings.Repeat("--:|", len(row)) + "\n")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Where says when and on what it was measured.
func (r Results) Where() string {
	m := r.Machine
	return fmt.Sprintf("Measured on %s, Argosy %s: %d processors (%s), %.1f GB of memory, Linux %s, Docker Engine %s with %s on %s. "+
		"Median (smallest–largest) of %d rounds, and of a third of them with more than 100 containers; load average of the host %s before and %s after; %.0f minutes in all.",
		r.Begun.Format("2 January 2006, 15:04 UTC"), m.Argosy, m.CPUs, m.CPU, float64(m.Memory)/1e9, m.Kernel, m.Engine, m.Storage, m.OS,
		r.Rounds, m.LoadBefore, m.LoadAfter, r.Seconds/60)
}
