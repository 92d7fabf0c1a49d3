package cli

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
)

// logServer answers a request for logs as its test says.
type logServer struct {
	argosyv1connect.UnimplementedStreamServiceHandler
	answer func(context.Context, *argosyv1.LogsRequest, func(*argosyv1.LogsResponse) error) error
}

func (s logServer) Logs(ctx context.Context, r *connect.Request[argosyv1.LogsRequest], out *connect.ServerStream[argosyv1.LogsResponse]) error {
	return s.answer(ctx, r.Msg, out.Send)
}

func TestUnitLogs(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	line := func(copied uint32, text string) *argosyv1.LogLine {
		return &argosyv1.LogLine{Key: &argosyv1.ReplicaKey{App: "web.service", Stack: "unit", Number: copied}, Text: []byte(text), At: timestamppb.New(at)}
	}
	units := []*argosyv1.UnitStatus{
		{Name: "kept.service"}, // on no machine: nobody is asked
		{Name: "web.service", Copies: []*argosyv1.UnitCopy{{Number: 1, MachineName: "m1"}, {Number: 2, MachineName: "m2"}}},
	}
	type send = func(*argosyv1.LogsResponse) error
	for _, c := range []struct {
		name   string
		lines  uint32
		answer func(r *argosyv1.LogsRequest, out send, stop func()) error
		want   string // what is told of copies 1 and 2
		notes  string
	}{
		{"lines of two machines, in between each other", 7, func(r *argosyv1.LogsRequest, out send, _ func()) error {
			if r.Tail != 7 || r.All || r.Follow || r.App != "web.service" {
				return errors.New("another request was meant")
			}
			return errors.Join(out(&argosyv1.LogsResponse{Lines: []*argosyv1.LogLine{line(2, "two"), line(1, "one")}}),
				out(&argosyv1.LogsResponse{Lines: []*argosyv1.LogLine{line(2, "more \x1b[2J\xff")}}))
		}, "    2026-01-02 03:04:05  one\n--\n    2026-01-02 03:04:05  two\n    2026-01-02 03:04:05  more \ufffd[2J\ufffd\n", ""},
		{"a machine that is away", 10, func(_ *argosyv1.LogsRequest, out send, _ func()) error {
			return errors.Join(out(&argosyv1.LogsResponse{Warning: "m1 has no session"}), out(&argosyv1.LogsResponse{Lines: []*argosyv1.LogLine{line(2, "two")}}))
		}, "--\n    2026-01-02 03:04:05  two\n", "m1 has no session"},
		{"no lines are asked for", 0, func(*argosyv1.LogsRequest, send, func()) error { return errors.New("nobody should ask") }, "--\n", ""},
		{"a refusal", 10, func(*argosyv1.LogsRequest, send, func()) error {
			return connect.NewError(connect.CodePermissionDenied, errors.New("not for you"))
		}, "--\n", "what web.service wrote cannot be read: not for you"},
		{"no answer in time", 10, func(_ *argosyv1.LogsRequest, _ send, stop func()) error {
			stop()
			return nil
		}, "--\n", "what web.service wrote did not come in time: a machine does not answer. Try 'argosy logs web.service'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, handler := argosyv1connect.NewStreamServiceHandler(logServer{answer: func(asked context.Context, r *argosyv1.LogsRequest, out func(*argosyv1.LogsResponse) error) error {
				return c.answer(r, out, func() { cancel(); <-asked.Done() })
			}})
			server := httptest.NewServer(handler)
			defer server.Close()
			a := &app{}
			logs := a.unitLogs(ctx, newConnection(server.Client(), server.URL, "a test"), units, c.lines)
			if len(logs) != 2 || logs[0].lines != nil || logs[0].notes != nil {
				t.Fatalf("of a unit on no machine: %+v", logs)
			}
			var out bytes.Buffer
			logs[1].tell(&out, 1)
			out.WriteString("--\n")
			logs[1].tell(&out, 2)
			if out.String() != c.want {
				t.Errorf("told\n%s\nwant\n%s", out.String(), c.want)
			}
			if notes := strings.Join(logs[1].notes, "\n"); notes != c.notes {
				t.Errorf("noted %q, want %q", notes, c.notes)
			}
		})
	}
}
