package executor

import (
	"context"
	"sync"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/docker"
)

// presentFor is how long it is believed that an image is there. One that vanished meanwhile shows when its container is
// created, and is looked for again.
const presentFor = 2 * time.Second

// present lets many members that need the same image at the same time ask the engine once. Only "yes" is remembered.
type present struct {
	mu      sync.Mutex
	answers map[string]*answer
}

type answer struct {
	done  chan struct{}
	image docker.Image
	found bool
	err   error
	until time.Time
}

func (p *present) ask(ctx context.Context, name string, look func() (docker.Image, bool, error)) (docker.Image, bool, error) {
	p.mu.Lock()
	now := time.Now()
	a := p.answers[name]
	if a == nil || !a.until.IsZero() && now.After(a.until) {
		if p.answers == nil || len(p.answers) > 1000 {
			p.answers = map[string]*answer{}
		}
		a = &answer{done: make(chan struct{})}
		p.answers[name] = a
		p.mu.Unlock()
		a.image, a.found, a.err = look()
		p.mu.Lock()
		a.until = time.Now().Add(presentFor)
		if (a.err != nil || !a.found) && p.answers[name] == a {
			delete(p.answers, name)
		}
		p.mu.Unlock()
		close(a.done)
		return a.image, a.found, a.err
	}
	p.mu.Unlock()
	select {
	case <-a.done:
		return a.image, a.found, a.err
	case <-ctx.Done():
		return docker.Image{}, false, ctx.Err()
	}
}
