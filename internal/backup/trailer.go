package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

const trailerStart = "\nsha256 "

// trailerSize is the length of the last line with the newline before it.
const trailerSize = len(trailerStart) + 2*sha256.Size + 1

// trail writes through and remembers the digest of what it wrote.
type trail struct {
	out io.Writer
	sum hash.Hash
	n   int64
}

func newTrail(out io.Writer) *trail { return &trail{out: out, sum: sha256.New()} }

func (t *trail) Write(p []byte) (int, error) {
	n, err := t.out.Write(p)
	t.sum.Write(p[:n])
	t.n += int64(n)
	return n, err
}

// finish writes the last line.
func (t *trail) finish() error {
	n, err := io.WriteString(t.out, trailerStart+hex.EncodeToString(t.sum.Sum(nil))+"\n")
	t.n += int64(n)
	return err
}

// body reads a file without its last line, which it compares at the end with what it has read.
type body struct {
	in  io.Reader
	sum hash.Hash
	// held was read from in and not yet handed out: at least trailerSize bytes as long as more may come.
	held  []byte
	chunk []byte
	err   error // that in ended with
	// broken is in's own error, io.EOF apart: what failed was the reading, and the file may be sound.
	broken error
	done   bool
}

func newBody(in io.Reader) *body {
	return &body{in: in, sum: sha256.New(), chunk: make([]byte, 32<<10)}
}

func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for b.err == nil && len(b.held) <= trailerSize {
		n, err := b.in.Read(b.chunk)
		b.held = append(b.held, b.chunk[:n]...)
		if err != nil {
			b.err = err
			if err != io.EOF {
				b.broken = err
			}
		}
	}
	spare := len(b.held) - trailerSize
	if b.err != nil && spare < 0 {
		spare = len(b.held) // no last line: what there is may at least say what it is
	}
	n := min(len(p), spare)
	if n > 0 {
		copy(p, b.held[:n])
		b.held = b.held[n:]
		b.sum.Write(p[:n])
		return n, nil
	}
	if b.broken != nil {
		return 0, b.broken
	}
	b.done = true
	return 0, io.EOF
}

// check says whether everything was read and was what had been written.
func (b *body) check() error {
	if b.broken != nil {
		return b.broken
	}
	if !b.done {
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	}
	if string(b.held) != trailerStart+hex.EncodeToString(b.sum.Sum(nil))+"\n" {
		return fmt.Errorf("%w: it was cut or changed (its last line is not the digest of the rest)", ErrDamaged)
	}
	return nil
}
