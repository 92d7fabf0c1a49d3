package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// answer is what a call came to. Code is empty when it worked, and "open" when a stream had not ended by itself.
type answer struct{ code, message string }

// methods lists every RPC of the protocol.
func methods() []protoreflect.MethodDescriptor {
	var out []protoreflect.MethodDescriptor
	for _, f := range []protoreflect.FileDescriptor{argosyv1.File_argosy_v1_cluster_proto, argosyv1.File_argosy_v1_machine_proto} {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				out = append(out, f.Services().Get(i).Methods().Get(j))
			}
		}
	}
	return out
}

// call sends bytes as a request, whatever they are, and reads the answer as any client would.
func call(t interface{ Fatalf(string, ...any) }, c *clients, m protoreflect.MethodDescriptor, body []byte) answer {
	streaming := m.IsStreamingClient() || m.IsStreamingServer()
	patience := 30 * time.Second // a call that hangs fails the test
	if streaming {
		patience = 40 * time.Millisecond // streams may go on for ever
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind := "application/proto"
	if streaming {
		kind = "application/connect+proto"
		body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	url := fmt.Sprintf("%s/%s/%s", c.base, m.Parent().FullName(), m.Name())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%v", err)
	}
	req.Header.Set("Content-Type", kind)
	res, err := c.hc.Do(req)
	if err == nil {
		defer res.Body.Close()
		body, err = io.ReadAll(res.Body)
	}
	if streaming && errors.Is(err, context.DeadlineExceeded) {
		return answer{code: "open"}
	}
	if err != nil {
		t.Fatalf("%s: %v", m.Name(), err)
	}
	if !streaming {
		if res.StatusCode == http.StatusOK {
			return answer{}
		}
		return parseAnswer(body)
	}
	for len(body) >= 5 {
		n := binary.BigEndian.Uint32(body[1:5])
		if body[0]&2 != 0 {
			var end struct{ Error json.RawMessage }
			if json.Unmarshal(body[5:5+n], &end) != nil || end.Error == nil {
				return answer{}
			}
			return parseAnswer(end.Error)
		}
		body = body[5+n:]
	}
	return parseAnswer(body)
}

func parseAnswer(b []byte) answer {
	var a struct{ Code, Message string }
	if json.Unmarshal(b, &a) != nil || a.Code == "" {
		return answer{"no answer", fmt.Sprintf("%.200q", b)}
	}
	return answer{a.Code, a.Message}
}

// fault says what is wrong with an answer, empty when nothing is: whatever comes in, a caller gets a plain sentence.
func (a answer) fault() string {
	switch {
	case a.code == "" || a.code == "open":
		return ""
	case a.code == "internal" || a.code == "unknown" || a.code == "data_loss" || a.code == "no answer":
		return "the server failed"
	case a.code == "unavailable" && !strings.Contains(a.message, "session"):
		return "the server is away"
	case strings.TrimSpace(a.message) == "" || len(a.message) > 1000 || !utf8.ValidString(a.message) || strings.ContainsAny(a.message, "\x00\x1b\r"):
		return "this is no sentence"
	case strings.Contains(a.message, "%!") || strings.Contains(a.message, "runtime error") || strings.Contains(a.message, "<nil>"):
		return "this is no plain sentence"
	}
	return ""
}

func callers(t *testing.T, c *cluster) map[string]*clients {
	t.Helper()
	return map[string]*clients{
		"local": c.local, "viewer": c.user(t, "vera", "viewer"), "operator": c.user(t, "otto", "operator"),
		"machine": c.machine(t, facts()).clients, "nobody": c.nobody(t),
	}
}

// TestEveryRPCRefusesNonsense calls every RPC as everybody with nothing, with noise, and with texts that are far too long.
func TestEveryRPCRefusesNonsense(t *testing.T) {
	t.Parallel()
	c := shared(t)
	c.apply(t, spec("nonsense", 1))
	long := strings.Repeat("x", 300<<10)
	for who, as := range callers(t, c) {
		for _, m := range methods() {
			empty := messageFor(m.Input())
			texts := proto.Clone(empty)
			fillTexts(texts.ProtoReflect(), long, 3)
			lines := proto.Clone(empty)
			fillTexts(lines.ProtoReflect(), "a\n\x1b[31m\x00é\u202e/..%s", 3)
			for what, body := range map[string][]byte{
				"nothing": {}, "noise": {0xff, 0xff, 0xff, 0xff, 0x0f, 0x01}, "broken text": {0x0a, 0x02, 0xff, 0xfe},
				"long texts": encode(t, texts), "odd texts": encode(t, lines),
			} {
				if a := call(t, as, m, body); a.fault() != "" {
					t.Errorf("%s calls %s with %s: %s: %s: %.300q", who, m.Name(), what, a.fault(), a.code, a.message)
				}
			}
		}
	}
	if strings.Contains(c.log.String(), "panicked") {
		t.Errorf("a handler panicked:\n%s", c.log)
	}
}

// TestMessagesAreBounded: nobody makes the server keep more than maxMessage.
func TestMessagesAreBounded(t *testing.T) {
	c := shared(t)
	for _, m := range methods() {
		if m.Name() == "SetSecret" {
			if a := call(t, c.local, m, make([]byte, maxMessage+1)); a.code != "resource_exhausted" {
				t.Errorf("got %+v", a)
			}
		}
	}
}

// TestEveryRPCTakesAnything calls RPCs with drawn messages that look more or less like what they expect.
func TestEveryRPCTakesAnything(t *testing.T) {
	c := shared(t)
	c.apply(t, spec("shop", 1))
	all, as := methods(), callers(t, c)
	rapid.Check(t, func(rt *rapid.T) {
		for range 8 {
			m := rapid.SampledFrom(all).Draw(rt, "method")
			who := rapid.SampledFrom([]string{"local", "local", "local", "operator", "viewer", "machine"}).Draw(rt, "who")
			msg := messageFor(m.Input())
			draw(rt, msg.ProtoReflect(), 5)
			if a := call(rt, as[who], m, encode(rt, msg)); a.fault() != "" {
				rt.Fatalf("%s calls %s: %s: %s: %.300q\n%v", who, m.Name(), a.fault(), a.code, a.message, msg)
			}
		}
	})
	if strings.Contains(c.log.String(), "panicked") {
		t.Errorf("a handler panicked:\n%s", c.log)
	}
}

// TestSpecsThatPassCanBePlanned: what the check of specs lets through makes no trouble further in.
func TestSpecsThatPassCanBePlanned(t *testing.T) {
	c := shared(t)
	var plan protoreflect.MethodDescriptor
	for _, m := range methods() {
		if m.Name() == "Plan" {
			plan = m
		}
	}
	passed := 0
	rapid.Check(t, func(rt *rapid.T) {
		s := spec("plan", 2)
		s.Stacks[0].Volumes = []*argosyv1.VolumeSpec{{Name: "data"}}
		s.Stacks[0].Placement = &argosyv1.Placement{}
		for _, m := range []proto.Message{s, s.Containers[0], s.Stacks[0], s.Stacks[0].Placement, s.Cluster[0], s.Containers[0].Resources} {
			if rapid.IntRange(0, 3).Draw(rt, "leave") > 0 {
				continue
			}
			fields := m.ProtoReflect().Descriptor().Fields()
			f := fields.Get(rapid.IntRange(0, fields.Len()-1).Draw(rt, "field"))
			fresh := m.ProtoReflect().New()
			drawField(rt, fresh, f, 3)
			if fresh.Has(f) {
				m.ProtoReflect().Set(f, fresh.Get(f))
			}
		}
		a := call(rt, c.local, plan, encode(rt, &argosyv1.PlanRequest{Spec: s}))
		switch {
		case a.code == "":
			passed++
		case a.code != "invalid_argument" || a.fault() != "":
			rt.Fatalf("%s: %s\n%v", a.code, a.message, s)
		}
	})
	if passed < 10 {
		t.Errorf("only %d specs passed: draw better ones", passed)
	}
}

func messageFor(d protoreflect.MessageDescriptor) proto.Message {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err) // every message is registered by the package that this file imports
	}
	return mt.New().Interface()
}

