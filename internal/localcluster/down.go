package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// DownOptions say what Down removes beside the cluster.
type DownOptions struct {
	// Images removes machine images, unless another cluster's machines use them.
	Images bool
}

// Down removes every trace of the cluster, and at last the Docker Engine if
// this package started it by hand and nothing else runs in it. What is gone
// already is no error.
func (l *Local) Down(ctx context.Context, opts DownOptions) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := l.docker.Ping(ctx, client.PingOptions{}); err != nil {
		if _, statErr := os.Stat(engineFile); errors.Is(statErr, fs.ErrNotExist) {
			return fmt.Errorf("the Docker Engine that would run local machines does not answer: %w", err)
		}
		if err := l.endEngine(ctx); err != nil { // started here and dead since
			return err
		}
		return forgetRunDir()
	}
	if err := l.removeMachines(ctx); err != nil {
		return err
	}
	if err := errors.Join(l.removeVolumes(ctx), l.removeDisks(), l.removeNetwork(ctx)); err != nil {
		return err
	}
	if err := os.RemoveAll(l.socketDir()); err != nil {
		return err
	}
	if opts.Images {
		if err := l.removeImages(ctx); err != nil {
			return err
		}
	}
	if err := l.endEngine(ctx); err != nil {
		return err
	}
	return forgetRunDir()
}

// removeMachines kills and removes all containers of the cluster, including
// guests that tests put beside the machines under its label.
func (l *Local) removeMachines(ctx context.Context) error {
	list, err := l.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: l.ours()})
	if err != nil {
		return fmt.Errorf("list the machines of cluster %s: %w", l.opts.Name, err)
	}
	if len(list.Items) == 0 {
		return nil
	}
	return l.step("", fmt.Sprintf("remove %d machines", len(list.Items)), func() error {
		// One after the other: Engine 20.10 can deadlock when one container
		// leaves a network while another's endpoint in it is deleted.
		for _, item := range list.Items {
			_, err := l.docker.ContainerRemove(ctx, item.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			if err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("remove %s: %w", strings.Join(item.Names, ", "), err)
			}
		}
		return nil
	})
}

func (l *Local) removeVolumes(ctx context.Context) error {
	list, err := l.docker.VolumeList(ctx, client.VolumeListOptions{Filters: l.ours()})
	if err != nil {
		return fmt.Errorf("list the volumes of cluster %s: %w", l.opts.Name, err)
	}
	if len(list.Items) == 0 {
		return nil
	}
	return l.step("", fmt.Sprintf("remove %d volumes", len(list.Items)), func() error {
		var errs []error
		for _, v := range list.Items {
			if _, err := l.docker.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("remove volume %s: %w", v.Name, err))
			}
		}
		return errors.Join(errs...)
	})
}

func (l *Local) removeNetwork(ctx context.Context) error {
	list, err := l.docker.NetworkList(ctx, client.NetworkListOptions{Filters: l.ours()})
	if err != nil {
		return fmt.Errorf("list the networks of cluster %s: %w", l.opts.Name, err)
	}
	for _, n := range list.Items {
		if _, err := l.docker.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove network %s: %w", n.Name, err)
		}
	}
	return nil
}

// removeImages removes machine images of this and earlier recipes. One that a
// machine of another cluster needs stays.
func (l *Local) removeImages(ctx context.Context) error {
	list, err := l.docker.ImageList(ctx, client.ImageListOptions{Filters: client.Filters{}.Add("label", labelImage)})
	if err != nil {
		return fmt.Errorf("list machine images: %w", err)
	}
	for _, image := range list.Items {
		_, err := l.docker.ImageRemove(ctx, image.ID, client.ImageRemoveOptions{PruneChildren: true})
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return fmt.Errorf("remove image %s: %w", strings.Join(image.RepoTags, ", "), err)
		}
	}
	return nil
}

// ours filters for what belongs to the cluster.
func (l *Local) ours() client.Filters {
	return client.Filters{}.Add("label", labelCluster+"="+l.opts.Name)
}
