package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Fence runs NAME fence.
func (p Programs) Fence(ctx context.Context, r Request) error { return p.run(ctx, "fence", r) }

// Allow runs NAME allow.
func (p Programs) Allow(ctx context.Context, r Request) error { return p.run(ctx, "allow", r) }

// afterKill is how long a program that was killed may go on holding its output open, through something that left its group.
const afterKill = time.Second

func (p Programs) run(ctx context.Context, verb string, r Request) error {
	f, err := p.open(r.Program)
	if err != nil {
		return err
	}
	defer f.Close()
	limit := cmp.Or(p.Limit, Limit)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// By its path and not by the open file, as a script would not find itself by /proc/self/fd. The directory is root's, so it is the same.
	cmd := exec.CommandContext(ctx, filepath.Join(p.Dir, r.Program), verb)
	cmd.Dir, cmd.Env = "/", r.environment()
	// It does not outlive this process: nobody would know how it ends. What the kernel watches is the thread that started it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = afterKill
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun := time.Now()
	err = cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
	}
	return r.outcome(ctx, verb, said.line(), time.Since(begun), err)
}

// outcome puts into words how a program ended.
func (r Request) outcome(ctx context.Context, verb, said string, took time.Duration, err error) error {
	var exit *exec.ExitError
	name := r.Program + " " + verb
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
		return fmt.Errorf("%s left something behind that goes on, so it confirms nothing", name)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("%s was killed after %s", name, took.Round(100*time.Millisecond))
	case ctx.Err() != nil:
		return fmt.Errorf("%s was broken off: %w", name, ctx.Err())
	case errors.As(err, &exit) && exit.Exited():
		err = fmt.Errorf("%s ended with status %d", name, exit.ExitCode())
	case errors.As(err, &exit):
		err = fmt.Errorf("%s was ended by %v", name, exit.Sys().(syscall.WaitStatus).Signal())
	default:
		err = fmt.Errorf("%s: %w", name, err)
	}
	if said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// environment is all that a program is told.
func (r Request) environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C.UTF-8",
		"ARGOSY_FENCE_MACHINE=" + r.Machine,
		"ARGOSY_FENCE_MACHINE_NAME=" + r.Name,
		"ARGOSY_FENCE_ADDRESS=" + r.Address,
		"ARGOSY_FENCE_VOLUME=" + r.Volume,
		"ARGOSY_FENCE_SOURCE=" + r.Source,
		"ARGOSY_FENCE_SESSION=" + r.Session,
	}
}

// mostLine bounds what is kept of a line, in bytes.
const mostLine = 300

// tail keeps the last line that has something in it of whatever is written, and of that the beginning.
type tail struct {
	last, now []byte
}

func (t *tail) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case c == '\n' || c == '\r':
			if len(strings.TrimSpace(string(t.now))) > 0 {
				t.last = append(t.last[:0], t.now...)
			}
			t.now = t.now[:0]
		case len(t.now) < mostLine:
			t.now = append(t.now, c)
		}
	}
	return len(b), nil
}

// line is that line, with nothing in it that a terminal would obey.
func (t *tail) line() string {
	text := strings.TrimSpace(string(t.now))
	if text == "" {
		text = strings.TrimSpace(string(t.last))
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?")))
}