func encode(t interface{ Fatalf(string, ...any) }, m proto.Message) []byte {
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return b
}

// fillTexts puts a text wherever one fits, some levels deep.
func fillTexts(m protoreflect.Message, text string, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		value := func(d protoreflect.FieldDescriptor, fresh func() protoreflect.Value) (protoreflect.Value, bool) {
			switch d.Kind() {
			case protoreflect.StringKind:
				return protoreflect.ValueOfString(text), true
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte(text)), true
			case protoreflect.MessageKind:
				if depth == 0 {
					return protoreflect.Value{}, false
				}
				v := fresh()
				fillTexts(v.Message(), text, depth-1)
				return v, true
			case protoreflect.Uint32Kind:
				return protoreflect.ValueOfUint32(1), true
			default:
				return protoreflect.Value{}, false
			}
		}
		switch {
		case f.IsMap():
			if v, ok := value(f.MapValue(), m.Mutable(f).Map().NewValue); ok && f.MapKey().Kind() == protoreflect.StringKind {
				m.Mutable(f).Map().Set(protoreflect.ValueOfString(text).MapKey(), v)
			}
		case f.IsList():
			if v, ok := value(f, m.Mutable(f).List().NewElement); ok {
				m.Mutable(f).List().Append(v)
			}
		default:
			if v, ok := value(f, func() protoreflect.Value { return m.NewField(f) }); ok {
				m.Set(f, v)
			}
		}
	}
}

