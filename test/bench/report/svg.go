package report

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Sizes of a plot, in its own units.
const (
	plotWidth  = 400
	labelWidth = 118 // left of the bars
	valueWidth = 58  // right of them
	barHeight  = 18
	barStep    = 27
	axisHeight = 40
	plotTop    = 6
)

// bar is one contestant in a plot.
type bar struct {
	label string
	own   bool // Argosy's
	Summary
}

// plot draws bars of one measure beside one another, each with its median and a line from the smallest to the largest.
func plot(m Measure, title string, bars []bar) string {
	largest := 0.0
	for _, b := range bars {
		largest = max(largest, b.Max)
	}
	step := tickStep(largest)
	end := max(step, math.Ceil(largest/step)*step)
	width := float64(plotWidth - labelWidth - valueWidth)
	x := func(v float64) float64 { return labelWidth + v/end*width }
	bottom := plotTop + len(bars)*barStep
	var s strings.Builder
	fmt.Fprintf(&s, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, bottom+axisHeight, html.EscapeString(m.Name+", "+title))
	for i := range int(math.Round(end/step)) + 1 {
		v := float64(i) * step
		fmt.Fprintf(&s, `<line class="grid" x1="%s" x2="%s" y1="%d" y2="%d"/>`, at(x(v)), at(x(v)), plotTop, bottom)
		fmt.Fprintf(&s, `<text class="tick" x="%s" y="%d">%s</text>`, at(x(v)), bottom+14, strconv.FormatFloat(v, 'g', 6, 64))
	}
	fmt.Fprintf(&s, `<text class="unit" x="%s" y="%d">%s</text>`, at(labelWidth+width/2), bottom+32, html.EscapeString(unitName(m.Unit)))
	for i, b := range bars {
		drawBar(&s, m, b, float64(plotTop+i*barStep), x)
	}
	s.WriteString("</svg>")
	return s.String()
}

func drawBar(s *strings.Builder, m Measure, b bar, top float64, x func(float64) float64) {
	top += (barStep - barHeight) / 2
	middle := top + barHeight/2
	class := "other"
	if b.own {
		class = "own"
	}
	fmt.Fprintf(s, `<g class="%s"><title>%s</title>`, class, html.EscapeString(b.label+": "+cell(b.Summary)))
	fmt.Fprintf(s, `<text class="label" x="%d" y="%s">%s</text>`, labelWidth-8, at(middle+4), html.EscapeString(b.label))
	if b.Count == 0 {
		fmt.Fprintf(s, `<text class="none" x="%s" y="%s">%s</text></g>`, at(x(0)+4), at(middle+4), cell(b.Summary))
		return
	}
	left := 0.0
	values, classes := []float64{b.Median}, []string{"bar"}
	if len(b.Parts) > 0 {
		values, classes = b.Parts, nil
		for i := range b.Parts {
			classes = append(classes, "bar part"+strconv.Itoa(i))
		}
	}
	for i, v := range values {
		fmt.Fprintf(s, `<rect class="%s" x="%s" y="%s" width="%s" height="%d"/>`, classes[i], at(x(left)), at(top), at(x(left+v)-x(left)), barHeight)
		left += v
	}
	if b.Count > 1 {
		fmt.Fprintf(s, `<path class="range" d="M%s %sv8m0 -4H%sm0 -4v8"/>`, at(x(b.Min)), at(middle-4), at(x(b.Max)))
	}
	text := number(b.Median, "")
	if b.Failed > 0 {
		text += "*"
	}
	fmt.Fprintf(s, `<text class="value" x="%s" y="%s">%s</text></g>`, at(x(max(b.Max, b.Median))+6), at(middle+4), text)
}

// at writes a coordinate, short and always the same.
func at(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// tickStep is 1, 2 or 5 times a power of ten, so that an axis up to largest has at most four steps and a bit.
func tickStep(largest float64) float64 {
	if !(largest > 0) || math.IsInf(largest, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(largest/4)))
	for _, k := range []float64{1, 2, 5} {
		if largest/(k*power) <= 4 {
			return k * power
		}
	}
	return 10 * power
}

func unitName(unit string) string {
	switch unit {
	case "s":
		return "seconds"
	case "MB":
		return "megabytes"
	}
	return unit
}
