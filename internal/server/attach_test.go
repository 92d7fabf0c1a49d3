package server

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// broker is a server with one machine that runs (so the server thinks) one replica of each app.
type broker struct {
	*cluster
	agent *fakeAgent
}

func newBroker(t testing.TB, app string) *broker {
	t.Helper()
	c := own(t, shortDir(t), func(cfg *Config) { cfg.opened = func(s *Server) { s.attachments.patience = 2 * time.Second } })
	b := &broker{c, c.machine(t, facts())}
	b.agent.connect(t)
	c.apply(t, spec(app, 1))
	c.assigned(t, app)
	return b
}

// attach answers work as an agent would.
func (b *broker) attach(t testing.TB, ctx context.Context, id string) *connect.BidiStreamForClient[argosyv1.AttachRequest, argosyv1.AttachResponse] {
	t.Helper()
	s := b.agent.agents.Attach(ctx)
	if err := s.Send(&argosyv1.AttachRequest{WorkId: id}); err != nil {
		t.Fatal(err)
	}
	return s
}

func line(text string) *argosyv1.AttachRequest {
	return &argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Log{Log: &argosyv1.LogLine{Text: []byte(text)}}}
}

func end(code int32, problem string) *argosyv1.AttachRequest {
	return &argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_End{End: &argosyv1.WorkEnd{ExitCode: code, Error: problem}}}
}

// noneLeft waits until no goroutine of the brokers is left: what ends badly must not stay.
func noneLeft(t *testing.T) {
	t.Helper()
	limit := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		buf := make([]byte, 4<<20)
		stacks := string(buf[:runtime.Stack(buf, true)])
		left := ""
		for _, g := range strings.Split(stacks, "\n\n") {
			for _, f := range []string{"(*attachment)", "server.passInput", "server.passOutput", "(*Server).attach(", "(*Server).readLog", "streamService.", "server.relay[", "server.fillDown[", "server.emptyDown", "server.fillUp"} {
				if strings.Contains(g, f) {
					left = g
				}
			}
		}
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("a goroutine is left:\n%s", left)
		}
	}
}

// logCall is a request for a log. The server says nothing at all before there is something to say.
type logCall struct {
	answered chan struct{}
	s        *connect.ServerStreamForClient[argosyv1.LogsResponse]
	err      error
}

func (b *broker) logs(ctx context.Context, app string, follow bool) *logCall {
	l := &logCall{answered: make(chan struct{})}
	go func() {
		defer close(l.answered)
		l.s, l.err = b.local.streams.Logs(ctx, connect.NewRequest(&argosyv1.LogsRequest{App: app, Follow: follow, All: true}))
	}()
	return l
}

// one waits for the first message.
func (l *logCall) one(t *testing.T) {
	t.Helper()
	<-l.answered
	if l.err != nil || !l.s.Receive() {
		t.Fatal("the log ended", l.err)
	}
}

func (l *logCall) close() {
	<-l.answered
	if l.err == nil {
		_ = l.s.Close()
	}
}

// drain reads a log to its end.
func (l *logCall) drain() (lines []string, warnings []string, err error) {
	if <-l.answered; l.err != nil {
		return nil, nil, l.err
	}
	for l.s.Receive() {
		for _, l := range l.s.Msg().Lines {
			lines = append(lines, string(l.Text))
		}
		if w := l.s.Msg().Warning; w != "" {
			warnings = append(warnings, w)
		}
	}
	return lines, warnings, l.s.Err()
}

func (b *broker) exec(t *testing.T, ctx context.Context, app string, command ...string) *connect.BidiStreamForClient[argosyv1.ExecRequest, argosyv1.ExecResponse] {
	t.Helper()
	s := b.local.streams.Exec(ctx)
	if err := s.Send(&argosyv1.ExecRequest{Start: &argosyv1.ExecWork{Key: &argosyv1.ReplicaKey{App: app, Stack: "web", Number: 1},
		Member: "web", Command: command, Stdin: true}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBrokers: logs and exec between callers and machines that behave in all sorts of ways.
func TestBrokers(t *testing.T) {
	b := newBroker(t, "shop")
	for _, c := range []struct {
		name string
		test func(*testing.T, *broker)
	}{
		{"a log", brokerALog},
		{"an agent that never attaches", brokerAnAgentThatNeverAttaches},
		{"an agent that attaches twice", brokerAnAgentThatAttachesTwice},
		{"another machine's work", brokerAnotherMachinesWork},
		{"an agent that ends early", brokerAnAgentThatEndsEarly},
		{"an agent that cannot", brokerAnAgentThatCannot},
		{"a flood nobody reads", brokerAFloodNobodyReads},
		{"a caller that goes away while the machine thinks", brokerACallerThatGoesAwayWhileTheMachineThinks},
		{"a command", brokerACommand},
		{"a command whose machine goes away", brokerACommandWhoseMachineGoesAway},
		{"a machine that does not read", brokerAMachineThatDoesNotRead},
		{"what is not there", brokerWhatIsNotThere},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, b)
			noneLeft(t)
		})
	}
}