// words are what drawn texts are made of: what is there, what nearly is, and what nobody expects.
var words = []string{"", "shop", "web", "shop", "web", "default", "m1", "db-root", "other", "a/b", "../..", "*", " ", "-", "x.y", "\x00", "é",
	"127.0.0.1:1/web:1", "alpine", "10.0.0.0/8", "::1", "/data", "/", "rack == r1", "NET_ADMIN", "CMD", "SIGTERM", "linux/amd64", "viewer", "1000",
	strings.Repeat("a", 64), strings.Repeat("b", 5000)}

// draw fills a message.
func draw(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if rapid.IntRange(0, 9).Draw(t, "leave out") >= 3 {
			drawField(t, m, f, depth)
		}
	}
}

func drawField(t *rapid.T, m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	switch {
	case f.Message() != nil && !f.IsMap() && depth == 0:
	case f.IsMap():
		for range rapid.IntRange(0, 2).Draw(t, "entries") {
			mp := m.Mutable(f).Map()
			if f.MapValue().Message() != nil && depth == 0 {
				continue
			}
			mp.Set(drawValue(t, f.MapKey(), nil, 0).MapKey(), drawValue(t, f.MapValue(), mp.NewValue, depth-1))
		}
	case f.IsList():
		for range rapid.IntRange(0, 2).Draw(t, "elements") {
			l := m.Mutable(f).List()
			l.Append(drawValue(t, f, l.NewElement, depth-1))
		}
	default:
		m.Set(f, drawValue(t, f, func() protoreflect.Value { return m.NewField(f) }, depth-1))
	}
}

func drawValue(t *rapid.T, f protoreflect.FieldDescriptor, fresh func() protoreflect.Value, depth int) protoreflect.Value {
	number := rapid.SampledFrom([]int64{0, 1, 2, 3, 100, 65536, 64 << 20, -1, math.MaxInt32, math.MaxInt64, math.MinInt64})
	switch f.Kind() {
	case protoreflect.MessageKind:
		v := fresh()
		draw(t, v.Message(), depth)
		return v
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.SampledFrom(words).Draw(t, string(f.Name())))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(rapid.SampledFrom(words).Draw(t, string(f.Name()))))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, string(f.Name())))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.SampledFrom([]int32{0, 1, 1, 2, 3, 99, -1}).Draw(t, string(f.Name()))))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number.Draw(t, string(f.Name()))))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number.Draw(t, string(f.Name()))))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(number.Draw(t, string(f.Name())))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(number.Draw(t, string(f.Name()))))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rapid.SampledFrom([]float64{0, 1, math.NaN(), math.Inf(1), -1e308}).Draw(t, string(f.Name())))
	}
	panic("the protocol has fields of kind " + f.Kind().String() + ": draw them here")
}
