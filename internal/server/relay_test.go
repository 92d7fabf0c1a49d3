package server

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/flow"
)

type (
	forwardCall = connect.BidiStreamForClient[argosyv1.PortForwardRequest, argosyv1.PortForwardResponse]
	copyCall    = connect.BidiStreamForClient[argosyv1.CopyRequest, argosyv1.CopyResponse]
)

func content(b []byte) *argosyv1.Flow {
	return &argosyv1.Flow{Word: &argosyv1.Flow_Content{Content: b}}
}

func fromAgent(f *argosyv1.Flow) *argosyv1.AttachRequest {
	return &argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Flow{Flow: f}}
}

func replicaKey(app string, number uint32) *argosyv1.ReplicaKey {
	return &argosyv1.ReplicaKey{App: app, Stack: "web", Number: number}
}

func forward(t testing.TB, c *clients, start *argosyv1.PortForwardStart) *forwardCall {
	t.Helper()
	s := c.streams.PortForward(t.Context())
	t.Cleanup(func() { // an error says that it has ended already
		_ = s.CloseRequest()
		_ = s.CloseResponse()
	})
	if err := s.Send(&argosyv1.PortForwardRequest{Start: start}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return s
}

func copying(t *testing.T, c *clients, start *argosyv1.CopyWork) *copyCall {
	t.Helper()
	s := c.streams.Copy(t.Context())
	t.Cleanup(func() {
		_ = s.CloseRequest()
		_ = s.CloseResponse()
	})
	if err := s.Send(&argosyv1.CopyRequest{Start: start}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return s
}

// TestRelays: connections and copies between callers and machines that behave in all sorts of ways.
func TestRelays(t *testing.T) {
	b := newBroker(t, "shop")
	for _, c := range []struct {
		name string
		test func(*testing.T, *broker)
	}{
		{"a connection", relayAConnection},
		{"a refused connection", relayARefusedConnection},
		{"a machine that floods", relayAMachineThatFloods},
		{"a caller that floods", relayACallerThatFloods},
		{"a machine that goes away", relayAMachineThatGoesAway},
		{"what cannot be forwarded", relayWhatCannotBeForwarded},
		{"files read", relayFilesRead},
		{"files written", relayFilesWritten},
		{"what cannot be copied", relayWhatCannotBeCopied},
		{"who may not", relayWhoMayNot},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, b)
		})
		noneLeft(t)
	}
}

