package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/internal/auth"
)

// Guide says who leads, as the store's own members see it.
type Guide interface {
	// Leader is the leading server's id, empty when nobody leads.
	Leader() string
	// LeaderChanged returns a channel that is closed when that may have changed.
	LeaderChanged() <-chan struct{}
}

// Forwarder stands before a server's handlers and passes on what the leader has to answer. All fields must be set.
type Forwarder struct {
	Own       string // this server's id
	Book      *Book
	Guide     Guide
	Transport http.RoundTripper
	// Local reports whether this server leads and has its state.
	Local func() bool
	// Confirm returns nil once it is sure that this server led at some time since it was called. Local alone may not know yet
	// that another does.
	Confirm func(ctx context.Context) error
	Next    http.Handler
	Log     *slog.Logger
	// Lacks reports whether a request for images is one that the leader has to answer.
	Lacks func(r *http.Request) bool
	// Why says what keeps anybody from leading, where that is known, and is empty otherwise. May be nil.
	Why func() string
	// Patience is how long a request waits for a leader.
	Patience time.Duration
}

// notLeading is set in answers of a server that does not lead: nothing was done.
const notLeading = "Argosy-Not-Leading"

// LedUntil is set in answers of a server that led when it was asked, and no longer did when it was to answer: whether it was done is
// not known, and who leads now knows. What may be asked twice is asked again instead of being answered so.
const LedUntil = "Argosy-Led-Until"

// look is how often it is looked whether a new leader has its state.
const look = 10 * time.Millisecond

// ServeHTTP answers here or passes on.
func (f *Forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := methodOf(r.URL.Path)
	if strings.HasPrefix(r.URL.Path, "/v2/") && !f.Local() && f.Lacks(r) {
		m = method{where: atLeader, tells: true, streams: r.Method != http.MethodGet && r.Method != http.MethodHead}
	}
	if m.where == here {
		f.Next.ServeHTTP(w, r)
		return
	}
	if f.leads(r.Context(), m) {
		if onlyOnce(r, m) {
			f.Next.ServeHTTP(w, r)
			return
		}
		said := &tape{ReadCloser: r.Body}
		if r.Body = said; !f.answer(w, r, m, func() *http.Request { return said.again(r) }) {
			return
		}
		r = said.again(r)
	}
	if auth.PassedBy(r.Context()) != "" {
		// The other server waits for a leader, so that the request is not passed round.
		w.Header().Set(notLeading, "1")
		unavailable(w, r, "this server does not lead the cluster")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), f.Patience)
	defer cancel()
	body, whole, err := m.body(r)
	if err != nil {
		unavailable(w, r, "the request could not be read: "+err.Error())
		return
	}
	for {
		changed := f.Guide.LeaderChanged()
		again := false
		switch addr := f.leader(); {
		case f.leads(ctx, m):
			if again = f.answer(w, body(r), m, func() *http.Request { return body(r) }); !again {
				return
			}
		case addr != "":
			if again = f.pass(w, body(r), m, addr, whole, changed); !again {
				return
			}
		case m.where == anywhere:
			f.Next.ServeHTTP(w, body(r))
			return
		}
		if again && !whole {
			unavailable(w, r, "the leader changed: try again")
			return
		}
		select {
		case <-ctx.Done():
			if m.where == anywhere {
				f.Next.ServeHTTP(w, body(r))
				return
			}
			unavailable(w, r, f.why())
			return
		case <-time.After(look):
		}
	}
}

// leads reports whether this server leads and may answer. What is asked of the leader is answered from its memory, so it
// makes sure first; a stream of messages goes on, and breaks when it does not lead.
func (f *Forwarder) leads(ctx context.Context, m method) bool {
	if !f.Local() {
		return false
	}
	return m.where != atLeader || m.streams || f.Confirm(ctx) == nil
}

