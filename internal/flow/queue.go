package flow

import (
	"sync"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// words is how many messages without content a Queue keeps; who keeps to the protocol has a handful under way.
const words = 64

// Queue is one direction of a stream at somebody between its ends: messages of type M on their way, in order, within the
// bounds of the protocol. Its methods may be called at the same time.
type Queue[M any] struct {
	mu      sync.Mutex
	changed sync.Cond
	waiting []queued[M]
	costs   int
	wordy   int
	failed  error
}

type queued[M any] struct {
	m    M
	cost int // 0 for one without content
}

// NewQueue makes an empty Queue.
func NewQueue[M any]() *Queue[M] {
	q := &Queue[M]{}
	q.changed.L = &q.mu
	return q
}

// Put adds a message, with the flow's word in it or nil. It never waits; it fails when the sender does not keep to the
// protocol or the Queue has failed.
func (q *Queue[M]) Put(m M, f *argosyv1.Flow) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed != nil {
		return q.failed
	}
	c := 0
	if content, ok := f.GetWord().(*argosyv1.Flow_Content); ok {
		c = cost(content.Content)
	}
	if c == 0 {
		q.wordy++
	}
	if q.costs += c; q.costs > Window || q.wordy > words {
		return ErrOverrun
	}
	q.waiting = append(q.waiting, queued[M]{m, c})
	q.changed.Signal()
	return nil
}

// Next waits for a message. What was put before the Queue failed still comes, then the error.
func (q *Queue[M]) Next() (m M, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 {
		if q.failed != nil {
			return m, q.failed
		}
		q.changed.Wait()
	}
	w := q.waiting[0]
	q.waiting[0] = queued[M]{}
	q.waiting = q.waiting[1:]
	q.costs -= w.cost
	if w.cost == 0 {
		q.wordy--
	}
	return w.m, nil
}

// Fail ends the Queue. The first call counts.
func (q *Queue[M]) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed == nil {
		q.failed = err
	}
	q.changed.Broadcast()
}
