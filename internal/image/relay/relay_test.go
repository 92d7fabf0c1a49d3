package relay

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/turns"
)

// cloud is a transport to servers that exist only here, by host name.
type cloud struct {
	mu    sync.Mutex
	asked []string
	hosts map[string]func(r *http.Request) (*http.Response, error)
}

func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.asked = append(c.asked, r.URL.Host)
	c.mu.Unlock()
	return c.hosts[r.URL.Host](r)
}

func (c *cloud) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.asked, " ")
	c.asked = nil
	return s
}

type answer = func(r *http.Request) (*http.Response, error)

// holds answers as a server does that has content; it breaks after some bytes if those are not negative.
func holds(content []byte, breaks int) answer {
	return func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		http.ServeContent(rec, r, "", time.Time{}, bytes.NewReader(content))
		resp := rec.Result()
		if breaks >= 0 && resp.StatusCode/100 == 2 {
			resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(resp.Body, int64(breaks)), broken{}))
		}
		return resp, nil
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func says(status int) answer {
	return func(*http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		rec.WriteHeader(status)
		return rec.Result(), nil
	}
}

func dead(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

// hangs answers and then sends nothing.
func hangs(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: 5, Header: http.Header{"Accept-Ranges": {"bytes"}},
		Body: io.NopCloser(reader(func([]byte) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		}))}, nil
}

type reader func([]byte) (int, error)

func (f reader) Read(b []byte) (int, error) { return f(b) }

func deaf(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func newRelay(t *testing.T, hosts map[string]answer) (*Relay, *cloud) {
	c := &cloud{hosts: hosts}
	var servers []string
	for _, h := range []string{"a", "b", "c"} {
		if hosts[h] != nil {
			servers = append(servers, "https://"+h)
		}
	}
	return New(Options{Servers: func() []string { return servers }, Transport: c, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}), c
}

// ask makes a request as Docker does. A connection that the relay breaks is status 0.
func ask(r *Relay, method, path string, head ...string) (rec *httptest.ResponseRecorder) {
	rec = httptest.NewRecorder()
	req := httptest.NewRequest(method, path, nil)
	req.SetBasicAuth(user, r.secret)
	for i := 0; i+1 < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // this very value is what the server looks for
				panic(p)
			}
			rec = &httptest.ResponseRecorder{Body: rec.Body}
		}
	}()
	r.ServeHTTP(rec, req)
	return rec
}

var (
	content  = []byte(strings.Repeat("0123456789", 100))
	blobPath = "/v2/default/app/blobs/" + string(image.Sum(content))
)

func TestWhichServerIsAsked(t *testing.T) {
	good, ill := holds(content, -1), says(503)
	for _, c := range []struct {
		name   string
		hosts  map[string]answer
		status int
		asked  string
		says   string
	}{
		{"first", map[string]answer{"a": good, "b": good}, 200, "a", string(content)},
		{"first is dead", map[string]answer{"a": dead, "b": good}, 200, "a b", string(content)},
		{"first is ill", map[string]answer{"a": ill, "b": good}, 200, "a b", string(content)},
		{"first redirects", map[string]answer{"a": says(307), "b": good}, 200, "a b", string(content)},
		{"first lacks it", map[string]answer{"a": says(404), "b": good}, 200, "a b", string(content)},
		{"all lack it", map[string]answer{"a": says(404), "b": says(404)}, 404, "a b", ""},
		{"one lacks it and one is dead", map[string]answer{"a": says(404), "b": dead}, 502, "a b", "do not have this"},
		{"first refuses", map[string]answer{"a": says(403), "b": good}, 403, "a", ""},
		{"all dead", map[string]answer{"a": dead, "b": dead}, 502, "a b", "no Argosy server answers"},
		{"breaks, second goes on", map[string]answer{"a": holds(content, 100), "b": good}, 200, "a b", string(content)},
		{"breaks at once, third goes on", map[string]answer{"a": holds(content, 0), "b": dead, "c": good}, 200, "a b c", string(content)},
		{"all break again and again", map[string]answer{"a": holds(content, 300), "b": holds(content, 300)}, 200, "a b a b", string(content)},
		{"broken and alone, comes back", map[string]answer{"a": holds(content, 600)}, 200, "a a", string(content)},
		{"promises and gives nothing", map[string]answer{"a": holds(content, 0)}, 0, "a a a a a a", ""},
		{"breaks, others lack it", map[string]answer{"a": holds(content, 100), "b": says(404), "c": says(200)}, 200, "a b c a b c a b c a b c a b c a b c a b c a b c a b c a", string(content)},
		{"none", nil, 502, "", "no Argosy server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, cloud := newRelay(t, c.hosts)
				rec := ask(r, "GET", blobPath)
				if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.says) || cloud.said() != c.asked && c.name != "breaks, others lack it" {
					t.Errorf("got %d %.100q", rec.Code, rec.Body)
				}
				if c.status == 200 && rec.Body.String() != c.says {
					t.Error("the bytes are not those of the blob")
				}
			})
		})
	}
}

