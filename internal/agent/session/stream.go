package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

const (
	helloTime   = 10 * time.Second
	sendTime    = 10 * time.Second
	defaultBeat = time.Second
	leastBeat   = 100 * time.Millisecond
	mostBeat    = 30 * time.Second
	// stall is for how long a process may stand still: stopped, or starved.
	stall = 2500 * time.Millisecond

	reportBatch     = 256
	transitionBatch = 128
	// window bounds how many transitions are sent ahead of their acknowledgement.
	window = 1024
)

// stream is one session with one server. Fields without a word on it belong to the sending goroutine.
type stream struct {
	c      *Client
	server string
	client argosyv1connect.AgentServiceClient
	wake   chan struct{}

	// Guarded by c.mu.
	dirty map[core.ID]bool
	usage bool
	// engine says that how the engine is has to be told.
	engine bool
	// storage says the same of what it reaches.
	storage bool
	// strays says that volumes which belong to nothing have to be told.
	strays bool
	acked  uint64
	beat   time.Duration
	leads  bool // the server's last word
	met    Met  // as which leader
	// full says that a full report is due, because the server leads and had none in this session.
	full bool

	sent     uint64 // last transition sent
	beats    uint64
	repeats  uint64 // the last mark received
	answers  bool   // and that is to be answered
	welcomed bool
	refused  bool
}

func newStream(c *Client, server string, client argosyv1connect.AgentServiceClient) *stream {
	return &stream{c: c, server: server, client: client, wake: make(chan struct{}, 1), dirty: map[core.ID]bool{}, beat: defaultBeat}
}

// mark and kick are called with c.mu held.
func (s *stream) mark(id core.ID) {
	s.dirty[id] = true
	s.kick()
}

func (s *stream) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

type bidi = connect.BidiStreamForClient[argosyv1.SessionRequest, argosyv1.SessionResponse]

func (s *stream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn := s.client.Session(ctx)
	defer conn.CloseResponse()
	defer conn.CloseRequest()
	said := proto.CloneOf(s.c.cfg.Hello())
	said.Marks = true
	if err := s.send(cancel, conn, &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Hello{Hello: said}}); err != nil {
		_, rerr := conn.Receive() // says why better than Send does
		return errors.Join(rerr, context.Cause(ctx))
	}
	first := make(chan struct{})
	heard := make(chan error, 1)
	go func() { heard <- s.listen(ctx, conn, first) }()
	defer s.retire()
	hello := time.AfterFunc(helloTime, func() { cancel(errors.New("the server did not answer the hello in time")) })
	select {
	case <-first:
		hello.Stop()
		s.welcomed = true
	case err := <-heard:
		return reason(ctx, err)
	}
	go func() {
		err := <-heard
		cancel(reason(ctx, err))
	}()
	err := s.talk(ctx, cancel, conn)
	if errors.Is(err, io.EOF) { // the server ended it; what is received says why
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	cancel(err)
	return reason(ctx, err)
}

func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil {
		return errors.New("the server ended the session")
	}
	return err
}

// retire takes the stream out of the client's tables.
func (s *stream) retire() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.dismiss(s)
	delete(s.c.open, s)
}

// send gives up the connection when the server does not take a message in time.
func (s *stream) send(cancel context.CancelCauseFunc, conn *bidi, m *argosyv1.SessionRequest) error {
	t := time.AfterFunc(sendTime, func() { cancel(errors.New("the server does not read what is sent to it")) })
	defer t.Stop()
	return conn.Send(m)
}

