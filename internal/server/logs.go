package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
)

// maxLogSources is how many containers one request may read at once.
const maxLogSources = 500

// streamService answers argosy.v1.StreamService; Exec is in exec.go, PortForward in forward.go, Copy in copy.go.
type streamService struct{ *Server }

// source is one container to read the log of, to run something in, to connect to or to copy from and to.
type source struct {
	key     *argosyv1.ReplicaKey
	member  string
	machine string
	name    string // the machine's
}

// sources finds the containers of an app that a request means.
func (s *Server) sources(sel selector, member string) ([]source, error) {
	if err := checkNames(sel.r.App, sel.r.Stack); err != nil {
		return nil, err
	}
	var out []source
	err := s.read(func(_ time.Time, v *leader.View) error {
		if v.App(sel.tenant, sel.r.App) == nil {
			return notFound("there is no app %s; see 'argosy apps'", sel.r.App)
		}
		replicas, err := sel.list(v)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, r := range replicas {
			for _, name := range v.MembersOf(state.KeyOf(r.Key).StackKey(), r.Revision) {
				known[name] = true
				if r.Machine != "" && (member == "" || name == member) {
					out = append(out, source{r.Key, name, r.Machine, v.MachineName(r.Machine)})
				}
			}
		}
		switch {
		case len(replicas) == 0:
			return notFound("app %s has no such replica; see 'argosy ps %s'", sel.r.App, sel.r.App)
		case member != "" && !known[member]:
			return notFound("there is no container or unit %s here; see 'argosy ps --members %s'", clip(member), sel.r.App)
		case len(out) == 0:
			return refused("it is on no machine yet: 'argosy explain' says why")
		}
		return nil
	})
	return out, err
}

func (s streamService) Logs(ctx context.Context, r *connect.Request[argosyv1.LogsRequest], out *connect.ServerStream[argosyv1.LogsResponse]) error {
	q := r.Msg
	if q.Since != nil && q.Since.CheckValid() != nil {
		return invalid("this is no time to begin at")
	}
	sel, err := s.selector(ctx, &argosyv1.ListReplicasRequest{Tenant: q.Tenant, App: q.App, Stack: q.Stack, Number: q.Number})
	if err != nil {
		return err
	}
	sources, err := s.sources(sel, q.Member)
	if err != nil {
		return err
	}
	if len(sources) > maxLogSources {
		return refused("%d containers are too many to read at once (%d are the most): name a stack, a replica or a container", len(sources), maxLogSources)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan *argosyv1.LogsResponse)
	var wg sync.WaitGroup
	for _, src := range sources {
		wg.Add(1)
		go func() {
			defer wg.Done()
			work := &argosyv1.LogsWork{Key: src.key, Member: src.member, Follow: q.Follow, Tail: q.Tail, All: q.All, Since: q.Since, Timestamps: q.Timestamps}
			if err := s.readLog(ctx, src, work, lines); err != nil && ctx.Err() == nil {
				warning := fmt.Sprintf("%s/%s on %s cannot be read: %s", state.KeyOf(src.key), src.member, src.name, plainError(err))
				sendTo(ctx, lines, &argosyv1.LogsResponse{Warning: warning})
			}
		}()
	}
	go func() {
		wg.Wait()
		close(lines)
	}()
	for m := range lines {
		if err := out.Send(m); err != nil {
			cancel()
			for range lines { // the readers have to end
			}
			return err
		}
	}
	return nil
}

func sendTo[T any](ctx context.Context, c chan<- T, v T) {
	select {
	case c <- v:
	case <-ctx.Done():
	}
}

func plainError(err error) string {
	var ce *connect.Error
	if errors.As(err, &ce) {
		return ce.Message()
	}
	return err.Error()
}

// readLog passes on one container's log until it ends or ctx does.
func (s *Server) readLog(ctx context.Context, src source, w *argosyv1.LogsWork, lines chan<- *argosyv1.LogsResponse) error {
	a, err := s.ask(ctx, src.machine, &argosyv1.Work{Kind: &argosyv1.Work_Logs{Logs: w}})
	if err != nil {
		return err
	}
	defer a.done()
	for {
		m, err := a.receive(ctx)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the machine's connection ended")
			}
			return err
		}
		switch d := m.Data.(type) {
		case *argosyv1.AttachRequest_Log:
			d.Log.Key, d.Log.Member = src.key, src.member
			sendTo(ctx, lines, &argosyv1.LogsResponse{Lines: []*argosyv1.LogLine{d.Log}})
		case *argosyv1.AttachRequest_End:
			if d.End.Error != "" {
				return errors.New(d.End.Error)
			}
			return nil
		}
	}
}
