package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/flow"
)

// bytes makes a stream of bytes of the work's line, until ctx ends.
func (l *line) bytes(ctx context.Context, said <-chan *argosyv1.AttachResponse) *flow.End {
	end := flow.New(func(f *argosyv1.Flow) error {
		return l.send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Flow{Flow: f}})
	})
	go func() {
		for {
			var m *argosyv1.AttachResponse
			select {
			case <-ctx.Done():
				end.Fail(ctx.Err())
				return
			case m = <-said:
			}
			if m == nil {
				end.Fail(io.ErrUnexpectedEOF)
				return
			}
			if m.GetFlow() == nil {
				continue
			}
			if err := end.Take(m.GetFlow()); err != nil {
				end.Fail(err)
				return
			}
		}
	}()
	return end
}

// dial connects to a port of a member and moves bytes both ways until both sides have ended, or one broke.
func (d *Desk) dial(ctx context.Context, l *line, w *argosyv1.DialWork, said <-chan *argosyv1.AttachResponse) error {
	if w.GetPort() == 0 || w.GetPort() > 65535 {
		return fmt.Errorf("%d is no port", w.GetPort())
	}
	c, err := d.running(w.GetKey(), w.GetMember(), "its ports are those of its machine, so connect to that")
	if err != nil {
		return err
	}
	conn, err := d.cfg.Dial(ctx, c, uint16(w.GetPort()))
	if err != nil {
		return fmt.Errorf("%s/%s: %w", core.KeyOf(w.GetKey()), w.GetMember(), err)
	}
	defer conn.Close()
	if err := l.send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Dialled{Dialled: true}}); err != nil {
		return err
	}
	err = flow.Join(l.bytes(ctx, said), conn)
	if err == nil {
		return nil
	}
	// The container learns that this was no plain end.
	_ = conn.SetLinger(0)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN) {
		return fmt.Errorf("%s/%s reset the connection", core.KeyOf(w.GetKey()), w.GetMember())
	}
	return err
}

// idleTime is how long a copy may stand still. The Engine keeps the container locked while it copies: nobody can look at it or
// stop it until that is over.
const idleTime = 30 * time.Second

// errIdle ends a copy that stands still.
var errIdle = fmt.Errorf("nothing moved for %s, and the container is locked while files are copied: the copy was given up", idleTime)

// restless reads as long as something moves.
type restless struct {
	io.Reader
	timer *time.Timer
}

func (r restless) Read(p []byte) (int, error) {
	r.timer.Reset(idleTime)
	return r.Reader.Read(p)
}

// copy looks at, reads or writes a member's files. Its container need not run.
func (d *Desk) copy(ctx context.Context, l *line, w *argosyv1.CopyWork, said <-chan *argosyv1.AttachResponse) error {
	if !path.IsAbs(w.GetPath()) {
		return errors.New("a path in a container begins with /")
	}
	c, err := d.find(w.GetKey(), w.GetMember())
	if err == nil && c.Unit != nil {
		err = fmt.Errorf("%s/%s is a unit: it has no files of its own, but those of its machine", core.KeyOf(w.GetKey()), w.GetMember())
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(idleTime, func() { cancel(errIdle) })
	defer timer.Stop()
	err = d.move(ctx, l, w, c.ContainerID, timer, said)
	if errors.Is(context.Cause(ctx), errIdle) {
		return errIdle
	}
	return err
}

func (d *Desk) move(ctx context.Context, l *line, w *argosyv1.CopyWork, containerID string, timer *time.Timer, said <-chan *argosyv1.AttachResponse) error {
	switch w.GetKind() {
	case argosyv1.CopyKind_COPY_KIND_STAT:
		go input(ctx, nil, said)
		s, err := d.cfg.Engine.Stat(ctx, containerID, w.GetPath())
		if err != nil {
			return err
		}
		return l.send(stat(s))
	case argosyv1.CopyKind_COPY_KIND_READ:
		s, tar, err := d.cfg.Engine.ReadFiles(ctx, containerID, w.GetPath())
		if err != nil {
			return err
		}
		defer tar.Close()
		if err := l.send(stat(s)); err != nil {
			return err
		}
		to := l.bytes(ctx, said)
		if _, err := io.CopyBuffer(struct{ io.Writer }{to}, restless{tar, timer}, make([]byte, 64<<10)); err != nil {
			return fmt.Errorf("read %s: %w", w.GetPath(), err)
		}
		return to.CloseWrite()
	case argosyv1.CopyKind_COPY_KIND_WRITE:
		return d.cfg.Engine.WriteFiles(ctx, containerID, w.GetPath(), restless{l.bytes(ctx, said), timer})
	}
	return errors.New("this agent does not know this way of copying; upgrade it")
}

func stat(s docker.FileStat) *argosyv1.AttachRequest {
	out := &argosyv1.FileStat{Name: s.Name, Size: s.Size, Mode: uint32(s.Mode), LinkTarget: s.LinkTarget}
	if !s.Modified.IsZero() {
		out.Modified = timestamppb.New(s.Modified)
	}
	return &argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Stat{Stat: out}}
}
