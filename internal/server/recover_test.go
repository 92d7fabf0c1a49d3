package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Two of three servers are gone for good. Nothing can be changed, until the survivor is made the only one: it knows what
// was acknowledged, and others may join it again.
func TestRecover(t *testing.T) {
	t.Parallel()
	s := threeServers(t)
	s.servers[0].apply(t, spec("kept", 2))
	_, err := Recover(t.Context(), filepath.Join(s.servers[0].dir, "data"), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatalf("recovering while the server runs: %v", err)
	}
	lead, others := s.leader()
	survivor := others[0]
	lead.stop()
	others[1].stop()
	_, err = survivor.local.apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: spec("lost", 1)}))
	wantError(t, err, connect.CodeUnavailable, "")
	// It may have led for a moment, and takes the time of an election to see that nobody follows.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		status, err := survivor.local.cluster.GetCluster(t.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
		if err == nil && status.Msg.Leader == "" {
			break
		}
		if time.Now().After(end) {
			t.Errorf("without a majority: %v, %v", status, err)
			break
		}
	}
	survivor.stop()

	r, err := Recover(t.Context(), filepath.Join(survivor.dir, "data"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if r.Generation < 2 || len(r.Given) != 2 || r.Server != survivor.server.cfg.Name {
		t.Errorf("recovered %+v", r)
	}
	name := survivor.server.cfg.Name
	s.servers = nil
	again := s.start(survivor.dir, name)
	until(t, "the survivor leads", func(ctx context.Context) error {
		res, err := again.local.cluster.GetCluster(ctx, connect.NewRequest(&argosyv1.GetClusterRequest{}))
		if err != nil {
			return err
		}
		if res.Msg.Generation != r.Generation || res.Msg.Leader != name {
			return fmt.Errorf("%v", res.Msg)
		}
		return nil
	})
	apps, err := again.local.apps.ListApps(t.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{}))
	if err != nil || len(apps.Msg.Apps) != 1 {
		t.Fatalf("after recovering: %v, %v", apps, err)
	}
	again.apply(t, spec("next", 1))
	s.join("s9", "")
	s.votes(2)

	if _, err := Recover(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler)); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("recovering from nothing: %v", err)
	}
}
