package docker

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// RemoveImage removes an image unless a container, of whoever, uses it. One that is not there counts as removed; used says
// that it stays because something uses it.
func (e *Engine) RemoveImage(ctx context.Context, reference string) (used bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err = e.api.ImageRemove(ctx, reference, client.ImageRemoveOptions{PruneChildren: true})
	switch {
	case err == nil || errdefs.IsNotFound(err):
		return false, nil
	case errdefs.IsConflict(err):
		return true, nil
	}
	return false, fault("remove image", err)
}