func TestRangeIsGoneOnWith(t *testing.T) {
	r, _ := newRelay(t, map[string]answer{"a": holds(content, 10), "b": holds(content, -1)})
	rec := ask(r, "GET", blobPath, "Range", "bytes=495-")
	if rec.Code != 206 || rec.Body.String() != string(content[495:]) || rec.Header().Get("Content-Range") != "bytes 495-999/1000" {
		t.Errorf("got %d %s %.100q", rec.Code, rec.Header().Get("Content-Range"), rec.Body)
	}
}

func TestServerThatAnsweredIsAskedFirst(t *testing.T) {
	r, cloud := newRelay(t, map[string]answer{"a": dead, "b": holds(content, -1), "c": holds(content, -1)})
	ask(r, "GET", blobPath)
	cloud.said()
	ask(r, "GET", blobPath)
	if got := cloud.said(); got != "b" {
		t.Errorf("asked %q, want b, which answered before", got)
	}
}

func TestSilentServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, cloud := newRelay(t, map[string]answer{"a": deaf, "b": hangs, "c": holds(content[:5], -1)})
		start := time.Now()
		rec := ask(r, "GET", blobPath)
		if rec.Code != 200 || rec.Body.String() != "01234" {
			t.Errorf("got %d %q", rec.Code, rec.Body)
		}
		// a says nothing while it has its turn, b never sends; then a has its turn again, because it may be back.
		if took := time.Since(start); took != 20500*time.Millisecond {
			t.Errorf("it took %s and asked %s", took, cloud.said())
		}
	})
}

// TestOnlyOneAnswerIsTaken: those that answer when another one was taken are let go, and closed if they had answered all the same.
func TestOnlyOneAnswerIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told, closed error
		late := func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			told = context.Cause(r.Context())
			return &http.Response{StatusCode: http.StatusOK, Body: closer(func() { closed = errors.New("closed") })}, nil
		}
		slow := func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second) // longer than its turn, and it is the first to answer
			return holds(content, -1)(r)
		}
		r, cloud := newRelay(t, map[string]answer{"a": slow, "b": late, "c": dead})
		start := time.Now()
		if rec := ask(r, "GET", blobPath); rec.Code != 200 || rec.Body.String() != string(content) {
			t.Errorf("got %d %.100q", rec.Code, rec.Body)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %s", took)
		}
		synctest.Wait()
		if got := cloud.said(); got != "a b c" || !errors.Is(told, turns.ErrAnother) || closed == nil {
			t.Errorf("asked %q; the late one was told %v, and %v", got, told, closed)
		}
		if ask(r, "GET", blobPath); cloud.said() != "a b c" {
			t.Error("a, which answered, is not asked first")
		}
	})
}

type closer func()

func (closer) Read([]byte) (int, error) { return 0, io.EOF }
func (f closer) Close() error           { f(); return nil }

func TestWhatIsRefused(t *testing.T) {
	r, cloud := newRelay(t, map[string]answer{"a": holds(content, -1)})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/v2/default/app/blobs/uploads/", 405},
		{"PUT", blobPath, 405},
		{"DELETE", blobPath, 405},
		{"GET", "/", 404},
		{"GET", "/argosy.v1.Apps/Apply", 404},
		{"GET", "/v2/../argosy.v1.Apps/Apply", 404},
		{"GET", "/v2/" + strings.Repeat("x", 2000), 404},
		{"GET", "/v2/", 200},
	} {
		if rec := ask(r, c.method, c.path); rec.Code != c.status {
			t.Errorf("%s %.50s: %d, want %d", c.method, c.path, rec.Code, c.status)
		}
	}
	for _, password := range []string{"", "guess"} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, blobPath, nil)
		req.SetBasicAuth(user, password)
		r.ServeHTTP(rec, req)
		if rec.Code != http.StatusUnauthorized {
			t.Errorf("with password %q: %d", password, rec.Code)
		}
	}
	if got := cloud.said(); got != "" {
		t.Errorf("servers were asked: %s", got)
	}
}

func TestDockerGetsThePassword(t *testing.T) {
	r, _ := newRelay(t, nil)
	raw, err := base64.URLEncoding.DecodeString(r.Auth())
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Username, Password string }
	if err := json.Unmarshal(raw, &got); err != nil || got.Username != user || got.Password != r.secret || len(r.secret) < 20 {
		t.Errorf("Docker gets %s, %v", raw, err)
	}
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most int
		var mu sync.Mutex
		slow := func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return holds(content, -1)(r)
		}
		r := New(Options{Servers: func() []string { return []string{"https://a"} }, Log: slog.New(slog.DiscardHandler),
			Transport: &cloud{hosts: map[string]answer{"a": slow}}, AtOnce: 3})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if rec := ask(r, "GET", blobPath); rec.Code != 200 {
					t.Errorf("got %d", rec.Code)
				}
			})
		}
		wg.Wait()
		if most != 3 {
			t.Errorf("%d requests were passed on at once, want 3", most)
		}
	})
}

func TestServeEndsWithItsContext(t *testing.T) {
	r, _ := newRelay(t, map[string]answer{"a": holds(content, -1)})
	l, err := Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Port(l)); err == nil || !strings.Contains(err.Error(), "another port") {
		t.Errorf("a port that is taken: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- r.Serve(ctx, l) }()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/v2/", Port(l)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("got %s", resp.Status)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
