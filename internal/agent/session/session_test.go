package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// server is one server, with what it heard in order: "hello", "full 2", "delta 1", "gone 1", "transitions 1-3", "beat".
type server struct {
	argosyv1connect.UnimplementedAgentServiceHandler
	http *httptest.Server

	mu       sync.Mutex
	changed  chan struct{}
	leads    bool
	refuse   *argosyv1.Refusal
	heard    []string
	sessions int
	out      chan *argosyv1.SessionResponse
}

func newServer(t *testing.T, leads bool) *server {
	s := &server{leads: leads, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.Handle(argosyv1connect.NewAgentServiceHandler(s))
	s.http = httptest.NewUnstartedServer(mux)
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

func (s *server) address() string { return strings.TrimPrefix(s.http.URL, "https://") }

func (s *server) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, what)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) say(m *argosyv1.SessionResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out <- m
}

func welcome(leads bool) *argosyv1.SessionResponse {
	return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Welcome{Welcome: &argosyv1.Welcome{
		Leader: leads, Settings: &argosyv1.ClusterSettings{Beat: durationpb.New(100 * time.Millisecond)},
	}}}
}

func (s *server) Session(ctx context.Context, stream *connect.BidiStream[argosyv1.SessionRequest, argosyv1.SessionResponse]) error {
	if _, err := stream.Receive(); err != nil {
		return err
	}
	s.note("hello")
	out := make(chan *argosyv1.SessionResponse, 100)
	s.mu.Lock()
	s.sessions++
	s.out = out
	switch {
	case s.refuse != nil:
		out <- &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Refusal{Refusal: s.refuse}}
	default:
		out <- welcome(s.leads)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	sender := make(chan struct{})
	defer func() {
		cancel()
		<-sender
	}()
	go func() {
		defer close(sender)
		for {
			select {
			case m := <-out:
				if stream.Send(m) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		m, err := stream.Receive()
		if err != nil {
			return nil
		}
		switch what := m.GetMessage().(type) {
		case *argosyv1.SessionRequest_Beat:
			s.note("beat")
		case *argosyv1.SessionRequest_Report:
			switch r := what.Report; {
			case r.GetFull():
				s.note(fmt.Sprint("full ", len(r.GetReplicas())))
			case len(r.GetGone()) > 0:
				s.note(fmt.Sprint("gone ", len(r.GetGone())))
			default:
				s.note(fmt.Sprint("delta ", len(r.GetReplicas())))
			}
		case *argosyv1.SessionRequest_Transitions:
			list := what.Transitions.GetTransitions()
			s.note(fmt.Sprintf("transitions %d-%d", list[0].GetOutboxSeq(), list[len(list)-1].GetOutboxSeq()))
		case *argosyv1.SessionRequest_Usage:
			s.note("usage")
		}
	}
}

// until waits until ok holds of what was heard, beats left out.
func (s *server) until(t *testing.T, what string, ok func(heard []string) bool) []string {
	t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		s.mu.Lock()
		heard := slices.DeleteFunc(slices.Clone(s.heard), func(h string) bool { return h == "beat" })
		changed := s.changed
		s.mu.Unlock()
		if ok(heard) {
			return heard
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s; heard: %q", what, heard)
		}
	}
}

func (s *server) hears(t *testing.T, want ...string) {
	t.Helper()
	s.until(t, fmt.Sprintf("want %q", want), func(heard []string) bool { return slices.Equal(heard, want) })
}

// machine is the agent's side: an outbox and ears.
type machine struct {
	mu       sync.Mutex
	outbox   []*argosyv1.Transition
	assigned int
	refused  []string
	fail     error
}

func (m *machine) Pending(after uint64, limit int) ([]*argosyv1.Transition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*argosyv1.Transition
	for _, t := range m.outbox {
		if t.GetOutboxSeq() > after && len(list) < limit {
			list = append(list, t)
		}
	}
	return list, nil
}

func (m *machine) Welcomed(string, *argosyv1.Welcome) {}
func (m *machine) Assigned(string, *argosyv1.Assignments) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.assigned++
	return m.fail
}

