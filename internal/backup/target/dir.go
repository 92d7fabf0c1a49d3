package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dir is a directory of this host. It has to be there: were it a mount that is not mounted, backups would fill another disk.
type dir string

// unfinished begins the names of files that are not whole yet.
const unfinished = ".unfinished-"

func (d dir) Put(ctx context.Context, name string, write func(io.Writer) error) (err error) {
	if filepath.Base(name) != name {
		return fmt.Errorf("%q is no file's name", name)
	}
	if _, err := os.Stat(string(d)); err != nil {
		return fmt.Errorf("the directory for backups has to be there, as a mount where it is one: %w", err)
	}
	f, err := os.CreateTemp(string(d), unfinished+name+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreGone(os.Remove(f.Name())))
		}
	}()
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), ctx.Err()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(string(d), name)); err != nil {
		return err
	}
	parent, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

func (d dir) Get(_ context.Context, name string) (io.ReadCloser, int64, error) {
	if filepath.Base(name) != name {
		return nil, 0, fmt.Errorf("%q is no file's name", name)
	}
	f, err := os.Open(filepath.Join(string(d), name))
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

func (d dir) List(context.Context) ([]File, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var out []File
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), unfinished) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, File{e.Name(), info.Size(), info.ModTime()})
	}
	return out, nil
}

func (d dir) Remove(_ context.Context, name string) error {
	if filepath.Base(name) != name {
		return fmt.Errorf("%q is no file's name", name)
	}
	return ignoreGone(os.Remove(filepath.Join(string(d), name)))
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