// over ends an agent's stream as agents do when they have said the end.
func over(s *connect.BidiStreamForClient[argosyv1.AttachRequest, argosyv1.AttachResponse]) {
	_ = s.CloseRequest()
	_ = s.CloseResponse()
}

func brokerALog(t *testing.T, b *broker) {
	s := b.logs(t.Context(), "shop", false)
	defer s.close()
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(a)
	for i := range 3 {
		if err := a.Send(line(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Send(end(0, "")); err != nil {
		t.Fatal(err)
	}
	lines, warnings, err := s.drain()
	if strings.Join(lines, " ") != "0 1 2" || len(warnings) > 0 || err != nil {
		t.Errorf("got %q, %q, %v", lines, warnings, err)
	}
	noneLeft(t)
}

func brokerAnAgentThatNeverAttaches(t *testing.T, b *broker) {
	s := b.logs(t.Context(), "shop", false)
	defer s.close()
	late := b.agent.nextWork(t).Id
	_, warnings, err := s.drain()
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "did not answer within") {
		t.Errorf("got %q, %v", warnings, err)
	}
	a := b.attach(t, t.Context(), late)
	defer over(a)
	_, err = a.Receive()
	wantError(t, err, connect.CodeNotFound, "nobody waits")
	noneLeft(t)
}

func brokerAnAgentThatAttachesTwice(t *testing.T, b *broker) {
	s := b.logs(t.Context(), "shop", false)
	defer s.close()
	id := b.agent.nextWork(t).Id
	a := b.attach(t, t.Context(), id)
	defer over(a)
	if err := a.Send(line("first")); err != nil {
		t.Fatal(err)
	}
	s.one(t)
	second := b.attach(t, t.Context(), id)
	defer over(second)
	_, err := second.Receive()
	wantError(t, err, connect.CodeNotFound, "nobody waits")
	if err := a.Send(end(0, "")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.drain(); err != nil {
		t.Error(err)
	}
}

func brokerAnotherMachinesWork(t *testing.T, b *broker) {
	thief := b.machine(t, facts())
	s := b.logs(t.Context(), "shop", false)
	defer s.close()
	id := b.agent.nextWork(t).Id
	stolen := thief.agents.Attach(t.Context())
	defer over(stolen)
	if err := stolen.Send(&argosyv1.AttachRequest{WorkId: id}); err != nil {
		t.Fatal(err)
	}
	_, err := stolen.Receive()
	wantError(t, err, connect.CodeNotFound, "nobody waits")
	a := b.attach(t, t.Context(), id) // the right one still can
	defer over(a)
	if err := a.Send(end(0, "")); err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := s.drain(); err != nil || len(warnings) > 0 {
		t.Errorf("got %q, %v", warnings, err)
	}
}

func brokerAnAgentThatEndsEarly(t *testing.T, b *broker) {
	s := b.logs(t.Context(), "shop", true)
	defer s.close()
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	over(a)
	_, warnings, err := s.drain()
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "connection ended") {
		t.Errorf("got %q, %v", warnings, err)
	}
	noneLeft(t)
}

func brokerAnAgentThatCannot(t *testing.T, b *broker) {
	s := b.logs(t.Context(), "shop", true)
	defer s.close()
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(a)
	if err := a.Send(end(0, "there is no such container")); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := s.drain()
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "there is no such container") {
		t.Errorf("got %q, %v", warnings, err)
	}
}

func brokerAFloodNobodyReads(t *testing.T, b *broker) {
	ctx, cancel := context.WithCancel(t.Context())
	s := b.logs(ctx, "shop", true)
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(a)
	stuck := make(chan int, 1)
	go func() {
		big := line(strings.Repeat("x", 64<<10))
		n := 0
		for ; n < 100_000 && a.Send(big) == nil; n++ {
		}
		stuck <- n
	}()
	s.one(t)
	cancel() // the reader goes away, and the agent is told
	select {
	case n := <-stuck:
		if n == 100_000 {
			t.Error("the server took the whole flood")
		}
	case <-time.After(20 * time.Second):
		t.Error("the flooding agent is not stopped")
	}
	s.close()
	noneLeft(t)
}

func brokerACallerThatGoesAwayWhileTheMachineThinks(t *testing.T, b *broker) {
	ctx, cancel := context.WithCancel(t.Context())
	s := b.logs(ctx, "shop", true)
	id := b.agent.nextWork(t).Id
	cancel()
	s.close()
	noneLeft(t)
	a := b.attach(t, t.Context(), id)
	defer over(a)
	if err := ends(t, func() error { _, err := a.Receive(); return err }); err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		t.Error(err)
	}
}

