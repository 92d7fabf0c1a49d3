package docker

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// FileStat is what is at a path of a container.
type FileStat struct {
	Name       string
	Size       int64
	Mode       fs.FileMode
	Modified   time.Time
	LinkTarget string // absolute, in the container; of symbolic links
}

const maxPathText = 4096

func fileStat(s container.PathStat) FileStat {
	return FileStat{Name: clip(s.Name, maxPathText), Size: s.Size, Mode: s.Mode, Modified: s.Mtime, LinkTarget: clip(s.LinkTarget, maxPathText)}
}

// filesFault is fault for calls about files. An Engine says "not found" of containers and of files.
func filesFault(what, path string, err error) error {
	f := fault(what+" "+clip(path, 200), err)
	if errdefs.IsNotFound(err) && !isKind(f, core.FaultGone) {
		return fmt.Errorf("there is no %s in the container", clip(path, 200))
	}
	return f
}

// Stat looks at a path of a container, which need not run.
func (e *Engine) Stat(ctx context.Context, containerID, path string) (FileStat, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := e.api.ContainerStatPath(ctx, containerID, client.ContainerStatPathOptions{Path: path})
	if err != nil {
		return FileStat{}, filesFault("look at", path, err)
	}
	return fileStat(res.Stat), nil
}

// ReadFiles gives a tar of what is at a path of a container. The caller closes it.
func (e *Engine) ReadFiles(ctx context.Context, containerID, path string) (FileStat, io.ReadCloser, error) {
	res, err := e.api.CopyFromContainer(ctx, containerID, client.CopyFromContainerOptions{SourcePath: path})
	if err != nil {
		return FileStat{}, nil, filesFault("read", path, err)
	}
	return fileStat(res.Stat), res.Content, nil
}

// WriteFiles unpacks a tar into a directory of a container. What is a directory there does not become anything else, nor the
// other way round. When the tar breaks off, what came of it stays.
func (e *Engine) WriteFiles(ctx context.Context, containerID, path string, tar io.Reader) error {
	_, err := e.api.CopyToContainer(ctx, containerID, client.CopyToContainerOptions{DestinationPath: path, Content: tar})
	return filesFault("write to", path, err)
}
