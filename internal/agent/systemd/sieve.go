package systemd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// sieve is a connection to systemd that passes on all messages but the signals that nobody wants: to each of its direct
// connections systemd sends whatever happens to any unit of the machine, and to take such a message apart costs more than to look at its
// header.
type sieve struct {
	net.Conn
	in   *bufio.Reader
	want func(path, member string) bool
	left int       // bytes of what is passed on now
	last time.Time // when something came after there had been nothing
}

const (
	// sieveBuffer bounds headers.
	sieveBuffer = 64 << 10
	// maxMessage is D-Bus's own bound of a message.
	maxMessage = 128 << 20
	// lull is how long more is waited for once something came: what happens to one unit systemd tells in a dozen messages, and to wake
	// for each costs more than to read it.
	lull       = 2 * time.Millisecond
	fixedPart  = 16 // bytes of a header that each message has
	kindSignal = 4
)

func newSieve(c net.Conn, want func(path, member string) bool) *sieve {
	return &sieve{Conn: c, in: bufio.NewReaderSize(c, sieveBuffer), want: want}
}

// Read implements io.Reader.
func (s *sieve) Read(p []byte) (int, error) {
	for s.left == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n, err := s.in.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

// next finds what is passed on next, or leaves one message out.
func (s *sieve) next() error {
	waits := s.in.Buffered() == 0
	if waits && time.Since(s.last) < lull {
		time.Sleep(lull)
	}
	first, err := s.in.Peek(1)
	if waits {
		s.last = time.Now()
	}
	if err != nil {
		return err
	}
	if first[0] != 'l' && first[0] != 'B' { // a line of the greeting, which begins with one of systemd's words
		return s.line()
	}
	fixed, err := s.in.Peek(fixedPart)
	if err != nil {
		return err
	}
	order := orderOf(first[0])
	fields, body := int64(order.Uint32(fixed[12:])), int64(order.Uint32(fixed[4:]))
	head := (fixedPart + fields + 7) &^ 7
	if head > sieveBuffer || head+body > maxMessage {
		return fmt.Errorf("systemd sends a message of %d bytes, %d of them before its body", head+body, head)
	}
	header, err := s.in.Peek(int(head)) // all of it, since who reads on relies on that
	if err != nil {
		return err
	}
	if fixed[1] == kindSignal {
		path, member, ok := subject(header[fixedPart:fixedPart+fields], order)
		if ok && !s.want(path, member) {
			_, err := s.in.Discard(int(head + body))
			return err
		}
	}
	s.left = int(head + body)
	return nil
}

func (s *sieve) line() error {
	for n := 1; n <= sieveBuffer; n++ {
		b, err := s.in.Peek(n)
		if err != nil {
			return err
		}
		if b[n-1] == '\n' {
			s.left = n
			return nil
		}
	}
	return errors.New("systemd's greeting has no end")
}

func orderOf(mark byte) binary.ByteOrder {
	if mark == 'B' {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// subject finds, among the fields of a signal's header, the object that it is about and its own name. It says no when they cannot
// be read.
func subject(fields []byte, order binary.ByteOrder) (path, member string, ok bool) {
	const pathField, memberField = 1, 3
	for at := 0; at < len(fields); {
		at = (at + 7) &^ 7
		if at+4 > len(fields) {
			return "", "", false
		}
		code, kind := fields[at], fields[at+2]
		if fields[at+1] != 1 || fields[at+3] != 0 { // a value of one type, as all fields have that there are
			return "", "", false
		}
		at += 4
		size := int64(4) // of a number
		if kind == 'g' {
			if at >= len(fields) {
				return "", "", false
			}
			at, size = at+1, int64(fields[at])+1
		}
		if kind == 's' || kind == 'o' {
			if at+4 > len(fields) {
				return "", "", false
			}
			at, size = at+4, int64(order.Uint32(fields[at:]))+1
		}
		if size > int64(len(fields)-at) || !knownKind(kind) {
			return "", "", false
		}
		switch value := fields[at : at+int(size)]; {
		case code == pathField && kind == 'o':
			path = string(value[:size-1])
		case code == memberField && kind == 's':
			member = string(value[:size-1])
		}
		at += int(size)
	}
	return path, member, path != "" && member != ""
}

// knownKind says whether a value of that type is as long as subject takes it to be.
func knownKind(kind byte) bool { return kind == 's' || kind == 'o' || kind == 'g' || kind == 'u' }
