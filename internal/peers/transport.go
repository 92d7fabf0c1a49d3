package peers

import (
	"net/http"
	"sync/atomic"
)

// Transport carries requests to other servers. A connection shows for ever the certificate that it was made with, so when
// that changes, what comes next goes over connections made anew; what is under way ends on the old ones.
type Transport struct {
	make    func() *http.Transport
	current atomic.Pointer[http.Transport]
}

// NewTransport uses what the function makes.
func NewTransport(f func() *http.Transport) *Transport {
	t := &Transport{make: f}
	t.current.Store(f())
	return t
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.current.Load().RoundTrip(r)
}

// Renew has connections made anew from now on.
func (t *Transport) Renew() { t.current.Swap(t.make()).CloseIdleConnections() }

// CloseIdleConnections closes those that carry nothing now.
func (t *Transport) CloseIdleConnections() { t.current.Load().CloseIdleConnections() }
