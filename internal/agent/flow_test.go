package agent_test

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/flow"
)

// bytes makes a stream of bytes of an attached stream. said is everything else that the agent says, closed at the end.
func (a *attached) bytes() (end *flow.End, said chan *argosyv1.AttachRequest) {
	said = make(chan *argosyv1.AttachRequest, 16)
	end = flow.New(func(f *argosyv1.Flow) error {
		return a.stream.Send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Flow{Flow: f}})
	})
	go func() {
		defer close(said)
		for {
			m, err := a.stream.Receive()
			switch {
			case err != nil:
			case m.GetFlow() != nil:
				err = end.Take(m.GetFlow())
			default:
				said <- m
				if m.GetEnd() != nil {
					err = io.EOF
				}
			}
			if err != nil {
				end.Fail(err)
				return
			}
		}
	}()
	return end, said
}

func TestDial(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	a := b.assignment(1, b.member("inside", "serve", "127.0.0.1:8080"), b.member("outside", "serve", ":8081"), b.member("ended", "exit", "0"))
	a.Containers[2].Restart = &argosyv1.RestartPolicy{Mode: argosyv1.RestartMode_RESTART_MODE_NO}
	l.assign(a)
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	dial := func(member string, port uint32) *attached {
		return l.work(t, &argosyv1.Work{Kind: &argosyv1.Work_Dial{Dial: &argosyv1.DialWork{Key: a.GetKey(), Member: member, Port: port}}})
	}
	for member, port := range map[string]uint32{"inside": 8080, "outside": 8081} {
		x := dial(member, port)
		end, said := x.bytes()
		if m := <-said; !m.GetDialled() {
			t.Fatalf("%s: the agent says %v", member, m)
		}
		if _, err := io.WriteString(end, "GET /env/ARGOSY_MEMBER HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := end.CloseWrite(); err != nil { // and the answer comes nevertheless
			t.Fatal(err)
		}
		answer, err := io.ReadAll(end)
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(answer)), member) {
			t.Errorf("%s answers %q, %v", member, answer, err)
		}
		if m := <-said; m.GetEnd() == nil || m.GetEnd().GetError() != "" {
			t.Errorf("%s: it ends with %v", member, m)
		}
		closeOnce(x.done)
	}
	for _, c := range []struct {
		member string
		port   uint32
		says   string
	}{
		{"inside", 9, "connection refused: nothing listens on port 9"},
		{"ended", 80, "does not run|has just ended"}, // the second until the Engine has told of it
		{"nobody", 80, "has no container"}, {"inside", 65536, "is no port"},
	} {
		if _, _, _, end := dial(c.member, c.port).collect(t); !regexp.MustCompile(c.says).MatchString(end.GetError()) {
			t.Errorf("port %d of %s: %v; want %q", c.port, c.member, end, c.says)
		}
	}
	// A server that has had enough, or goes away, ends the connection.
	x := dial("outside", 8081)
	end, said := x.bytes()
	<-said
	if err := x.stream.Send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Cancel{Cancel: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(end); err == nil || errors.Is(err, flow.ErrOverrun) {
		t.Errorf("a connection that the server does not want any more ends with %v", err)
	}
}
