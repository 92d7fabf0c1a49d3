package dispatcher

import (
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// marks tell how old at most what a machine says is. When a message arrives says nothing of that: after a partition, what was on
// its way all the time comes at once, and would make a picture of half a minute ago one of now. So each beat is followed by a
// mark, which the machine answers at once and repeats in whatever it puts together from then on: what it says with a mark was so
// when that was set, or later. The first mark, number 0, is that the session was opened.
type marks struct {
	repeated bool // by the machine; of one that does not know of marks, what arrives counts as said then
	due      uint64
	times    []setMark // since the one that was repeated last, in order
}

type setMark struct {
	number uint64
	at     time.Time
}

// mostMarks is how many marks are set ahead of the one that was repeated last.
const mostMarks = 64

func newMarks(now time.Time, hello *argosyv1.Hello) marks {
	return marks{repeated: hello.GetMarks(), times: []setMark{{0, now}}}
}

// said is when something that arrives now with a mark was said at the earliest. A mark that was never set counts as the
// last one repeated, so that a machine can only make itself older.
func (m *marks) said(now time.Time, number uint64) time.Time {
	if !m.repeated {
		return now
	}
	for i := len(m.times) - 1; i > 0; i-- {
		if m.times[i].number == number {
			m.times = m.times[i:]
			break
		}
	}
	return m.times[0].at
}

// set sets a mark, and reports whether one is to be sent.
func (m *marks) set(now time.Time) bool {
	if !m.repeated || len(m.times) >= mostMarks {
		return false
	}
	m.due = m.times[len(m.times)-1].number + 1
	m.times = append(m.times, setMark{m.due, now})
	return true
}

// take is the mark to be sent.
func (m *marks) take() uint64 {
	n := m.due
	m.due = 0
	return n
}
