package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// Pause stops every process of a machine where it is, as a host does that suspends a virtual machine. Its clock goes on. Exec fails until
// Resume. The kernel is asked, not the Engine, whose own pause waits for ever where a command is about to begin in the machine: what
// starts the command waits for its frozen process, and what would thaw that waits for what starts the command (Engine 20.10).
func (l *Local) Pause(ctx context.Context, machine string) error {
	f, err := l.freezer(ctx, machine)
	if err == nil {
		l.paused.Store(machine, f)
		if err = f.set(ctx, true); err != nil {
			err = errors.Join(err, l.Resume(context.WithoutCancel(ctx), machine))
		}
	}
	if err != nil {
		return fmt.Errorf("pause machine %s: %w", machine, err)
	}
	return nil
}

// Resume undoes Pause. It asks nothing of the Engine, which answers nothing about a machine in which a command was about to begin when it
// was paused. One that was killed meanwhile is not paused either.
func (l *Local) Resume(ctx context.Context, machine string) error {
	f, paused := l.paused.LoadAndDelete(machine)
	if !paused {
		return nil
	}
	if err := f.(freezer).set(ctx, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("resume machine %s: %w", machine, err)
	}
	return nil
}

// freezer is the control group of a machine whose processes can be stopped together.
type freezer struct {
	file         string // what is written to
	frozen       string
	thawed       string
	state, shown string // what is read, and what stands there once all are stopped
}

const (
	cgroupRoot  = "/sys/fs/cgroup"
	freezeCheck = 10 * time.Millisecond
)

func (l *Local) freezer(ctx context.Context, machine string) (freezer, error) {
	found, err := l.docker.ContainerInspect(ctx, l.containerName(machine), client.ContainerInspectOptions{})
	if err != nil {
		return freezer{}, err
	}
	c := found.Container
	if c.State == nil || c.State.Pid <= 0 {
		return freezer{}, errors.New("it does not run")
	}
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.State.Pid), "cgroup"))
	if err != nil {
		return freezer{}, err
	}
	return freezerOf(string(text), c.ID)
}

// freezerOf finds the group among those of the machine's first process, as /proc shows them: that which the Engine named after the container.
func freezerOf(groups, id string) (f freezer, err error) {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || id == "" {
			continue
		}
		before, after, named := strings.Cut(parts[2], id)
		suffix, _, _ := strings.Cut(after, "/")
		dir := path.Clean("/" + before + id + suffix)
		switch {
		case !named:
		case parts[1] == "freezer": // which goes before the unified hierarchy, as that has none then
			state := filepath.Join(cgroupRoot, "freezer", dir, "freezer.state")
			return freezer{file: state, frozen: "FROZEN", thawed: "THAWED", state: state, shown: "FROZEN"}, nil
		case parts[0] == "0":
			dir = filepath.Join(cgroupRoot, dir)
			f = freezer{file: filepath.Join(dir, "cgroup.freeze"), frozen: "1", thawed: "0", state: filepath.Join(dir, "cgroup.events"), shown: "frozen 1"}
		}
	}
	if f.file == "" {
		return f, errors.New("it has no control group of its own that can be frozen")
	}
	return f, nil
}

// set stops all processes or lets them go on, and waits until that is so.
func (f freezer) set(ctx context.Context, frozen bool) error {
	word := f.thawed
	if frozen {
		word = f.frozen
	}
	if err := os.WriteFile(f.file, []byte(word), 0); err != nil {
		return err
	}
	for {
		text, err := os.ReadFile(f.state)
		if err != nil || strings.Contains(string(text), f.shown) == frozen {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(freezeCheck):
		}
	}
}
