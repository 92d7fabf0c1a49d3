package kill

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/argosy-cluster/argosy/internal/image/testimage"
)

// engine is this host's Docker Engine, as far as it concerns one cluster.
type engine struct {
	api     *client.Client
	cluster string // its id; empty until there is one
	image   string
}

// newEngine has the image that containers are made of, under a name whose registry is nowhere, so that nobody waits for one.
func newEngine(t testing.TB) *engine {
	t.Helper()
	api, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	if _, err := api.Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Fatalf("this test needs a Docker Engine and none answers: start one (systemctl start docker) and try again: %v", err)
	}
	made, err := testimage.Ensure(t.Context(), api)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{api: api, image: fmt.Sprintf("127.0.0.1:9/argosy-kill-test:%d", os.Getpid())}
	if _, err := api.ImageTag(t.Context(), client.ImageTagOptions{Source: made, Target: e.image}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.clear(t) })
	return e
}

func (e *engine) mine() client.Filters {
	return client.Filters{}.Add("label", "argosy.cluster="+e.cluster)
}

// look is what there is of the cluster: running containers by replica, how many containers there are in all, and volumes by replica.
func (e *engine) look(ctx context.Context) (s sight, err error) {
	s = sight{running: map[string]int{}, volumes: map[string]int{}}
	list, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: e.mine()})
	if err != nil {
		return s, err
	}
	for _, c := range list.Items {
		if s.containers++; c.State == "running" {
			s.running[replicaOf(c.Labels)]++
		}
	}
	volumes, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: e.mine()})
	if err != nil {
		return s, err
	}
	for _, v := range volumes.Items {
		s.volumes[replicaOf(v.Labels)]++
	}
	return s, nil
}

type sight struct {
	running    map[string]int
	containers int
	volumes    map[string]int
}

func replicaOf(labels map[string]string) string {
	return fmt.Sprintf("%s/%s.%s", labels["argosy.app"], labels["argosy.stack"], labels["argosy.number"])
}

// clear removes whatever is left, one by one: Engine 20.10 can lock itself up when many containers end at once.
func (e *engine) clear(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if _, err := e.api.ImageRemove(ctx, e.image, client.ImageRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
		t.Error(err)
	}
	if e.cluster == "" {
		return
	}
	list, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: e.mine()})
	if err != nil {
		t.Error(err)
	}
	for _, c := range list.Items {
		if _, err := e.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	}
	volumes, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: e.mine()})
	if err != nil {
		t.Error(err)
	}
	for _, v := range volumes.Items {
		if _, err := e.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
	}
}
