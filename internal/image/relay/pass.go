package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/turns"
)

// order returns the servers to try, the one that answered last first.
func (r *Relay) order() []string {
	servers := slices.Clone(r.opts.Servers())
	good := r.good.Load()
	if good == nil {
		return servers
	}
	if i := slices.Index(servers, *good); i > 0 {
		servers = append([]string{*good}, slices.Delete(servers, i, i+1)...)
	}
	return servers
}

// pass asks servers in turn until one has an answer that is worth handing on, and sees its body through.
func (r *Relay) pass(w http.ResponseWriter, req *http.Request, path string) {
	servers := r.order()
	if len(servers) == 0 {
		refuse(w, troubleStatus(path), "UNAVAILABLE", "this machine knows no Argosy server")
		return
	}
	head := http.Header{"Accept-Encoding": {"identity"}} // else lengths and ranges are those of something else
	for _, k := range []string{"Range", "If-Range", "Accept"} {
		if v := req.Header.Values(k); len(v) > 0 {
			head[k] = v
		}
	}
	a, err := r.first(req, servers, path, head)
	if err != nil {
		r.opts.Log.WarnContext(req.Context(), "no server gives an image", "path", path, "error", err)
		refuse(w, troubleStatus(path), "UNAVAILABLE", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	r.hand(w, req, path, head, a)
}

// troubleStatus is how Docker is told that servers are in trouble. Docker shows the sentence of an answer only below 500,
// so a manifest, which comes first, gets such a one; blobs get 502, after which Docker tries again by itself.
func troubleStatus(path string) int {
	if strings.Contains(path, "/manifests/") {
		return http.StatusFailedDependency
	}
	return http.StatusBadGateway
}

// first returns the first answer that settles the matter. One server may lack what another has, so "unknown" does only
// when all servers say it.
func (r *Relay) first(req *http.Request, servers []string, path string, head http.Header) (*reply, error) {
	var unknown *reply
	var troubles []error
	for said := range r.answers(req.Context(), servers, req.Method, path, head) {
		a, err := said.Value, said.Err
		if err != nil {
			troubles = append(troubles, fmt.Errorf("%s: %w", servers[said.Index], err))
			continue
		}
		if unknown != nil {
			unknown.close()
		}
		if a.StatusCode != http.StatusNotFound {
			r.good.Store(&a.server)
			return a, nil
		}
		unknown = a
	}
	if unknown == nil {
		return nil, fmt.Errorf("no Argosy server answers: %w", errors.Join(troubles...))
	}
	if len(troubles) > 0 {
		unknown.close()
		return nil, fmt.Errorf("the Argosy servers that answer do not have this, and others do not answer: %w", errors.Join(troubles...))
	}
	return unknown, nil
}

// reply is a server's answer. Its body breaks when the server sends nothing for Options.Stall.
type reply struct {
	*http.Response
	server string
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
}

var errStalled = errors.New("it sent nothing for too long")

// answers asks servers in turn. What waits for an image may be what is to take the place of a machine that has just lost power, and its
// server with it, of which nothing ever comes, not even a refusal.
func (r *Relay) answers(ctx context.Context, servers []string, method, path string, head http.Header) iter.Seq[turns.Said[*reply]] {
	ask := func(ctx context.Context, i int) (*reply, error) { return r.ask(ctx, servers[i], method, path, head) }
	return turns.Ask(ctx, turns.Delay, len(servers), ask, (*reply).close)
}

// ask sends the request to one server. An answer that says that the server itself is in trouble is an error.
func (r *Relay) ask(ctx context.Context, server, method, path string, head http.Header) (*reply, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	a := &reply{server: server, cancel: cancel, stall: r.opts.Stall}
	a.watch = time.AfterFunc(r.opts.Stall, func() { cancel(errStalled) })
	fail := func(err error) (*reply, error) {
		a.watch.Stop()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(server, "/")+path, nil)
	if err != nil {
		return fail(err)
	}
	req.Header = head
	a.Response, err = r.opts.Transport.RoundTrip(req) //nolint:bodyclose // whoever gets the reply closes it
	if err != nil {
		return fail(err)
	}
	if a.StatusCode >= 500 || a.StatusCode == http.StatusTooManyRequests || a.StatusCode/100 == 3 {
		_ = a.Body.Close()
		return fail(fmt.Errorf("it answered %s", a.Status))
	}
	return a, nil
}

func (a *reply) close() {
	a.watch.Stop()
	_ = a.Body.Close()
	a.cancel(nil)
}

// Read reads the body under the watch of the timer.
func (a *reply) Read(b []byte) (int, error) {
	a.watch.Reset(a.stall)
	return a.Body.Read(b)
}

// handed are the headers of an answer that Docker needs.
var handed = []string{"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Docker-Content-Digest", "Etag"}

// hand passes the answer on. When its server fails within a blob, the others are asked to go on.
func (r *Relay) hand(w http.ResponseWriter, req *http.Request, path string, head http.Header, a *reply) {
	defer func() { a.close() }()
	for _, k := range handed {
		if v := a.Header.Get(k); v != "" {
			w.Header().Set(k, v)
		}
	}
	w.WriteHeader(a.StatusCode)
	if req.Method == http.MethodHead {
		return
	}
	from, ok := startOf(a)
	whole := a.ContentLength
	var done int64
	idle := 0 // servers in a row that gave nothing
	for {
		n, err := copyBody(w, a)
		done += n
		if idle++; n > 0 {
			idle = 0
		}
		if whole >= 0 && done >= whole || whole < 0 && err == nil {
			return
		}
		if errors.Is(err, errPeer) || req.Context().Err() != nil {
			return
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		if whole < 0 || !ok || idle > maxIdle {
			panic(http.ErrAbortHandler) // breaks the connection, so that Docker does not take half for the whole
		}
		next := r.goOn(req, path, head, a.server, from+done, from+whole-1, err)
		if next == nil {
			panic(http.ErrAbortHandler)
		}
		a.close()
		a = next
	}
}

// maxIdle is how many servers in a row may promise the rest of a blob and then give none of it.
const maxIdle = 5

// startOf returns the byte of the blob that a's body starts at, and whether a can be gone on with elsewhere.
func startOf(a *reply) (int64, bool) {
	if a.StatusCode == http.StatusOK {
		return 0, a.Header.Get("Accept-Ranges") == "bytes"
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(a.Header.Get("Content-Range"), "bytes "), "-")
	n, err := strconv.ParseInt(first, 10, 64)
	return n, err == nil && a.StatusCode == http.StatusPartialContent
}

var errPeer = errors.New("whoever asked is gone")

// copyBody copies a's body to w, and tells an error of w from one of a.
func copyBody(w io.Writer, a *reply) (int64, error) {
	buf := make([]byte, 128<<10)
	var done int64
	for {
		n, err := a.Read(buf)
		if n > 0 {
			a.watch.Stop() // how slowly Docker takes it is not the server's fault
			m, werr := w.Write(buf[:n])
			done += int64(m)
			if werr != nil {
				return done, errPeer
			}
		}
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}

// goOn finds a server that goes on with bytes first to last after failed broke off with err; the one that failed is
// asked last, since it may be back. Nil means that there is none.
func (r *Relay) goOn(req *http.Request, path string, head http.Header, failed string, first, last int64, err error) *reply {
	r.opts.Log.InfoContext(req.Context(), "a server broke off within an image; going on with another",
		"server", failed, "path", path, "at", first, "error", err)
	servers := slices.DeleteFunc(slices.Clone(r.opts.Servers()), func(s string) bool { return s == failed })
	head = head.Clone()
	head.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
	head.Del("If-Range")
	for said := range r.answers(req.Context(), append(servers, failed), http.MethodGet, path, head) {
		a := said.Value
		if said.Err != nil {
			continue
		}
		if at, ok := startOf(a); ok && at == first && a.StatusCode == http.StatusPartialContent && a.ContentLength == last-first+1 {
			r.good.Store(&a.server)
			return a
		}
		a.close()
	}
	return nil
}
