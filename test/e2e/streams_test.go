//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// forwarded runs argosy port-forward until the test ends and returns where it listens. problems are what it has said on
// standard error when stop returns.
func forwarded(t *testing.T, target, ports string) (address string, stop func() (problems string)) {
	t.Helper()
	cmd := exec.Command(w.argosy, "port-forward", "--address", "127.0.0.1", "-o", "name", target, ports)
	cmd.Env = append(os.Environ(), "ARGOSY_SERVER="+w.cluster.Server)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() string {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(syscall.SIGINT)
			if err := cmd.Wait(); err != nil {
				t.Errorf("an interrupted port-forward ends with %v", err)
			}
		}
		return problems.String()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("port-forward %s %s says nothing: %v\n%s", target, ports, err, stop())
	}
	t.Cleanup(func() { stop() })
	return strings.TrimSpace(line), stop
}

// fetch gets a page over a connection of its own.
func fetch(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	return string(b), err
}

func lampPortForward(t *testing.T) {
	one, stop := forwarded(t, "shop/lamp.3", ":80") // apache alone declares that port
	const visitors = 20
	answers := make(chan error, visitors)
	for range visitors {
		go func() {
			page, err := fetch(t.Context(), one)
			if m := servedBy.FindStringSubmatch(page); err == nil && (m == nil || m[1] != "shop/lamp.3") {
				err = fmt.Errorf("the answer is %q", page)
			}
			answers <- err
		}()
	}
	for range visitors {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}

	// A client that has said all it has to say still gets its answer.
	conn, err := net.Dial("tcp", one)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "served by shop/lamp.3") {
		t.Errorf("after a half close: %q, %v", b, err)
	}
	if said := stop(); said != "" {
		t.Errorf("it complains: %s", said)
	}

	// A stack: each connection goes to a replica that is ready.
	any, _ := forwarded(t, "shop/lamp/apache", ":80")
	met := map[string]bool{}
	eventually(t, 30*time.Second, "every replica answers", func() error {
		page, err := fetch(t.Context(), any)
		if m := servedBy.FindStringSubmatch(page); m != nil {
			met[m[1]] = true
		}
		if err == nil && len(met) < 5 {
			err = fmt.Errorf("met only %v", met)
		}
		return err
	})

	// What cannot be connected to is said, and ends nothing.
	none, stop := forwarded(t, "shop/lamp.3/apache", ":81")
	for range 2 {
		if _, err := fetch(t.Context(), none); err == nil {
			t.Error("a port where nobody listens answers")
		}
	}
	if said := stop(); strings.Count(said, "connection refused: nothing listens on port 81") != 2 {
		t.Errorf("it says %q", said)
	}
	r := fails(t, 1, "port-forward", "shop/lamp.3", ":3307")
	if !strings.Contains(r.err, "name one of mysql, apache") {
		t.Error(r)
	}
}

func lampCopy(t *testing.T) {
	dir := t.TempDir()
	big := make([]byte, 50<<20)
	rand.Read(big) // documented never to fail
	tree := filepath.Join(dir, "tree")
	for _, err := range []error{os.MkdirAll(filepath.Join(tree, "sub"), 0o750), os.WriteFile(filepath.Join(tree, "sub", "big"), big, 0o640), os.Symlink("sub/big", filepath.Join(tree, "link"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	argosy(t, "cp", tree, "shop/lamp.2/apache:/tmp/")
	out := argosy(t, "exec", "shop/lamp.2/apache", "--", "sh", "-c", "cd /tmp/tree && sha256sum < link && stat -c '%a %u' sub sub/big")
	if want := fmt.Sprintf("%x  -\n750 0\n640 0\n", sha256.Sum256(big)); out != want {
		t.Errorf("in the container there is\n%swant\n%s", out, want)
	}
	back := filepath.Join(dir, "back")
	argosy(t, "cp", "shop/lamp.2/apache:/tmp/tree", back)
	if got, err := os.ReadFile(filepath.Join(back, "link")); err != nil || sha256.Sum256(got) != sha256.Sum256(big) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	argosy(t, "cp", "-q", "shop/lamp.2/apache:/tmp/tree/.", back)
	if _, err := os.Stat(filepath.Join(back, "tree")); err == nil {
		t.Error("the contents of a directory came with the directory")
	}
	tar := argosy(t, "cp", "shop/lamp.2/apache:/etc/hostname", "-")
	if r := w.run([]byte(tar), "cp", "-", "shop/lamp.2/apache:/tmp"); r.code != 0 {
		t.Error(r)
	}
	argosy(t, "exec", "shop/lamp.2/apache", "--", "test", "-s", "/tmp/hostname")
	if r := fails(t, 1, "cp", "shop/lamp.2/apache:/no/such", dir); !strings.Contains(r.err, "there is no /no/such in the container") {
		t.Error(r)
	}
	if out := argosy(t, "events", "shop/lamp.2"); !strings.Contains(out, "files written") || !strings.Contains(out, "files read") {
		t.Errorf("history does not tell of copies:\n%s", out)
	}
	argosy(t, "exec", "shop/lamp.2/apache", "--", "rm", "-r", "/tmp/tree", "/tmp/hostname")
}