func (f *Forwarder) why() string {
	if f.Why != nil {
		if text := f.Why(); text != "" {
			return text
		}
	}
	return "no server leads the cluster now: what runs goes on, and nothing can be changed or looked up until a majority of the servers is back"
}

// leader is the address of the leading server, empty when nobody leads or it is this one.
func (f *Forwarder) leader() string {
	id := f.Guide.Leader()
	if id == "" || id == f.Own {
		return ""
	}
	if addrs := f.Book.Server(id).GetAddresses(); len(addrs) > 0 {
		return addrs[0]
	}
	return ""
}

var (
	errNotLeading = errors.New("it does not lead")
	errMoved      = errors.New("another server leads now")
	errLedUntil   = errors.New("it led until it was asked")
)

// pass passes a request on. It returns true when nothing was answered and asking again, here or elsewhere, does no harm.
func (f *Forwarder) pass(w http.ResponseWriter, r *http.Request, m method, addr string, whole bool, changed <-chan struct{}) (again bool) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	answered := make(chan struct{})
	if whole {
		// What waits for an answer must not wait for a leader that is none any more.
		go func() {
			select {
			case <-changed:
				if f.leader() != addr {
					cancel(errMoved)
				}
			case <-answered:
			case <-ctx.Done():
			}
		}()
	}
	safe := whole && m.repeatable(r)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "https", addr, ""
			if err := auth.Pass(r.Context(), p.Out.Header); err != nil {
				cancel(err)
			}
		},
		Transport: f.Transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(f.Log.Handler(), slog.LevelDebug),
		ModifyResponse: func(res *http.Response) error {
			if res.Header.Get(notLeading) != "" {
				return errNotLeading
			}
			if res.Header.Get(LedUntil) != "" && safe {
				return errLedUntil
			}
			if whole && !m.tells {
				if err := gather(res); err != nil {
					return err // as if it had not begun to answer
				}
			}
			close(answered)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			var dial *net.OpError
			undone := errors.Is(err, errNotLeading) || errors.As(err, &dial) && dial.Op == "dial"
			if again = r.Context().Err() == nil && (safe || undone); again {
				return
			}
			f.Log.Debug("a request could not be passed on", "to", addr, "path", r.URL.Path, "error", err)
			unavailable(w, r, "the leader did not answer ("+err.Error()+"): whether it was done is not known; look, and try again")
		},
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
	return again
}

// unavailable answers in whatever protocol the caller speaks.
func unavailable(w http.ResponseWriter, r *http.Request, text string) {
	err := connect.NewError(connect.CodeUnavailable, errors.New(text))
	if ew := connect.NewErrorWriter(); ew.IsSupported(r) {
		_ = ew.Write(w, r, err)
		return
	}
	http.Error(w, text, http.StatusServiceUnavailable)
}

// gather reads an answer to its end before it is passed on: one that breaks off, as its server dies, is none, and can be asked for
// again. Of one that is too large only the beginning is waited for.
func gather(res *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return fmt.Errorf("its answer broke off: %w", err)
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(b), res.Body), res.Body}
	return nil
}

// maxBody is the largest message that a request may have, with its envelope.
const maxBody = 16<<20 + 16

// body reads the request's body where it comes whole, so that it can be sent again. What it returns gives a request with
// that body, or with the stream as it is.
func (m method) body(r *http.Request) (again func(*http.Request) *http.Request, whole bool, err error) {
	if m.streams {
		return func(r *http.Request) *http.Request { return r }, false, nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = errors.New("it is too large")
	}
	return func(r *http.Request) *http.Request {
		next := r.Clone(r.Context())
		next.Body, next.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		if len(b) == 0 {
			next.Body = http.NoBody
		}
		next.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		return next
	}, true, err
}

// service cuts the name of an RPC out of a path: argosy.v1.AppService and Apply.
func service(path string) (name, rpc string, ok bool) {
	name, rpc, ok = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return name, rpc, ok && strings.HasPrefix(name, "argosy.v1.") && rpc != ""
}