// talk sends beats and, to the leader, everything that is due.
func (s *stream) talk(ctx context.Context, cancel context.CancelCauseFunc, conn *bidi) error {
	s.c.mu.Lock()
	s.c.open[s] = true
	beat := s.beat
	s.c.mu.Unlock()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	beats := false
	for {
		// What is said with a mark was gathered after that mark was received; a beat confirms it, so it goes last.
		mark, answer := s.marked()
		for {
			m, err := s.due()
			if err != nil {
				return err
			}
			if m == nil {
				break
			}
			m.Mark = mark
			if err := s.send(cancel, conn, m); err != nil {
				return err
			}
		}
		if beats {
			s.beats++
		}
		if beats || answer {
			b := &argosyv1.Beat{Number: s.beats, Answer: !beats}
			if err := s.send(cancel, conn, &argosyv1.SessionRequest{Mark: mark, Message: &argosyv1.SessionRequest_Beat{Beat: b}}); err != nil {
				return err
			}
			beats = false
		}
		waits := time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			// A beat confirms what was reported; a process that stood still does not know yet what happened meanwhile.
			if stood := time.Since(waits); stood > beat+stall {
				return fmt.Errorf("this process stood still for %s", stood.Round(time.Millisecond))
			}
			beats = true
		case <-s.wake:
		}
		s.c.mu.Lock()
		if s.beat != beat {
			beat = s.beat
			ticker.Reset(beat)
		}
		s.c.mu.Unlock()
	}
}

// marked is the last mark received, and whether it is still to be answered.
func (s *stream) marked() (mark uint64, answer bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	answer, s.answers = s.answers, false
	return s.repeats, answer
}

// due returns the next message for the leader, nil when there is none.
func (s *stream) due() (*argosyv1.SessionRequest, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	switch {
	case !s.leading():
		return nil, nil
	case s.full:
		s.full = false
		s.c.live[s] = true
		s.sent = 0 // what it had as an earlier leader may be lost
		clear(s.dirty)
		s.usage = s.c.usage != nil
		s.engine = s.c.engine.GetTrouble() != "" || s.c.engine.GetNetwork() != ""
		s.storage = s.c.storage != nil
		s.strays = len(s.c.strays.GetVolumes()) > 0
		r := &argosyv1.Report{Full: true}
		for _, o := range s.c.current {
			r.Replicas = append(r.Replicas, o)
		}
		return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: r}}, nil
	case s.engine:
		s.engine = false
		return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Engine{Engine: s.c.engine}}, nil
	case s.storage:
		s.storage = false
		return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Storage{Storage: s.c.storage}}, nil
	case len(s.dirty) > 0:
		return s.delta(), nil
	case s.strays:
		s.strays = false
		return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Strays{Strays: s.c.strays}}, nil
	}
	after := max(s.sent, s.acked)
	if after-s.acked < window {
		list, err := s.c.cfg.Outbox.Pending(after, transitionBatch)
		if err != nil {
			return nil, err
		}
		if n := len(list); n > 0 {
			s.sent = list[n-1].GetOutboxSeq()
			return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Transitions{Transitions: &argosyv1.Transitions{Transitions: list}}}, nil
		}
	}
	if s.usage {
		s.usage = false
		return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Usage{Usage: s.c.usage}}, nil
	}
	return nil, nil
}

func (s *stream) delta() *argosyv1.SessionRequest {
	r := &argosyv1.Report{}
	for id := range s.dirty {
		if len(r.Replicas)+len(r.Gone) >= reportBatch {
			break
		}
		delete(s.dirty, id)
		if o := s.c.current[id]; o != nil {
			r.Replicas = append(r.Replicas, o)
			continue
		}
		r.Gone = append(r.Gone, &argosyv1.ReplicaObservation{
			Key: id.Key.Proto(), AppUid: id.AppUID, Incarnation: id.Incarnation, State: argosyv1.ReplicaState_REPLICA_STATE_GONE,
		})
	}
	return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: r}}
}

