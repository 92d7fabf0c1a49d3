package peers

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"log/slog"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	connectv1 "github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
)

func TestMethods(t *testing.T) {
	for path, want := range map[string]struct {
		where           where
		streams, hasKey bool
	}{
		connectv1.AppServiceApplyProcedure:          {atLeader, false, true},
		connectv1.AppServiceWatchReplicasProcedure:  {atLeader, false, false},
		connectv1.StreamServiceExecProcedure:        {atLeader, true, false},
		connectv1.AgentServiceSessionProcedure:      {here, true, false},
		connectv1.ClusterServiceGetClusterProcedure: {anywhere, false, false},
		"/argosy.v1.AppService/Nothing":             {here, false, false},
		"/argosy.v1.App/name":                       {here, false, false},
		"/v2/default/x/manifests/1":                 {here, false, false},
		"/":                                         {here, false, false},
	} {
		m := methodOf(path)
		if m.where != want.where || m.streams != want.streams || (m.key != nil) != want.hasKey {
			t.Errorf("%s: %+v, want %+v", path, m, want)
		}
	}
}

func TestRepeatable(t *testing.T) {
	keyed, err := proto.Marshal(&argosyv1.ScaleRequest{App: "a", IdempotencyKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	bare, err := proto.Marshal(&argosyv1.ScaleRequest{App: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		name, path, media, encoding string
		body                        []byte
		want                        bool
	}{
		{"a read", connectv1.AppServiceListAppsProcedure, "application/proto", "", nil, true},
		{"a change with a key", connectv1.AppServiceScaleProcedure, "application/proto", "", keyed, true},
		{"a change without", connectv1.AppServiceScaleProcedure, "application/proto", "", bare, false},
		{"in JSON with a key", connectv1.AppServiceScaleProcedure, "application/json; charset=utf-8", "", []byte(`{"app":"a","idempotencyKey":"k"}`), true},
		{"in JSON without", connectv1.AppServiceScaleProcedure, "application/json", "", []byte(`{"app":"a"}`), false},
		{"compressed", connectv1.AppServiceScaleProcedure, "application/proto", "gzip", keyed, false},
		{"nonsense", connectv1.AppServiceScaleProcedure, "application/proto", "", []byte("\xff\xff"), false},
		{"another protocol", connectv1.AppServiceScaleProcedure, "application/grpc", "", keyed, false},
	} {
		r := httptest.NewRequest(http.MethodPost, k.path, bytes.NewReader(k.body))
		r.Header.Set("Content-Type", k.media)
		r.Header.Set("Content-Encoding", k.encoding)
		m := methodOf(k.path)
		again, whole, err := m.body(r)
		if err != nil || !whole {
			t.Fatal(whole, err)
		}
		if got := m.repeatable(again(r)); got != k.want {
			t.Errorf("%s: %v", k.name, got)
		}
	}
}

// signpost is a guide that a test turns.
type signpost struct {
	mu      sync.Mutex
	leader  string
	changed chan struct{}
}

func (s *signpost) Leader() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader
}

func (s *signpost) LeaderChanged() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *signpost) turn(leader string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = leader
	close(s.changed)
	s.changed = make(chan struct{})
}

// roads is a transport that reaches test servers by the addresses that are written in the book.
type roads map[string]*httptest.Server

func (r roads) RoundTrip(req *http.Request) (*http.Response, error) {
	u, err := url.Parse(r[req.URL.Host].URL)
	if err != nil {
		return nil, err
	}
	next := req.Clone(req.Context())
	next.URL.Scheme, next.URL.Host = u.Scheme, u.Host
	return http.DefaultTransport.RoundTrip(next)
}

// A leader that hangs is not waited for once another leads, a server that says that it does not lead is asked again
// later, and what may have been done and must not be done twice is told as such.
func TestForwarder(t *testing.T) {
	hang := make(chan struct{})
	var asked sync.Map
	server := func(name string, h http.HandlerFunc) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := asked.LoadOrStore(name, new(int))
			*n.(*int)++
			h(w, r)
		}))
		t.Cleanup(s.Close)
		return s
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte("answered "), b...))
	}
	post := &signpost{changed: make(chan struct{})}
	unready, died := 0, 0
	ways := roads{
		"a:1": server("a", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			post.turn("b")
			<-hang
		}),
		"b:1": server("b", answer),
		"c:1": server("c", func(w http.ResponseWriter, r *http.Request) {
			if unready++; unready < 3 {
				w.Header().Set(notLeading, "1")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			answer(w, r)
		}),
		"d:1": server("d", func(w http.ResponseWriter, r *http.Request) {
			if died++; died%2 == 1 { // it dies while it answers
				_, _ = io.WriteString(w, "ans")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			answer(w, r)
		}),
	}
	t.Cleanup(func() { close(hang) })
	book := NewBook(nil)
	for _, id := range []string{"a", "b", "c", "d"} {
		book.servers[id] = &storev1.Server{Id: id, Addresses: []string{id + ":1"}}
	}
	f := &Forwarder{Own: "o", Book: book, Guide: post, Transport: ways, Local: func() bool { return false }, Log: slog.New(slog.DiscardHandler),
		Next:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }),
		Lacks: func(*http.Request) bool { return false }, Patience: 5 * time.Second}
	ask := func(leader, path string, m proto.Message) (int, string) {
		post.turn(leader)
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(b))
		r.Header.Set("Content-Type", "application/proto")
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	keyed := &argosyv1.ScaleRequest{App: "app", IdempotencyKey: "k"}
	if code, body := ask("a", connectv1.AppServiceScaleProcedure, keyed); code != 200 || !strings.HasPrefix(body, "answered ") {
		t.Errorf("the leader hung and another took over: %d %s", code, body)
	}
	if code, body := ask("a", connectv1.AppServiceScaleProcedure, &argosyv1.ScaleRequest{App: "app"}); code != 503 || !strings.Contains(body, "not known") {
		t.Errorf("the same without a key: %d %s", code, body)
	}
	if code, body := ask("c", connectv1.AppServiceScaleProcedure, &argosyv1.ScaleRequest{App: "app"}); code != 200 || unready != 3 {
		t.Errorf("a leader that is not ready: %d %s", code, body)
	}
	if code, body := ask("d", connectv1.AppServiceScaleProcedure, keyed); code != 200 || !strings.HasPrefix(body, "answered ") || died != 2 {
		t.Errorf("an answer broke off: %d %s", code, body)
	}
	if code, body := ask("d", connectv1.AppServiceScaleProcedure, &argosyv1.ScaleRequest{App: "app"}); code != 503 || !strings.Contains(body, "not known") {
		t.Errorf("the same without a key: %d %s", code, body)
	}
	if _, body := ask("b", connectv1.AgentServiceSessionProcedure, keyed); body != "here" {
		t.Errorf("a session: %s", body)
	}
	confirmed := 0
	f.Local, f.Confirm = func() bool { return true }, func(context.Context) error { return errNotLeading }
	if code, body := ask("b", connectv1.AppServiceListAppsProcedure, keyed); code != 200 || !strings.HasPrefix(body, "answered ") {
		t.Errorf("this server does not know yet that another leads: %d %s", code, body)
	}
	f.Confirm = func(context.Context) error { confirmed++; return nil }
	if _, body := ask("b", connectv1.AppServiceListAppsProcedure, keyed); body != "here" {
		t.Errorf("this server leads: %s", body)
	}
	if confirmed == 0 {
		t.Error("it was not made sure who leads")
	}
	f.Confirm = func(context.Context) error { return errNotLeading }
	if _, body := ask("b", connectv1.StreamServiceExecProcedure, keyed); body != "here" {
		t.Errorf("a stream of messages: %s", body)
	}
	f.Local = func() bool { return false }
	f.Patience = time.Millisecond
	if code, body := ask("", connectv1.AppServiceListAppsProcedure, keyed); code != 503 || !strings.Contains(body, "no server leads") {
		t.Errorf("without a leader: %d %s", code, body)
	}
	f.Why = func() string { return "the store is full" }
	if code, body := ask("", connectv1.AppServiceListAppsProcedure, keyed); code != 503 || !strings.Contains(body, "the store is full") {
		t.Errorf("nobody leads, and it is known why: %d %s", code, body)
	}
	if _, body := ask("", connectv1.ClusterServiceGetClusterProcedure, keyed); body != "here" {
		t.Errorf("what every server knows something of: %s", body)
	}
}

