// Package tool runs the programs that know file systems (mount, blkid, e2fsck, mke2fs, debugfs): by argument lists, never
// through a shell, in bounded time, and with a bound on what they say.
//
//	said, err := tool.Run(ctx, "blkid", "-p", "-o", "export", "--", "/dev/sdb")
//	if said.Code == 2 { … }
package tool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const maxSaid = 64 << 10 // bytes of each stream

// places are where such programs are; a service's PATH may lack them.
var places = []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"}

// Said is what a program answered.
type Said struct {
	Code     int
	Out, Err string
	// Cut: it said more than was kept.
	Cut bool
}

// ErrAbsent tells that a program is not on this machine.
var ErrAbsent = errors.New("is not installed on this machine")

// Run runs a program to its end, whatever it exits with. When ctx ends first it is killed; what it had begun in the kernel may
// still be done.
func Run(ctx context.Context, name string, args ...string) (Said, error) {
	program, err := find(name)
	if err != nil {
		return Said{}, err
	}
	var out, errs bounded
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = "/", &out, &errs, 2*time.Second
	cmd.Env = []string{"PATH=" + strings.Join(places, ":"), "LC_ALL=C", "LIBMOUNT_FSTAB=/dev/null", "DEBUGFS_PAGER=__none__", "PAGER=__none__"}
	err = cmd.Run()
	said := Said{Code: cmd.ProcessState.ExitCode(), Out: string(out.text), Err: string(errs.text), Cut: out.cut || errs.cut}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return said, fmt.Errorf("%s did not end in time: %w", name, ctx.Err())
	case err != nil && !errors.As(err, &exit):
		return said, fmt.Errorf("run %s: %w", name, err)
	case said.Code < 0:
		return said, fmt.Errorf("%s was ended: %w", name, err)
	}
	return said, nil
}

func find(name string) (string, error) {
	for _, dir := range places {
		path := filepath.Join(dir, name)
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s %w", name, ErrAbsent)
}

// Last is the last line that a program said, to be shown to people.
func (s Said) Last() string {
	return s.line(func(lines []string) string { return lines[len(lines)-1] })
}

// First is the first one, of programs that go on with advice.
func (s Said) First() string {
	return s.line(func(lines []string) string { return lines[0] })
}

func (s Said) line(of func([]string) string) string {
	for _, text := range []string{s.Err, s.Out} {
		if line := strings.TrimSpace(of(strings.Split(strings.TrimSpace(text), "\n"))); line != "" {
			return Plain(line)
		}
	}
	return fmt.Sprintf("it said nothing and ended with %d", s.Code)
}

// Plain is text from outside as it may be shown: one line, printable, not long.
func Plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
	if len(s) > 240 {
		s = s[:240] + "..."
	}
	return s
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	text []byte
	cut  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), maxSaid-len(b.text))
	b.text = append(b.text, p[:n]...)
	b.cut = b.cut || n < len(p)
	return len(p), nil
}