// listen takes in what the server says. It closes first at the first welcome.
func (s *stream) listen(ctx context.Context, conn *bidi, first chan struct{}) error {
	met := false
	for {
		m, err := conn.Receive()
		if err != nil {
			return err
		}
		switch what := m.GetMessage().(type) {
		case *argosyv1.SessionResponse_Welcome:
			if err := s.welcome(what.Welcome); err != nil {
				return err
			}
			if !met {
				met = true
				close(first)
			}
			s.c.cfg.Ears.Welcomed(s.server, what.Welcome)
		case *argosyv1.SessionResponse_Refusal:
			s.refused = true
			s.c.cfg.Ears.Refused(s.server, what.Refusal)
			return fmt.Errorf("the server refused this machine: %s", what.Refusal.GetReason())
		case *argosyv1.SessionResponse_Assignments:
			if !s.isLeader() {
				return errors.New("a server that does not lead sent assignments")
			}
			if err := s.c.cfg.Ears.Assigned(s.server, what.Assignments); err != nil {
				return err
			}
		case *argosyv1.SessionResponse_TransitionsAck:
			if err := s.acknowledge(what.TransitionsAck.GetOutboxSeq()); err != nil {
				return err
			}
		case *argosyv1.SessionResponse_Network:
			s.c.cfg.Ears.Networked(s.server, what.Network)
		case *argosyv1.SessionResponse_Foreseen:
			if s.isLeader() {
				s.c.cfg.Ears.Foreseen(s.server, what.Foreseen)
			}
		case *argosyv1.SessionResponse_LeaseServers:
			if !s.isLeader() {
				return errors.New("a server that does not lead said whom to ask for leases")
			}
			s.c.cfg.Ears.Leased(s.server, what.LeaseServers)
		case *argosyv1.SessionResponse_Mark:
			s.c.mu.Lock()
			s.repeats, s.answers = what.Mark.GetNumber(), true
			s.kick()
			s.c.mu.Unlock()
		case *argosyv1.SessionResponse_UsagePace:
			s.pace(what.UsagePace.GetInterval().AsDuration())
		case *argosyv1.SessionResponse_Work:
			s.c.cfg.Ears.Asked(ctx, s.server, s.client, what.Work)
		}
	}
}

func (s *stream) welcome(w *argosyv1.Welcome) error {
	met := Met{w.GetGeneration(), w.GetTerm()}
	s.c.mu.Lock()
	if w.GetLeader() && met.before(s.c.met) {
		defer s.c.mu.Unlock()
		return fmt.Errorf("it leads in term %d (generation %d), and this machine has met the leader of term %d (generation %d): it will learn of that",
			met.Term, met.Generation, s.c.met.Term, s.c.met.Generation)
	}
	s.c.mu.Unlock()
	s.c.SetServers(w.GetServers())
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if d := w.GetSettings().GetBeat(); d != nil {
		s.beat = min(max(d.AsDuration(), leastBeat), mostBeat)
	}
	switch {
	case w.GetLeader() && (!s.leads || s.met != met):
		s.c.dismiss(s)
		s.leads, s.full, s.met = true, true, met
		s.c.meet(met)
	case !w.GetLeader():
		s.leads, s.full = false, false
		s.c.dismiss(s)
	}
	s.kick()
	return nil
}

// leading reports whether the server leads, and none is known that does so since. c.mu is held.
func (s *stream) leading() bool { return s.leads && !s.met.before(s.c.met) }

func (s *stream) isLeader() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.leading()
}

// meet notes a leader. Those before it are told nothing any more. c.mu is held.
func (c *Client) meet(m Met) {
	if c.met.before(m) {
		c.met = m
	}
	for s := range c.live {
		if !s.leading() {
			c.dismiss(s)
		}
	}
	if c.pacer != nil && !c.pacer.leading() {
		c.dismiss(c.pacer)
	}
}

// pace takes in how often the leader wants usage. What another server says of that is nothing to go by.
func (s *stream) pace(every time.Duration) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.leading() {
		s.c.setPace(s, max(every, 0))
	}
}

func (s *stream) acknowledge(seq uint64) error {
	if err := s.c.cfg.Ears.Acknowledged(s.server, seq); err != nil {
		return err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.acked = max(s.acked, seq)
	s.kick()
	return nil
}
