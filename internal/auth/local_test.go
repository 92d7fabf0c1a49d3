package auth

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListenLocal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "argosy.sock")
	// A server that was killed leaves its socket behind.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := ListenLocal(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm()&0o007 != 0 {
		t.Errorf("the socket is open to others: %v, %v", st.Mode(), err)
	}
	if _, err := ListenLocal(path); err == nil || !strings.Contains(err.Error(), "another server listens") {
		t.Errorf("a second server: %v", err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := localFrom(ConnContext(t.Context(), accepted)); !ok || got.err != nil {
		t.Errorf("the server's own user: %v, %v", ok, got.err)
	}
	_, _ = conn.Close(), accepted.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if _, ok := localFrom(ConnContext(t.Context(), &net.TCPConn{})); ok {
		t.Error("a TCP connection passes for the socket")
	}
}

func TestMayAdminister(t *testing.T) {
	if err := mayAdminister(0, 0); err != nil {
		t.Errorf("root: %v", err)
	}
	if err := mayAdminister(uint32(os.Geteuid()), 12345); err != nil {
		t.Errorf("the server's user: %v", err)
	}
	if err := mayAdminister(54321, 54321); err == nil || !strings.Contains(err.Error(), LocalGroup) {
		t.Errorf("a stranger: %v", err)
	}
	if gid, ok := localGroup(); ok {
		if err := mayAdminister(54321, uint32(gid)); err != nil {
			t.Errorf("a member of the group: %v", err)
		}
	}
}
