package lease

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// MaxFrame bounds a message, in bytes: a renewal of the most claims that a machine may have, with the longest names, is not
// larger.
const MaxFrame = 2 << 20

// Write writes one message.
func Write(w io.Writer, m proto.Message) error {
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 4, 256), m)
	if err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	if len(b)-4 > MaxFrame {
		return fmt.Errorf("a message of %d bytes is too long: %d are allowed", len(b)-4, MaxFrame)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_, err = w.Write(b)
	return err
}

// Read reads one message into m. The error is io.EOF when the other side ended between two messages. Memory is taken as bytes
// arrive, and not for what a length claims.
func Read(r io.Reader, m proto.Message) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return fmt.Errorf("a message of %d bytes is announced, and %d are allowed", n, MaxFrame)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	switch {
	case err != nil:
		return err
	case len(b) < int(n):
		return io.ErrUnexpectedEOF
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("reading a message: %w", err)
	}
	return nil
}