func relayAConnection(t *testing.T, b *broker) {
	check := forward(t, b.local, &argosyv1.PortForwardStart{Key: replicaKey("shop", 1), Port: 80, Check: true})
	if m, err := check.Receive(); err != nil || m.GetOpened().GetMember() != "web" || m.GetOpened().GetKey().GetNumber() != 1 {
		t.Fatalf("a check answers %v, %v", m, err)
	}
	s := forward(t, b.local, &argosyv1.PortForwardStart{Key: replicaKey("shop", 1), Port: 80})
	w := b.agent.nextWork(t)
	if d := w.GetDial(); d.GetPort() != 80 || d.GetMember() != "web" || d.GetKey().GetTenant() != "default" {
		t.Fatalf("the machine is asked for %v", w)
	}
	a := b.attach(t, t.Context(), w.Id)
	defer over(a)
	if err := a.Send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Dialled{Dialled: true}}); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Receive(); err != nil || m.GetOpened().GetMember() != "web" {
		t.Fatalf("got %v, %v", m, err)
	}
	for _, f := range []*argosyv1.Flow{content([]byte("question")), {Word: &argosyv1.Flow_Ended{Ended: true}}} {
		if err := s.Send(&argosyv1.PortForwardRequest{Flow: f}); err != nil {
			t.Fatal(err)
		}
		if m, err := a.Receive(); err != nil || !proto.Equal(m.GetFlow(), f) {
			t.Fatalf("got %v, %v; want %v", m, err, f)
		}
	}
	// The other direction goes on.
	for _, f := range []*argosyv1.Flow{{Word: &argosyv1.Flow_Taken{Taken: 256}}, content([]byte("answer")), {Word: &argosyv1.Flow_Ended{Ended: true}}} {
		if err := a.Send(fromAgent(f)); err != nil {
			t.Fatal(err)
		}
		if m, err := s.Receive(); err != nil || !proto.Equal(m.GetFlow(), f) {
			t.Fatalf("got %v, %v; want %v", m, err, f)
		}
	}
	if err := a.Send(end(0, "")); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Receive(); err != nil || m.GetEnd() == nil || m.GetEnd().GetError() != "" {
		t.Errorf("got %v, %v", m, err)
	}
	// History tells who, and that it happened once, though there were more connections.
	again := forward(t, b.local, &argosyv1.PortForwardStart{Key: replicaKey("shop", 1), Port: 80})
	second := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(second)
	if err := second.Send(end(0, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Receive(); err != nil {
		t.Error(err)
	}
	if n := b.recorded(t, "port forwarded", "port 80"); n != 1 {
		t.Errorf("history tells %d times that port 80 was forwarded", n)
	}
}

// recorded counts what history tells of what was done to shop's containers, once it tells of it at all.
func (b *broker) recorded(t *testing.T, what, cause string) (n int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for tries := 0; n == 0 && tries < 500; tries++ {
		s, err := b.local.cluster.ListEvents(t.Context(), connect.NewRequest(&argosyv1.ListEventsRequest{App: "shop", Tail: 1000}))
		if err != nil {
			t.Fatal(err)
		}
		for s.Receive() {
			for _, e := range s.Msg().Events {
				if e.Kind == argosyv1.TransitionKind_TRANSITION_KIND_SECURITY && e.To == what && e.Cause == cause && e.Actor != "" && e.Member == "web" {
					n++
				}
			}
		}
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		<-tick.C
	}
	return n
}

func relayARefusedConnection(t *testing.T, b *broker) {
	s := forward(t, b.local, &argosyv1.PortForwardStart{Key: replicaKey("shop", 1), Member: "web", Port: 81})
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(a)
	if err := a.Send(end(0, "connection refused")); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Receive(); err != nil || m.GetEnd().GetError() != "connection refused" {
		t.Errorf("got %v, %v", m, err)
	}
}

// relayAMachineThatFloods: the server keeps no more than the protocol allows, and ends what breaks it.
func relayAMachineThatFloods(t *testing.T, b *broker) {
	s := forward(t, b.local, &argosyv1.PortForwardStart{Key: replicaKey("shop", 1), Port: 80})
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(a)
	sent := 0
	for ; sent < 1000; sent++ { // more than the caller's own connection takes
		if a.Send(fromAgent(content(make([]byte, flow.Window/2)))) != nil {
			break
		}
	}
	if sent == 1000 {
		t.Error("the server takes whatever a machine sends")
	}
	err := ends(t, func() error { _, err := s.Receive(); return err })
	wantError(t, err, connect.CodeInvalidArgument, "more than there is room for")
}

func relayACallerThatFloods(t *testing.T, b *broker) {
	s := copying(t, b.local, &argosyv1.CopyWork{Key: replicaKey("shop", 1), Member: "web", Kind: argosyv1.CopyKind_COPY_KIND_WRITE, Path: "/tmp"})
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(a)
	sent := 0
	for ; sent < 1000; sent++ {
		if s.Send(&argosyv1.CopyRequest{Flow: content(make([]byte, flow.Window/2))}) != nil {
			break
		}
	}
	if sent == 1000 {
		t.Error("the server takes whatever a caller sends")
	}
	err := ends(t, func() error { _, err := s.Receive(); return err })
	wantError(t, err, connect.CodeInvalidArgument, "more than there is room for")
}

func relayAMachineThatGoesAway(t *testing.T, b *broker) {
	s := forward(t, b.local, &argosyv1.PortForwardStart{Key: replicaKey("shop", 1), Port: 80})
	over(b.attach(t, t.Context(), b.agent.nextWork(t).Id))
	_, err := s.Receive()
	wantError(t, err, connect.CodeUnavailable, "connection ended before the work did")

	s = forward(t, b.local, &argosyv1.PortForwardStart{Key: replicaKey("shop", 1), Port: 80})
	b.agent.nextWork(t) // and it does not attach
	_, err = s.Receive()
	wantError(t, err, connect.CodeUnavailable, "did not answer")
}

func relayWhatCannotBeForwarded(t *testing.T, b *broker) {
	for says, start := range map[string]*argosyv1.PortForwardStart{
		"a port from 1":           {Key: replicaKey("shop", 1)},
		"a port from 1 to 65535":  {Key: replicaKey("shop", 1), Port: 65536},
		"a replica or a stack":    {Key: &argosyv1.ReplicaKey{App: "shop"}, Port: 80},
		"there is no app nobody":  {Key: replicaKey("nobody", 1), Port: 80},
		"no such replica":         {Key: replicaKey("shop", 9), Port: 80},
		"there is no container":   {Key: replicaKey("shop", 1), Member: "nobody", Port: 80},
		"cannot name an app":      {Key: replicaKey("../x", 1), Port: 80},
		"no replica of shop/web ": {Key: replicaKey("shop", 0), Port: 80}, // nobody has reported it ready
	} {
		_, err := forward(t, b.local, start).Receive()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want something about %q", err, says)
		}
	}
	_, err := forward(t, b.local, nil).Receive()
	wantError(t, err, connect.CodeInvalidArgument, "a replica or a stack")
}

