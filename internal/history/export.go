package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

const (
	// chunkBytes is about how much one chunk of an export holds.
	chunkBytes = 1 << 20
	// maxTransition bounds one transition that is read back, in bytes.
	maxTransition = 1 << 20
	// importBatch is how many transitions are taken in at once.
	importBatch = 1000
)

// Export gives out all transitions, oldest first, in chunks of about a megabyte that [DB.Import] takes. No chunk keeps the
// database from being written to.
func (db *DB) Export(give func(chunk []byte) error) error {
	var after uint64
	for {
		chunk, last, err := db.chunk(after)
		if err != nil {
			return fmt.Errorf("reading history: %w", err)
		}
		if len(chunk) == 0 {
			return nil
		}
		if err := give(chunk); err != nil {
			return err
		}
		after = last
	}
}

// chunk holds transitions after a number, each after its length.
func (db *DB) chunk(after uint64) (out []byte, last uint64, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(allBucket).Cursor()
		for k, v := c.Seek(number(after + 1)); k != nil && len(out) < chunkBytes; k, v = c.Next() {
			out = binary.AppendUvarint(out, uint64(len(v)))
			out = append(out, v...)
			last = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return out, last, err
}

// byteReader is what lengths are read from.
type byteReader interface {
	io.Reader
	io.ByteReader
}

// Import adds the transitions of a chunk, which may be anybody's, up to a number: what came later belongs to a life of the
// cluster that is over.
func (db *DB) Import(chunk byteReader, upTo uint64) error {
	var batch []*argosyv1.Transition
	for {
		t, err := readTransition(chunk)
		if errors.Is(err, io.EOF) {
			return db.Add(batch...)
		}
		if err != nil {
			return fmt.Errorf("reading history: %w", err)
		}
		if t.Seq > upTo {
			continue
		}
		if batch = append(batch, t); len(batch) == importBatch {
			if err := db.Add(batch...); err != nil {
				return err
			}
			batch = nil
		}
	}
}

func readTransition(r byteReader) (*argosyv1.Transition, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > maxTransition {
		return nil, fmt.Errorf("a transition of %d bytes is too large", n)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, errors.Join(errors.New("it ends within a transition"), unexpected(err))
	}
	t := &argosyv1.Transition{}
	if err := proto.Unmarshal(raw, t); err != nil {
		return nil, fmt.Errorf("a transition cannot be read: %w", err)
	}
	return t, nil
}

// unexpected is an error that nobody takes for a proper end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
