package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
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

func newReader(b []byte) io.Reader { return bytes.NewReader(b) }

// Reader reads a backup, which may be anybody's.
type Reader struct {
	head   Head
	body   *body
	sealed io.Reader
	zipped *zstd.Decoder
	tar    *tar.Reader
	tally  tally
	part   *Part
	over   bool // the end was read and is right
}

// Part is a piece of a backup. Body is read before the next one is asked for; what is left of it is passed over.
type Part struct {
	Name string
	Size int64
	Body io.Reader

	sum hash.Hash
}

// ReadHead reads what may be known of a backup without a key.
func ReadHead(in io.Reader) (Head, error) {
	h, _, err := readHead(bufio.NewReader(in))
	return h, err
}

// Check reads a whole backup without a key: it finds whether the file was cut or has changed since, and not whether somebody
// put another in its place.
func Check(in io.Reader) (head Head, size int64, err error) {
	counted := &counter{in: in}
	b := newBody(counted)
	buffered := bufio.NewReaderSize(b, 64<<10)
	if head, _, err = readHead(buffered); err != nil {
		return head, counted.n, err
	}
	if _, err = io.Copy(io.Discard, buffered); err == nil {
		err = b.check()
	}
	return head, counted.n, err
}

type counter struct {
	in io.Reader
	n  int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err
}

// Open begins to read a backup. Close is to be called in the end.
func Open(in io.Reader, key Key) (*Reader, error) {
	r := &Reader{body: newBody(in), tally: newTally()}
	buffered := bufio.NewReaderSize(r.body, 64<<10)
	var raw []byte
	var err error
	if r.head, raw, err = readHead(buffered); err != nil {
		return nil, err
	}
	identities, err := key.open(Lock{Recipients: r.head.Recipients, Locked: r.head.Locked})
	if err != nil {
		return nil, err
	}
	if r.sealed, err = age.Decrypt(buffered, identities...); err != nil {
		var none *age.NoIdentityMatchError
		if errors.As(err, &none) && r.body.broken == nil {
			return nil, fmt.Errorf("%w: it was made for %s", ErrWrongKey, whom(r.head))
		}
		return nil, r.trouble(err)
	}
	r.zipped, err = zstd.NewReader(r.sealed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(2*window))
	if err != nil {
		return nil, r.trouble(err)
	}
	r.tar = tar.NewReader(r.zipped)
	err = r.readNote(contentsPart, &r.tally.contents)
	if err == nil && r.tally.contents.Head != digestOf(raw) {
		err = fmt.Errorf("%w: its head was changed", ErrDamaged)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func whom(h Head) string {
	if len(h.Locked) > 0 {
		return "a passphrase"
	}
	out := ""
	for i, to := range h.Recipients[:min(len(h.Recipients), maxRecipients)] {
		if i > 0 {
			out += ", "
		}
		out += clip(to)
	}
	return out
}

// Close lets go of what the reader holds in memory.
func (r *Reader) Close() { r.zipped.Close() }

// Head is what the backup says to everybody. It has been compared with what was encrypted.
func (r *Reader) Head() Head { return r.head }

// Contents is what the backup says to who can open it.
func (r *Reader) Contents() Contents { return r.tally.contents }

// trouble tells a file that is damaged from one that could not be read.
func (r *Reader) trouble(err error) error {
	switch {
	case r.body.broken != nil:
		return fmt.Errorf("reading the backup: %w", r.body.broken)
	case errors.Is(err, ErrDamaged):
		return err
	}
	return fmt.Errorf("%w: it was cut or changed (%w)", ErrDamaged, err)
}

// next goes to the part that follows.
func (r *Reader) next() (*Part, error) {
	if r.part != nil {
		if _, err := io.Copy(io.Discard, r.part.Body); err != nil {
			return nil, err
		}
		if err := r.tally.add(r.part.Name, r.part.Size, r.part.sum); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		r.part = nil
	}
	h, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: its end is missing", ErrDamaged)
	}
	if err != nil {
		return nil, r.trouble(err)
	}
	if err := checkName(h.Name); err != nil || h.Typeflag != tar.TypeReg || h.Size < 0 {
		return nil, errors.Join(fmt.Errorf("%w: it holds something that no argosy puts there", ErrDamaged), err)
	}
	p := &Part{Name: h.Name, Size: h.Size, sum: sha256.New()}
	p.Body = &partBody{r: r, in: io.TeeReader(r.tar, p.sum)}
	r.part = p
	return p, nil
}

// partBody says of trouble whose it is.
type partBody struct {
	r  *Reader
	in io.Reader
}

func (b *partBody) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.r.trouble(err)
	}
	return n, err
}

// readNote reads a part of the backup's own, which has to come next.
func (r *Reader) readNote(name string, into any) error {
	p, err := r.next()
	if err != nil {
		return err
	}
	if p.Name != name {
		return fmt.Errorf("%w: it holds %s where %s should be", ErrDamaged, clip(p.Name), name)
	}
	return decodeNote(p, into)
}

func decodeNote(p *Part, into any) error {
	if p.Size > maxNote {
		return fmt.Errorf("%w: %s is too large", ErrDamaged, p.Name)
	}
	text, err := io.ReadAll(p.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: %s cannot be read", ErrDamaged, p.Name)
	}
	return nil
}

// Next is the next part. After the last it fails with io.EOF, once everything was found to be whole.
func (r *Reader) Next() (*Part, error) {
	if r.over {
		return nil, io.EOF
	}
	p, err := r.next()
	if err != nil {
		return nil, err
	}
	if p.Name == contentsPart {
		return nil, fmt.Errorf("%w: it begins twice", ErrDamaged)
	}
	if p.Name != endPart {
		return p, nil
	}
	want := r.tally.end()
	var got end
	if err := decodeNote(p, &got); err != nil {
		return nil, err
	}
	if got != want {
		return nil, fmt.Errorf("%w: its parts are not those that were written", ErrDamaged)
	}
	return nil, r.finish()
}

// finish sees that nothing follows the last part.
func (r *Reader) finish() error {
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	}
	for _, in := range []io.Reader{r.zipped, r.sealed} {
		if n, err := io.Copy(io.Discard, io.LimitReader(in, 1<<20)); err != nil {
			return r.trouble(err)
		} else if n == 1<<20 {
			return fmt.Errorf("%w: something follows its end", ErrDamaged)
		}
	}
	if err := r.body.check(); err != nil {
		return r.trouble(err)
	}
	r.part, r.over = nil, true
	return io.EOF
}

// Verify reads a whole backup with a key.
func Verify(in io.Reader, key Key) (Summary, error) {
	counted := &counter{in: in}
	r, err := Open(counted, key)
	if err != nil {
		return Summary{}, err
	}
	defer r.Close()
	var e end
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Summary{}, err
		}
		e = end{Parts: r.tally.parts + 1, Bytes: r.tally.bytes + r.part.Size}
	}
	return Summary{Head: r.head, Contents: r.tally.contents, Parts: e.Parts, Bytes: e.Bytes, Size: counted.n,
		Digest: hex.EncodeToString(r.body.sum.Sum(nil))}, nil
}
