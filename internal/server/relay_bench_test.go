package server

import (
	"crypto/rand"
	"io"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/flow"
)

// BenchmarkRelay moves bytes from a machine over TLS through the server to a caller on its socket.
func BenchmarkRelay(b *testing.B) {
	br := newBroker(b, "shop")
	s := forward(b, br.local, &argosyv1.PortForwardStart{Key: replicaKey("shop", 1), Port: 80})
	a := br.attach(b, b.Context(), br.agent.nextWork(b).Id)
	defer over(a)
	from := flow.New(func(f *argosyv1.Flow) error { return a.Send(fromAgent(f)) })
	to := flow.New(func(f *argosyv1.Flow) error { return s.Send(&argosyv1.PortForwardRequest{Flow: f}) })
	go func() {
		for {
			m, err := a.Receive()
			if err == nil {
				err = from.Take(m.GetFlow())
			}
			if err != nil {
				from.Fail(err)
				return
			}
		}
	}()
	go func() {
		for {
			m, err := s.Receive()
			if err == nil && m.GetFlow() != nil {
				err = to.Take(m.GetFlow())
			}
			if err != nil {
				to.Fail(err)
				return
			}
		}
	}()
	go func() {
		buf := make([]byte, 64<<10)
		rand.Read(buf) // documented never to fail
		for {
			if _, err := from.Write(buf); err != nil {
				return
			}
		}
	}()
	b.SetBytes(1 << 20)
	for b.Loop() {
		if _, err := io.CopyN(io.Discard, to, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
