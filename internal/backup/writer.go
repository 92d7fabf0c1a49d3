package backup

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// Writer writes a backup. An error of any method leaves a file that is no backup.
type Writer struct {
	head   Head
	trail  *trail
	sealed io.WriteCloser
	zipped *zstd.Encoder
	tar    *tar.Writer
	tally  tally
}

// Summary is what a backup came to.
type Summary struct {
	Head     Head     `json:"head"`
	Contents Contents `json:"contents"`
	Parts    int      `json:"parts"`
	// Bytes are of all parts; Size is the file's.
	Bytes int64 `json:"bytes"`
	Size  int64 `json:"size"`
	// Digest is the SHA-256 of the file without its last line, hexadecimal.
	Digest string `json:"digest"`
}

// NewWriter begins a backup. What the head says of the lock is filled in.
func NewWriter(out io.Writer, lock Lock, head Head, contents Contents) (*Writer, error) {
	to, err := lock.parse()
	if err != nil {
		return nil, err
	}
	head.Recipients, head.Locked = lock.Recipients, lock.Locked
	raw, err := head.encode()
	if err != nil {
		return nil, err
	}
	w := &Writer{head: head, trail: newTrail(out), tally: newTally()}
	if _, err := w.trail.Write(raw); err != nil {
		return nil, writing(err)
	}
	if w.sealed, err = age.Encrypt(w.trail, to...); err != nil {
		return nil, writing(err)
	}
	w.zipped, err = zstd.NewWriter(w.sealed, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return nil, writing(err)
	}
	w.tar = tar.NewWriter(w.zipped)
	contents.Head = digestOf(raw)
	w.tally.contents = contents
	return w, w.note(contentsPart, contents)
}

// window is how far back compression looks: what both ends hold in memory.
const window = 4 << 20

func writing(err error) error { return fmt.Errorf("writing the backup: %w", err) }

// Add writes a part, whose size has to be known.
func (w *Writer) Add(name string, size int64, r io.Reader) error {
	if err := checkName(name); err != nil {
		return err
	}
	if name == contentsPart || name == endPart {
		return fmt.Errorf("%q cannot name a part of a backup", name)
	}
	return w.add(name, size, r)
}

func (w *Writer) add(name string, size int64, r io.Reader) error {
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX}); err != nil {
		return writing(err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w.tar, sum), io.LimitReader(r, size))
	if err != nil {
		return writing(err)
	}
	if n < size {
		return fmt.Errorf("writing the backup: %s ended after %d of %d bytes: %w", name, n, size, io.ErrUnexpectedEOF)
	}
	return w.tally.add(name, size, sum)
}

// note writes a part of the backup's own.
func (w *Writer) note(name string, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return writing(err)
	}
	return w.add(name, int64(len(text)), newReader(text))
}

// Close ends the backup.
func (w *Writer) Close() (Summary, error) {
	e := w.tally.end()
	if err := w.note(endPart, e); err != nil {
		return Summary{}, err
	}
	if err := errors.Join(w.tar.Close(), w.zipped.Close(), w.sealed.Close()); err != nil {
		return Summary{}, writing(err)
	}
	digest := hex.EncodeToString(w.trail.sum.Sum(nil))
	if err := w.trail.finish(); err != nil {
		return Summary{}, writing(err)
	}
	return Summary{Head: w.head, Contents: w.tally.contents, Parts: e.Parts, Bytes: e.Bytes, Size: w.trail.n, Digest: digest}, nil
}

// tally counts parts, on both ends alike.
type tally struct {
	contents Contents
	parts    int
	bytes    int64
	chain    hash.Hash
}

func newTally() tally { return tally{chain: sha256.New()} }

func (t *tally) add(name string, size int64, sum hash.Hash) error {
	if t.parts++; t.parts > maxParts {
		return fmt.Errorf("a backup has at most %d parts", maxParts)
	}
	t.bytes += size
	fmt.Fprintf(t.chain, "%x %d %s\n", sum.Sum(nil), size, name)
	return nil
}

func (t *tally) end() end {
	return end{Parts: t.parts, Bytes: t.bytes, Digest: hex.EncodeToString(t.chain.Sum(nil))}
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
