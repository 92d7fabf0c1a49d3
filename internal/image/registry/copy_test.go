package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
)

// give puts an image of one layer into the server.
func (s server) give(t *testing.T, tag string, layer []byte) image.Digest {
	t.Helper()
	var cfg image.Config
	cfg.RootFS.Type, cfg.RootFS.DiffIDs = "layers", []image.Digest{image.Sum(layer)}
	raw, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sender := Sender{Client: s.client(), Wait: noWait}
	for _, b := range [][]byte{raw, layer} {
		if _, err := sender.Send(t.Context(), repo, sourceOf(b), nil); err != nil {
			t.Fatal(err)
		}
	}
	m, err := image.NewManifest(
		image.Descriptor{MediaType: image.TypeOCIConfig, Digest: image.Sum(raw), Size: int64(len(raw))},
		[]image.Descriptor{{MediaType: image.TypeOCILayer, Digest: image.Sum(layer), Size: int64(len(layer))}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.client().PutManifest(t.Context(), repo, tag, image.TypeOCIManifest, m)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shaky is a peer whose blobs go through bend.
type shaky struct {
	Peer
	bend func(io.Reader) io.Reader
	from []int64
}

func (s *shaky) Blob(ctx context.Context, r Repo, d image.Digest, at int64) (io.ReadCloser, error) {
	s.from = append(s.from, at)
	rc, err := s.Peer.Blob(ctx, r, d, at)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{s.bend(rc), rc}, nil
}

func TestCopy(t *testing.T) {
	one, two := serve(t, Options{}, blobs.Options{}), serve(t, Options{}, blobs.Options{})
	layer := noise(1 << 20)
	d := one.give(t, "1", layer)

	cuts := 0
	peer := &shaky{Peer: one.client(), bend: func(r io.Reader) io.Reader {
		if cuts++; cuts == 2 { // the layer; the configuration comes first
			return io.MultiReader(io.LimitReader(r, 300_000), iotest.ErrReader(errCut))
		}
		return r
	}}
	if err := Copy(t.Context(), two.store, peer, repo, "1", d); !errors.Is(err, errCut) {
		t.Fatalf("over a line that is cut: %v", err)
	}
	if _, ok, _ := two.store.Resolve("default", image.Ref{Name: "app", Tag: "1"}); ok {
		t.Error("half an image has a name")
	}
	if err := Copy(t.Context(), two.store, peer, repo, "1", d); err != nil {
		t.Fatal(err)
	}
	if last := peer.from[len(peer.from)-1]; last != 300_000 {
		t.Errorf("the second attempt went on at %d", last)
	}
	if got, ok, err := two.store.Resolve("default", image.Ref{Name: "app", Tag: "1"}); got != d || !ok || err != nil {
		t.Errorf("the copy is %s, %t, %v", got, ok, err)
	}
	if !bytes.Equal(two.stored(t, image.Sum(layer)), layer) {
		t.Error("the copy is something else")
	}
	asked := len(peer.from)
	if err := Copy(t.Context(), two.store, peer, repo, "again", d); err != nil || len(peer.from) != asked {
		t.Errorf("copying what is there: %v", err)
	}
}

func TestCopyFromLiar(t *testing.T) {
	one, two := serve(t, Options{}, blobs.Options{}), serve(t, Options{}, blobs.Options{})
	d := one.give(t, "1", noise(1<<16))
	for what, bend := range map[string]func(io.Reader) io.Reader{
		"other bytes": flip,
		"more bytes":  func(r io.Reader) io.Reader { return io.MultiReader(r, bytes.NewReader(make([]byte, 1<<20))) },
		"fewer bytes": func(r io.Reader) io.Reader { return io.LimitReader(r, 10) },
	} {
		var de *blobs.DigestError
		err := Copy(t.Context(), two.store, &shaky{Peer: one.client(), bend: bend}, repo, "1", d)
		if !errors.As(err, &de) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := Copy(t.Context(), two.store, one.client(), repo, "1", d); err != nil {
		t.Errorf("from an honest peer afterwards: %v", err)
	}
}
