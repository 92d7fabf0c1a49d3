package agent

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/database"
)

// sleepy is a systemd that answers only the last of so many questions.
type sleepy struct{ deaf int }

func (s *sleepy) Version(context.Context) (string, error) {
	if s.deaf--; s.deaf >= 0 {
		return "", errors.New("it does not answer")
	}
	return "252", nil
}

// TestSystemdThatAnswersLate: an agent that starts before systemd answers does not take the machine for one without.
func TestSystemdThatAnswersLate(t *testing.T) {
	db, _, err := database.Open(filepath.Join(t.TempDir(), "agent.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	a := &agent{db: db, log: slog.New(slog.DiscardHandler)}
	bus := &sleepy{deaf: 3}
	version, err := a.meetSystemd(t.Context(), bus)
	if err != nil || version != versionUnknown {
		t.Errorf("systemd that never answered is %q, %v", version, err)
	}
	a.hello.Store(&argosyv1.Hello{SystemdVersion: version, BootId: "b"})
	a.meetSystemdLater(t.Context(), bus, time.Microsecond)
	if h := a.hello.Load(); h.SystemdVersion != "252" || h.BootId != "b" {
		t.Errorf("once it has answered, the machine says %v", h)
	}
	// The next agent knows what it was.
	next := &agent{db: db, log: a.log}
	if version, err := next.meetSystemd(t.Context(), &sleepy{deaf: 1}); err != nil || version != "252" {
		t.Errorf("systemd that was met before is %q, %v", version, err)
	}
}
