package live

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// list is rows in an order, seen through a filter, with one of them selected.
type list struct {
	columns []column
	rows    map[string]*row
	// shown are those that the filter lets through, in order.
	shown []*row

	sort   int // the column
	down   bool
	filter filter
	// within is the id of the machine whose replicas alone are shown, empty for all.
	within string

	// selected is the id of the row that the cursor is on. Until somebody moves it, it is on whichever comes first.
	selected string
	pinned   bool
	top      int // index of the first row on the screen

	// unsorted: rows have changed since they were ranked.
	unsorted bool
	sorted   time.Time
	// widest is the width of the widest text that each column has held.
	widest []int
}

// rank is what a row is sorted by: a number, or a text.
type rank struct {
	number float64
	text   string
}

func newList(columns []column) *list {
	return &list{columns: columns, rows: map[string]*row{}, widest: make([]int, len(columns))}
}

// bulk is how many rows are put in one by one; beyond that the whole is made anew.
const bulk = 200

// compare orders rows by rank, those of equal rank as people count.
func (l *list) compare(a, b *row) int {
	c := cmp.Compare(a.rank.number, b.rank.number)
	if c == 0 {
		c = strings.Compare(a.rank.text, b.rank.text)
	}
	if l.down {
		c = -c
	}
	if c == 0 {
		c = strings.Compare(a.natural, b.natural)
	}
	if c == 0 {
		c = strings.Compare(a.id, b.id)
	}
	return c
}

func (l *list) passes(r *row) bool {
	return (l.within == "" || r.machineID() == l.within) && l.filter.has(r)
}

// changed takes in that a row is new or has changed.
func (l *list) changed(r *row) {
	l.rows[r.id] = r
	l.measure(r)
	passes := l.passes(r)
	switch {
	case passes && !r.in:
		r.rank = l.rankOf(r)
		l.insert(r)
	case !passes && r.in:
		l.take(r)
	case passes && !l.unsorted:
		l.unsorted = l.rankOf(r) != r.rank
	}
}

// remove takes a row away.
func (l *list) remove(id string) {
	if r := l.rows[id]; r != nil {
		if r.in {
			l.take(r)
		}
		delete(l.rows, id)
	}
}

func (l *list) insert(r *row) {
	r.in = true
	i, _ := slices.BinarySearchFunc(l.shown, r, l.compare)
	l.shown = slices.Insert(l.shown, i, r)
	if i < l.top {
		l.top++ // what is on the screen stays where it is
	}
}

func (l *list) take(r *row) {
	r.in = false
	i, ok := slices.BinarySearchFunc(l.shown, r, l.compare)
	if !ok {
		return
	}
	if l.selected == r.id { // the cursor goes to the neighbour
		l.selected, l.pinned = "", false
		switch {
		case i+1 < len(l.shown):
			l.selected, l.pinned = l.shown[i+1].id, true
		case i > 0:
			l.selected, l.pinned = l.shown[i-1].id, true
		}
	}
	l.shown = slices.Delete(l.shown, i, i+1)
	if i < l.top {
		l.top--
	}
}

// rankOf is what a row is to be sorted by. Members that are shown below their replica go with it.
func (l *list) rankOf(r *row) rank {
	if r.parent != nil {
		r = r.parent
	}
	if c := l.columns[l.sort]; c.rank != nil {
		return c.rank(r)
	}
	return rank{}
}

// rebuild filters and sorts everything anew.
func (l *list) rebuild() {
	l.shown = l.shown[:0]
	for _, r := range l.rows {
		r.in = l.passes(r)
		if r.in {
			r.rank = l.rankOf(r)
			l.shown = append(l.shown, r)
		}
	}
	slices.SortFunc(l.shown, l.compare)
	l.unsorted = false
}

// resort ranks the shown rows anew. The cursor stays on its row, and that row where it is on the screen.
func (l *list) resort() {
	at := l.cursor() - l.top
	for _, r := range l.shown {
		r.rank = l.rankOf(r)
	}
	slices.SortFunc(l.shown, l.compare)
	l.unsorted = false
	if l.pinned {
		l.top = l.cursor() - at
	}
}

// refilter follows a new filter. One that asks for more than the last is looked for among what passed that.
func (l *list) refilter(text string) {
	next := parseFilter(text)
	narrower := l.filter.narrows(text)
	l.filter = next
	if !narrower {
		l.rebuild()
		return
	}
	l.shown = slices.DeleteFunc(l.shown, func(r *row) bool {
		r.in = l.passes(r)
		return !r.in
	})
}

// cursor is the index of the selected row, 0 when there is none.
func (l *list) cursor() int {
	if !l.pinned {
		return 0
	}
	r := l.rows[l.selected]
	if r == nil || !r.in {
		return 0
	}
	i, _ := slices.BinarySearchFunc(l.shown, r, l.compare)
	return i
}

// current is the selected row, nil when nothing is shown.
func (l *list) current() *row {
	if len(l.shown) == 0 {
		return nil
	}
	return l.shown[min(l.cursor(), len(l.shown)-1)]
}

// move moves the cursor to a row, as far as there is one.
func (l *list) move(to int) {
	if len(l.shown) == 0 {
		return
	}
	to = min(max(to, 0), len(l.shown)-1)
	l.selected, l.pinned = l.shown[to].id, to > 0
}

// window is the rows that a screen with room for n shows, and which of them is selected. It scrolls as little as it must.
func (l *list) window(n int) (rows []*row, selected int) {
	if n <= 0 || len(l.shown) == 0 {
		return nil, 0
	}
	at := min(l.cursor(), len(l.shown)-1)
	l.top = min(l.top, at, len(l.shown)-n)
	l.top = max(l.top, at-n+1, 0)
	return l.shown[l.top:min(l.top+n, len(l.shown))], at - l.top
}

// measure keeps the widths of columns that follow their texts. They never shrink, so that columns stand still.
func (l *list) measure(r *row) {
	for i, c := range l.columns {
		if c.follow {
			l.widest[i] = max(l.widest[i], width(c.cell(nil, r).text))
		}
	}
}

// copy is the list as it stands, apart from what happens later.
func (l *list) copy() *list {
	out := *l
	out.rows = make(map[string]*row, len(l.rows))
	for id, r := range l.rows {
		c := *r
		out.rows[id] = &c
	}
	out.shown = make([]*row, len(l.shown))
	for i, r := range l.shown {
		out.shown[i] = out.rows[r.id]
	}
	out.widest = slices.Clone(l.widest)
	return &out
}
