package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/registry"
)

// anImage is a manifest with one layer of some text, and what it consists of.
func anImage(t *testing.T, text string) (raw []byte, parts map[image.Digest][]byte) {
	t.Helper()
	layer := []byte(text)
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, image.Sum(layer))
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": image.TypeOCIManifest,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": image.Sum(config), "size": len(config)},
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": image.Sum(layer), "size": len(layer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw, map[image.Digest][]byte{image.Sum(layer): layer, image.Sum(config): config}
}

// send sends an image to a server, as the administrator on its socket.
func (c *cluster) send(t *testing.T, name, tag, text string) (image.Digest, error) {
	t.Helper()
	raw, parts := anImage(t, text)
	for d, b := range parts {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.local.base+"/v2/default/"+name+"/blobs/uploads/?digest="+string(d), bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.local.hc.Do(req)
		if err != nil {
			return "", err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			return "", fmt.Errorf("a part: %s", res.Status)
		}
	}
	client := registry.NewClient(c.local.base, c.local.hc)
	return client.PutManifest(t.Context(), registry.Repo{Tenant: "default", Name: name}, tag, image.TypeOCIManifest, raw)
}

// An image that is sent to any server can be had from each, also when the one that took it is gone; so can its name, and
// when the name is taken away it is gone everywhere.
func TestImagesOfSeveralServers(t *testing.T) {
	t.Parallel()
	s := threeServers(t)
	lead, others := s.leader()
	d, err := others[0].send(t, "shop/web", "1", "hello")
	if err != nil {
		t.Fatal(err)
	}
	repo := registry.Repo{Tenant: "default", Name: "shop/web"}
	has := func(c *cluster, want bool) {
		t.Helper()
		until(t, fmt.Sprintf("%s has the image: %v", c.server.cfg.Name, want), func(ctx context.Context) error {
			got, ok, err := c.server.images.Resolve("default", image.Ref{Name: "shop/web", Tag: "1"})
			if err == nil && ok != want || ok && got != d {
				err = fmt.Errorf("%v %v", got, ok)
			}
			return err
		})
	}
	for _, c := range s.servers {
		raw, _, err := registry.NewClient(c.local.base, c.local.hc).Manifest(t.Context(), repo, string(d))
		if err != nil || image.Sum(raw) != d {
			t.Errorf("%s gives %d bytes, %v", c.server.cfg.Name, len(raw), err)
		}
		has(c, true)
	}
	lead.stop()
	s.drop(lead)
	s.join("s4", lead.server.cfg.Name)
	s.votes(3)
	for _, c := range s.servers {
		has(c, true) // the newcomer too
	}
	if err := registry.NewClient(s.servers[0].local.base, s.servers[0].local.hc).Untag(t.Context(), repo, "1"); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.servers {
		has(c, false)
	}
}
