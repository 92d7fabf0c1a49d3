package slice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Groups are the cgroups of a machine, as far as freezing goes.
type Groups struct {
	// freezer is the root of the hierarchy that freezes.
	freezer string
	// v1 is the root of all hierarchies of cgroup v1; empty with cgroup v2 alone.
	v1 string
	// family is the name of the slice above those of claims.
	family string
}

const root = "/sys/fs/cgroup"

// Find finds out what an Engine on this machine uses: cgroup v2 where that is all there is, and else the freezer of v1. family is
// Family, or where several guards share a machine another name of two words for each.
func Find(family string) (*Groups, error) {
	if above, name, ok := strings.Cut(family, "-"); !ok || above == "" || name == "" || strings.Trim(family, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.Contains(name, "-") {
		return nil, fmt.Errorf("slices of claims cannot be below %q: two words with a hyphen are expected, as in %s", family, Family)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", root, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return &Groups{freezer: root, family: family}, nil
	}
	g := &Groups{freezer: filepath.Join(root, "freezer"), v1: root, family: family}
	if err := unix.Statfs(g.freezer, &st); err != nil || st.Type != unix.CGROUP_SUPER_MAGIC {
		return nil, fmt.Errorf("%s is no cgroup hierarchy: without a freezer nothing can be held back; mount it, or boot with cgroup v2", g.freezer)
	}
	return g, nil
}

// String says which kind it is.
func (g *Groups) String() string {
	if g.v1 != "" {
		return "cgroup v1"
	}
	return "cgroup v2"
}

func (g *Groups) dir(name string) string { return filepath.Join(g.freezer, g.Path(name)) }

// grave is where processes of v1 die, which cannot while they are frozen.
func (g *Groups) grave(name string) string {
	return strings.TrimSuffix(g.dir(name), suffix) + ".dying"
}

// Freeze makes the slice where it is not there, and freezes it. When it returns nothing in it runs.
func (g *Groups) Freeze(name string) error {
	if err := os.MkdirAll(g.dir(name), 0o755); err != nil {
		return fmt.Errorf("make the claim's slice: %w", err)
	}
	if err := g.set(name, true); err != nil {
		return fmt.Errorf("freeze the claim's slice: %w", err)
	}
	return nil
}

// Thaw lets what is in the slice run.
func (g *Groups) Thaw(name string) error {
	if err := os.MkdirAll(g.dir(name), 0o755); err != nil { // systemd removes those that nobody is in
		return fmt.Errorf("make the claim's slice: %w", err)
	}
	if err := g.set(name, false); err != nil {
		return fmt.Errorf("thaw the claim's slice: %w", err)
	}
	return nil
}

// freezeTime is for how long a process may take to stop where it is. One that waits for storage takes longer; it does so without
// touching the processor, but may have begun to write.
const freezeTime = 500 * time.Millisecond

func (g *Groups) set(name string, frozen bool) error {
	file, on, off := "cgroup.freeze", "1", "0"
	if g.v1 != "" {
		file, on, off = "freezer.state", "FROZEN", "THAWED"
	}
	value := off
	if frozen {
		value = on
	}
	if err := write(filepath.Join(g.dir(name), file), value); err != nil {
		return err
	}
	for limit := time.Now().Add(freezeTime); ; time.Sleep(time.Millisecond) {
		is, err := g.frozen(name)
		if err != nil || is == frozen {
			return err
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s has not become %s", g.dir(name), value)
		}
	}
}

func (g *Groups) frozen(name string) (bool, error) {
	if g.v1 != "" {
		text, err := os.ReadFile(filepath.Join(g.dir(name), "freezer.state"))
		return strings.TrimSpace(string(text)) == "FROZEN", err
	}
	text, err := os.ReadFile(filepath.Join(g.dir(name), "cgroup.events"))
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == "frozen 1" {
			return true, err
		}
	}
	return false, err
}

// Kill freezes the slice and kills everything in it until nobody is left, or ctx ends.
func (g *Groups) Kill(ctx context.Context, name string) error {
	for {
		froze := g.Freeze(name) // each time: it may have been removed and made again meanwhile
		left, err := g.strike(name)
		switch {
		case err != nil:
			return fmt.Errorf("kill what is in the claim's slice: %w", err)
		case left == 0:
			return froze
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes in %s do not die: %w", left, g.dir(name), errors.Join(ctx.Err(), froze))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// strike kills whom it finds in the slice, and says how many were there, the dying ones included.
func (g *Groups) strike(name string) (int, error) {
	if g.v1 == "" {
		list, err := processes(g.dir(name))
		if err != nil || len(list) == 0 {
			return 0, err
		}
		if err := write(filepath.Join(g.dir(name), "cgroup.kill"), "1"); errors.Is(err, fs.ErrNotExist) {
			killAll(list) // before Linux 5.14
		} else if err != nil {
			return 0, err
		}
		return len(list), nil
	}
	list, err := processes(g.dir(name))
	if err != nil {
		return 0, err
	}
	if len(list) > 0 {
		if err := os.MkdirAll(g.grave(name), 0o755); err != nil {
			return 0, err
		}
		killAll(list)
		for _, pid := range list {
			err := write(filepath.Join(g.grave(name), "cgroup.procs"), strconv.Itoa(pid))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return 0, err
			}
		}
	}
	dying, err := processes(g.grave(name))
	return len(list) + len(dying), err
}

func killAll(list []int) {
	for _, pid := range list {
		_ = unix.Kill(pid, unix.SIGKILL) // who is gone already is well
	}
}

// maxProcesses bounds how many are looked at in one go; who is left is found the next time.
const maxProcesses = 1 << 16

// processes lists those in a group and in those below it.
func processes(dir string) ([]int, error) {
	var list []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil // it was removed meanwhile, and only what is empty can be
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			// 0 is a process that this one cannot see, of another namespace of processes: it cannot be killed by number.
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && len(list) < maxProcesses {
				if pid == 0 {
					return fmt.Errorf("in %s is a process that cannot be seen from here", path)
				}
				list = append(list, pid)
			}
		}
		return nil
	})
	return list, err
}

// Remove removes the slice. It fails where somebody is in it.
func (g *Groups) Remove(name string) error {
	dirs := []string{g.dir(name), g.grave(name)}
	if g.v1 != "" {
		// An Engine makes its parent in every hierarchy.
		all, err := os.ReadDir(g.v1)
		if err != nil {
			return fmt.Errorf("remove the claim's slice: %w", err)
		}
		for _, h := range all {
			if h.IsDir() {
				dirs = append(dirs, filepath.Join(g.v1, h.Name(), g.Path(name)))
			}
		}
	}
	for _, dir := range dirs {
		if err := removeAll(dir); err != nil {
			return fmt.Errorf("remove the claim's slice: %w", err)
		}
	}
	return nil
}

// removeAll removes a group and those below it. Its files are not removed but go with it.
func removeAll(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.IsDir() {
			if err := removeAll(filepath.Join(dir, d.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// List names the slices of claims that there are.
func (g *Groups) List() ([]string, error) {
	all, err := os.ReadDir(filepath.Join(g.freezer, g.parents()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the slices of claims: %w", err)
	}
	var names []string
	for _, d := range all {
		if d.IsDir() && strings.HasPrefix(d.Name(), g.family+"-") && strings.HasSuffix(d.Name(), suffix) {
			names = append(names, d.Name())
		}
	}
	return names, nil
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
