package agent_test

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// door stands before the Engine's socket. While it is shut it takes connections and passes nothing on, as an Engine does
// that hangs.
type door struct {
	path string

	mu    sync.Mutex
	open  chan struct{} // closed while it is open
	conns []net.Conn
}

func newDoor(t *testing.T) *door {
	d := &door{path: filepath.Join(t.TempDir(), "docker.sock"), open: make(chan struct{})}
	close(d.open)
	l, err := net.Listen("unix", d.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		d.shut()
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go d.pass(conn)
		}
	}()
	return d
}

func (d *door) pass(conn net.Conn) {
	defer conn.Close()
	d.mu.Lock()
	open := d.open
	d.mu.Unlock()
	<-open
	engine, err := net.Dial("unix", "/var/run/docker.sock")
	if err != nil {
		return
	}
	defer engine.Close()
	d.mu.Lock()
	d.conns = append(d.conns, conn, engine)
	d.mu.Unlock()
	go func() {
		_, _ = io.Copy(engine, conn)
		_ = engine.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, engine)
}

// shut breaks what passes, and lets nothing pass any more.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		c.Close()
	}
	d.conns, d.open = nil, make(chan struct{})
}

func (d *door) reopen() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.open)
}

// TestAgentRestartedWhileTheEngineHangs: it has a session though the Engine never answered, says that nobody knows what runs,
// and goes on with what runs when the Engine answers.
func TestAgentRestartedWhileTheEngineHangs(t *testing.T) {
	b, l, d := newBench(t), newLeader(t), newDoor(t)
	cfg := b.config(l, logger(t))
	cfg.DockerHost = "unix://" + d.path
	l.assign(b.assignment(1, b.member("apache")))
	stop := b.start(t, cfg)
	l.ready(t, "shop/lamp.1")
	before := b.containers(t)
	stop()
	d.shut()
	b.start(t, cfg)
	l.until(t, "a session says that nobody knows what runs", func() bool {
		return l.session == 2 && l.full && l.trouble != "" && l.state("shop/lamp.1") == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED
	})
	d.reopen()
	l.until(t, "it is seen again", func() bool { return l.trouble == "" })
	l.ready(t, "shop/lamp.1")
	if after := b.containers(t); after["apache.1"] != before["apache.1"] || len(after) != 1 {
		t.Errorf("%v became %v", before, after)
	}
	l.sound(t)
}