func (m *machine) Acknowledged(_ string, seq uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outbox = slices.DeleteFunc(m.outbox, func(t *argosyv1.Transition) bool { return t.GetOutboxSeq() <= seq })
	return nil
}
func (m *machine) Networked(string, *argosyv1.NetworkUpdate) {}
func (m *machine) Foreseen(string, *argosyv1.Foreseen)       {}
func (m *machine) Asked(context.Context, string, argosyv1connect.AgentServiceClient, *argosyv1.Work) {
}

func (*machine) Leased(string, *argosyv1.LeaseServers) {}

func (m *machine) Refused(_ string, r *argosyv1.Refusal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused = append(m.refused, r.GetReason())
}

func (m *machine) happen(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.outbox = append(m.outbox, &argosyv1.Transition{OutboxSeq: uint64(len(m.outbox) + 1)})
	}
}

func connectTo(t *testing.T, m *machine, servers ...*server) *Client {
	var addresses []string
	for _, s := range servers {
		addresses = append(addresses, s.address())
	}
	roots := servers[0].http.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	c := New(Config{
		Servers: addresses, HTTP: HTTPClient(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}),
		Hello: func() *argosyv1.Hello { return &argosyv1.Hello{} }, Outbox: m, Ears: m,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the sessions do not end")
		}
	})
	return c
}

func observation(n uint32, state argosyv1.ReplicaState) *argosyv1.ReplicaObservation {
	return &argosyv1.ReplicaObservation{Key: core.Key{Tenant: "default", App: "shop", Stack: "lamp", Number: n}.Proto(), AppUid: "u", Incarnation: 1, State: state}
}

func TestLeaderHearsEverythingOthersHearBeats(t *testing.T) {
	first, second := newServer(t, true), newServer(t, false)
	m := &machine{}
	m.happen(3)
	c := connectTo(t, m, first, second)
	one := observation(1, argosyv1.ReplicaState_REPLICA_STATE_READY)
	c.Changed(nil, one)
	first.until(t, "the leader hears all", func(h []string) bool { return slices.Contains(h, "transitions 1-3") })
	second.hears(t, "hello")
	h := first.until(t, "", func([]string) bool { return true })
	if h[0] != "hello" || !strings.HasPrefix(h[1], "full ") {
		t.Fatalf("the leader heard %q", h)
	}

	first.say(&argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_TransitionsAck{TransitionsAck: &argosyv1.TransitionsAck{OutboxSeq: 2}}})
	n := len(h)
	c.Changed(one, observation(1, argosyv1.ReplicaState_REPLICA_STATE_FAILED))
	c.Changed(observation(1, 0), nil)
	first.until(t, "the end of the replica is told", func(h []string) bool { return len(h) > n && h[len(h)-1] == "gone 1" })

	// The other one leads now: it is told in full, and only what was not acknowledged.
	c.Changed(nil, observation(2, argosyv1.ReplicaState_REPLICA_STATE_READY))
	first.until(t, "the delta came", func(h []string) bool { return h[len(h)-1] == "delta 1" })
	first.say(welcome(false)) // after the acknowledgement, on the same stream
	for deadline := time.After(15 * time.Second); ; {
		if _, leader := c.Connected(); !leader {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatal("the first one is still believed to lead")
		}
	}
	second.say(welcome(true))
	second.hears(t, "hello", "full 1", "transitions 3-3")
	before := len(first.until(t, "", func([]string) bool { return true }))
	c.Changed(nil, observation(3, argosyv1.ReplicaState_REPLICA_STATE_READY))
	second.hears(t, "hello", "full 1", "transitions 3-3", "delta 1")
	c.Usage(&argosyv1.UsageReport{})
	second.hears(t, "hello", "full 1", "transitions 3-3", "delta 1", "usage")
	if after := len(first.until(t, "", func([]string) bool { return true })); after != before {
		t.Error("a server that does not lead any more is still told things")
	}
	if n, leader := c.Connected(); n != 2 || !leader {
		t.Errorf("connected to %d, a leader among them: %v", n, leader)
	}
}

func say(every time.Duration) *argosyv1.SessionResponse {
	return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_UsagePace{UsagePace: &argosyv1.UsagePace{Interval: durationpb.New(every)}}}
}

