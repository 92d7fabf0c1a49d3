package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"sync"
)

//go:embed page.html
var pageText string

var pageTemplate = sync.OnceValue(func() *template.Template { return template.Must(template.New("page").Parse(pageText)) })

// page is what the template shows.
type page struct {
	Results
	Plots    []plotted
	Tables   []table
	Failures []string
}

type plotted struct {
	Measure
	Parts  []string
	Panels []panel
}

type panel struct {
	Title, Verdict string
	SVG            template.HTML
}

type table struct {
	Measure
	Head []string
	Rows [][]string
}

// ours is the key of the contestant that the others are compared with.
const ours = "argosy"

// Page is everything on one page that stands alone.
func Page(r Results) []byte {
	p := page{Results: r}
	for i, m := range shown() {
		rows := r.rows(m)
		p.Tables = append(p.Tables, table{m, rows[0], rows[1:]})
		if i >= plots {
			continue
		}
		d := plotted{Measure: m}
		for _, part := range m.parts {
			d.Parts = append(d.Parts, part.name)
		}
		for _, n := range r.Sizes {
			d.Panels = append(d.Panels, r.panel(m, n))
		}
		p.Plots = append(p.Plots, d)
	}
	for _, run := range r.Runs {
		if run.Failed() {
			p.Failures = append(p.Failures, fmt.Sprintf("Round %d, %s with %d: %s", run.Round, r.title(run.Contestant), run.N, run))
		}
	}
	var b bytes.Buffer
	if err := pageTemplate().Execute(&b, p); err != nil {
		panic("report: the page's template: " + err.Error()) // cannot happen: a test executes it, and memory takes everything
	}
	return b.Bytes()
}

func (r Results) panel(m Measure, n int) panel {
	title := fmt.Sprintf("%d containers", n)
	if n == 1 {
		title = "1 container"
	}
	var bars []bar
	for _, c := range r.Contestants {
		bars = append(bars, bar{c.Title, c.Key == ours, r.Summary(m, c.Key, n)})
	}
	return panel{title, r.verdict(m, n), template.HTML(plot(m, title, bars))} //nolint:gosec // drawn here, with all text escaped
}

// verdict says how Argosy stands to each of the others, in the words that its medians allow.
func (r Results) verdict(m Measure, n int) string {
	own := r.Summary(m, ours, n)
	var words []string
	for _, c := range r.Contestants {
		their := r.Summary(m, c.Key, n)
		if c.Key == ours || own.Count == 0 || their.Count == 0 || their.Median == 0 {
			continue
		}
		words = append(words, fmt.Sprintf("%.2f × %s", own.Median/their.Median, c.Title))
	}
	if len(words) == 0 {
		return ""
	}
	return "Argosy: " + strings.Join(words, ", ")
}

func (r Results) title(key string) string {
	for _, c := range r.Contestants {
		if c.Key == key {
			return c.Title
		}
	}
	return key
}
