package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
)

var repo = Repo{Tenant: "default", Name: "app"}

func noise(n int) []byte {
	b := make([]byte, n)
	chacha := rand.NewChaCha8([32]byte{1})
	_, _ = chacha.Read(b)
	return b
}

func sourceOf(content []byte) Source {
	return Source{Digest: image.Sum(content), Size: int64(len(content)), Open: func(at int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content[at:])), nil
	}}
}

// line is a connection that can be made bad: body sees each request's body.
type line struct {
	next http.RoundTripper
	body func(r *http.Request, b io.Reader) io.Reader
}

func (l line) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Method == http.MethodPatch {
		r = r.Clone(r.Context())
		r.Body = struct {
			io.Reader
			io.Closer
		}{l.body(r, r.Body), r.Body}
	}
	return l.next.RoundTrip(r)
}

// settle waits until the server has taken in what was on its way in n requests, which an interrupted sender in earnest
// does by waiting a moment. Without it, how much is sent twice would be chance.
func (s server) settle(n int32) {
	s.patches.L.Lock()
	defer s.patches.L.Unlock()
	for *s.patched < n {
		s.patches.Wait()
	}
}

func (s server) badLine(body func(*http.Request, io.Reader) io.Reader) Sender {
	c := NewClient(s.URL, &http.Client{Transport: line{s.Client().Transport, body}})
	return Sender{Client: c, Wait: noWait}
}

func noWait(ctx context.Context, _ time.Duration) error { return ctx.Err() }

var errCut = errors.New("the line was cut")

// cut passes n bytes and then breaks.
func cut(r io.Reader, n int64) io.Reader {
	return io.MultiReader(io.LimitReader(r, n), readerFunc(func([]byte) (int, error) { return 0, errCut }))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func (s server) stored(t *testing.T, d image.Digest) []byte {
	t.Helper()
	f, _, err := s.store.Blob("default", d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// slack is what may be sent twice for each interruption: what was on its way.
const slack = 1 << 20

func TestSendGoesOnAfterEachCut(t *testing.T) {
	s := serve(t, Options{}, blobs.Options{})
	content := noise(20 << 20)
	var cuts atomic.Int32
	sender := s.badLine(func(_ *http.Request, b io.Reader) io.Reader {
		if cuts.Add(1) <= 5 {
			return cut(b, 3<<20)
		}
		return b
	})
	sender.Wait = func(ctx context.Context, _ time.Duration) error {
		s.settle(cuts.Load())
		return ctx.Err()
	}
	var high int64
	got, err := sender.Send(t.Context(), repo, sourceOf(content), func(at int64) { high = max(high, at) })
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.stored(t, image.Sum(content)), content) {
		t.Error("the server has something else")
	}
	if got.Present || got.Sent < int64(len(content)) || got.Sent > int64(len(content))+5*slack {
		t.Errorf("five cuts cost %d bytes on top of %d", got.Sent-int64(len(content)), len(content))
	}
	if high != int64(len(content)) {
		t.Errorf("progress ended at %d", high)
	}
	again, err := sender.Send(t.Context(), repo, sourceOf(content), nil)
	if err != nil || !again.Present || again.Sent != 0 {
		t.Errorf("sending again: %+v, %v", again, err)
	}
}

func TestSendGoesOnInAnotherProcess(t *testing.T) {
	s := serve(t, Options{}, blobs.Options{})
	content := noise(20 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	killed := s.badLine(func(_ *http.Request, b io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(b, 12<<20), readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, errCut
		}))
	})
	if _, err := killed.Send(ctx, repo, sourceOf(content), nil); err == nil {
		t.Fatal("the first process was to die")
	}
	s.settle(1)
	got, err := Sender{Client: s.client(), Wait: noWait}.Send(t.Context(), repo, sourceOf(content), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Resumed == 0 || got.Sent > 8<<20+slack {
		t.Errorf("the second process resumed %d and sent %d bytes of %d", got.Resumed, got.Sent, len(content))
	}
	if !bytes.Equal(s.stored(t, image.Sum(content)), content) {
		t.Error("the server has something else")
	}
}

// flip damages the first byte.
func flip(b io.Reader) io.Reader {
	first := true
	return readerFunc(func(p []byte) (int, error) {
		n, err := b.Read(p)
		if first && n > 0 {
			p[0]++
			first = false
		}
		return n, err
	})
}

func TestDamagedOnItsWay(t *testing.T) {
	s := serve(t, Options{}, blobs.Options{})
	content := noise(1 << 20)
	var pieces atomic.Int32
	once := s.badLine(func(_ *http.Request, b io.Reader) io.Reader {
		if pieces.Add(1) == 1 {
			return flip(b)
		}
		return b
	})
	if _, err := once.Send(t.Context(), repo, sourceOf(content), nil); err != nil {
		t.Errorf("damaged once: %v", err)
	}
	if !bytes.Equal(s.stored(t, image.Sum(content)), content) {
		t.Error("the server has something else")
	}
	content[0] = 77
	always := s.badLine(func(_ *http.Request, b io.Reader) io.Reader { return flip(b) })
	_, err := always.Send(t.Context(), repo, sourceOf(content), nil)
	if err == nil || !isCode(err, "DIGEST_INVALID") {
		t.Errorf("damaged always: %v", err)
	}
	if _, _, err := s.store.Blob("default", image.Sum(content)); !errors.Is(err, blobs.ErrUnknown) {
		t.Errorf("damaged content was kept: %v", err)
	}
}

func TestSendGivesUp(t *testing.T) {
	content := noise(1 << 20)
	full := serve(t, Options{}, blobs.Options{MinFree: 1 << 60})
	if _, err := (Sender{Client: full.client(), Wait: noWait}).Send(t.Context(), repo, sourceOf(content), nil); err == nil || !strings.Contains(err.Error(), "too full") {
		t.Errorf("to a full server: %v", err)
	}
	s := serve(t, Options{}, blobs.Options{})
	var tries atomic.Int32
	dead := s.badLine(func(_ *http.Request, b io.Reader) io.Reader {
		tries.Add(1)
		return cut(b, 0)
	})
	if _, err := dead.Send(t.Context(), repo, sourceOf(content), nil); !errors.Is(err, errCut) || tries.Load() != 6 {
		t.Errorf("over a dead line: %d tries, %v", tries.Load(), err)
	}
	broken := sourceOf(content)
	broken.Open = func(int64) (io.ReadCloser, error) { return nil, errors.New("bad disk") }
	if _, err := (Sender{Client: s.client(), Wait: noWait}).Send(t.Context(), repo, broken, nil); !errors.Is(err, errSource) {
		t.Errorf("from a bad disk: %v", err)
	}
	denied := Repo{Tenant: "other", Name: "app"}
	if _, err := (Sender{Client: s.client(), Wait: noWait}).Send(t.Context(), denied, sourceOf(content), nil); err == nil || !strings.Contains(err.Error(), "not your tenant") {
		t.Errorf("to another's tenant: %v", err)
	}
}

// A server that takes a connection and does nothing is given up, at each step.
func TestSilentServer(t *testing.T) {
	for _, silent := range []string{http.MethodPost, http.MethodPatch, http.MethodPut} {
		synctest.Test(t, func(t *testing.T) {
			rt := roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method == silent {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				head := http.Header{"Location": {"/v2/x"}, offsetHeader: {"0"}}
				if r.Method == http.MethodPatch {
					head.Set(offsetHeader, "100")
				}
				return &http.Response{StatusCode: http.StatusAccepted, Header: head, Body: http.NoBody, Request: r}, nil
			})
			sender := Sender{Client: NewClient("https://server", &http.Client{Transport: rt}), Tries: 2}
			start := time.Now()
			_, err := sender.Send(t.Context(), repo, sourceOf(noise(100)), nil)
			if !errors.Is(err, errStalled) {
				t.Errorf("silent at %s: %v", silent, err)
			}
			if took := time.Since(start); took > 31*time.Minute {
				t.Errorf("silent at %s: it took %s", silent, took)
			}
		})
	}
}

