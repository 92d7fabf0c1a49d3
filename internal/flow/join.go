package flow

import (
	"io"
	"net"
	"time"
)

// Conn is a connection whose directions end one by one; TCP and Unix connections are such.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Join moves bytes both ways between a stream and a connection until both directions have ended, and passes each one's end
// on. It returns nil then, and an error as soon as either breaks; by then nothing moves any more, and the caller closes both.
// A connection that is reset is an error, so that the caller can reset the other one too.
func Join(end *End, conn Conn) error {
	failed := make(chan error, 2)
	move := func(to io.Writer, close func() error, from io.Reader) {
		// A connection's own ReadFrom and WriteTo would take a smaller buffer.
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, piece))
		if err == nil {
			err = close()
		}
		failed <- err
	}
	go move(end, end.CloseWrite, conn)
	go move(conn, conn.CloseWrite, end)
	first := <-failed
	if first != nil {
		end.Fail(first)
		_ = conn.SetDeadline(past)
		<-failed
		return first
	}
	if first = <-failed; first != nil {
		end.Fail(first)
	}
	return first
}

// past is a deadline that wakes whoever waits on a connection.
var past = time.Unix(1, 0)
