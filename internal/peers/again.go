package peers

import (
	"bytes"
	"io"
	"maps"
	"net/http"

	"github.com/argosy-cluster/argosy/internal/auth"
)

// answer answers here, as the leader. It returns true when nothing was answered, since this server led only until then, and asking
// again does no harm: repeat is the request, as it can be sent again, or nil.
func (f *Forwarder) answer(w http.ResponseWriter, r *http.Request, m method, repeat func() *http.Request) (again bool) {
	if onlyOnce(r, m) {
		f.Next.ServeHTTP(w, r)
		return false
	}
	t := &try{ResponseWriter: w, head: w.Header().Clone(), may: func() bool {
		again := repeat()
		return r.Context().Err() == nil && again != nil && m.repeatable(again)
	}}
	f.Next.ServeHTTP(t, r)
	t.WriteHeader(http.StatusOK) // of an answer that is empty
	return t.again
}

// onlyOnce says that a request is answered as it is, whatever becomes of it: what streams cannot be asked again, nor may what is
// read of it be kept, and a request that was passed on is asked again by who passed it on.
func onlyOnce(r *http.Request, m method) bool {
	return m.streams || m.tells || auth.PassedBy(r.Context()) != ""
}

// try is an answer that is kept from the caller when it says that somebody else has to give it.
type try struct {
	http.ResponseWriter
	head  http.Header // until it is clear that it is sent
	may   func() bool
	sent  bool
	again bool
}

// Unwrap is for http.ResponseController.
func (t *try) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *try) Header() http.Header {
	if t.sent {
		return t.ResponseWriter.Header()
	}
	return t.head
}

func (t *try) WriteHeader(code int) {
	if t.again || t.sent {
		return
	}
	if t.again = t.head.Get(LedUntil) != "" && t.may(); t.again {
		return
	}
	t.sent = true
	head := t.ResponseWriter.Header()
	clear(head)
	maps.Copy(head, t.head)
	t.ResponseWriter.WriteHeader(code)
}

func (t *try) Write(b []byte) (int, error) {
	if t.WriteHeader(http.StatusOK); t.again {
		return len(b), nil
	}
	return t.ResponseWriter.Write(b)
}

// tape keeps what was read of a request's body.
type tape struct {
	io.ReadCloser
	read bytes.Buffer
	end  bool
}

func (t *tape) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.read.Write(p[:n])
	t.end = t.end || err == io.EOF
	return n, err
}

// again is a request with the body that was read; nil when it was not read to its end.
func (t *tape) again(r *http.Request) *http.Request {
	if !t.end {
		return nil
	}
	b := t.read.Bytes()
	next := r.Clone(r.Context())
	next.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	next.Body, _ = next.GetBody()
	return next
}