// Several who send the same at once do not hinder each other, and the result is right.
func TestSendersOfTheSameBlob(t *testing.T) {
	s := serve(t, Options{}, blobs.Options{})
	content := noise(10 << 20)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			sender := Sender{Client: s.client(), Piece: 1 << 20, Wait: func(ctx context.Context, _ time.Duration) error {
				runtime.Gosched()
				return ctx.Err()
			}, Tries: 10_000}
			if _, err := sender.Send(t.Context(), repo, sourceOf(content), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(s.stored(t, image.Sum(content)), content) {
		t.Error("the server has something else")
	}
}

// A server that answers nonsense is refused, not followed.
func TestHostileServer(t *testing.T) {
	for what, answer := range map[string]func(http.ResponseWriter){
		"elsewhere": func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://evil.example/v2/x")
			w.Header().Set(offsetHeader, "0")
			w.WriteHeader(http.StatusAccepted)
		},
		"not an Argosy": func(w http.ResponseWriter) {
			w.Header().Set("Location", "/v2/x")
			w.WriteHeader(http.StatusAccepted)
		},
		"took": func(w http.ResponseWriter) { // takes nothing, says it went well
			w.Header().Set("Location", "/v2/x")
			w.Header().Set(offsetHeader, "0")
			w.WriteHeader(http.StatusAccepted)
		},
	} {
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			rec := &recorder{head: http.Header{}}
			answer(rec)
			return &http.Response{StatusCode: rec.status, Header: rec.head, Body: http.NoBody, Request: r}, nil
		})
		sender := Sender{Client: NewClient("https://server", &http.Client{Transport: rt}), Wait: noWait}
		if _, err := sender.Send(t.Context(), repo, sourceOf(noise(100)), nil); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type recorder struct {
	head   http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.head }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }
