package unitverify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/fault"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// ErrAbsent tells that there is no systemd-analyze on this machine.
var ErrAbsent = errors.New("systemd-analyze is not installed here, so systemd was not asked")

const (
	patience = 10 * time.Second
	maxSaid  = 64 << 10 // bytes
)

// Systemd has systemd judge a file as that of a unit; a template as its instance 1.
func Systemd(ctx context.Context, unit unitfile.Name, file *unitfile.File) (fault.Faults, error) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return nil, ErrAbsent
	}
	if unit.IsTemplate() {
		if unit, err = unit.Of("1"); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "argosy-verify-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for systemd-analyze: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // what is left is below the temporary directory
	path := filepath.Join(dir, unit.Full)
	if err := os.WriteFile(path, []byte(file.Text()), 0o600); err != nil {
		return nil, fmt.Errorf("write the unit for systemd-analyze: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said := &bounded{}
	cmd := exec.CommandContext(ctx, program, "verify", "--man=no", "--", path)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, said, said, time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_LOG_COLOR=0", "SYSTEMD_LOG_TARGET=console",
		"SYSTEMD_LOG_LEVEL=info", "SYSTEMD_LOG_LOCATION=0", "SYSTEMD_LOG_TIME=0", "SYSTEMD_UNIT_PATH=" + dir + ":"}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("systemd-analyze verify %s: %w", unit.Full, ctx.Err())
	case err != nil && !errors.As(err, &exit):
		return nil, fmt.Errorf("systemd-analyze verify %s: %w", unit.Full, err)
	}
	return Faults(unit, file, path, string(said.text)), nil
}

// Faults are what systemd-analyze said of a file that it was shown at path.
func Faults(unit unitfile.Name, file *unitfile.File, path, said string) fault.Faults {
	var c fault.Collector
	for line := range strings.Lines(said) {
		line = strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "\ufffd")
		if rest, ok := strings.CutPrefix(line, path+":"); ok {
			number, message, _ := strings.Cut(rest, ": ")
			if n, err := strconv.Atoi(number); err == nil && !here(message) {
				c.Add(file.FaultIn(n, "systemd: "+message))
			}
			continue
		}
		if message, ok := strings.CutPrefix(line, unit.Full+": "); ok && !here(message) {
			f := file.FaultIn(1, "systemd: "+message)
			c.Add(fault.Fault{File: f.File, Message: f.Message})
		}
	}
	return c.Sorted()
}

// here tells whether a message is about this machine, or only sums others up.
func here(message string) bool {
	for _, start := range []string{"Command ", "Failed to create ", "Unit configuration has fatal error", "Cannot add dependency job", "Failed to add dependency", "Unit is not loaded properly"} {
		if strings.HasPrefix(message, start) {
			return true
		}
	}
	return strings.HasSuffix(message, " not found.")
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ text []byte }

func (b *bounded) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), maxSaid-len(b.text))]...)
	return len(p), nil
}
