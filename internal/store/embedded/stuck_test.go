package embedded

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
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
