package server

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// maxExec is the largest command with its environment, in bytes; the kernel takes no more.
const maxExec = 128 << 10

func (s streamService) Exec(ctx context.Context, stream *connect.BidiStream[argosyv1.ExecRequest, argosyv1.ExecResponse]) error {
	first, err := firstMessage(ctx, stream)
	if err != nil {
		return err
	}
	start := first.GetStart()
	switch {
	case start == nil || len(start.Command) == 0 || start.Member == "":
		return invalid("exec needs a replica, a container and a command")
	case proto.Size(start) > maxExec:
		return invalid("a command of more than %d KiB cannot be run", maxExec>>10)
	}
	if err := wholeKey(start.Key); err != nil {
		return err
	}
	k := start.Key
	sel, err := s.selector(ctx, &argosyv1.ListReplicasRequest{Tenant: k.Tenant, App: k.App, Stack: k.Stack, Number: k.Number})
	if err != nil {
		return err
	}
	sources, err := s.sources(sel, start.Member)
	if err != nil {
		return err
	}
	work := proto.CloneOf(start)
	work.Key = sources[0].key
	if err := s.audit(ctx, work); err != nil {
		return err
	}
	a, err := s.ask(ctx, sources[0].machine, &argosyv1.Work{Kind: &argosyv1.Work_Exec{Exec: work}})
	if err != nil {
		return err
	}
	defer a.done()
	go passInput(stream, a)
	return passOutput(ctx, a, stream)
}

// passInput sends what the caller types to the machine, until the caller ends.
func passInput(from *connect.BidiStream[argosyv1.ExecRequest, argosyv1.ExecResponse], to *attachment) {
	for {
		m, err := from.Receive()
		if errors.Is(err, io.EOF) {
			_ = to.send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_StdinClosed{StdinClosed: true}})
		}
		if err != nil {
			return
		}
		var out *argosyv1.AttachResponse
		switch d := m.Data.(type) {
		case *argosyv1.ExecRequest_Stdin:
			out = &argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Stdin{Stdin: d.Stdin}}
		case *argosyv1.ExecRequest_StdinClosed:
			out = &argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_StdinClosed{StdinClosed: true}}
		case *argosyv1.ExecRequest_Resize:
			out = &argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Resize{Resize: d.Resize}}
		default:
			continue
		}
		if to.send(out) != nil {
			return
		}
	}
}

// passOutput sends what the command writes to the caller, until the command ends.
func passOutput(ctx context.Context, from *attachment, to *connect.BidiStream[argosyv1.ExecRequest, argosyv1.ExecResponse]) error {
	for {
		m, err := from.receive(ctx)
		if ctx.Err() != nil {
			return rpcError(ctx.Err())
		}
		if err != nil {
			return connect.NewError(connect.CodeUnavailable, errors.New("the machine's connection ended before the command did"))
		}
		var out *argosyv1.ExecResponse
		switch d := m.Data.(type) {
		case *argosyv1.AttachRequest_Stdout:
			out = &argosyv1.ExecResponse{Data: &argosyv1.ExecResponse_Stdout{Stdout: d.Stdout}}
		case *argosyv1.AttachRequest_Stderr:
			out = &argosyv1.ExecResponse{Data: &argosyv1.ExecResponse_Stderr{Stderr: d.Stderr}}
		case *argosyv1.AttachRequest_End:
			return to.Send(&argosyv1.ExecResponse{Data: &argosyv1.ExecResponse_End{End: d.End}})
		default:
			continue
		}
		if err := to.Send(out); err != nil {
			return err
		}
	}
}

// audit records who ran what in a container. What they type is not recorded.
func (s *Server) audit(ctx context.Context, w *argosyv1.ExecWork) error {
	return s.security(ctx, w.Key, w.Member, "command run", w.Command[0])
}
