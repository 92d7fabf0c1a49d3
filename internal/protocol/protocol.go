// Package protocol says which versions of the protocol a release speaks, and has two that do not understand each other say so
// plainly, instead of failing somewhere later.
//
// The protocol has a number, which is raised only where an earlier release could not even ignore what is new; api/ only grows,
// so that is rare. A release speaks the number of the one before too. Each side says in a header of every request and
// answer what it speaks, the client's and the agent's `Argosy-Protocol: 1-2 v1.4.0` as the server's; a side that says nothing is of a
// release from before and speaks 1:
//
//	argosyv1connect.NewAppServiceClient(hc, base, protocol.Client(version.Version))
//	argosyv1connect.NewAppServiceHandler(svc, protocol.Server(version.Version))
package protocol

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
)

// What this release speaks.
const (
	oldest = 1
	newest = 1
)

const header = "Argosy-Protocol"

// Speaker is a side of a connection: which numbers it speaks, and its version, empty when that is not known.
type Speaker struct {
	Oldest, Newest uint32
	Version        string
}

// Own is this release.
func Own(version string) Speaker { return Speaker{oldest, newest, version} }

func (s Speaker) header() string {
	return fmt.Sprintf("%d-%d %s", s.Oldest, s.Newest, s.Version)
}

// mostHeader bounds what is read of a header.
const mostHeader = 128

// Parse reads a header. What is not one stands for a release from before there was any, or as good as that.
func Parse(text string) Speaker {
	before := Speaker{Oldest: 1, Newest: 1}
	if len(text) > mostHeader {
		return before
	}
	numbers, version, _ := strings.Cut(text, " ")
	a, b, ok := strings.Cut(numbers, "-")
	first, err1 := strconv.ParseUint(a, 10, 32)
	last, err2 := strconv.ParseUint(b, 10, 32)
	if !ok || err1 != nil || err2 != nil || first == 0 || last < first {
		return before
	}
	for _, r := range version {
		if r <= ' ' || r > '~' {
			version = ""
		}
	}
	return Speaker{uint32(first), uint32(last), version}
}

func (s Speaker) name(otherwise string) string {
	if s.Version == "" {
		return otherwise
	}
	return s.Version
}

func (s Speaker) speaks() string {
	if s.Oldest == s.Newest {
		return fmt.Sprintf("protocol %d", s.Oldest)
	}
	return fmt.Sprintf("protocols %d to %d", s.Oldest, s.Newest)
}

// Meet says why a client, or an agent, and a server cannot understand each other; nil when they can.
func Meet(client, server Speaker) error {
	c, s := client.name("of an earlier release"), server.name("of an earlier release")
	switch {
	case client.Newest < server.Oldest:
		return fmt.Errorf("this argosy is too old for the cluster: it is %s and speaks %s, the server is %s and speaks %s: install argosy %s here", c, client.speaks(), s, server.speaks(), s)
	case client.Oldest > server.Newest:
		return fmt.Errorf("this argosy is too new for the cluster: it is %s and speaks %s, the server is %s and speaks %s: upgrade the servers first, or install argosy %s here", c, client.speaks(), s, server.speaks(), s)
	}
	return nil
}

// Client has a client or agent say what it speaks, and refuse answers that it could not understand.
func Client(version string) connect.ClientOption { return ClientAs(Own(version)) }

// ClientAs is Client for another release.
func ClientAs(own Speaker) connect.ClientOption { return connect.WithInterceptors(asClient{own}) }

// Server has a server refuse who could not understand it, and say what it speaks.
func Server(version string) connect.Interceptor { return ServerAs(Own(version)) }

// ServerAs is Server for another release.
func ServerAs(own Speaker) connect.Interceptor { return asServer{own} }

func refusal(client, server Speaker) error {
	if err := Meet(client, server); err != nil {
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return nil
}

type asClient struct{ own Speaker }

func (a asClient) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set(header, a.own.header())
		res, err := next(ctx, req)
		if err != nil {
			return res, err
		}
		return res, refusal(a.own, Parse(res.Header().Get(header)))
	}
}

func (a asClient) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set(header, a.own.header())
		return &wary{StreamingClientConn: conn, own: a.own}
	}
}

func (a asClient) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// wary looks at the head of the answer before it believes the first message.
type wary struct {
	connect.StreamingClientConn
	own    Speaker
	looked bool
}

func (w *wary) Receive(m any) error {
	if err := w.StreamingClientConn.Receive(m); err != nil || w.looked {
		return err
	}
	w.looked = true
	return refusal(w.own, Parse(w.ResponseHeader().Get(header)))
}

type asServer struct{ own Speaker }

func (a asServer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := refusal(Parse(req.Header().Get(header)), a.own); err != nil {
			return nil, err
		}
		res, err := next(ctx, req)
		if err == nil {
			res.Header().Set(header, a.own.header())
		}
		return res, err
	}
}

func (a asServer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (a asServer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := refusal(Parse(conn.RequestHeader().Get(header)), a.own); err != nil {
			return err
		}
		conn.ResponseHeader().Set(header, a.own.header())
		return next(ctx, conn)
	}
}
