package testimage

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Name is the repository that all images of this package are tagged with.
const Name = "argosy-image-test/prog"

// Docker is what this package needs of a Docker Engine; *client.Client has it.
type Docker interface {
	ImageInspect(ctx context.Context, image string, opts ...client.ImageInspectOption) (client.ImageInspectResult, error)
	ImageLoad(ctx context.Context, input io.Reader, opts ...client.ImageLoadOption) (client.ImageLoadResult, error)
}

// Ref is the name of the image that Ensure makes.
func Ref() string { return Name + ":" + sourceHash() }

// Ensure makes sure that Docker has the test image, and returns its name, which is always Ref(). The image's entry
// point is the program, its default command `sleep infinity`. Nobody needs to remove it: it is meant to stay for the
// next run, and all processes on a host share it.
func Ensure(ctx context.Context, docker Docker) (string, error) {
	_, err := docker.ImageInspect(ctx, Ref())
	if err == nil {
		return Ref(), nil
	}
	if !errdefs.IsNotFound(err) {
		return "", fmt.Errorf("Docker Engine cannot be asked for the test image; is it running? %w", err)
	}
	spec, err := Default(ctx)
	if err != nil {
		return "", err
	}
	return Ref(), Load(ctx, docker, spec)
}

// Default describes the image that Ensure makes. Callers may change the copy they get.
func Default(ctx context.Context) (Spec, error) {
	path, err := Program(ctx)
	if err != nil {
		return Spec{}, err
	}
	prog, err := os.ReadFile(path)
	if err != nil {
		return Spec{}, err
	}
	return Spec{
		Ref: Ref(),
		Layers: [][]File{
			{
				{Path: "etc/"},
				{Path: "etc/passwd", Data: []byte("root:x:0:0:root:/:/testprog\nnobody:x:65534:65534:nobody:/:/testprog\n")},
				{Path: "etc/group", Data: []byte("root:x:0:\nnogroup:x:65534:\n")},
				{Path: "tmp/", Mode: 0o1777},
			},
			{{Path: "testprog", Mode: 0o755, Data: prog}},
		},
		Entrypoint: []string{"/testprog"},
		Cmd:        []string{"sleep", "infinity"},
		Env:        []string{"PATH=/"},
	}, nil
}

// Load gives Docker the image that spec describes.
func Load(ctx context.Context, docker Docker, spec Spec) error {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(Archive(pw, spec)) }()
	defer pr.Close()
	res, err := docker.ImageLoad(ctx, pr, client.ImageLoadWithQuiet(true))
	if err != nil {
		return fmt.Errorf("load %s into Docker: %w", spec.Ref, err)
	}
	defer res.Close()
	// Docker answers 200 before it has read the tar; what went wrong later is only in the stream.
	answer, err := io.ReadAll(io.LimitReader(res, 1<<20))
	if err != nil {
		return fmt.Errorf("load %s into Docker: %w", spec.Ref, err)
	}
	if strings.Contains(string(answer), `"error"`) {
		return fmt.Errorf("load %s into Docker: it answered %s", spec.Ref, answer)
	}
	return nil
}
