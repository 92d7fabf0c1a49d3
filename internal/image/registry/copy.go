package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
)

// Peer is another server that may have what this one lacks; *Client is one. It is not trusted: what it gives is checked
// against the digest that was asked for.
type Peer interface {
	Manifest(ctx context.Context, repo Repo, tagOrDigest string) (raw []byte, mediaType string, err error)
	Blob(ctx context.Context, repo Repo, d image.Digest, offset int64) (io.ReadCloser, error)
}

// Copy makes sure that store has the image d of repo, fetching what it lacks from peer, and if tag is not empty, that
// repo:tag means it. An interrupted copy goes on where it stopped when it is called again.
func Copy(ctx context.Context, store *blobs.Store, peer Peer, repo Repo, tag string, d image.Digest) error {
	_, ok, err := store.Resolve(repo.Tenant, image.Ref{Name: repo.Name, Digest: d})
	if err != nil {
		return err
	}
	if ok {
		if tag == "" {
			return nil
		}
		return store.Tag(repo.Tenant, repo.Name, tag, d)
	}
	if err := copyImage(ctx, store, peer, repo, tag, d, 0); err != nil {
		return fmt.Errorf("copy image %s/%s@%s from another server: %w", repo.Tenant, repo.Name, d, err)
	}
	return nil
}

// maxDepth is how deep an index may lie in another.
const maxDepth = 2

func copyImage(ctx context.Context, store *blobs.Store, peer Peer, repo Repo, tag string, d image.Digest, depth int) error {
	if depth > maxDepth {
		return errors.New("an index lies too deep in others")
	}
	raw, mediaType, err := peer.Manifest(ctx, repo, string(d))
	if err != nil {
		return err
	}
	if got := image.Sum(raw); got != d {
		return &blobs.DigestError{Want: d, Got: got}
	}
	m, err := image.ParseManifest(raw, mediaType)
	if err != nil {
		return err
	}
	for _, child := range m.Manifests {
		if err := copyImage(ctx, store, peer, repo, "", child.Digest, depth+1); err != nil {
			return err
		}
	}
	for _, b := range m.Blobs() {
		if err := copyBlob(ctx, store, peer, repo, b); err != nil {
			return err
		}
	}
	_, err = store.PutManifest(repo.Tenant, repo.Name, tag, m.MediaType, raw)
	return err
}

func copyBlob(ctx context.Context, store *blobs.Store, peer Peer, repo Repo, b image.Descriptor) error {
	there, err := store.Claim(repo.Tenant, b.Digest)
	if there || err != nil {
		return err
	}
	id, at, err := store.Start(repo.Tenant, b.Digest)
	if err != nil {
		return err
	}
	if at < b.Size {
		body, err := peer.Blob(ctx, repo, b.Digest, at)
		if err != nil {
			return err
		}
		// One byte more than announced is enough for the digest to be wrong, and no more is taken.
		_, err = store.Append(repo.Tenant, id, at, io.LimitReader(body, b.Size-at+1))
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
	}
	return store.Commit(repo.Tenant, id, b.Digest)
}