// TestPaceIsTheLeaders: how often usage is wanted is the leader's to say, and holds for its session.
func TestPaceIsTheLeaders(t *testing.T) {
	first, second := newServer(t, true), newServer(t, false)
	m := &machine{}
	c := connectTo(t, m, first, second)
	wants := func(want time.Duration) {
		t.Helper()
		for deadline := time.After(15 * time.Second); ; {
			got, changed := c.Pace()
			if got == want {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("the pace is %v, want %v", got, want)
			}
		}
	}
	wants(0)
	first.hears(t, "hello", "full 0")
	second.hears(t, "hello")
	second.say(say(time.Second))
	second.say(welcome(true)) // heard when it takes the other one's place, after what it said before
	second.hears(t, "hello", "full 0")
	if got, _ := c.Pace(); got != 0 {
		t.Errorf("the pace is %v, by the word of a server that did not lead", got)
	}
	second.say(say(3 * time.Second))
	wants(3 * time.Second)
	second.say(say(-time.Second)) // says nothing
	wants(0)
	second.say(say(2 * time.Second))
	wants(2 * time.Second)
	second.say(welcome(true)) // the settings changed
	second.say(say(4 * time.Second))
	wants(4 * time.Second)
	next := welcome(true)
	next.GetWelcome().Term = 2
	second.say(next) // it is another leader's session now
	wants(0)
	second.say(say(5 * time.Second))
	wants(5 * time.Second)
	next = welcome(true)
	next.GetWelcome().Term = 3
	first.say(next) // the other one leads since
	wants(0)
	first.say(say(6 * time.Second))
	wants(6 * time.Second)
	first.http.CloseClientConnections()
	wants(0)
}

func TestBrokenSessionBeginsAnew(t *testing.T) {
	s := newServer(t, true)
	m := &machine{}
	c := connectTo(t, m, s)
	s.hears(t, "hello", "full 0")
	m.happen(2)
	c.Recorded()
	s.hears(t, "hello", "full 0", "transitions 1-2")
	s.http.CloseClientConnections()
	// Nothing was acknowledged, so all of it is told again, after a full report.
	s.hears(t, "hello", "full 0", "transitions 1-2", "hello", "full 0", "transitions 1-2")

	// What cannot be kept ends the session, so that it is told again.
	m.mu.Lock()
	m.fail = errors.New("the disk is full")
	m.mu.Unlock()
	s.say(&argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Assignments{Assignments: &argosyv1.Assignments{Full: true}}})
	s.until(t, "a third session", func(h []string) bool { return len(h) > 6 && h[6] == "hello" })
}

func TestFollowerMayNotAssign(t *testing.T) {
	s := newServer(t, false)
	m := &machine{}
	connectTo(t, m, s)
	s.hears(t, "hello")
	s.say(&argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Assignments{Assignments: &argosyv1.Assignments{Full: true}}})
	s.hears(t, "hello", "hello")
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.assigned > 0 {
		t.Error("assignments of a server that does not lead were taken")
	}
}

func TestRefusalIsHeardAndAskedAgainSlowly(t *testing.T) {
	s := newServer(t, true)
	s.refuse = &argosyv1.Refusal{Reason: "a copy of this machine is connected"}
	m := &machine{}
	connectTo(t, m, s)
	s.hears(t, "hello")
	for deadline := time.Now().Add(5 * time.Second); ; {
		m.mu.Lock()
		n := len(m.refused)
		m.mu.Unlock()
		if n == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the refusal was not heard")
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestServersAreReplacedByTheWelcome(t *testing.T) {
	first, second := newServer(t, true), newServer(t, false)
	m := &machine{}
	c := connectTo(t, m, first)
	first.hears(t, "hello", "full 0")
	w := welcome(true)
	w.GetWelcome().Servers = []string{first.address(), second.address()}
	first.say(w)
	second.hears(t, "hello")
	// What is no address is not believed.
	c.SetServers([]string{"http://evil/"})
	c.SetServers(nil)
	if got := c.Servers(); !slices.Equal(got, []string{first.address(), second.address()}) {
		t.Errorf("servers: %v", got)
	}
	first.hears(t, "hello", "full 0")
}
