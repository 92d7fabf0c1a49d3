package docker

import (
	"context"
	"fmt"
	"sync"

	"github.com/moby/moby/api/types/jsonstream"
)

// progress adds up what the Engine tells of a pull's layers.
type progress struct {
	image  string
	layers map[string]layer
}

type layer struct {
	current, total int64
	done           bool
}

func (p *progress) take(id, status string, at *jsonstream.Progress) {
	if id == "" || (len(p.layers) >= maxLayers && p.layers[id] == layer{}) {
		return
	}
	l, known := p.layers[id]
	switch status {
	case "Downloading":
		if at != nil && at.Total > 0 {
			l.current, l.total = at.Current, at.Total
		}
	case "Download complete", "Extracting", "Verifying Checksum":
		l.current = l.total
	case "Pull complete", "Already exists":
		l.current, l.done = l.total, true
	case "Pulling fs layer", "Waiting":
	default:
		if !known { // the line that names the tag
			return
		}
	}
	p.layers[id] = l
}

func (p *progress) String() string {
	var current, total int64
	done := 0
	for _, l := range p.layers {
		current += l.current
		total += l.total
		if l.done {
			done++
		}
	}
	if len(p.layers) == 0 {
		return "asks for image " + p.image
	}
	const mib = 1 << 20
	return fmt.Sprintf("pulls image %s: %.1f of %.1f MiB, %d of %d layers", p.image, float64(current)/mib, float64(total)/mib, done, len(p.layers))
}

// pulling is a pull in flight that several members may wait for.
type pulling struct {
	done  chan struct{}
	image Image
	err   error

	mu      sync.Mutex
	waiters int
	notes   []func(string)
	cancel  context.CancelFunc
}

func (p *pulling) note(s string) {
	p.mu.Lock()
	notes := p.notes
	p.mu.Unlock()
	for _, n := range notes {
		n(s)
	}
}

// share runs work once for all who ask for key at the same time. It is given up when nobody waits for it any more.
func (e *Engine) share(ctx context.Context, key string, note func(string), work func(context.Context, func(string)) (Image, error)) (Image, error) {
	if note == nil {
		note = func(string) {}
	}
	e.mu.Lock()
	p := e.images[key]
	if p == nil {
		var own context.Context
		p = &pulling{done: make(chan struct{})}
		own, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
		e.images[key] = p
		go func() {
			p.image, p.err = work(own, p.note)
			e.mu.Lock()
			if e.images[key] == p {
				delete(e.images, key)
			}
			e.mu.Unlock()
			p.cancel()
			close(p.done)
		}()
	}
	p.mu.Lock()
	p.waiters++
	p.notes = append(p.notes[:len(p.notes):len(p.notes)], note)
	p.mu.Unlock()
	e.mu.Unlock()

	select {
	case <-p.done:
		return p.image, p.err
	case <-ctx.Done():
	}
	e.mu.Lock()
	p.mu.Lock()
	p.waiters--
	if p.waiters == 0 {
		if e.images[key] == p {
			delete(e.images, key)
		}
		p.cancel()
	}
	p.mu.Unlock()
	e.mu.Unlock()
	return Image{}, ctx.Err()
}
