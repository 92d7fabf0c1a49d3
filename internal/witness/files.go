package witness

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// files are where the table is: two, written in turn, so that one is whole whenever the power fails.
type files struct {
	slots [2]*os.File
	room  [2]int64 // how many bytes each has on disk
}

// firstRoom is how much room a file has from the beginning, in bytes: for about two thousand claims.
const firstRoom = 512 << 10

func openFiles(dir string) (*files, error) {
	f := &files{}
	for i := range f.slots {
		path := filepath.Join(dir, fmt.Sprint("leases-", i))
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the lease table: %w", err), f.close())
		}
		f.slots[i] = file
		st, err := file.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the lease table: %w", err), f.close())
		}
		f.room[i] = st.Size()
	}
	return f, nil
}

// read returns the table, and whether it is surely the newest; why says otherwise.
func (f *files) read() (t witness.Table, whole bool, why string, err error) {
	var texts [2][]byte
	for i, file := range f.slots {
		if texts[i], err = io.ReadAll(io.NewSectionReader(file, 0, min(f.room[i], claims.MaxFrame+4096))); err != nil {
			return t, false, "", fmt.Errorf("reading the lease table: %w", err)
		}
	}
	t, whole, why = witness.Choose(texts[0], texts[1])
	return t, whole, why, nil
}

// write puts a table on disk, in the file that does not have the last one.
func (f *files) write(t witness.Table) error {
	text, err := witness.Encode(t)
	if err != nil {
		return err
	}
	i := int(t.Serial % 2)
	if err := f.grow(i, int64(len(text))); err != nil {
		return fmt.Errorf("making room for the lease table: %w", err)
	}
	if _, err := f.slots[i].WriteAt(text, 0); err != nil {
		return fmt.Errorf("writing the lease table: %w", err)
	}
	if err := unix.Fdatasync(int(f.slots[i].Fd())); err != nil {
		return fmt.Errorf("writing the lease table to disk: %w", err)
	}
	return nil
}

// grow gives a file room for at least n bytes, and for as much again, so that it seldom has to.
func (f *files) grow(i int, n int64) error {
	if n <= f.room[i] {
		return nil
	}
	room := max(firstRoom, 2*n)
	if err := unix.Fallocate(int(f.slots[i].Fd()), 0, 0, room); errors.Is(err, unix.EOPNOTSUPP) {
		err = f.slots[i].Truncate(room) // a file system that cannot promise room
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := f.slots[i].Sync(); err != nil {
		return err
	}
	f.room[i] = room
	return nil
}

func (f *files) close() error {
	var errs []error
	for _, file := range f.slots {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// lock keeps a second witness from the same directory.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the witness's directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s belongs to a witness that runs: stop that one first", dir), f.Close())
	}
	return f, nil
}

// readIfThere reads a file, of which nothing is returned while there is none.
func readIfThere(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
