package systemd

import (
	"context"
	"slices"
	"sync"
	"time"
)

// shifts keeps the writing of files and the starting of units apart, many at a time of either. For a file that it has not seen systemd
// goes through all its directories, once as long as none of them changes: so files are written until nobody has one to write, then units are
// started until systemd has taken all of those, and so on. Who comes alone waits for nobody; who comes within readPause after systemd was
// made to go through its directories waits for that to pass, and others write their files meanwhile.
type shifts struct {
	mu      sync.Mutex
	kind    shift
	working int
	waiting [2][]chan struct{}
	unread  bool      // a file was written for which systemd has to go through its directories
	next    time.Time // when it is made to do that at the earliest
}

type shift int

const (
	writing shift = iota
	beginning
)

const (
	// shiftPatience bounds how long the others are waited for. To go ahead is only slower.
	shiftPatience = 2 * time.Second
	// readPause is the time between two goings through systemd's directories. One costs about as much as half a start does.
	readPause = 150 * time.Millisecond
)

func (k shift) other() shift { return 1 - k }

// due says whether it may be the turn of that kind by now.
func (s *shifts) due(k shift) bool { return k == writing || !s.unread || !time.Now().Before(s.next) }

// admits says whether one of that kind may work at once: who waits goes before who comes.
func (s *shifts) admits(k shift) bool {
	return s.due(k) && (s.working == 0 || s.kind == k && (len(s.waiting[k.other()]) == 0 || !s.due(k.other())))
}

// work notes that n of that kind begin to work.
func (s *shifts) work(k shift, n int) {
	s.kind = k
	s.working += n
	if k == beginning && s.unread {
		s.next = time.Now().Add(readPause)
	}
	s.unread = k == writing
}

// enter waits for one's turn, and returns what ends it.
func (s *shifts) enter(ctx context.Context, k shift) (leave func()) {
	s.mu.Lock()
	if s.admits(k) {
		s.work(k, 1)
		s.mu.Unlock()
		return sync.OnceFunc(s.leave)
	}
	turn := make(chan struct{})
	s.waiting[k] = append(s.waiting[k], turn)
	due := time.AfterFunc(time.Until(s.next), func() { s.done(0) })
	s.mu.Unlock()
	defer due.Stop()
	late := time.NewTimer(shiftPatience)
	defer late.Stop()
	select {
	case <-turn:
		return sync.OnceFunc(s.leave)
	case <-late.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting[k], turn)
	if i < 0 { // it came just now
		return sync.OnceFunc(s.leave)
	}
	s.waiting[k] = slices.Delete(s.waiting[k], i, i+1)
	return func() {}
}

func (s *shifts) leave() { s.done(1) }

// done is called when n have worked, and when somebody's time may have come.
func (s *shifts) done(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working -= n; s.working == 0 {
		s.change()
	}
}

// change is when nobody works: it is the turn of the others, if any wait and may.
func (s *shifts) change() {
	for _, k := range []shift{s.kind.other(), s.kind} {
		turns := s.waiting[k]
		if len(turns) == 0 || !s.due(k) {
			continue
		}
		s.waiting[k] = nil
		s.work(k, len(turns))
		for _, turn := range turns {
			close(turn)
		}
		return
	}
}
