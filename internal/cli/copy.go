package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/archive"
	"github.com/argosy-cluster/argosy/internal/flow"
)

func (a *app) copyCmd() *cobra.Command {
	cp := &copier{app: a}
	cmd := &cobra.Command{
		Use:   "cp APP/STACK.NUMBER/CONTAINER:PATH LOCAL | LOCAL APP/STACK.NUMBER/CONTAINER:PATH",
		Short: "Copy files from a container or to one",
		Long: `Copy files from a container or to one, which need not run and needs no tools of its own.

It means what docker cp means by it: a directory is copied with all that is in it, into a directory that exists or under the
name given; SRC/. is what is in the directory without itself. A path in the container is taken from /. A local path with a
colon in it is written with ./ before it. The local side may be -, for a tar on standard input or output.

What is copied to a container is root's there, and what is copied from one belongs to you; --archive keeps owners and groups
by their numbers, which takes root here. Symbolic links are copied as they are, and never followed out of where the files
go. Devices, pipes and sockets are left out. A local file appears when it is complete; a copy to a container that is
interrupted leaves what had arrived.`,
		Example: `  argosy cp shop/lamp.3/apache:/var/log/apache2 logs
  argosy cp index.php shop/lamp.3/apache:/var/www/html/
  argosy cp site/. shop/lamp.3/apache:/var/www/html
  argosy cp shop/lamp.3/mysql:/var/lib/mysql - | gzip > mysql.tar.gz`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeCopy,
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := parseCopyPath(args[0])
			if err != nil {
				return err
			}
			dst, err := parseCopyPath(args[1])
			if err != nil {
				return err
			}
			switch {
			case src.remote && dst.remote:
				return usageError("one side has to be local; to copy between containers: argosy cp %s - | argosy cp - %s", args[0], args[1])
			case !src.remote && !dst.remote:
				return usageError("neither side is in a container: write APP/STACK.NUMBER/CONTAINER:PATH, for example shop/lamp.3/apache:/tmp")
			}
			if cp.c, err = a.connect(); err != nil {
				return err
			}
			if src.remote {
				return cp.from(cmd.Context(), src, dst.path)
			}
			return cp.to(cmd.Context(), src.path, dst)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&cp.follow, "follow-link", "L", false, "copy what SRC leads to, where it is a symbolic link")
	flags.BoolVarP(&cp.owners, "archive", "a", false, "keep owners and groups")
	flags.BoolVarP(&cp.quiet, "quiet", "q", false, "say nothing of progress and success")
	return cmd
}

// copyPath is one side of a copy.
type copyPath struct {
	remote bool
	target target
	path   string
}

func (p copyPath) String() string {
	if !p.remote {
		return p.path
	}
	return fmt.Sprintf("%s/%s.%d/%s:%s", p.target.app, p.target.stack, p.target.number, p.target.member, p.path)
}

// parseCopyPath reads one side. Like docker cp, it takes what begins with / or . for local, whatever else is in it.
func parseCopyPath(s string) (copyPath, error) {
	where, in, both := strings.Cut(s, ":")
	if !both || strings.HasPrefix(s, "/") || strings.HasPrefix(s, ".") {
		if s == "" {
			return copyPath{}, usageError("an empty path names nothing")
		}
		return copyPath{path: s}, nil
	}
	t, err := parseReplica(where)
	if err != nil {
		return copyPath{}, err
	}
	if t.member == "" {
		return copyPath{}, usageError("%q: name the container too, for example %s/apache:%s", s, where, in)
	}
	if in == "" {
		return copyPath{}, usageError("%q: name a path in the container, for example %s:/tmp", s, where)
	}
	if !path.IsAbs(in) {
		in = "/" + in
	}
	return copyPath{remote: true, target: t, path: in}, nil
}

// copier copies for one command.
type copier struct {
	app                   *app
	c                     *connection
	follow, owners, quiet bool
	moved                 atomic.Int64 // bytes of the tar so far
}

func (cp *copier) options() archive.Options {
	return archive.Options{Owners: cp.owners, Warn: func(text string) { cp.app.note("argosy: %s", text) }}
}