func relayFilesRead(t *testing.T, b *broker) {
	s := copying(t, b.local, &argosyv1.CopyWork{Key: replicaKey("shop", 1), Member: "web", Kind: argosyv1.CopyKind_COPY_KIND_READ, Path: "/etc/x"})
	w := b.agent.nextWork(t)
	if c := w.GetCopy(); c.GetPath() != "/etc/x" || c.GetKey().GetTenant() != "default" {
		t.Fatalf("the machine is asked for %v", w)
	}
	a := b.attach(t, t.Context(), w.Id)
	defer over(a)
	for _, m := range []*argosyv1.AttachRequest{{Data: &argosyv1.AttachRequest_Stat{Stat: &argosyv1.FileStat{Name: "x"}}}, fromAgent(content([]byte("tar"))), end(0, "")} {
		if err := a.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for range 3 {
		m, err := s.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch d := m.Data.(type) {
		case *argosyv1.CopyResponse_Stat:
			got = append(got, "stat "+d.Stat.Name)
		case *argosyv1.CopyResponse_Flow:
			got = append(got, "flow "+string(d.Flow.GetContent()))
		case *argosyv1.CopyResponse_End:
			got = append(got, "end"+d.End.Error)
		}
	}
	if strings.Join(got, ", ") != "stat x, flow tar, end" {
		t.Errorf("got %q", got)
	}
	if n := b.recorded(t, "files read", "/etc/x"); n != 1 {
		t.Errorf("history tells %d times of it", n)
	}
}

func relayFilesWritten(t *testing.T, b *broker) {
	s := copying(t, b.local, &argosyv1.CopyWork{Key: replicaKey("shop", 1), Member: "web", Kind: argosyv1.CopyKind_COPY_KIND_WRITE, Path: "/srv"})
	a := b.attach(t, t.Context(), b.agent.nextWork(t).Id)
	defer over(a)
	if err := s.Send(&argosyv1.CopyRequest{Flow: content([]byte("tar"))}); err != nil {
		t.Fatal(err)
	}
	if m, err := a.Receive(); err != nil || !bytes.Equal(m.GetFlow().GetContent(), []byte("tar")) {
		t.Fatalf("got %v, %v", m, err)
	}
	if err := a.Send(end(0, "container rootfs is marked read-only")); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Receive(); err != nil || m.GetEnd().GetError() != "container rootfs is marked read-only" {
		t.Errorf("got %v, %v", m, err)
	}
	if n := b.recorded(t, "files written", "/srv"); n != 1 {
		t.Errorf("history tells %d times of it", n)
	}
}

func relayWhatCannotBeCopied(t *testing.T, b *broker) {
	const read = argosyv1.CopyKind_COPY_KIND_READ
	for says, start := range map[string]*argosyv1.CopyWork{
		"needs a replica, a container": {Key: replicaKey("shop", 1), Kind: read, Path: "/x"},
		"which way":                    {Key: replicaKey("shop", 1), Member: "web", Path: "/x"},
		"begins with /":                {Key: replicaKey("shop", 1), Member: "web", Kind: read, Path: "x"},
		"at most 4096 bytes":           {Key: replicaKey("shop", 1), Member: "web", Kind: read, Path: "/" + strings.Repeat("x", 4096)},
		"is no path":                   {Key: replicaKey("shop", 1), Member: "web", Kind: read, Path: "/x\x00"},
		"not one replica":              {Key: replicaKey("shop", 0), Member: "web", Kind: read, Path: "/x"},
		"there is no container":        {Key: replicaKey("shop", 1), Member: "nobody", Kind: read, Path: "/x"},
	} {
		_, err := copying(t, b.local, start).Receive()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want something about %q", err, says)
		}
	}
}

