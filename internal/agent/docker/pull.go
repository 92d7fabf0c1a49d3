package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image that is present.
type Image struct {
	Reference string
	ImageID   string
	Size      int64
}

const (
	// pullSilence is how long a pull may show no sign of life.
	pullSilence = 2 * time.Minute
	// noteEvery bounds how often progress is told.
	noteEvery = time.Second
	maxLayers = 512
)

// Reference is what the Engine calls the image of spec.
func (e *Engine) Reference(tenant string, spec *argosyv1.ContainerSpec) (string, error) {
	ref, err := image.ParseRef(spec.GetImage())
	if err != nil {
		return "", &core.Fault{Kind: core.FaultRefused, Message: err.Error(), Err: err}
	}
	if spec.GetImageDigest() == "" {
		return ref.String(), nil
	}
	digest, err := image.ParseDigest(spec.GetImageDigest())
	if err != nil {
		return "", &core.Fault{Kind: core.FaultRefused, Message: err.Error(), Err: err}
	}
	if spec.GetImageOrigin() == argosyv1.ImageOrigin_IMAGE_ORIGIN_CLUSTER {
		return image.Local(e.cfg.RelayPort, tenant, ref.Name, digest), nil
	}
	return ref.Pin(digest), nil
}

// HaveImage says whether the image of spec is here, so that, as its pull policy says, it need not be pulled.
func (e *Engine) HaveImage(ctx context.Context, a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) (Image, bool, error) {
	ref, err := e.Reference(a.GetKey().GetTenant(), spec)
	if err != nil {
		return Image{}, false, err
	}
	// What a digest names cannot be fresher elsewhere.
	if spec.GetPullPolicy() == argosyv1.PullPolicy_PULL_POLICY_ALWAYS && spec.GetImageDigest() == "" {
		return Image{}, false, nil
	}
	img, found, err := e.have(ctx, ref)
	if err == nil && !found && spec.GetPullPolicy() == argosyv1.PullPolicy_PULL_POLICY_NEVER {
		err = &core.Fault{Kind: core.FaultRefused, Message: fmt.Sprintf("image %s is not on this machine, and pull_policy never forbids to get it", spec.GetImage())}
	}
	return img, found, err
}

// PullImage gets the image of spec. Callers that want the same image at the same time share one pull. note, which may be
// nil, is told of the progress at most once a second.
func (e *Engine) PullImage(ctx context.Context, a *argosyv1.Assignment, spec *argosyv1.ContainerSpec, note func(string)) (Image, error) {
	ref, err := e.Reference(a.GetKey().GetTenant(), spec)
	if err != nil {
		return Image{}, err
	}
	if spec.GetImageOrigin() == argosyv1.ImageOrigin_IMAGE_ORIGIN_CLUSTER && e.cfg.RelayPort == 0 {
		return Image{}, &core.Fault{Message: "this agent has no way to the cluster's images; it was started without a relay"}
	}
	auth, err := e.auth(a, spec)
	if err != nil {
		return Image{}, err
	}
	return e.share(ctx, ref+"\x00"+auth, note, func(ctx context.Context, note func(string)) (Image, error) {
		if err := e.pull(ctx, ref, spec, auth, note); err != nil {
			return Image{}, err
		}
		img, found, err := e.have(ctx, ref)
		if err == nil && !found {
			err = &core.Fault{Message: fmt.Sprintf("image %s was pulled and is gone again", spec.GetImage())}
		}
		return img, err
	})
}

func (e *Engine) have(ctx context.Context, ref string) (Image, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := e.api.ImageInspect(ctx, ref)
	switch {
	case errdefs.IsNotFound(err):
		return Image{}, false, nil
	case err != nil:
		return Image{}, false, fault("look at image", err)
	}
	return Image{Reference: ref, ImageID: clip(res.ID, maxLabelText), Size: res.Size}, true, nil
}

func (e *Engine) auth(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) (string, error) {
	if spec.GetImageOrigin() == argosyv1.ImageOrigin_IMAGE_ORIGIN_CLUSTER {
		return e.cfg.RelayAuth, nil
	}
	if e.cfg.Credential == nil {
		return "", nil
	}
	ref, err := image.ParseRef(spec.GetImage())
	if err != nil {
		return "", err
	}
	host, _, _ := strings.Cut(ref.Repository, "/")
	c, err := e.cfg.Credential(a, host)
	if err != nil || c == (Credential{}) {
		return "", err
	}
	return authconfig.Encode(registry.AuthConfig{Username: c.Username, Password: c.Password, ServerAddress: host})
}

func (e *Engine) pull(ctx context.Context, ref string, spec *argosyv1.ContainerSpec, auth string, note func(string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(pullSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	opts := client.ImagePullOptions{RegistryAuth: auth}
	if p := platform(spec.GetPlatform()); p != nil {
		opts.Platforms = []ocispec.Platform{*p}
	}
	res, err := e.api.ImagePull(ctx, ref, opts)
	if err != nil {
		return pullFault(spec.GetImage(), because(ctx, err))
	}
	defer res.Close()
	p := progress{image: spec.GetImage(), layers: map[string]layer{}}
	var told time.Time
	for m, err := range res.JSONMessages(ctx) {
		if err != nil {
			return pullFault(spec.GetImage(), because(ctx, err))
		}
		if m.Error != nil {
			return pullFault(spec.GetImage(), m.Error)
		}
		silence.Reset(pullSilence)
		p.take(m.ID, m.Status, m.Progress)
		if now := time.Now(); now.Sub(told) >= noteEvery {
			told = now
			note(p.String())
		}
	}
	return because(ctx, nil)
}

var errSilent = errors.New("nothing came for two minutes")

func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	if err == nil {
		return ctx.Err()
	}
	return err
}

// pullFault says in a sentence why an image could not be had.
func pullFault(name string, err error) error {
	text := said(err)
	low := strings.ToLower(text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(low, w) {
				return true
			}
		}
		return false
	}
	f := &core.Fault{Err: err}
	switch {
	case has("no space left on device"):
		f.Message = fmt.Sprintf("image %s does not fit: no space left on this machine's disk", name)
	case has("no matching manifest", "does not match the specified platform"):
		f.Kind, f.Message = core.FaultRefused, fmt.Sprintf("image %s is not made for this machine's kind of processor", name)
	case has("unauthorized", "authentication required", "no basic auth credentials", "access denied", "denied:"):
		f.Kind, f.Message = core.FaultRefused, fmt.Sprintf("image %s may not be read: the registry wants other credentials, or it does not exist (%s)", name, text)
	case has("manifest unknown", "not found", "repository does not exist", "name unknown", "manifest for"):
		f.Kind, f.Message = core.FaultRefused, fmt.Sprintf("image %s does not exist where it was looked for (%s)", name, text)
	case errors.Is(err, errSilent), has("timeout", "timed out", "deadline exceeded", "connection refused", "no such host", "unreachable", "no route to host", "connection reset", "eof", "tls", "x509", "server misbehaving"):
		f.Message = fmt.Sprintf("image %s cannot be had now: its registry does not answer (%s)", name, text)
	default:
		f.Message = fmt.Sprintf("image %s could not be pulled: %s", name, text)
	}
	return f
}
