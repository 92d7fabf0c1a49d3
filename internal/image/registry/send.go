package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Source is a blob to be sent.
type Source struct {
	Digest image.Digest
	Size   int64
	// Open returns the content from offset on. It may be called several times.
	Open func(offset int64) (io.ReadCloser, error)
}

// Sending is how a Sender did with one blob.
type Sending struct {
	Present bool  // the server had it
	Resumed int64 // bytes that the server had from an earlier attempt
	Sent    int64 // bytes that were given to the connection, repeated ones included
}

// Sender sends blobs, going on where an interruption left off.
type Sender struct {
	Client *Client
	// Piece is how many bytes go into one request; default 32 MiB.
	Piece int64
	// Tries is how often in a row a request may fail without the upload having moved; default 6.
	Tries int
	// Stall is how long nothing may move; default one minute. The server's last flush may take ten times that.
	Stall time.Duration
	// Wait waits between tries, or returns ctx's error; default a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// Send makes sure that the server has the blob. moved, if not nil, is told where the upload stands, in steps of
// whatever the connection takes; it may go back after an interruption.
func (s Sender) Send(ctx context.Context, repo Repo, src Source, moved func(at int64)) (Sending, error) {
	s = s.withDefaults()
	if moved == nil {
		moved = func(int64) {}
	}
	var (
		done    Sending
		started bool
		high    int64 // the furthest that the server confirmed
		corrupt int
		failed  int
	)
	for {
		up, err := s.claim(ctx, repo, src.Digest)
		if err == nil && up == nil {
			done.Present = !started
			moved(src.Size)
			return done, nil
		}
		if err == nil {
			if !started {
				started, done.Resumed, high = true, up.At, up.At
			}
			if up.At > high {
				high, failed = up.At, 0
			}
			var at int64
			if at, err = s.rest(ctx, up, src, &done.Sent, moved); err == nil {
				return done, nil
			}
			if at > high {
				high, failed = at, 0
			}
		}
		if isCode(err, "DIGEST_INVALID") {
			// The server threw the content away. Once may be the line's fault or an old beginning's.
			if corrupt++; corrupt > 1 {
				return done, fmt.Errorf("send %s: %w", src.Digest, err)
			}
			high = 0
		}
		if failed++; failed >= s.Tries || !worthRetrying(ctx, err) {
			return done, fmt.Errorf("send %s: %w", src.Digest, err)
		}
		if err := s.Wait(ctx, min(100*time.Millisecond<<failed, 5*time.Second)); err != nil {
			return done, err
		}
	}
}

func (s Sender) withDefaults() Sender {
	if s.Piece <= 0 {
		s.Piece = 32 << 20
	}
	if s.Tries <= 0 {
		s.Tries = 6
	}
	if s.Stall <= 0 {
		s.Stall = time.Minute
	}
	if s.Wait == nil {
		s.Wait = wait
	}
	return s
}

var errStalled = errors.New("the server did nothing for too long")

func (s Sender) claim(ctx context.Context, repo Repo, d image.Digest) (*Upload, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Stall, errStalled)
	defer cancel()
	up, err := s.Client.Claim(ctx, repo, d)
	return up, because(ctx, err)
}

func (s Sender) commit(ctx context.Context, up *Upload, d image.Digest) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*s.Stall, errStalled)
	defer cancel()
	return because(ctx, s.Client.Commit(ctx, up, d))
}

// because puts the reason why ctx ended in the place of the bare fact.
func because(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// rest sends what is missing from up on, and commits. It returns how far the server confirmed.
func (s Sender) rest(ctx context.Context, up *Upload, src Source, sent *int64, moved func(int64)) (int64, error) {
	if up.At > src.Size {
		// An older beginning that is longer than the whole: the commit fails and clears it away.
		return 0, s.commit(ctx, up, src.Digest)
	}
	moved(up.At)
	for up.At < src.Size {
		n := min(s.Piece, src.Size-up.At)
		next, err := s.piece(ctx, up, src, n, sent, moved)
		if err != nil {
			return up.At, err
		}
		if next.At != up.At+n {
			return up.At, fmt.Errorf("the server took %d bytes of %d", next.At-up.At, n)
		}
		up = next
	}
	return up.At, s.commit(ctx, up, src.Digest)
}

func (s Sender) piece(ctx context.Context, up *Upload, src Source, n int64, sent *int64, moved func(int64)) (*Upload, error) {
	r, err := src.Open(up.At)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSource, err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(s.Stall, func() { cancel(errStalled) })
	defer watch.Stop()
	c := &counter{r: io.LimitReader(r, n), at: up.At, moved: func(at int64) {
		watch.Reset(s.Stall)
		moved(at)
	}}
	next, err := s.Client.Append(ctx, up, c, n)
	err = because(ctx, err)
	at, broken := c.end()
	*sent += at - up.At
	if err != nil && broken != nil {
		return nil, fmt.Errorf("%w: %w", errSource, broken)
	}
	return next, err
}

// errSource marks an error of reading what is to be sent, which no repetition cures.
var errSource = errors.New("read what is to be sent")

// counter counts what the connection takes. A connection may still read when its request has failed already; after end
// it gets nothing more.
type counter struct {
	mu    sync.Mutex
	r     io.Reader
	at    int64
	moved func(int64)
	err   error
	ended bool
}

func (c *counter) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, io.ErrClosedPipe
	}
	n, err := c.r.Read(b)
	c.at += int64(n)
	if n > 0 {
		c.moved(c.at)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func (c *counter) end() (at int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	return c.at, c.err
}

func isCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// worthRetrying tells what may pass (a lost connection, a server that restarts, another sender of the same blob) from
// what will not.
func worthRetrying(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, errSource) {
		return false
	}
	var e *Error
	if !errors.As(err, &e) {
		return true
	}
	switch e.Status {
	case http.StatusConflict, http.StatusRequestedRangeNotSatisfiable, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusNotFound:
		return e.Code == "BLOB_UPLOAD_UNKNOWN"
	case http.StatusBadRequest:
		return e.Code == "DIGEST_INVALID" || e.Code == "SIZE_INVALID"
	}
	return false
}
