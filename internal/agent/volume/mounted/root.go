package mounted

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mountinfo"
)

// Root is an open root of a mount. Everything about it is asked of the descriptor.
type Root struct {
	dir *os.File
	// Mount is the kernel's line about it.
	Mount mountinfo.Mount
	// Dev is the device number of what is in it.
	Dev uint64
}

// OpenRoot opens the root of the mount at a path. A directory on which nothing is mounted is refused.
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, volume.Refuse(volume.Unverified, "nothing is mounted at %s: the directory does not exist", path)
	}
	if err != nil {
		return nil, volume.Refuse(volume.Unverified, "what is mounted at %s does not answer: %w", path, err)
	}
	r := &Root{dir: os.NewFile(uintptr(fd), path)}
	if err := r.identify(path); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close lets go of it; a mount can be unmounted only then.
func (r *Root) Close() { _ = r.dir.Close() }

func (r *Root) fd() int { return int(r.dir.Fd()) }

// identify finds the mount of the descriptor in the kernel's list: by its id, not by its path.
func (r *Root) identify(path string) error {
	var st unix.Statx_t
	if err := unix.Statx(r.fd(), "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return volume.Refuse(volume.Unverified, "what is mounted at %s does not answer: %w", path, err)
	}
	switch {
	case st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 || st.Mask&unix.STATX_MNT_ID == 0:
		return volume.Refuse(volume.Unverified, "this kernel does not say what is mounted; Linux 5.8 or later does")
	case st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0:
		return volume.Refuse(volume.Unverified, "nothing is mounted at %s: it is a directory of the machine's own file system", path)
	}
	r.Dev = unix.Mkdev(st.Dev_major, st.Dev_minor)
	text, err := readBounded("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("look at the mounts: %w", err)
	}
	list, err := mountinfo.Parse(text)
	if err != nil {
		return fmt.Errorf("look at the mounts: %w", err)
	}
	m, ok := mountinfo.ByID(list, st.Mnt_id)
	if !ok {
		return volume.Refuse(volume.Unverified, "what was mounted at %s is not mounted any more", path)
	}
	if unix.Mkdev(m.Major, m.Minor) != r.Dev {
		return volume.Refuse(volume.Unverified, "what is mounted at %s is another device than the kernel's list of mounts says", path)
	}
	r.Mount = m
	return nil
}

// stat is what the file system says of itself.
func (r *Root) stat() (fs unix.Statfs_t, err error) {
	if err := unix.Fstatfs(r.fd(), &fs); err != nil {
		return fs, volume.Refuse(volume.Unverified, "the file system at %s does not answer: %w", r.dir.Name(), err)
	}
	return fs, nil
}

// Writable refuses a mount that cannot be written: mounted so, or made so by the file system after an error.
func (r *Root) Writable() error {
	fs, err := r.stat()
	if err != nil {
		return err
	}
	if fs.Flags&unix.ST_RDONLY != 0 || !r.Mount.Writable() {
		return volume.Refuse(volume.ReadOnly, "the file system of %s is read-only: it was mounted so, or its file system found an error and made it so; dmesg tells which", r.Mount.Source)
	}
	return nil
}

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// open opens a name in the root itself: no link, no other mount.
func (r *Root) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat2(r.fd(), name, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK), Resolve: beneath})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: r.dir.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), r.dir.Name()+"/"+name), nil
}

// ReadMark is the mark on the file system; nil when it has none.
func (r *Root) ReadMark() (*volume.Mark, error) {
	f, err := r.open(volume.MarkName, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	corrupt := func(err error) error {
		return volume.Refuse(volume.Damaged, "the mark of the volume on %s (%s) cannot be read, so whose data it is is not known: %w; look at it, and write {\"volume\": \"…\"} into it if you know", r.Mount.Source, volume.MarkName, err)
	}
	if err != nil {
		return nil, corrupt(err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, corrupt(errors.New("it is no file"))
	}
	text, err := io.ReadAll(io.LimitReader(f, volume.MaxMark+1))
	if err != nil {
		return nil, corrupt(err)
	}
	m, err := volume.ParseMark(text)
	if err != nil {
		return nil, corrupt(err)
	}
	return &m, nil
}

const newMark = volume.MarkName + ".new"

// WriteMark replaces the mark at once, durably. It also shows that the file system can be written.
func (r *Root) WriteMark(m volume.Mark) (err error) {
	defer func() {
		if errors.Is(err, unix.EROFS) {
			err = volume.Refuse(volume.ReadOnly, "the file system of %s is read-only: %w", r.Mount.Source, err)
		} else if err != nil {
			err = fmt.Errorf("write the mark of volume %s: %w", m.Volume, err)
		}
	}()
	if err := unix.Unlinkat(r.fd(), newMark, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	fd, err := unix.Openat2(r.fd(), newMark, &unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC, Mode: 0o600, Resolve: beneath})
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), newMark)
	_, err = f.Write(m.Encode())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := unix.Renameat(r.fd(), newMark, r.fd(), volume.MarkName); err != nil {
		return err
	}
	return r.dir.Sync()
}

// Fresh says whether nothing is on the file system but what making it, or a first use that was interrupted, leaves there; others
// names what else is.
func (r *Root) Fresh() (fresh bool, others []string, err error) {
	top, err := r.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false, nil, err
	}
	defer top.Close()
	names, err := top.Readdirnames(16)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, nil, err
	}
	for _, n := range names {
		if n == volume.DataName && r.empty(n) || n == "lost+found" || n == newMark {
			continue
		}
		others = append(others, n)
	}
	return len(others) == 0, others, nil
}

func (r *Root) empty(name string) bool {
	d, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer d.Close()
	names, err := d.Readdirnames(1)
	return errors.Is(err, io.EOF) && len(names) == 0
}

// readBounded reads a file of /proc whole, or not at all.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mountinfo.MaxSize+1))
	if err == nil && len(text) > mountinfo.MaxSize {
		err = mountinfo.ErrTooLarge
	}
	return text, err
}
