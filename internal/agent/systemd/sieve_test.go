package systemd

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// wire is the connection of which somebody else wrote the other end already.
type wire struct {
	net.Conn
	io.Reader
}

func (w wire) Read(p []byte) (int, error) { return w.Reader.Read(p) }

func signal(path dbus.ObjectPath, face, member string, body ...any) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(path), dbus.FieldInterface: dbus.MakeVariant(face), dbus.FieldMember: dbus.MakeVariant(member),
		dbus.FieldSender: dbus.MakeVariant(":1.2"),
	}}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	return m
}

func encode(t testing.TB, messages ...*dbus.Message) []byte {
	var out bytes.Buffer
	for i, m := range messages {
		order := []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}[i%2]
		if err := m.EncodeTo(&out, order); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// oursOnly wants what happens to a.service, and the ends of jobs.
func oursOnly(path, member string) bool {
	return member == "JobRemoved" || member == "PropertiesChanged" && unitOf(path) == "a.service"
}

func TestSieve(t *testing.T) {
	changed := func(unit string) *dbus.Message {
		return signal(pathOf(unit), properties, "PropertiesChanged", destination+".Unit", map[string]dbus.Variant{"SubState": dbus.MakeVariant(unit)}, []string{})
	}
	answer := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(4)), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(""))}, Body: []any{"an answer"}}
	greeting := "REJECTED EXTERNAL\r\nOK 0123\r\n"
	text := append([]byte(greeting), encode(t, changed("b.service"), answer, changed("a.service"), changed("c.service"),
		signal(root, manager, "UnitNew", "a.service"), signal(root, manager, "JobRemoved", "x"), changed("b.service"))...)
	s := newSieve(wire{Reader: bytes.NewReader(text)}, oursOnly)
	line := make([]byte, len(greeting))
	if _, err := io.ReadFull(s, line); err != nil || string(line) != greeting {
		t.Fatalf("the greeting is %q, %v", line, err)
	}
	var got []any
	for {
		m, err := dbus.DecodeMessage(s)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch p, ok := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath); {
		case ok && p != root:
			got = append(got, unitOf(string(p)))
		default:
			got = append(got, m.Body[0])
		}
	}
	if diff := cmp.Diff([]any{"an answer", "a.service", "x"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSieveRefuses(t *testing.T) {
	huge := []byte("l\x04\x00\x01\xff\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff")
	for name, text := range map[string][]byte{"a message that is too long": huge, "a greeting without an end": bytes.Repeat([]byte("A"), 2*sieveBuffer)} {
		if n, err := io.Copy(io.Discard, newSieve(wire{Reader: bytes.NewReader(text)}, oursOnly)); err == nil || n > 0 {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

// FuzzSieve: whatever comes, what is passed on is what came, but for whole messages.
func FuzzSieve(f *testing.F) {
	f.Add(encode(f, signal(pathOf("a.service"), properties, "PropertiesChanged"), signal(root, manager, "UnitNew", "b.service")))
	f.Add([]byte("OK 1\r\nl\x04\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\x01\x01o\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, _ := io.ReadAll(newSieve(wire{Reader: bytes.NewReader(text)}, func(string, string) bool { return true }))
		if !bytes.HasPrefix(text, all) {
			t.Errorf("%q became %q", text, all)
		}
		some, _ := io.ReadAll(newSieve(wire{Reader: bytes.NewReader(text)}, oursOnly))
		if len(some) > len(all) {
			t.Errorf("%q became %q", text, some)
		}
	})
}

func TestNamesOfUnits(t *testing.T) {
	for _, name := range []string{"a.service", "many-1.service", "mysql@3.service", `dev-disk-by\x2dlabel.swap`, "ä_b.service", "1.mount"} {
		if got := unitOf(string(pathOf(name))); got != name {
			t.Errorf("%s is %s", name, got)
		}
	}
	for path, name := range map[string]string{string(root): "", "/org/freedesktop/systemd1/job/3": "", unitPrefix + "a_2": "a_2", unitPrefix + "a_zz": "a_zz"} {
		if got := unitOf(path); got != name {
			t.Errorf("%s is %q, not %q", path, got, name)
		}
	}
}
