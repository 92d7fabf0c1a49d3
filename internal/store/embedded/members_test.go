package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/store/embedded"
)

// TestChangesOfMembersWaitForEachOther: raft drops a change of the members that is proposed while another is under way, and who asked
// for it would wait for ever. A server that enters while another is given its vote asks for one.
func TestChangesOfMembersWaitForEachOther(t *testing.T) {
	m, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Name: "s1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const together = 16
	failed := make(chan error)
	for n := range together {
		go func() { failed <- m.Move(ctx, m.Own(), fmt.Sprintf("127.0.0.1:%d", 20_000+n)) }()
	}
	for range together {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
