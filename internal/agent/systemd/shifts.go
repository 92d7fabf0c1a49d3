package systemd

import (
	"context"
	"slices"
	"sync"
	"time"
)

// shifts keeps the writing of files and the starting of units apart, many at a time of either. For a file that it has not seen systemd
// goes through all its directories, once as long as none of them changes: so files are written until nobody has one to write, then units are
// started until systemd has taken all of those, and so on. Who comes alone waits for nobody.
type shifts struct {
	mu      sync.Mutex
	kind    shift
	working int
	waiting [2][]chan struct{}
}

type shift int

const (
	writing shift = iota
	beginning
)

// shiftPatience bounds how long the others are waited for. To go ahead is only slower.
const shiftPatience = 2 * time.Second

func (k shift) other() shift { return 1 - k }

// admits says whether one of that kind may work at once: who waits goes before who comes.
func (s *shifts) admits(k shift) bool {
	return s.working == 0 || s.kind == k && len(s.waiting[k.other()]) == 0
}

// next says whose turn it is when nobody works: that of the others, if any wait.
func (s *shifts) next() shift {
	if k := s.kind.other(); len(s.waiting[k]) > 0 {
		return k
	}
	return s.kind
}

// enter waits for one's turn, and returns what ends it.
func (s *shifts) enter(ctx context.Context, k shift) (leave func()) {
	s.mu.Lock()
	if s.admits(k) {
		s.kind = k
		s.working++
		s.mu.Unlock()
		return sync.OnceFunc(s.leave)
	}
	turn := make(chan struct{})
	s.waiting[k] = append(s.waiting[k], turn)
	s.mu.Unlock()
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

func (s *shifts) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working--; s.working > 0 {
		return
	}
	s.kind = s.next()
	for _, turn := range s.waiting[s.kind] {
		close(turn)
	}
	s.working = len(s.waiting[s.kind])
	s.waiting[s.kind] = nil
}
