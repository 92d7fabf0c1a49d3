package load

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/argosy-cluster/argosy/internal/image"
)

const (
	maxEntries = 10_000
	maxPath    = 1024
	maxHops    = 8 // from symbolic link to symbolic link
)

// entry is a file in an archive.
type entry struct {
	digest image.Digest
	offset int64 // of its content in tape.file
	size   int64
}

// tape is an archive that was read through once: what is in it, and where.
type tape struct {
	file    io.ReaderAt
	entries map[string]entry  // by clean name
	links   map[string]string // symbolic links, by clean name; targets are clean names within the archive
}

// limits bound what is read.
type limits struct {
	archive int64 // bytes in all, after gunzip
	blob    int64 // bytes of one entry
}

// record makes the tape of an archive that may be compressed with gzip. Unless r is a plain file, its content is kept in
// a temporary file without a name in tempDir, which goes when done is called or the process ends.
func record(ctx context.Context, r io.Reader, tempDir string, lim limits, read func(int64)) (t *tape, done func() error, err error) {
	src := bufio.NewReaderSize(r, 1<<20)
	magic, err := src.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read the archive: %w", err)
	}
	packed := len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b
	if f, ok := r.(*os.File); ok && !packed {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return nil, nil, fmt.Errorf("read the archive: %w", err)
			}
			t, err = scan(ctx, bufio.NewReaderSize(f, 1<<20), lim, read)
			if err != nil {
				return nil, nil, err
			}
			t.file = f
			return t, func() error { return nil }, nil
		}
	}
	in := io.Reader(src)
	if packed {
		if in, err = gzip.NewReader(src); err != nil {
			return nil, nil, fmt.Errorf("the archive is compressed and cannot be unpacked: %w", err)
		}
	}
	spool, err := nameless(tempDir)
	if err != nil {
		return nil, nil, err
	}
	t, err = scan(ctx, io.TeeReader(in, spool), lim, read)
	if err != nil {
		return nil, nil, errors.Join(err, spool.Close())
	}
	t.file = spool
	return t, spool.Close, nil
}

// nameless opens a temporary file that nobody else can open and no crash leaves behind.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "argosy-image-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file for the image (another directory can be chosen with TMPDIR): %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// scan reads a tar through. read is told how many bytes were read so far.
func scan(ctx context.Context, r io.Reader, lim limits, read func(int64)) (*tape, error) {
	raw := &position{ctx: ctx, r: r, limit: lim.archive, read: read}
	t := &tape{entries: map[string]entry{}, links: map[string]string{}}
	tr := tar.NewReader(raw)
	buf := make([]byte, 256<<10)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the archive cannot be read at byte %d: %w", raw.at, err)
		}
		if n >= maxEntries {
			return nil, fmt.Errorf("the archive has more than %d entries; no image needs that many", maxEntries)
		}
		if err := t.add(h, tr, raw.at, lim, buf); err != nil {
			return nil, err
		}
	}
	if len(t.entries) == 0 {
		return nil, errors.New("the archive is empty or no tar: give what `docker save` wrote")
	}
	return t, nil
}

func (t *tape) add(h *tar.Header, content io.Reader, offset int64, lim limits, buf []byte) error {
	name, err := within("", h.Name)
	if err != nil {
		return err
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse") {
			return fmt.Errorf("entry %q of the archive is a sparse file, which no image archive has", name)
		}
	}
	_, isEntry := t.entries[name]
	_, isLink := t.links[name]
	if (isEntry || isLink) && h.Typeflag != tar.TypeDir {
		return fmt.Errorf("the archive has two entries called %q", name)
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeSymlink:
		target, err := within(path.Dir(name), h.Linkname)
		if err != nil {
			return fmt.Errorf("link %q: %w", name, err)
		}
		t.links[name] = target
		return nil
	case tar.TypeReg:
	default:
		return fmt.Errorf("entry %q of the archive is neither a file nor a directory (type %q)", name, h.Typeflag)
	}
	if h.Size > lim.blob {
		return fmt.Errorf("entry %q of the archive has %d bytes; %d are allowed", name, h.Size, lim.blob)
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, content, buf); err != nil {
		return fmt.Errorf("the archive breaks off in entry %q: %w", name, err)
	}
	e := entry{digest: image.DigestOf([sha256.Size]byte(sum.Sum(nil))), offset: offset, size: h.Size}
	if hexa, ok := strings.CutPrefix(name, blobDir); ok && hexa != e.digest.Hex() {
		return fmt.Errorf("the archive is damaged: its entry %s has the digest %s", name, e.digest)
	}
	t.entries[name] = e
	return nil
}

// blobDir is where the OCI layout keeps content under its digest.
const blobDir = "blobs/sha256/"

// within returns the clean name of what name means as seen from directory dir of the archive, and refuses names that
// mean something outside.
func within(dir, name string) (string, error) {
	if len(name) > maxPath || strings.ContainsAny(name, "\x00\\") || path.IsAbs(name) {
		return "", fmt.Errorf("the archive has an entry with the name %.100q, which is not allowed", name)
	}
	clean := path.Join(dir, name)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("the archive has an entry with the name %.100q, which leads out of the archive", name)
	}
	return clean, nil
}

// find returns the file called name, by way of links.
func (t *tape) find(name string) (entry, error) {
	clean, err := within("", name)
	if err != nil {
		return entry{}, err
	}
	for range maxHops {
		if e, ok := t.entries[clean]; ok {
			return e, nil
		}
		target, ok := t.links[clean]
		if !ok {
			return entry{}, fmt.Errorf("the archive has no file %.100q: it is incomplete", name)
		}
		clean = target
	}
	return entry{}, fmt.Errorf("the archive's link %.100q leads nowhere", name)
}

// bytes returns the content of e, of at most limit bytes.
func (t *tape) bytes(e entry, limit int64) ([]byte, error) {
	if e.size > limit {
		return nil, fmt.Errorf("a document in the archive has %d bytes; %d are allowed", e.size, limit)
	}
	b := make([]byte, e.size)
	if _, err := io.ReadFull(t.open(e, 0), b); err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	return b, nil
}

func (t *tape) open(e entry, from int64) io.Reader {
	return io.NewSectionReader(t.file, e.offset+from, e.size-from)
}

// position knows where in a stream the reader is, and ends it at a limit or when ctx does. It is deliberately no
// io.Seeker: package tar would then skip without reading, and nothing would be kept of what it skips.
type position struct {
	ctx   context.Context
	r     io.Reader
	at    int64
	limit int64
	read  func(int64)
}

func (p *position) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	if p.at >= p.limit {
		return 0, fmt.Errorf("the archive is larger than %d bytes, the most that is allowed", p.limit)
	}
	n, err := p.r.Read(b)
	p.at += int64(n)
	p.read(p.at)
	return n, err
}
