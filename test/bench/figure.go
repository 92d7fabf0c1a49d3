package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// figure is one promise and what was measured of it.
type figure struct {
	name string
	// atMost and atLeast are the goal, in unit; 0 means that there is none of the kind. A figure without either is only told.
	atMost, atLeast float64
	unit            string

	value float64 // in unit
	note  string  // what to know about the value
	err   error   // why it was not measured
}

type verdict string

const (
	reached     verdict = "reached"
	missed      verdict = "NOT reached"
	notMeasured verdict = "not measured"
	told        verdict = ""
)

func (f figure) verdict() verdict {
	switch {
	case f.err != nil:
		return notMeasured
	case f.atMost == 0 && f.atLeast == 0:
		return told
	case f.atMost != 0 && f.value > f.atMost, f.atLeast != 0 && f.value < f.atLeast:
		return missed
	}
	return reached
}

func (f figure) goal() string {
	switch {
	case f.atMost != 0:
		return "≤ " + amount(f.atMost, f.unit)
	case f.atLeast != 0:
		return "≥ " + amount(f.atLeast, f.unit)
	}
	return ""
}

func (f figure) measured() string {
	if f.err != nil {
		return "-"
	}
	return amount(f.value, f.unit)
}

// amount writes a number with as many digits as say something.
func amount(v float64, unit string) string {
	var s string
	switch a := math.Abs(v); {
	case a >= 10000:
		s = thousands(math.Round(v/1000)) + ",000"
	case a >= 100 || v == math.Trunc(v):
		s = fmt.Sprintf("%.0f", v)
	case a >= 10:
		s = fmt.Sprintf("%.1f", v)
	case a >= 1:
		s = fmt.Sprintf("%.2f", v)
	default:
		s = fmt.Sprintf("%.3f", v)
	}
	return strings.TrimSpace(s + " " + unit)
}

// thousands writes a whole number with a comma before every three digits.
func thousands(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%s,%03.0f", thousands(math.Floor(v/1000)), math.Mod(v, 1000))
}

// writeTable prints all figures under one another, with notes on lines of their own.
func writeTable(w io.Writer, figures []figure) error {
	rows := [][]string{{"FIGURE", "GOAL", "MEASURED", ""}}
	for _, f := range figures {
		rows = append(rows, []string{f.name, f.goal(), f.measured(), string(f.verdict())})
	}
	width := make([]int, 4)
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		var line strings.Builder
		for j, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", width[j]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		if i == 0 {
			continue
		}
		f := figures[i-1]
		if f.err != nil {
			for text := range strings.Lines(strings.TrimSpace(f.err.Error())) {
				b.WriteString("    " + strings.TrimRight(text, "\n") + "\n")
			}
		} else if f.note != "" {
			b.WriteString("    " + f.note + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// unmeasured marks all figures with why they could not be measured.
func unmeasured(figures []figure, err error) []figure {
	out := slices.Clone(figures)
	for i := range out {
		out[i].err = err
	}
	return out
}

// median of at least one value.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// spread writes the smallest and the largest of at least one value.
func spread(values []float64, unit string) string {
	return fmt.Sprintf("%s to %s", amount(slices.Min(values), ""), amount(slices.Max(values), unit))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