// copying is a copy as it goes on between here and a machine.
type copying struct {
	bytes  *flow.End
	stat   chan *argosyv1.FileStat // closed at the end
	ended  chan struct{}
	result error // once ended is closed
	cancel context.CancelFunc
}

// open begins a copy; the caller calls cancel.
func (cp *copier) open(ctx context.Context, at copyPath, kind argosyv1.CopyKind) *copying {
	ctx, cancel := context.WithCancel(ctx)
	stream := cp.c.streams().Copy(ctx)
	// net/http looks at the context only when the request's body has ended.
	context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	x := &copying{stat: make(chan *argosyv1.FileStat, 1), ended: make(chan struct{}), cancel: cancel}
	x.bytes = flow.New(func(f *argosyv1.Flow) error {
		cp.moved.Add(int64(len(f.GetContent())))
		return stream.Send(&argosyv1.CopyRequest{Flow: f})
	})
	// An error of sending is told better by receiving.
	_ = stream.Send(&argosyv1.CopyRequest{Start: &argosyv1.CopyWork{Key: cp.app.key(at.target), Member: at.target.member, Kind: kind, Path: at.path}})
	go func() {
		defer close(x.ended)
		defer close(x.stat)
		err := errGoesOn
		for errors.Is(err, errGoesOn) {
			var m *argosyv1.CopyResponse
			if m, err = stream.Receive(); err == nil {
				err = cp.hear(x, m)
			}
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("the connection ended before the copy did")
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if x.result = err; err == nil {
			err = io.EOF
		}
		x.bytes.Fail(err)
	}()
	return x
}

var errGoesOn = errors.New("it goes on")

// hear takes what the server says; nil is the good end.
func (cp *copier) hear(x *copying, m *argosyv1.CopyResponse) error {
	switch d := m.Data.(type) {
	case *argosyv1.CopyResponse_Stat:
		select {
		case x.stat <- d.Stat:
		default: // said twice
		}
	case *argosyv1.CopyResponse_Flow:
		cp.moved.Add(int64(len(d.Flow.GetContent())))
		if err := x.bytes.Take(d.Flow); err != nil {
			return err
		}
	case *argosyv1.CopyResponse_End:
		if d.End.Error != "" {
			return errors.New(d.End.Error)
		}
		return nil
	}
	return errGoesOn
}

// stat is what is at the path of a copy, once it is known.
func (x *copying) looked() (*argosyv1.FileStat, error) {
	if s := <-x.stat; s != nil {
		return s, nil
	}
	<-x.ended
	if x.result != nil {
		return nil, x.result
	}
	return nil, errors.New("the machine does not say what is there")
}

// look asks what is at a path.
func (cp *copier) look(ctx context.Context, at copyPath) (*argosyv1.FileStat, error) {
	x := cp.open(ctx, at, argosyv1.CopyKind_COPY_KIND_STAT)
	defer x.cancel()
	return x.looked()
}

func whatIs(mode fs.FileMode) archive.What {
	if mode.IsDir() {
		return archive.Directory
	}
	return archive.File
}

// from copies out of a container.
func (cp *copier) from(ctx context.Context, src copyPath, dst string) error {
	if dst == "-" && isTerminal(cp.app.sys.Out) {
		return usageError("a tar on a terminal helps nobody: send standard output somewhere")
	}
	name := src.path
	if cp.follow {
		s, err := cp.look(ctx, src)
		if err != nil {
			return err
		}
		if s.LinkTarget != "" {
			src.path = s.LinkTarget
		}
	}
	x := cp.open(ctx, src, argosyv1.CopyKind_COPY_KIND_READ)
	defer x.cancel()
	s, err := x.looked()
	if err != nil {
		return err
	}
	defer cp.progress()()
	if dst == "-" {
		_, err := io.Copy(struct{ io.Writer }{cp.app.sys.Out}, x.bytes)
		return err
	}
	dst, there, err := localDestination(dst)
	if err != nil {
		return err
	}
	place, err := archive.Where(name, whatIs(fs.FileMode(s.Mode)), dst, there)
	if err != nil {
		return err
	}
	sum, err := archive.Unpack(x.bytes, place, cp.options())
	if err != nil {
		return err
	}
	return cp.say(src.String(), place.Path(), sum)
}

// localDestination follows a symbolic link to where it leads, as cp does, and says what is there.
func localDestination(dst string) (string, archive.What, error) {
	info, err := os.Stat(dst)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dst, archive.Nothing, nil
	case err != nil:
		return "", archive.Nothing, err
	case info.IsDir():
		return dst, archive.Directory, nil
	}
	if dst, err = filepath.EvalSymlinks(dst); err != nil {
		return "", archive.Nothing, err
	}
	return dst, archive.File, nil
}

