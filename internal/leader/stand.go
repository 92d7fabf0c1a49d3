package leader

import (
	"context"
	"io"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
)

// heard is what this server knows of machines while it does not lead. It is guarded by the leader's mutex.
type heard struct {
	// last is when each gave a sign of life; one that gave none is not in it.
	last map[string]time.Time
	// sessions counts the sessions of each.
	sessions map[string]int
}

// stand takes a machine's beats until this server leads; then it returns the stream to go on with, and when the machine gave
// its last sign of life: that this server leads is none.
func (l *Leader) stand(ctx context.Context, machine string, stream dispatcher.Stream) (dispatcher.Stream, time.Time, error) {
	last := l.cfg.Now()
	if err := stream.Send(&argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Welcome{Welcome: l.cfg.Greet(machine)}}); err != nil {
		return nil, last, err
	}
	l.hear(machine, 1)
	defer l.hear(machine, -1)
	p := &pumped{Stream: stream, in: make(chan received), done: ctx.Done()}
	go p.pump()
	for {
		l.mu.Lock()
		begun, leads := l.begun, l.reign != nil
		l.mu.Unlock()
		if leads {
			return p, last, nil
		}
		select {
		case r := <-p.in:
			if r.err != nil {
				return nil, last, r.err
			}
			last = l.cfg.Now()
			l.hear(machine, 0)
		case <-begun:
		case <-ctx.Done():
			return nil, last, ctx.Err()
		}
	}
}

// hear notes a sign of life, and that a session began or ended.
func (l *Leader) hear(machine string, sessions int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sessions >= 0 && l.reign == nil {
		l.heard.last[machine] = l.cfg.Now()
	}
	if l.heard.sessions[machine] += sessions; l.heard.sessions[machine] == 0 {
		delete(l.heard.sessions, machine)
	}
}

// inherit hands over what was heard to a term that begins. A machine of which this server has heard nothing is given the
// benefit of the doubt, and so is one that a later term finds here.
func (l *Leader) inherit() map[string]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.heard.last
	l.heard.last = map[string]time.Time{}
	return out
}

// Machines is how many machines have a session with this server, leading or not.
func (l *Leader) Machines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reign != nil {
		return len(l.reign.wakes)
	}
	return len(l.heard.sessions)
}

const (
	clockTick = 500 * time.Millisecond
	// stall is how late a tick is when this process cannot have been running: stopped, or starved.
	stall = 2 * time.Second
)

// watchClock forgets the ages of machines when this process stood still: their silence meanwhile was its own deafness.
func (l *Leader) watchClock(ctx context.Context) {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	last := l.cfg.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := l.cfg.Now()
		if now.Sub(last) > clockTick+stall {
			l.inherit()
		}
		last = now
	}
}

// pumped is a stream whose messages can be waited for beside other things.
type pumped struct {
	dispatcher.Stream
	in   chan received
	done <-chan struct{}
}

type received struct {
	msg *argosyv1.SessionRequest
	err error
}

func (p *pumped) pump() {
	for {
		msg, err := p.Stream.Receive()
		select {
		case p.in <- received{msg, err}:
		case <-p.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// Receive is the next message that was not taken before.
func (p *pumped) Receive() (*argosyv1.SessionRequest, error) {
	select {
	case r := <-p.in:
		return r.msg, r.err
	case <-p.done:
		return nil, io.EOF
	}
}