// relayWhoMayNot: it takes the right to run commands, in the own tenant.
func relayWhoMayNot(t *testing.T, b *broker) {
	foreign := &argosyv1.ReplicaKey{Tenant: "acme", App: "shop", Stack: "web", Number: 1}
	for who, c := range map[string]struct {
		clients *clients
		key     *argosyv1.ReplicaKey
	}{
		"a viewer":                      {b.user(t, "vera", "viewer"), replicaKey("shop", 1)},
		"a machine":                     {b.agent.clients, replicaKey("shop", 1)},
		"an operator of another tenant": {b.user(t, "otto", "operator"), foreign},
	} {
		_, err := forward(t, c.clients, &argosyv1.PortForwardStart{Key: c.key, Port: 80, Check: true}).Receive()
		if connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s forwards a port: %v", who, err)
		}
		for _, kind := range []argosyv1.CopyKind{argosyv1.CopyKind_COPY_KIND_STAT, argosyv1.CopyKind_COPY_KIND_READ, argosyv1.CopyKind_COPY_KIND_WRITE} {
			_, err := copying(t, c.clients, &argosyv1.CopyWork{Key: proto.CloneOf(c.key), Member: "web", Kind: kind, Path: "/x"}).Receive()
			if connect.CodeOf(err) != connect.CodePermissionDenied {
				t.Errorf("%s copies (%s): %v", who, kind, err)
			}
		}
	}
}

func TestMemberWithPort(t *testing.T) {
	tcp := func(p uint32) []*argosyv1.Port { return []*argosyv1.Port{{Port: p}} }
	web := &argosyv1.ContainerSpec{Name: "web", Expose: tcp(80)}
	proxy := &argosyv1.ContainerSpec{Name: "proxy", Ports: []*argosyv1.PublishedPort{{Target: 80, Published: 8080}, {Target: 443}}}
	db := &argosyv1.ContainerSpec{Name: "db", Expose: []*argosyv1.Port{{Port: 53, Protocol: argosyv1.Protocol_PROTOCOL_UDP}}}
	for _, c := range []struct {
		containers []*argosyv1.ContainerSpec
		member     string
		port       uint32
		want, says string
	}{
		{[]*argosyv1.ContainerSpec{web, proxy}, "db", 1, "db", ""},
		{[]*argosyv1.ContainerSpec{db}, "", 3306, "db", ""},
		{[]*argosyv1.ContainerSpec{web, db}, "", 80, "web", ""},
		{[]*argosyv1.ContainerSpec{web, proxy}, "", 443, "proxy", ""},
		{[]*argosyv1.ContainerSpec{web, proxy}, "", 80, "", "several containers have port 80: name one of web, proxy"},
		{[]*argosyv1.ContainerSpec{web, proxy}, "", 8080, "", "no container declares port 8080"},
		{[]*argosyv1.ContainerSpec{web, db}, "", 53, "", "name one of web, db"}, // that one is UDP
	} {
		got, err := memberWithPort(c.containers, c.member, c.port)
		if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q port %d: %q, %v; want %q, %q", c.member, c.port, got, err, c.want, c.says)
		}
	}
}