func brokerACommand(t *testing.T, b *broker) {
	s := b.exec(t, t.Context(), "shop", "cat")
	w := b.agent.nextWork(t)
	if w.GetExec().GetCommand()[0] != "cat" {
		t.Fatalf("got %v", w)
	}
	a := b.attach(t, t.Context(), w.Id)
	defer over(a)
	if err := s.Send(&argosyv1.ExecRequest{Data: &argosyv1.ExecRequest_Stdin{Stdin: []byte("hello")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseRequest(); err != nil { // without having said that its input is over
		t.Fatal(err)
	}
	in, err := a.Receive()
	if err != nil || !bytes.Equal(in.GetStdin(), []byte("hello")) {
		t.Fatalf("got %v, %v", in, err)
	}
	if in, err = a.Receive(); err != nil || !in.GetStdinClosed() {
		t.Errorf("got %v, %v", in, err)
	}
	for _, m := range []*argosyv1.AttachRequest{{Data: &argosyv1.AttachRequest_Stdout{Stdout: []byte("hello")}}, end(3, "")} {
		if err := a.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.Receive()
	if err != nil || string(out.GetStdout()) != "hello" {
		t.Errorf("got %v, %v", out, err)
	}
	if out, err = s.Receive(); err != nil || out.GetEnd().GetExitCode() != 3 {
		t.Errorf("got %v, %v", out, err)
	}
	_ = s.CloseResponse()
	noneLeft(t)
}

func brokerACommandWhoseMachineGoesAway(t *testing.T, b *broker) {
	s := b.exec(t, t.Context(), "shop", "cat")
	over(b.attach(t, t.Context(), b.agent.nextWork(t).Id))
	_, err := s.Receive()
	wantError(t, err, connect.CodeUnavailable, "ended before the command did")
	_ = s.CloseRequest()
	_ = s.CloseResponse()
	noneLeft(t)
}

func brokerAMachineThatDoesNotRead(t *testing.T, b *broker) {
	ctx, cancel := context.WithCancel(t.Context())
	s := b.exec(t, ctx, "shop", "cat")
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(a)
	// More input than all windows hold: the caller is held up, and can leave all the same.
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for s.Send(&argosyv1.ExecRequest{Data: &argosyv1.ExecRequest_Stdin{Stdin: make([]byte, 256<<10)}}) == nil {
		}
	}()
	if err := a.Send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Stdout{Stdout: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-sent
	_ = s.CloseResponse()
	noneLeft(t)
}

func brokerWhatIsNotThere(t *testing.T, b *broker) {
	for says, r := range map[string]*argosyv1.LogsRequest{
		"there is no app": {App: "nobody"}, "no app is named": {}, "no such replica": {App: "shop", Stack: "web", Number: 9},
		"there is no container": {App: "shop", Member: "nobody"}, "cannot name": {App: "../x"},
	} {
		s, err := b.local.streams.Logs(t.Context(), connect.NewRequest(r))
		if err == nil {
			s.Receive()
			err = s.Err()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want something about %q", err, says)
		}
	}
	s := b.exec(t, t.Context(), "shop")
	_, err := s.Receive()
	wantError(t, err, connect.CodeInvalidArgument, "a command")
}
