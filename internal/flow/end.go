package flow

import (
	"errors"
	"fmt"
	"io"
	"sync"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

const (
	// Window is how much content may be under way in one direction.
	Window = 256 << 10
	// piece is the most that one message carries.
	piece = 64 << 10
	// least is what a message costs however short it is.
	least = 256
	// tell is how much room is free again before the other side hears of it.
	tell = Window / 4
)

// ErrOverrun says that the other side sent more than there was room for, or gave room that nobody had taken.
var ErrOverrun = errors.New("the other side does not keep to the protocol: it sends more than there is room for")

func cost(content []byte) int { return max(len(content), least) }

// End is one of the two ends of a stream of bytes. Its methods may be called at the same time; Read by one caller at a time
// and Write by one. Close it with Fail when it is not needed any more, so that nobody waits on it for ever.
type End struct {
	send func(*argosyv1.Flow) error

	mu      sync.Mutex
	changed sync.Cond

	in     [][]byte // received and not read
	queued int      // what they cost, the rest of a message that is being read included
	part   []byte   // rest of the message that is being read
	price  int      // what that message costs
	taken  int      // read, and not told yet
	ended  bool     // nothing more comes

	room   int // for what is sent
	closed bool
	failed error
}

// New makes an End. send sends a word to the other side; it is called by one goroutine at a time.
func New(send func(*argosyv1.Flow) error) *End {
	e := &End{room: Window}
	var one sync.Mutex
	e.send = func(f *argosyv1.Flow) error {
		one.Lock()
		defer one.Unlock()
		return send(f)
	}
	e.changed.L = &e.mu
	return e
}

// Take takes a word of the other side. It keeps the content. A word that is none, as a newer protocol may send, is passed
// over.
func (e *End) Take(f *argosyv1.Flow) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer e.changed.Broadcast()
	switch w := f.GetWord().(type) {
	case *argosyv1.Flow_Content:
		if e.ended {
			return fmt.Errorf("%w, after it said that nothing more comes", ErrOverrun)
		}
		if e.queued += cost(w.Content); e.queued > Window {
			return ErrOverrun
		}
		e.in = append(e.in, w.Content)
	case *argosyv1.Flow_Ended:
		e.ended = true
	case *argosyv1.Flow_Taken:
		if int64(e.room)+int64(w.Taken) > Window {
			return ErrOverrun
		}
		e.room += int(w.Taken)
	}
	return nil
}

// Fail ends the stream: whoever waits for room, or for content beyond what has come, gets err. The first call counts.
func (e *End) Fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed == nil {
		e.failed = err
	}
	e.changed.Broadcast()
}

// Read implements io.Reader. It returns io.EOF when the other side has ended this direction.
func (e *End) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	e.mu.Lock()
	for len(e.part) == 0 && len(e.in) == 0 {
		switch {
		case e.ended:
			e.mu.Unlock()
			return 0, io.EOF
		case e.failed != nil:
			e.mu.Unlock()
			return 0, e.failed
		}
		e.changed.Wait()
	}
	n := 0
	for n < len(p) && (len(e.part) > 0 || len(e.in) > 0) {
		if len(e.part) == 0 {
			e.part, e.price = e.in[0], cost(e.in[0])
			e.in[0], e.in = nil, e.in[1:]
		}
		m := copy(p[n:], e.part)
		n, e.part = n+m, e.part[m:]
		if len(e.part) == 0 {
			e.queued -= e.price
			e.taken += e.price
		}
	}
	told := 0
	if e.taken >= tell && e.failed == nil {
		told, e.taken = e.taken, 0
	}
	e.mu.Unlock()
	if told > 0 {
		// One that cannot be told has gone, which the next Read or Write learns.
		_ = e.send(&argosyv1.Flow{Word: &argosyv1.Flow_Taken{Taken: uint32(told)}})
	}
	return n, nil
}

// Write implements io.Writer. It waits for room.
func (e *End) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		e.mu.Lock()
		for e.room < least && e.failed == nil && !e.closed {
			e.changed.Wait()
		}
		switch {
		case e.failed != nil:
			e.mu.Unlock()
			return n, e.failed
		case e.closed:
			e.mu.Unlock()
			return n, io.ErrClosedPipe
		}
		content := p[n:min(len(p), n+piece, n+e.room)]
		e.room -= cost(content)
		e.mu.Unlock()
		if err := e.send(&argosyv1.Flow{Word: &argosyv1.Flow_Content{Content: content}}); err != nil {
			return n, err
		}
		n += len(content)
	}
	return n, nil
}

// CloseWrite tells the other side that nothing more comes. The other direction goes on.
func (e *End) CloseWrite() error {
	e.mu.Lock()
	was := e.closed
	e.closed = true
	err := e.failed
	e.changed.Broadcast()
	e.mu.Unlock()
	if was || err != nil {
		return err
	}
	return e.send(&argosyv1.Flow{Word: &argosyv1.Flow_Ended{Ended: true}})
}
