package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/client"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/database"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/agent/executor"
	"github.com/argosy-cluster/argosy/internal/agent/files"
	"github.com/argosy-cluster/argosy/internal/image/testimage"
)

// TestCollection removes, from a real Engine, an image that the agent pulled long ago and nothing needs, and nothing else.
func TestCollection(t *testing.T) {
	own := fmt.Sprintf("argosy-agent-test-%d", os.Getpid())
	engine, err := docker.Open(t.Context(), docker.Config{ClusterID: own, Prefix: own})
	if err != nil {
		t.Fatalf("this test needs a Docker Engine and none answers: start one (systemctl start docker) and try again: %v", err)
	}
	defer engine.Close()
	base, err := testimage.Ensure(t.Context(), engine.API())
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("/dev/shm", own)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	store, err := files.Open(files.Config{Secrets: filepath.Join(run, "secrets"), Configs: filepath.Join(t.TempDir(), "configs")})
	if err != nil {
		t.Fatal(err)
	}
	db, _, err := database.Open(filepath.Join(t.TempDir(), "agent.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now()
	image := func(name string, ours bool, age time.Duration) string {
		t.Helper()
		ref := "docker.io/" + own + "/" + name + ":1"
		if _, err := engine.API().ImageTag(t.Context(), client.ImageTagOptions{Source: base, Target: ref}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_, _ = engine.RemoveImage(context.WithoutCancel(t.Context()), ref)
		})
		if ours {
			if err := db.Pulled(database.Image{Reference: ref, Size: 1, PulledAt: now.Add(-age), UsedAt: now.Add(-age)}); err != nil {
				t.Fatal(err)
			}
		}
		return ref
	}
	const day = 24 * time.Hour
	old, strangers, fresh, needed := image("old", true, 8*day), image("strangers", false, 0), image("fresh", true, time.Hour), image("needed", true, 30*day)
	x := executor.New(executor.Config{Engine: engine, Files: store})
	x.Assign(true, []*argosyv1.Assignment{{
		Key: core.Key{Tenant: "default", App: "shop", Stack: "lamp", Number: 1}.Proto(), Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: needed}},
	}}, nil)
	room := func(string) (total, used int64, err error) { return 100, 50, nil } // this host's own disk may be nearly full
	a := &agent{db: db, engine: engine, x: x, files: store, disk: room, log: slog.New(slog.DiscardHandler)}
	if err := a.collectOnce(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]bool{old: false, strangers: true, fresh: true, needed: true} {
		_, err := engine.API().ImageInspect(t.Context(), ref)
		if (err == nil) != want {
			t.Errorf("%s is there: %v, want %v (%v)", ref, err == nil, want, err)
		}
	}
	list, err := db.Images()
	if err != nil || len(list) != 2 {
		t.Errorf("on record are %v, %v", list, err)
	}
	// What is needed now counts as used now, however long ago it was pulled.
	for _, img := range list {
		if img.Reference == needed && now.Sub(img.UsedAt) > time.Minute {
			t.Errorf("the image in use counts as used at %s", img.UsedAt)
		}
	}
}
