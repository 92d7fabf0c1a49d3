package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/server/fleetapi"
)

// fleetDoor is a place where fleet's API is served.
type fleetDoor struct {
	l   net.Listener
	srv *http.Server
}

// serve serves until the server is closed.
func (d fleetDoor) serve() error {
	if d.srv.TLSConfig != nil {
		return ignoreClosed(d.srv.ServeTLS(d.l, "", ""))
	}
	return ignoreClosed(d.srv.Serve(d.l))
}

// checkFleetAPI refuses what is no place to serve fleet's API at.
func checkFleetAPI(place string) error {
	if path, ok := strings.CutPrefix(place, "unix://"); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("--fleet-api %s: the path of a socket begins with a slash, as in unix:///run/fleet.sock", place)
		}
		return nil
	}
	if _, port, err := net.SplitHostPort(place); err != nil || port == "" {
		return fmt.Errorf("--fleet-api %q is neither a socket nor an address: write unix:///run/fleet.sock or HOST:PORT", place)
	}
	return nil
}

// fleetDoors opens the places where fleet's API is served: sockets, where the kernel vouches for who asks, and addresses, where
// callers show the certificate of a login. What they may is what they may anywhere else.
func (s *Server) fleetDoors(inner http.Handler) (doors []fleetDoor, err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				err = errors.Join(err, d.l.Close())
			}
		}
	}()
	h := fleetapi.Handler(fleetapi.Remote(within{inner}, "http://server.argosy.internal"), s.log)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), connectionKey{}, r.TLS)))
	})
	for _, place := range s.cfg.FleetAPI {
		d := fleetDoor{srv: &http.Server{Handler: handler, ReadHeaderTimeout: headerTime, ConnContext: auth.ConnContext,
			ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}}
		if path, ok := strings.CutPrefix(place, "unix://"); ok {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return doors, fmt.Errorf("making the directory of %s: %w", place, err)
			}
			d.l, err = auth.ListenLocal(path)
		} else {
			d.srv.TLSConfig = auth.ServerTLS(s.source, s.cluster.Verifier())
			d.l, err = net.Listen("tcp", place)
		}
		if err != nil {
			return doors, fmt.Errorf("opening %s for fleet's API: %w", place, err)
		}
		doors = append(doors, d)
	}
	return doors, nil
}

// connectionKey is where a request made within the process has the TLS state of the connection that it was made for.
type connectionKey struct{}

// within asks this server as if from outside, for the caller whose connection the context has: who may do what, and who leads, is
// for the handler to find out.
type within struct{ handler http.Handler }

// Do implements connect.HTTPClient.
func (t within) Do(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.TLS, _ = r.Context().Value(connectionKey{}).(*tls.ConnectionState)
	r.RequestURI, r.Host, r.RemoteAddr = r.URL.RequestURI(), r.URL.Host, "fleet-api"
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := &kept{head: http.Header{}}
	t.handler.ServeHTTP(w, r)
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return &http.Response{StatusCode: w.code, Status: http.StatusText(w.code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.head, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r}, r.Context().Err()
}

// kept is an answer that is kept whole, which those of these requests can be.
type kept struct {
	head http.Header
	code int
	body bytes.Buffer
}

// Header implements http.ResponseWriter.
func (k *kept) Header() http.Header { return k.head }

// WriteHeader implements http.ResponseWriter.
func (k *kept) WriteHeader(code int) {
	if k.code == 0 {
		k.code = code
	}
}

func (k *kept) Write(b []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	return k.body.Write(b)
}

// Flush implements http.Flusher: who passes requests on wants to.
func (k *kept) Flush() {}
