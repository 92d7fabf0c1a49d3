package registry

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A transfer may take hours on a slow line, so neither the server's own time-outs nor any other fixed one fit it. What
// must not happen is that a peer holds a connection and does nothing. patientReader and patientWriter therefore push the
// connection's deadline ahead with each piece, and lift it at the end, for the next request on the same connection.

type patientReader struct {
	r      io.Reader
	rc     *http.ResponseController
	idle   time.Duration
	failed error // what the peer's side of the transfer ended with, if not io.EOF
}

func newPatientReader(w http.ResponseWriter, r io.Reader, idle time.Duration) *patientReader {
	return &patientReader{r: r, rc: http.NewResponseController(w), idle: idle}
}

func (p *patientReader) Read(b []byte) (int, error) {
	// Without support for deadlines (a test's recorder) the server's own time-outs remain.
	_ = p.rc.SetReadDeadline(time.Now().Add(p.idle))
	n, err := p.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		p.failed = err
	}
	return n, err
}

func (p *patientReader) done() { _ = p.rc.SetReadDeadline(time.Time{}) }

type patientWriter struct {
	http.ResponseWriter
	rc   *http.ResponseController
	idle time.Duration
}

func newPatientWriter(w http.ResponseWriter, idle time.Duration) *patientWriter {
	return &patientWriter{ResponseWriter: w, rc: http.NewResponseController(w), idle: idle}
}

func (p *patientWriter) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(p.idle))
	return p.ResponseWriter.Write(b)
}

func (p *patientWriter) done() { _ = p.rc.SetWriteDeadline(time.Time{}) }
