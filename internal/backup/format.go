package backup

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Version is that of the format which this release writes. It reads no later one.
const Version = 1

const (
	magic   = "argosy backup "
	maxHead = 32 << 10
	// The first and the last part. Nobody else may add parts of these names.
	contentsPart = "backup.json"
	endPart      = "end.json"
	// maxParts bounds how many parts a backup has: an image is a few of them.
	maxParts = 1_000_000
	// maxNote bounds the first and the last part, in bytes.
	maxNote = 64 << 10
)

// What can be wrong with a file. Errors wrap one of these.
var (
	ErrNotBackup = errors.New("this is no backup of argosy")
	ErrNewer     = errors.New("the backup was made by a newer release of argosy")
	ErrDamaged   = errors.New("the backup is damaged")
	ErrNoKey     = errors.New("the backup is encrypted and no key was given")
	ErrWrongKey  = errors.New("the key does not open this backup")
)

// Head is what may be known of a backup without a key.
type Head struct {
	ID      string    `json:"id"` // random
	Cluster string    `json:"cluster"`
	Made    time.Time `json:"made"`
	// Server made it; Release is that server's.
	Server  string `json:"server"`
	Release string `json:"release"`
	// Recipients and Locked are the backup's [Lock].
	Recipients []string `json:"recipients"`
	Locked     []byte   `json:"locked,omitempty"`
}

// Contents is what a backup says of itself to those who can open it.
type Contents struct {
	// Head is the SHA-256 of the file's head, hexadecimal.
	Head string `json:"head"`
	// Generation and Revision are the cluster's generation and the store's revision; Etcd is the version that wrote the
	// store.
	Generation uint64 `json:"generation"`
	Revision   int64  `json:"revision"`
	Etcd       string `json:"etcd"`
	// History and Images say that the backup has these, too.
	History bool `json:"history"`
	Images  bool `json:"images"`
}

// end is the last part.
type end struct {
	Parts int   `json:"parts"`
	Bytes int64 `json:"bytes"`
	// Digest is over names, sizes and digests of all parts in order.
	Digest string `json:"digest"`
}

// encode makes the lines that a file begins with.
func (h Head) encode() ([]byte, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := fmt.Appendf(nil, "%s%d\n%s\n", magic, Version, line)
	if len(out) > maxHead {
		return nil, fmt.Errorf("the backup's head has %d bytes and at most %d fit", len(out), maxHead)
	}
	return out, nil
}

// readHead reads the lines that a file begins with, and returns them as they are, too.
func readHead(r *bufio.Reader) (h Head, raw []byte, err error) {
	first, err := readLine(r, len(magic)+20)
	text, ok := strings.CutPrefix(string(first), magic)
	if !ok {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errLong) {
			return h, nil, err
		}
		if len(first) > 0 && strings.HasPrefix(magic, string(first)) {
			return h, nil, fmt.Errorf("%w: it ends within its head", ErrDamaged)
		}
		return h, nil, ErrNotBackup
	}
	if err != nil {
		return h, nil, headTrouble(err)
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(text, "\n"), 10, 16)
	switch {
	case err != nil || n == 0:
		return h, nil, fmt.Errorf("%w: its head names no version", ErrDamaged)
	case n > Version:
		return h, nil, fmt.Errorf("%w: it has version %d of the format and this release reads up to %d: use the release that made it, or a later one", ErrNewer, n, Version)
	}
	second, err := readLine(r, maxHead-len(first))
	if err != nil {
		return h, nil, headTrouble(err)
	}
	d := json.NewDecoder(bytes.NewReader(second))
	d.DisallowUnknownFields() // a change of the head is a new version
	if err := d.Decode(&h); err != nil {
		return h, nil, fmt.Errorf("%w: its head cannot be read", ErrDamaged)
	}
	return h, append(first, second...), nil
}

var errLong = errors.New("a line is too long")

func headTrouble(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it ends within its head", ErrDamaged)
	case errors.Is(err, errLong):
		return fmt.Errorf("%w: its head cannot be read", ErrDamaged)
	}
	return err
}

// readLine reads up to and including a newline, at most limit bytes.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return line, err
		}
		line = append(line, b)
		if b == '\n' {
			return line, nil
		}
		if len(line) >= limit {
			return line, errLong
		}
	}
}

// checkName refuses names of parts that could mean something to a file system.
func checkName(name string) error {
	if name == "" || len(name) > 512 || strings.HasPrefix(name, "/") {
		return fmt.Errorf("%q cannot name a part of a backup", clip(name))
	}
	for _, word := range strings.Split(name, "/") {
		if word == "" || word == "." || word == ".." {
			return fmt.Errorf("%q cannot name a part of a backup", clip(name))
		}
	}
	for _, c := range name {
		if c <= ' ' || c > '~' || c == '\\' {
			return fmt.Errorf("%q cannot name a part of a backup", clip(name))
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
