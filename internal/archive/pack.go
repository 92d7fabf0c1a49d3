package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// Options for Pack and Unpack. The zero value is fine.
type Options struct {
	// Owners keeps owners and groups, by number, and the set-id bits where unpacking. Without it what is packed is root's,
	// and what is unpacked belongs to whoever unpacks it.
	Owners bool
	// Warn is told what was left out and why, or nil.
	Warn func(text string)
}

func (o Options) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn(fmt.Sprintf(format, args...))
	}
}

// Sum is what was moved.
type Sum struct {
	Files int   // and links
	Bytes int64 // of files
}

const buffer = 256 << 10

// packer writes a tar.
type packer struct {
	Options
	tw  *tar.Writer
	buf []byte
	sum Sum
}

// Pack writes a tar of what is at the local path src, which it calls name; the name "." packs the contents of a directory
// only. A symbolic link at src is packed as one, unless src ends in a slash.
func Pack(w io.Writer, src, name string, o Options) (Sum, error) {
	p := &packer{Options: o, tw: tar.NewWriter(w), buf: make([]byte, buffer)}
	info, err := os.Lstat(src)
	switch {
	case err != nil:
	case info.IsDir():
		err = p.tree(src, name)
	default:
		err = p.single(src, name)
	}
	if err == nil {
		err = p.tw.Close()
	}
	return p.sum, err
}

// single packs what is no directory.
func (p *packer) single(src, name string) error {
	dir, base := path.Split(path.Clean(src))
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := p.sum.Files
	if err := p.entry(root, base, name); err != nil {
		return err
	}
	if p.sum.Files == left {
		return fmt.Errorf("%s is no file, directory or symbolic link", src)
	}
	return nil
}

// tree packs a directory. It stays below it, whoever moves things about meanwhile.
func (p *packer) tree(src, name string) error {
	root, err := os.OpenRoot(src)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(rel string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if rel == "." && name == "." {
			return nil
		}
		return p.entry(root, rel, path.Join(name, rel))
	})
}

// entry packs one thing, and not what is below it.
func (p *packer) entry(root *os.Root, rel, name string) error {
	info, err := root.Lstat(rel)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return p.file(root, rel, name)
	case mode.IsDir():
		return p.head(info, name+"/", "")
	case mode&fs.ModeSymlink != 0:
		target, err := root.Readlink(rel)
		if err != nil {
			return err
		}
		p.sum.Files++
		return p.head(info, name, target)
	default:
		p.warn("%q is left out: it is %s", rel, kind(mode))
		return nil
	}
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no file, directory or symbolic link"
}

func (p *packer) head(info fs.FileInfo, name, link string) error {
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = name, "", ""
	if !p.Owners {
		h.Uid, h.Gid = 0, 0
	}
	return p.tw.WriteHeader(h)
}

// file packs a file as it is once it is open: what it was before may be something else by now.
func (p *packer) file(root *os.Root, rel, name string) error {
	f, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		p.warn("%q is left out: it has just become something else", rel)
		return nil
	}
	if err := p.head(info, name, ""); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{p.tw}, io.LimitReader(f, info.Size()), p.buf)
	p.sum.Bytes += n
	p.sum.Files++
	if err == nil && n < info.Size() {
		err = errors.New("it became shorter while it was read")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	return nil
}
