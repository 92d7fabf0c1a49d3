package server

import (
	"context"
	"path"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// maxPath is the longest path that a kernel takes.
const maxPath = 4096

func (s streamService) Copy(ctx context.Context, stream *connect.BidiStream[argosyv1.CopyRequest, argosyv1.CopyResponse]) error {
	first, err := firstMessage(ctx, stream)
	if err != nil {
		return err
	}
	start := first.GetStart()
	if err := checkCopy(start); err != nil {
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
	leave, err := s.takeRelay()
	if err != nil {
		return err
	}
	defer leave()
	work := proto.CloneOf(start)
	work.Key = sources[0].key
	what := map[argosyv1.CopyKind]string{argosyv1.CopyKind_COPY_KIND_READ: "files read", argosyv1.CopyKind_COPY_KIND_WRITE: "files written"}[start.Kind]
	if what != "" {
		if err := s.security(ctx, work.Key, work.Member, what, work.Path); err != nil {
			return err
		}
	}
	a, err := s.ask(ctx, sources[0].machine, &argosyv1.Work{Kind: &argosyv1.Work_Copy{Copy: work}})
	if err != nil {
		return err
	}
	defer a.done()
	return relay(ctx, a, stream, func(m *argosyv1.AttachRequest) (bool, error) {
		switch d := m.Data.(type) {
		case *argosyv1.AttachRequest_Stat:
			return false, stream.Send(&argosyv1.CopyResponse{Data: &argosyv1.CopyResponse_Stat{Stat: d.Stat}})
		case *argosyv1.AttachRequest_Flow:
			return false, stream.Send(&argosyv1.CopyResponse{Data: &argosyv1.CopyResponse_Flow{Flow: d.Flow}})
		case *argosyv1.AttachRequest_End:
			return true, stream.Send(&argosyv1.CopyResponse{Data: &argosyv1.CopyResponse_End{End: d.End}})
		}
		return false, nil
	})
}

// checkCopy refuses what cannot be asked of any machine.
func checkCopy(w *argosyv1.CopyWork) error {
	if w == nil || w.Member == "" || w.Kind == argosyv1.CopyKind_COPY_KIND_UNSPECIFIED {
		return invalid("copying needs a replica, a container, a path and which way")
	}
	if !path.IsAbs(w.Path) || len(w.Path) > maxPath || strings.ContainsRune(w.Path, 0) {
		return invalid("%q is no path in a container: it begins with / and has at most %d bytes", clip(w.Path), maxPath)
	}
	return wholeKey(w.Key)
}
