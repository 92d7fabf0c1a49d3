package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Kind says whose fault it is that an image could not be resolved.
type Kind int

// The kinds of failure.
const (
	Unreachable  Kind = iota + 1 // no answer: wrong host name, no route, no TLS, too slow
	Unknown                      // the registry answers, and has no such image
	Unauthorised                 // the registry wants other credentials; it may also have no such image
	Busy                         // the registry wants to be asked later
	Broken                       // the registry answers something that makes no sense
)

// Error is why an image could not be resolved.
type Error struct {
	Kind Kind
	Ref  image.Ref
	Err  error
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	what, host := e.Ref.Familiar(), e.Ref.Host()
	switch e.Kind {
	case Unreachable:
		return fmt.Sprintf("image %s: its registry %s cannot be reached from the server (%v); if the image is on your own computer, send it with: argosy image load %s", what, host, e.Err, what)
	case Unknown:
		return fmt.Sprintf("image %s: registry %s has no such image or tag; check the name, or send your own with: argosy image load %s", what, host, what)
	case Unauthorised:
		return fmt.Sprintf("image %s: registry %s refuses; either there is no such image, or it needs other credentials", what, host)
	case Busy:
		return fmt.Sprintf("image %s: registry %s is busy or limits how often it may be asked (%v); try again later", what, host, e.Err)
	}
	return fmt.Sprintf("image %s: registry %s answers in a way that is not understood: %v", what, host, e.Err)
}

// Resolver asks registries.
type Resolver struct {
	// Transport carries the requests; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout is how long one image may take; default 10 seconds.
	Timeout time.Duration
	// Plain says which hosts (with port, if there is one) may be asked without TLS. Nil means loopback addresses only.
	Plain func(host string) bool
}

// Resolve returns the digest of what ref means now: of a manifest, or of an index when the image exists for several
// architectures. A ref with a digest means that digest, and nobody is asked. Errors are *Error, or ctx's.
func (r Resolver) Resolve(ctx context.Context, ref image.Ref, cred Credentials) (image.Digest, error) {
	if ref.Digest != "" {
		return ref.Digest, nil
	}
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	inner, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tag, err := name.NewTag(ref.Repository+":"+ref.Tag, name.StrictValidation)
	if err != nil {
		return "", &Error{Kind: Unknown, Ref: ref, Err: err}
	}
	opts := []remote.Option{
		remote.WithContext(inner), remote.WithTransport(r.transport()), remote.WithAuth(cred.authenticator()),
		remote.WithUserAgent("argosy"), remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes(),
	}
	d, err := ask(tag, opts)
	if err == nil {
		return d, nil
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("image %s: %w", ref.Familiar(), ctx.Err())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", timeout)
		return "", &Error{Kind: Unreachable, Ref: ref, Err: err}
	}
	return "", &Error{Kind: kindOf(err), Ref: ref, Err: err}
}

// ask asks in the cheap way, and in the dear one when a registry does not do the cheap one properly.
func ask(tag name.Tag, opts []remote.Option) (image.Digest, error) {
	head, err := remote.Head(tag, opts...)
	if err == nil {
		return image.ParseDigest(head.Digest.String())
	}
	var te *transport.Error
	if errors.As(err, &te) && te.StatusCode != http.StatusMethodNotAllowed || isNet(err) {
		return "", err
	}
	full, err := remote.Get(tag, opts...)
	if err != nil {
		return "", err
	}
	return image.ParseDigest(full.Digest.String())
}

func isNet(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errPlain)
}

func kindOf(err error) Kind {
	var te *transport.Error
	if errors.As(err, &te) {
		switch {
		case te.StatusCode == http.StatusUnauthorized, te.StatusCode == http.StatusForbidden:
			return Unauthorised
		case te.StatusCode == http.StatusNotFound:
			return Unknown
		case te.StatusCode == http.StatusTooManyRequests, te.StatusCode >= 500:
			return Busy
		}
		return Broken
	}
	if isNet(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Unreachable
	}
	return Broken
}

// maxAnswer is how much of any answer of a registry is read.
const maxAnswer = 8 << 20

var errPlain = errors.New("it would have to be asked without TLS, which is allowed for this host's own addresses only")

// guard bounds what registries send, and keeps credentials off the wire where there is no TLS.
type guard struct {
	next  http.RoundTripper
	plain func(host string) bool
}

func (r Resolver) transport() http.RoundTripper {
	g := guard{next: r.Transport, plain: r.Plain}
	if g.next == nil {
		g.next = http.DefaultTransport
	}
	if g.plain == nil {
		g.plain = loopback
	}
	return g
}

func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.plain(req.URL.Host) {
		return nil, errPlain
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = capped{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

type capped struct {
	io.Reader
	io.Closer
}
