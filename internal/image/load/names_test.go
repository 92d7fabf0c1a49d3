package load

import (
	"bytes"
	"context"
	"io"
	"testing"

	moby "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"

	"github.com/argosy-cluster/argosy/internal/image"
)

// oneImage is a Docker that has one image, and counts how often that is read.
type oneImage struct {
	id   string
	tags []string
	tar  []byte
	read int
}

func (d *oneImage) ImageInspect(context.Context, string, ...client.ImageInspectOption) (client.ImageInspectResult, error) {
	return client.ImageInspectResult{InspectResponse: moby.InspectResponse{ID: d.id, RepoTags: d.tags}}, nil
}

func (d *oneImage) ImageSave(context.Context, []string, ...client.ImageSaveOption) (client.ImageSaveResult, error) {
	d.read++
	return io.NopCloser(bytes.NewReader(d.tar)), nil
}

// TestAnotherName: an image that the cluster has by one name gets another without being read again; another image does not.
func TestAnotherName(t *testing.T) {
	store, opts := server(t)
	docker := &oneImage{id: string(image.Sum([]byte(configOf(t, "one", "two", "one")))), tags: []string{"shop:7", "other/shop:latest"}, tar: archive(t, legacy(t)...)}
	first, err := Docker(t.Context(), docker, "shop:7", opts)
	if err != nil || docker.read != 1 || first.LayersSent != 2 {
		t.Fatalf("%+v, %v, read %d times", first, err, docker.read)
	}
	second, err := Docker(t.Context(), docker, "other/shop:latest", opts)
	if err != nil || docker.read != 1 || second.LayersSent != 0 || second.Unchanged || second.Digest != first.Digest || second.Ref.Familiar() != "other/shop:latest" {
		t.Errorf("%+v, %v, read %d times", second, err, docker.read)
	}
	if d, ok, err := store.Resolve("default", second.Ref); err != nil || !ok || d != first.Digest {
		t.Errorf("other/shop:latest means %v, %v, %v", d, ok, err)
	}
	third, err := Docker(t.Context(), docker, "other/shop:latest", opts)
	if err != nil || docker.read != 1 || !third.Unchanged {
		t.Errorf("once more: %+v, %v, read %d times", third, err, docker.read)
	}
	docker.id = "sha256:" + image.Sum([]byte("another")).Hex()
	if _, err := Docker(t.Context(), docker, "shop:7", opts); docker.read != 2 {
		t.Errorf("another image was taken for the one that is there: %v", err)
	}
}