// to copies into a container.
func (cp *copier) to(ctx context.Context, src string, dst copyPath) error {
	name, is := src, archive.Directory
	if src != "-" {
		if cp.follow {
			real, err := filepath.EvalSymlinks(src)
			if err != nil {
				return err
			}
			src = real
		}
		info, err := os.Lstat(src)
		if err != nil {
			return err
		}
		is = whatIs(info.Mode())
		if base := filepath.Base(name); base == ".." {
			if name, err = filepath.Abs(name); err != nil {
				return err
			}
		}
	}
	there := archive.Nothing
	// Where looking fails, writing says why.
	if s, err := cp.look(ctx, dst); err == nil {
		if s.LinkTarget != "" {
			dst.path = s.LinkTarget
			s, err = cp.look(ctx, dst)
		}
		if err == nil {
			there = whatIs(fs.FileMode(s.Mode))
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	place := archive.Place{Dir: dst.path, Name: "."}
	if src == "-" {
		if there != archive.Directory {
			return fmt.Errorf("there is no directory %s in the container to unpack the archive into", dst.path)
		}
	} else {
		var err error
		if place, err = archive.Where(name, is, dst.path, there); err != nil {
			return err
		}
	}
	dst.path = place.Dir
	x := cp.open(ctx, dst, argosyv1.CopyKind_COPY_KIND_WRITE)
	defer x.cancel()
	defer cp.progress()()
	sum, err := cp.send(x.bytes, src, place.Name)
	if err != nil {
		return cp.why(x, err)
	}
	if err := x.bytes.CloseWrite(); err != nil {
		return cp.why(x, err)
	}
	if <-x.ended; x.result != nil {
		return x.result
	}
	if src == "-" {
		return nil
	}
	dst.path = place.Path()
	return cp.say(src, dst.String(), sum)
}

func (cp *copier) send(to io.Writer, src, name string) (archive.Sum, error) {
	if src != "-" {
		return archive.Pack(to, src, name, cp.options())
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{cp.app.sys.In}, make([]byte, 256<<10))
	return archive.Sum{}, err
}

// why is the machine's reason, where that is why sending failed.
func (cp *copier) why(x *copying, err error) error {
	var local *fs.PathError
	if errors.As(err, &local) {
		return err
	}
	select {
	case <-x.ended:
		if x.result != nil {
			return x.result
		}
	default:
	}
	return err
}

func (cp *copier) say(src, dst string, sum archive.Sum) error {
	if cp.quiet {
		return nil
	}
	files := "1 file"
	if sum.Files != 1 {
		files = fmt.Sprintf("%d files", sum.Files)
	}
	cp.app.done("%s → %s: %s, %s", src, dst, files, size(sum.Bytes))
	return nil
}

// progress shows how much has been copied, on a terminal, when it takes more than a second. What it returns ends that.
func (cp *copier) progress() (end func()) {
	if cp.quiet || !isTerminal(cp.app.sys.Err) {
		return func() {}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		began := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		drawn := false
		for {
			select {
			case <-stop:
				if drawn {
					fmt.Fprint(cp.app.sys.Err, "\r\x1b[K")
				}
				return
			case <-tick.C:
				n := cp.moved.Load()
				fmt.Fprintf(cp.app.sys.Err, "\r\x1b[K%s copied, %s a second", size(n), size(int64(float64(n)/time.Since(began).Seconds())))
				drawn = true
				tick.Reset(200 * time.Millisecond)
			}
		}
	}()
	return func() {
		close(stop)
		<-done
	}
}