// A server that led when it was asked, and no longer did when it was to answer, has who leads now answer: as far as asking twice does
// no harm, and the request is known whole. What it answers otherwise passes as it is.
func TestLedUntil(t *testing.T) {
	var asked []string
	post := &signpost{changed: make(chan struct{})}
	deposed := func(w http.ResponseWriter) {
		w.Header().Set(LedUntil, "now")
		w.Header().Set("Of", "the one before")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "deposed")
	}
	hear := func(name string, w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		msg := &argosyv1.ScaleRequest{}
		if err := proto.Unmarshal(b, msg); err != nil {
			t.Error(err)
		}
		if asked = append(asked, name+" "+msg.App); msg.App == "changing" && len(asked) < 3 {
			deposed(w)
			return
		}
		if w.Header().Set("Of", name); msg.App != "nothing" {
			_, _ = io.WriteString(w, "answered by "+name)
		}
	}
	next := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hear("b", w, r) }))
	t.Cleanup(next.Close)
	book := NewBook(nil)
	book.servers["b"] = &storev1.Server{Id: "b", Addresses: []string{"b:1"}}
	leads := true
	f := &Forwarder{Own: "o", Book: book, Guide: post, Transport: roads{"b:1": next}, Local: func() bool { return leads }, Log: slog.New(slog.DiscardHandler),
		Confirm: func(context.Context) error { return nil }, Lacks: func(*http.Request) bool { return false }, Patience: 5 * time.Second,
		Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, kept := r.Body.(*tape); kept != (methodOf(r.URL.Path).key != nil) {
				t.Errorf("%s: what is read of it is kept: %t", r.URL.Path, kept) // a stream's would grow without end
			}
			if r.Header.Get("Deposed") != "" {
				if r.Header.Get("Unread") == "" {
					_, _ = io.ReadAll(r.Body)
				}
				leads = false
				post.turn("b")
				asked = append(asked, "here")
				deposed(w)
				return
			}
			hear("here", w, r)
		})}
	for _, k := range []struct {
		name          string
		m             *argosyv1.ScaleRequest
		path, headers string
		code          int
		body, of      string
		asked         string
	}{
		{"it leads", &argosyv1.ScaleRequest{App: "a"}, connectv1.AppServiceScaleProcedure, "", 200, "answered by here", "here", "here a"},
		{"nothing to say", &argosyv1.ScaleRequest{App: "nothing"}, connectv1.AppServiceScaleProcedure, "", 200, "", "here", "here nothing"},
		{"deposed", &argosyv1.ScaleRequest{App: "a", IdempotencyKey: "k"}, connectv1.AppServiceScaleProcedure, "Deposed", 200, "answered by b", "b", "here, b a"},
		{"deposed twice", &argosyv1.ScaleRequest{App: "changing", IdempotencyKey: "k"}, connectv1.AppServiceScaleProcedure, "Deposed", 200, "answered by b", "b", "here, b changing, b changing"},
		{"without a key", &argosyv1.ScaleRequest{App: "a"}, connectv1.AppServiceScaleProcedure, "Deposed", 503, "deposed", "the one before", "here"},
		{"not read", &argosyv1.ScaleRequest{App: "a", IdempotencyKey: "k"}, connectv1.AppServiceScaleProcedure, "Deposed Unread", 503, "deposed", "the one before", "here"},
		{"a stream", &argosyv1.ScaleRequest{App: "a"}, connectv1.AppServiceWatchReplicasProcedure, "Deposed", 503, "deposed", "the one before", "here"},
	} {
		leads, asked = true, nil
		b, err := proto.Marshal(k.m)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, k.path, bytes.NewReader(b))
		r.Header.Set("Content-Type", "application/proto")
		for _, h := range strings.Fields(k.headers) {
			r.Header.Set(h, "1")
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if got := strings.Join(asked, ", "); w.Code != k.code || w.Body.String() != k.body || strings.Join(w.Header()["Of"], ", ") != k.of || got != k.asked {
			t.Errorf("%s: %d %q of %q, asked %s", k.name, w.Code, w.Body, w.Header()["Of"], got)
		}
	}
}
