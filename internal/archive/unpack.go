package archive

import (
	"archive/tar"
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// maxName is the longest path that a kernel takes.
const maxName = 4096

// Unpack unpacks a tar to a place. Its first entry is what goes there; a directory that is there already is added to.
func Unpack(r io.Reader, to Place, o Options) (Sum, error) {
	in := &counted{r: bufio.NewReaderSize(r, buffer)}
	u := &unpacker{Options: o, in: in, tr: tar.NewReader(in), buf: make([]byte, buffer)}
	parent, err := os.OpenRoot(to.Dir)
	if err != nil {
		return Sum{}, err
	}
	defer parent.Close()
	first, err := u.next()
	if errors.Is(err, io.EOF) {
		err = errors.New("the archive is empty")
	}
	if err != nil {
		return Sum{}, err
	}
	if u.base, err = cleanName(first.Name); err != nil {
		return Sum{}, err
	}
	if first.Typeflag != tar.TypeDir {
		if to.Name == "." {
			return Sum{}, errors.New("the archive begins with no directory, and one was expected")
		}
		u.root = parent
		err = u.single(first, to.Name)
	} else {
		err = u.tree(parent, first, to.Name)
	}
	return u.sum, err
}

// unpacker reads a tar.
type unpacker struct {
	Options
	in   *counted
	tr   *tar.Reader
	buf  []byte
	root *os.Root // nothing is written outside of it
	base string   // what all names in the tar begin with
	open []openDir
	sum  Sum
}

// openDir is a directory on the way to what is being unpacked. It gets its mode and its time when everything in it is there:
// it may be one in which nobody may write.
type openDir struct {
	rel string
	h   *tar.Header
}

// single takes a tar of one thing.
func (u *unpacker) single(h *tar.Header, name string) error {
	if err := u.entry(h, name); err != nil {
		return err
	}
	switch _, err := u.next(); {
	case err == nil:
		return errors.New("the archive of one file has more in it; it is not believed")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// tree takes a tar of a directory.
func (u *unpacker) tree(parent *os.Root, top *tar.Header, name string) error {
	u.root = parent
	if name != "." {
		if err := u.mkdir(name); err != nil {
			return err
		}
		root, err := parent.OpenRoot(name)
		if err != nil {
			return err
		}
		defer root.Close()
		u.root = root
		u.open = append(u.open, openDir{".", top})
	}
	for {
		h, err := u.next()
		if errors.Is(err, io.EOF) {
			return u.leave("")
		}
		if err != nil {
			return err
		}
		rel, err := u.relative(h.Name)
		if err != nil {
			return err
		}
		if err := u.leave(rel); err != nil {
			return err
		}
		if err := u.entry(h, rel); err != nil {
			return fmt.Errorf("%q: %w", rel, err)
		}
	}
}

// next reads the head of the next entry, and io.EOF where the tar says that it ends.
func (u *unpacker) next() (*tar.Header, error) {
	for {
		u.in.zeros = 0
		h, err := u.tr.Next()
		switch {
		case errors.Is(err, io.EOF) && u.in.zeros < 1024:
			return nil, fmt.Errorf("the archive breaks off: %w", io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		case err != nil:
			return nil, fmt.Errorf("reading the archive: %w", err)
		case h.Typeflag == tar.TypeXGlobalHeader:
			continue
		}
		return h, nil
	}
}

// counted knows how many zeros came last: two blocks of them end a tar, which the reader of tars does not insist on.
type counted struct {
	r     io.Reader
	zeros int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	i := n
	for i > 0 && n-i < 1024 && p[i-1] == 0 {
		i--
	}
	if i > 0 {
		c.zeros = 0
	}
	c.zeros += n - i
	return n, err
}

func cleanName(name string) (string, error) {
	if len(name) > maxName || strings.ContainsRune(name, 0) {
		return "", errors.New("the archive has a name that no file can have")
	}
	return path.Clean("/" + name)[1:], nil
}

// relative is what a name means below the first entry.
func (u *unpacker) relative(name string) (string, error) {
	clean, err := cleanName(name)
	if err != nil {
		return "", err
	}
	rel, below := clean, true
	if u.base != "" {
		rel, below = strings.CutPrefix(clean, u.base+"/")
	}
	if clean == u.base {
		return ".", nil
	}
	if !below || rel == "" {
		return "", fmt.Errorf("the archive has %.200q in it, which is not below %.200q where it belongs; it is not believed", name, u.base)
	}
	return rel, nil
}

// entry unpacks one thing.
func (u *unpacker) entry(h *tar.Header, rel string) error {
	if rel == "." && h.Typeflag == tar.TypeDir {
		return nil // said again
	}
	if dir := path.Dir(rel); dir != "." {
		if err := u.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.mkdir(rel); err != nil {
			return err
		}
		u.open = append(u.open, openDir{rel, h})
		return nil
	case tar.TypeReg:
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return errSparse
			}
		}
		return u.replace(h, rel, u.file)
	case tar.TypeGNUSparse:
		return errSparse
	case tar.TypeSymlink:
		return u.replace(h, rel, func(h *tar.Header, name string) error { return u.root.Symlink(h.Linkname, name) })
	case tar.TypeLink:
		old, err := u.relative(h.Linkname)
		if err != nil {
			return err
		}
		return u.replace(h, rel, func(_ *tar.Header, name string) error { return u.root.Link(old, name) })
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		u.warn("%q is left out: it is %s", rel, kind(h.FileInfo().Mode()))
		return nil
	}
	u.warn("%q is left out: nobody knows what kind %q is", rel, h.Typeflag)
	return nil
}

// errSparse: a few bytes that claim to be terabytes. No Engine sends such.
var errSparse = errors.New("the archive has a sparse file in it, which is not taken")

// mkdir makes a directory that can be filled, where there is none.
func (u *unpacker) mkdir(rel string) error {
	info, err := u.root.Lstat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return u.root.Mkdir(rel, 0o700)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is there and no directory; a directory cannot replace it", rel)
	case info.Mode().Perm()&0o700 != 0o700:
		return u.root.Chmod(rel, info.Mode().Perm()|0o700)
	}
	return nil
}

// replace makes something under a name of its own and moves it to where it belongs once it is complete.
func (u *unpacker) replace(h *tar.Header, rel string, create func(h *tar.Header, name string) error) error {
	info, err := u.root.Lstat(rel)
	if err == nil && info.IsDir() {
		return fmt.Errorf("%s is there and a directory; nothing else can replace it", rel)
	}
	name := path.Join(path.Dir(rel), ".argosy-"+rand.Text())
	err = create(h, name)
	if err == nil && h.Typeflag != tar.TypeLink && u.Owners {
		err = u.root.Lchown(name, h.Uid, h.Gid)
	}
	if err == nil && h.Typeflag == tar.TypeReg {
		err = u.finish(name, h) // after the owner: changing that takes the set-id bits away
	}
	if err == nil {
		err = u.root.Rename(name, rel)
	}
	if err != nil || h.Typeflag == tar.TypeLink { // renaming one name of a file to another does nothing
		_ = u.root.Remove(name)
	}
	if err == nil {
		u.sum.Files++
	}
	return err
}

func (u *unpacker) file(_ *tar.Header, name string) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, u.tr, u.buf)
	u.sum.Bytes += n
	return errors.Join(err, f.Close())
}

// finish gives a file or directory the mode and the time that the archive says.
func (u *unpacker) finish(rel string, h *tar.Header) error {
	mode := h.FileInfo().Mode()
	keep := fs.ModePerm
	if u.Owners {
		keep |= fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	}
	if err := u.root.Chmod(rel, mode&keep); err != nil {
		return err
	}
	if year := h.ModTime.Year(); year < 1970 || year > 2260 {
		return nil
	}
	return u.root.Chtimes(rel, time.Time{}, h.ModTime)
}

// leave finishes the directories that next is not below.
func (u *unpacker) leave(next string) error {
	for len(u.open) > 0 {
		d := u.open[len(u.open)-1]
		if next != "" && (d.rel == "." || strings.HasPrefix(next, d.rel+"/") || next == d.rel) {
			return nil
		}
		u.open = u.open[:len(u.open)-1]
		if u.Owners {
			if err := u.root.Lchown(d.rel, d.h.Uid, d.h.Gid); err != nil {
				return err
			}
		}
		if err := u.finish(d.rel, d.h); err != nil {
			return err
		}
	}
	return nil
}
