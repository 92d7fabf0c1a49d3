package fence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/argosy-cluster/argosy/internal/pattern"
)

// Fencer has a storage refuse machines. Both may be called again whatever became of the last call.
type Fencer interface {
	// Check says why no storage can be reached by that name, nil when it may be tried.
	Check(name string) error
	// Fence returns nil once the storage refuses the machine, and nothing that it wrote is under way any more.
	Fence(ctx context.Context, r Request) error
	// Allow returns nil once the storage takes the machine back.
	Allow(ctx context.Context, r Request) error
}

// Request is about a machine and a volume.
type Request struct {
	// Program is what the manifest calls the fence.
	Program string
	// Machine is an id; Name and Address are as the cluster knows them last, and may be empty.
	Machine, Name, Address string
	// Volume is the claim, tenant/app/stack.number/volume, and Source the device or what is mounted.
	Volume, Source string
	// Session is that of the machine's guard which held the claim.
	Session string
}

// Limit is for how long a program may run.
const Limit = 10 * time.Second

// Programs is a directory of them.
type Programs struct {
	Dir string
	// Limit is [Limit] when zero.
	Limit time.Duration
}

var word = pattern.New(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Check says why a program may not be run.
func (p Programs) Check(name string) error {
	f, err := p.open(name)
	if err != nil {
		return err
	}
	return f.Close()
}

// open finds a program. What is looked at is what is run: the file stays open.
func (p Programs) open(name string) (*os.File, error) {
	if !word.MatchString(name) {
		return nil, fmt.Errorf("%.64q cannot be the name of a fence: it is a word of small letters, digits and hyphens", name)
	}
	path := filepath.Join(p.Dir, name)
	dir, err := os.Lstat(p.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no directory %s of fence programs", p.Dir)
	case err != nil:
		return nil, fmt.Errorf("fence %s: %w", name, err)
	case !dir.IsDir():
		return nil, fmt.Errorf("%s is no directory", p.Dir)
	}
	if why := loose(dir); why != "" {
		return nil, fmt.Errorf("%s %s: chown root and chmod go-w it", p.Dir, why)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no fence program %s", path)
	case errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("%s is a symbolic link: put the program itself there", path)
	case err != nil:
		return nil, fmt.Errorf("fence %s: %w", name, err)
	}
	if err := fit(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func fit(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	if why := loose(info); why != "" {
		return fmt.Errorf("%s %s: chown root and chmod go-w it", path, why)
	}
	if info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("%s cannot be executed: chmod u+x it", path)
	}
	return nil
}

// loose says how others than root and this process's user could change a file, empty when they cannot.
func loose(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return "has no owner that could be known"
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Sprintf("belongs to user %d, and not to root or the server's user", st.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Sprintf("can be written by others (mode %04o)", info.Mode().Perm())
	}
	return ""
}
