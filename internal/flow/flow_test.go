package flow

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// pair makes two ends with a Queue for each direction between them, as a server has it. wait ends it.
func pair(t interface{ Errorf(string, ...any) }) (a, b *End, wait func()) {
	to := [2]*Queue[*argosyv1.Flow]{NewQueue[*argosyv1.Flow](), NewQueue[*argosyv1.Flow]()}
	send := func(q *Queue[*argosyv1.Flow]) func(*argosyv1.Flow) error {
		return func(f *argosyv1.Flow) error {
			f = proto.CloneOf(f)
			return q.Put(f, f)
		}
	}
	a, b = New(send(to[1])), New(send(to[0]))
	done := make(chan struct{}, 2)
	for i, e := range []*End{a, b} {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				f, err := to[i].Next()
				if err != nil {
					e.Fail(err)
					return
				}
				if err := e.Take(f); err != nil {
					t.Errorf("an end breaks the protocol: %v", err)
				}
			}
		}()
	}
	return a, b, func() {
		to[0].Fail(io.EOF)
		to[1].Fail(io.EOF)
		<-done
		<-done
	}
}

func content(n int) *argosyv1.Flow {
	return &argosyv1.Flow{Word: &argosyv1.Flow_Content{Content: make([]byte, n)}}
}

// TestBytesArrive: whatever the sizes of writes and reads, all bytes arrive in order, both ways, and the bounds hold.
func TestBytesArrive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		writes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 300), rapid.IntRange(1, 3*piece)), 1, 60).Draw(rt, "writes")
		read := rapid.IntRange(1, 2*piece).Draw(rt, "read")
		a, b, wait := pair(rt)
		defer wait()
		var sent bytes.Buffer
		for i, n := range writes {
			sent.Write(bytes.Repeat([]byte{byte(i)}, n))
		}
		all := sent.Bytes()
		ends := make(chan error, 3)
		write := func(e *End) {
			rest := all
			for _, n := range writes {
				if _, err := e.Write(rest[:n]); err != nil {
					ends <- err
					return
				}
				rest = rest[n:]
			}
			ends <- e.CloseWrite()
		}
		compare := func(e *End) error {
			got, err := io.ReadAll(&small{e, read})
			if err == nil && !bytes.Equal(got, all) {
				err = errors.New("other bytes arrived than were sent")
			}
			return err
		}
		go write(a)
		go write(b)
		go func() { ends <- compare(a) }()
		if err := compare(b); err != nil {
			rt.Fatal(err)
		}
		for range 3 {
			if err := <-ends; err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// small reads at most most bytes at a time.
type small struct {
	r    io.Reader
	most int
}

func (s *small) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.most)]) }

func TestWriterWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, wait := pair(t)
		wrote := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for wrote < 10*Window {
				n, err := a.Write(make([]byte, 1000))
				if wrote += n; err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if wrote > Window || wrote < Window-2*piece {
			t.Errorf("%d bytes were written though nobody reads; there is room for %d", wrote, Window)
		}
		if n, err := io.CopyN(io.Discard, b, 10*Window); err != nil {
			t.Errorf("%d bytes, then %v", n, err)
		}
		<-done
		wait()
		if _, err := a.Write([]byte("x")); !errors.Is(err, io.EOF) {
			t.Errorf("writing to what has failed: %v", err)
		}
	})
}

func TestWhoBreaksTheProtocol(t *testing.T) {
	for name, words := range map[string][]*argosyv1.Flow{
		"one message too large": {content(Window + 1)},
		"many":                  {content(Window / 2), content(Window / 2), content(1)},
		"after its end":         {{Word: &argosyv1.Flow_Ended{Ended: true}}, content(1)},
		"room from nowhere":     {{Word: &argosyv1.Flow_Taken{Taken: 1}}},
		"much room":             {{Word: &argosyv1.Flow_Taken{Taken: 1<<32 - 1}}},
	} {
		e := New(func(*argosyv1.Flow) error { return nil })
		var err error
		for _, f := range words {
			err = e.Take(f)
		}
		if !errors.Is(err, ErrOverrun) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Many messages that are short.
	e, q := New(func(*argosyv1.Flow) error { return nil }), NewQueue[int]()
	for i := range 1 << 20 {
		errE, errQ := e.Take(content(1)), q.Put(i, content(1))
		if (errE == nil) != (i < Window/least) || (errQ == nil) != (i < Window/least) {
			t.Fatalf("message %d of one byte: %v, %v", i, errE, errQ)
		}
		if errE != nil {
			break
		}
	}
	q = NewQueue[int]()
	for i := range words + 1 {
		if err := q.Put(i, nil); (err == nil) != (i < words) {
			t.Errorf("message %d without content: %v", i, err)
		}
	}
	// A word that nobody knows yet is passed over.
	if err := New(nil).Take(&argosyv1.Flow{}); err != nil {
		t.Error(err)
	}
}

// TestWhatCameBeforeTheEndIsRead: a stream that breaks loses nothing that had arrived.
func TestWhatCameBeforeTheEndIsRead(t *testing.T) {
	e := New(func(*argosyv1.Flow) error { return nil })
	if err := e.Take(&argosyv1.Flow{Word: &argosyv1.Flow_Content{Content: []byte("hello")}}); err != nil {
		t.Fatal(err)
	}
	e.Fail(errors.New("broken"))
	b, err := io.ReadAll(e)
	if string(b) != "hello" || err == nil || err.Error() != "broken" {
		t.Errorf("got %q, %v", b, err)
	}
}

// tcp makes both sides of a TCP connection.
func tcp(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// joined is two TCP connections joined through two ends: what is written to one comes out of the other.
func joined(t *testing.T) (left, right *net.TCPConn, ended chan error) {
	a, b, wait := pair(t)
	t.Cleanup(wait)
	left, l := tcp(t)
	right, r := tcp(t)
	ended = make(chan error, 2)
	for e, c := range map[*End]*net.TCPConn{a: l, b: r} {
		go func() {
			err := Join(e, c)
			if err != nil {
				_ = c.SetLinger(0)
			}
			_ = c.Close()
			ended <- err
		}()
	}
	return left, right, ended
}

// TestHalfClose: each direction ends by itself.
func TestHalfClose(t *testing.T) {
	left, right, ended := joined(t)
	if _, err := left.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := left.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(right); string(b) != "question" || err != nil {
		t.Fatalf("got %q, %v", b, err)
	}
	if _, err := right.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if err := right.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(left); string(b) != "answer" || err != nil {
		t.Fatalf("got %q, %v", b, err)
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestResetIsAnError: a connection that breaks is not taken for one that ended.
func TestResetIsAnError(t *testing.T) {
	left, _, ended := joined(t)
	if err := left.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("a reset counts as an end")
	}
}

func BenchmarkJoin(b *testing.B) {
	x, y, wait := pair(b)
	defer wait()
	go func() {
		buf := make([]byte, piece)
		for {
			if _, err := x.Write(buf); err != nil {
				return
			}
		}
	}()
	b.SetBytes(1 << 20)
	for b.Loop() {
		if _, err := io.CopyN(io.Discard, y, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
