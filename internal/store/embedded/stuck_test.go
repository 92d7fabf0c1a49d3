package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/store"
)

// When its disk is full, etcd gives up in the middle of a transaction, whose lock nobody lets go any more. A member that is
// stuck like that stops all the same.
func TestStuckMemberStops(t *testing.T) {
	m, err := Start(t.Context(), Config{Dir: t.TempDir(), Name: "s1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tx := m.etcd.Server.Backend().BatchTx()
	tx.Lock()
	t.Cleanup(tx.Unlock)
	m.fail(errors.New("the store gave up: no space left on device"))
	if err := <-m.Failed(); err == nil {
		t.Error("it does not say why")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		m.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		t.Fatal("it does not stop")
	}
}

// What etcd is at when it gives up while it starts may wait for ever for what the goroutine that gave up holds. Start says
// why it failed all the same, and the directory stays taken for as long as something of that start may still write to it.
func TestStuckStart(t *testing.T) {
	dir := t.TempDir()
	at, goOn := make(chan struct{}), make(chan struct{})
	log := slog.New(holdUp{message: "starting etcd server", at: at, goOn: goOn, Handler: slog.DiscardHandler})
	c := Config{Dir: dir, Name: "s1", Log: log}
	release, err := claimDir(dir, c.Name)
	if err != nil {
		t.Fatal(err)
	}
	m := &Member{release: release, quota: DefaultQuota, failed: make(chan error, 1), ended: make(chan struct{}), changing: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() { ended <- m.start(t.Context(), c) }()
	<-at
	full := errors.New("the store gave up: no space left on device")
	m.fail(full)
	if err := <-ended; !errors.Is(err, full) {
		t.Errorf("it says %v", err)
	}
	m.Stop()
	if _, err := claimDir(dir, c.Name); err == nil {
		t.Error("the directory is free while etcd starts in it")
	}
	lock, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	close(goOn)
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil { // waits until it is free
		t.Error(err)
	}
}

// holdUp stops whoever logs a message until it may go on.
type holdUp struct {
	slog.Handler
	message  string
	at, goOn chan struct{}
}

func (h holdUp) Enabled(context.Context, slog.Level) bool { return true }

func (h holdUp) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h holdUp) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, h.message) {
		close(h.at)
		<-h.goOn
	}
	return nil
}

// A store that gave up between its start and the time that its server serves is noticed: what reads it meanwhile ends.
func TestStuckMemberEndsWhatReadsIt(t *testing.T) {
	m, err := Start(t.Context(), Config{Dir: t.TempDir(), Name: "s1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tx := m.etcd.Server.Backend().BatchTx()
	tx.Lock() // as the goroutine that gave up leaves it
	t.Cleanup(tx.Unlock)
	full := errors.New("the store gave up: no space left on device")
	m.fail(full)
	err = store.While(t.Context(), m.Failed(), func(ctx context.Context) error {
		_, err := m.Client().Put(ctx, "a", "b")
		return err
	})
	if !errors.Is(err, full) {
		t.Errorf("it says %v", err)
	}
	m.Stop()
}
