package systemd

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// busy is how a systemd greets that was busy meanwhile: what came with the end of the greeting it looks at only when more comes.
// Then it answers everything with nothing.
func busy(c net.Conn) error {
	in := bufio.NewReader(c)
	if err := greeted(c, in); err != nil {
		return err
	}
	return answers(c, in)
}

// greeted answers the greeting of whoever connects.
func greeted(c net.Conn, in *bufio.Reader) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		answer := "OK 0123\r\n"
		switch strings.Trim(line, "\x00\r\n") {
		case "AUTH":
			answer = "REJECTED EXTERNAL\r\n"
		case "AUTH EXTERNAL":
			answer = "DATA\r\n"
		case "BEGIN":
			return nil
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return err
		}
	}
}

func answers(c net.Conn, in *bufio.Reader) error {
	var first *dbus.Message
	for n := 0; ; n++ {
		m, err := dbus.DecodeMessage(in)
		if err != nil {
			return err
		}
		asked := []*dbus.Message{m}
		switch n {
		case 0:
			first = m
			continue
		case 1:
			asked = []*dbus.Message{first, m}
		}
		for _, a := range asked {
			r := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(a.Serial())}}
			if err := r.EncodeTo(c, binary.LittleEndian); err != nil {
				return err
			}
		}
	}
}

// private is the socket of a systemd that serves whoever connects.
func private(t *testing.T, serve func(net.Conn) error) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "private")
	door, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { door.Close() })
	go func() {
		for {
			c, err := door.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = serve(c)
			}()
		}
	}()
	return socket
}

// TestBusySystemd: who connects while systemd is busy, with reading its files again for example, is answered all the same.
func TestBusySystemd(t *testing.T) {
	l, err := open(t.Context(), private(t, busy))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.call(t.Context(), root, manager+".Subscribe", nil); err != nil {
		t.Error(err)
	}
}
