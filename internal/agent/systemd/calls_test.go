package systemd

import (
	"bufio"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// shower is a systemd that has every unit running, and remembers which properties it was asked for.
type shower struct {
	mu    sync.Mutex
	asked []string
}

var shown = map[string]any{
	"LoadState": "loaded", "After": []string{"b.service"}, "ActiveState": "active", "SubState": "running", "InactiveExitTimestamp": uint64(1),
	"InactiveEnterTimestamp": uint64(0), "ConditionTimestamp": uint64(0), "ConditionResult": true, "InvocationID": []byte{1},
	"Result": "success", "MainPID": uint32(7), "NRestarts": uint32(0),
}

func (s *shower) serve(c net.Conn) error {
	in := bufio.NewReader(c)
	if err := greeted(c, in); err != nil {
		return err
	}
	for {
		m, err := dbus.DecodeMessage(in)
		if err != nil {
			return err
		}
		r := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(m.Serial())}}
		if member, _ := m.Headers[dbus.FieldMember].Value().(string); member != "Ping" {
			what := member
			if len(m.Body) == 2 {
				what, _ = m.Body[1].(string)
				r.Body = []any{dbus.MakeVariant(shown[what])}
				r.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(r.Body...))
			}
			s.mu.Lock()
			s.asked = append(s.asked, what)
			s.mu.Unlock()
		}
		if err := r.EncodeTo(c, binary.LittleEndian); err != nil {
			return err
		}
	}
}

// TestSingleProperties: systemd is asked for what is looked at, and for nothing else: all properties of a unit make it read its directories twice.
func TestSingleProperties(t *testing.T) {
	s := &shower{}
	l, err := open(t.Context(), private(t, s.serve))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.told.watch(func(string) string { return "id" })
	p, err := l.show(t.Context(), "a.service")
	if err != nil {
		t.Fatal(err)
	}
	if p["LoadState"] != "loaded" || p["SubState"] != "running" || p.number("MainPID") != 7 || !slices.Equal(p.list("After"), []string{"b.service"}) {
		t.Errorf("it shows %v", p)
	}
	want := slices.Concat(lasting, changing, []string{"Result", "MainPID", "NRestarts"})
	asked := func() []string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Clone(s.asked)
	}
	if got := asked(); !slices.Equal(got, want) {
		t.Errorf("systemd was asked for %v, not %v", got, want)
	}
	if _, err := l.show(t.Context(), "a.service"); err != nil || len(asked()) != len(want) {
		t.Errorf("what is known was asked for again: %v, %v", asked(), err)
	}
}
