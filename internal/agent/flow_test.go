package agent_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/archive"
	"github.com/argosy-cluster/argosy/internal/flow"
)

// bytes makes a stream of bytes of an attached stream. said is everything else that the agent says, closed at the end.
func (a *attached) bytes() (end *flow.End, said chan *argosyv1.AttachRequest) {
	said = make(chan *argosyv1.AttachRequest, 16)
	end = flow.New(func(f *argosyv1.Flow) error {
		return a.stream.Send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Flow{Flow: f}})
	})
	go func() {
		defer close(said)
		for {
			m, err := a.stream.Receive()
			switch {
			case err != nil:
			case m.GetFlow() != nil:
				err = end.Take(m.GetFlow())
			default:
				said <- m
				if m.GetEnd() != nil {
					err = io.EOF
				}
			}
			if err != nil {
				end.Fail(err)
				return
			}
		}
	}()
	return end, said
}

func TestDial(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	a := b.assignment(1, healthy(b.member("inside", "serve", "127.0.0.1:8080")), healthy(b.member("outside", "serve", ":8080")), b.member("ended", "exit", "0"))
	a.Containers[2].Restart = &argosyv1.RestartPolicy{Mode: argosyv1.RestartMode_RESTART_MODE_NO}
	l.assign(a)
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	dial := func(member string, port uint32) *attached {
		return l.work(t, &argosyv1.Work{Kind: &argosyv1.Work_Dial{Dial: &argosyv1.DialWork{Key: a.GetKey(), Member: member, Port: port}}})
	}
	for _, member := range []string{"inside", "outside"} {
		x := dial(member, 8080)
		end, said := x.bytes()
		if m := <-said; !m.GetDialled() {
			t.Fatalf("%s: the agent says %v", member, m)
		}
		if _, err := io.WriteString(end, "GET /env/ARGOSY_MEMBER HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := end.CloseWrite(); err != nil { // and the answer comes nevertheless
			t.Fatal(err)
		}
		answer, err := io.ReadAll(end)
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(answer)), member) {
			t.Errorf("%s answers %q, %v", member, answer, err)
		}
		if m := <-said; m.GetEnd() == nil || m.GetEnd().GetError() != "" {
			t.Errorf("%s: it ends with %v", member, m)
		}
		closeOnce(x.done)
	}
	for _, c := range []struct {
		member string
		port   uint32
		says   string
	}{
		{"inside", 9, "connection refused: nothing listens on port 9"},
		{"ended", 80, "does not run|has just ended"}, // the second until the Engine has told of it
		{"nobody", 80, "has no container"}, {"inside", 65536, "is no port"},
	} {
		if _, _, _, end := dial(c.member, c.port).collect(t); !regexp.MustCompile(c.says).MatchString(end.GetError()) {
			t.Errorf("port %d of %s: %v; want %q", c.port, c.member, end, c.says)
		}
	}
	// A server that has had enough, or goes away, ends the connection.
	x := dial("outside", 8080)
	end, said := x.bytes()
	<-said
	if err := x.stream.Send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Cancel{Cancel: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(end); err == nil || errors.Is(err, flow.ErrOverrun) {
		t.Errorf("a connection that the server does not want any more ends with %v", err)
	}
}

func TestCopy(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	files, ended := b.member("files"), b.member("ended", "exit", "0")
	files.Mounts = []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}}
	sealed := b.member("sealed")
	sealed.ReadOnly = true
	a := b.assignment(1, files, ended, sealed)
	ended.Restart = &argosyv1.RestartPolicy{Mode: argosyv1.RestartMode_RESTART_MODE_NO}
	l.assign(a)
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	work := func(member string, kind argosyv1.CopyKind, path string) *attached {
		return l.work(t, &argosyv1.Work{Kind: &argosyv1.Work_Copy{Copy: &argosyv1.CopyWork{Key: a.GetKey(), Member: member, Kind: kind, Path: path}}})
	}
	write := func(member, path string, tar []byte) string {
		x := work(member, argosyv1.CopyKind_COPY_KIND_WRITE, path)
		defer closeOnce(x.done)
		end, said := x.bytes()
		if _, err := end.Write(tar); err == nil {
			_ = end.CloseWrite() // where that fails, the end says why
		}
		return (<-said).GetEnd().GetError()
	}
	read := func(member, path string) (stat *argosyv1.FileStat, tar []byte, problem string) {
		x := work(member, argosyv1.CopyKind_COPY_KIND_READ, path)
		defer closeOnce(x.done)
		end, said := x.bytes()
		m := <-said
		if m.GetStat() == nil {
			return nil, nil, m.GetEnd().GetError()
		}
		tar, err := io.ReadAll(end)
		if err != nil {
			t.Errorf("reading %s of %s: %v", path, member, err)
		}
		return m.GetStat(), tar, (<-said).GetEnd().GetError()
	}

	// More than all windows hold, into a volume and back; a container that has ended has files too.
	local := t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	if err := os.WriteFile(filepath.Join(local, "big"), big, 0o640); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if _, err := archive.Pack(&packed, local, "there", archive.Options{}); err != nil {
		t.Fatal(err)
	}
	for member, dir := range map[string]string{"files": "/data", "ended": "/"} {
		if problem := write(member, dir, packed.Bytes()); problem != "" {
			t.Fatalf("writing to %s: %s", member, problem)
		}
		stat, tar, problem := read(member, dir+"/there")
		if problem != "" || !fs.FileMode(stat.GetMode()).IsDir() || stat.GetName() != "there" {
			t.Fatalf("reading from %s: %v, %s", member, stat, problem)
		}
		back := t.TempDir()
		if _, err := archive.Unpack(bytes.NewReader(tar), archive.Place{Dir: back, Name: "back"}, archive.Options{}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(back, "back", "big")); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%d bytes came back from %s, %v", len(got), member, err)
		}
	}

	// What cannot be is said in the Engine's words.
	if problem := write("sealed", "/", packed.Bytes()); !strings.Contains(problem, "read-only") {
		t.Errorf("writing to a read-only root: %q", problem)
	}
	if problem := write("files", "/no/such", packed.Bytes()); problem != "there is no /no/such in the container" {
		t.Errorf("writing to nowhere: %q", problem)
	}
	if problem := write("files", "/data", []byte("no tar")); problem == "" {
		t.Error("what is no tar is taken")
	}
	for path, says := range map[string]string{"/no/such": "there is no /no/such in the container", "x": "begins with /"} {
		if _, _, problem := read("files", path); !strings.Contains(problem, says) {
			t.Errorf("reading %s: %q, want something about %q", path, problem, says)
		}
	}
	if _, _, _, end := work("files", argosyv1.CopyKind_COPY_KIND_STAT, "/no/such").collect(t); end.GetError() != "there is no /no/such in the container" {
		t.Errorf("looking at nothing: %v", end)
	}
	if _, _, _, end := work("files", argosyv1.CopyKind_COPY_KIND_UNSPECIFIED, "/").collect(t); !strings.Contains(end.GetError(), "upgrade it") {
		t.Errorf("a way that nobody knows: %v", end)
	}
	x := work("files", argosyv1.CopyKind_COPY_KIND_STAT, "/data")
	defer closeOnce(x.done)
	_, said := x.bytes()
	if m := <-said; !fs.FileMode(m.GetStat().GetMode()).IsDir() {
		t.Errorf("looking at a directory: %v", m)
	}
}
