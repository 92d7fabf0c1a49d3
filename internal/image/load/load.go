package load

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/registry"
)

// Engine is what is needed of Docker; *client.Client has it.
type Engine interface {
	ImageInspect(ctx context.Context, image string, opts ...client.ImageInspectOption) (client.ImageInspectResult, error)
	ImageSave(ctx context.Context, images []string, opts ...client.ImageSaveOption) (client.ImageSaveResult, error)
}

// Options say where an image goes, and as what.
type Options struct {
	Client *registry.Client // never nil
	Tenant string
	// As is the name:tag that the image gets in the cluster; empty means the name that it has.
	As string
	// Architecture is chosen when an archive has the image for several; default this host's.
	Architecture string
	// TempDir is where a stream is spooled; default os.TempDir().
	TempDir string
	// MaxArchive is how many bytes of an archive are read; default 64 GiB.
	MaxArchive int64
	// AtOnce is how many blobs are sent at the same time; default 3.
	AtOnce int
	// Progress, if not nil, is told how it goes, by one goroutine at a time. It must be quick.
	Progress func(Progress)
	// Sender's Client is ignored; the rest tunes the sending.
	Sender registry.Sender
}

// Result is how it went.
type Result struct {
	Ref    image.Ref    // what the image is called in the cluster now
	Digest image.Digest // of its manifest
	// Unchanged means that the name meant this image already, and nothing was read or sent.
	Unchanged     bool
	Layers        int   // different ones in the image
	LayersPresent int   // of them, those that the cluster had
	LayersSent    int   // and those that were sent
	BytesSent     int64 // in all, configuration included
	BytesResumed  int64 // not sent, because an interrupted attempt had
}

func (o Options) withDefaults() Options {
	if o.Architecture == "" {
		o.Architecture = runtime.GOARCH
	}
	if o.MaxArchive <= 0 {
		o.MaxArchive = 64 << 30
	}
	if o.AtOnce <= 0 {
		o.AtOnce = 3
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	o.Sender.Client = o.Client
	return o
}

// Docker sends an image that Docker has, named by tag or id.
func Docker(ctx context.Context, docker Engine, name string, o Options) (Result, error) {
	o = o.withDefaults()
	found, err := docker.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return Result{}, fmt.Errorf("Docker on this host has no image %q: build or pull it first, or give an archive", name)
	}
	if err != nil {
		return Result{}, fmt.Errorf("ask Docker for image %q: %w", name, err)
	}
	ref, err := nameFor(name, found.RepoTags, o.As)
	if err != nil {
		return Result{}, err
	}
	if _, r, ok := o.means(ctx, ref, found.ID); ok {
		r.Unchanged = true
		o.Progress(Progress{Stage: Done, Layers: r.Layers, Present: r.Layers})
		return r, nil
	}
	if r, ok := o.known(ctx, ref, found.ID, found.RepoTags); ok {
		o.Progress(Progress{Stage: Done, Layers: r.Layers, Present: r.Layers})
		return r, nil
	}
	stream, err := docker.ImageSave(ctx, []string{found.ID})
	if err != nil {
		return Result{}, fmt.Errorf("read image %q from Docker: %w", name, err)
	}
	defer stream.Close()
	return o.load(ctx, stream, &ref, nil)
}

// nameFor returns the name in the cluster of a local image that was asked for as name and has tags.
func nameFor(name string, tags []string, as string) (image.Ref, error) {
	if as != "" {
		return wantTag(as)
	}
	ref, err := image.ParseRef(name)
	if err == nil && ref.Digest == "" && slices.Contains(tags, ref.Familiar()) {
		return ref, nil
	}
	if len(tags) == 1 {
		return wantTag(tags[0])
	}
	return image.Ref{}, fmt.Errorf("%q is no name with a tag, and the image has %d of those: say what the cluster is to call it", name, len(tags))
}

func wantTag(name string) (image.Ref, error) {
	ref, err := image.ParseRef(name)
	if err == nil && ref.Digest != "" {
		err = fmt.Errorf("%q has a digest: the cluster calls images by a name and a tag", name)
	}
	return ref, err
}

// stored is a manifest as a server has it.
type stored struct {
	image.Manifest
	raw       []byte
	mediaType string
}

// means says whether ref means, in the cluster, the image whose configuration is id.
func (o Options) means(ctx context.Context, ref image.Ref, id string) (stored, Result, bool) {
	raw, mediaType, err := o.Client.Manifest(ctx, o.repo(ref), ref.Tag)
	if err != nil {
		return stored{}, Result{}, false // what is wrong shows soon enough
	}
	m, err := image.ParseManifest(raw, mediaType)
	if err != nil || m.Config == nil || string(m.Config.Digest) != id {
		return stored{}, Result{}, false
	}
	return stored{m, raw, mediaType}, Result{Ref: ref, Digest: image.Sum(raw), Layers: len(m.Layers), LayersPresent: len(m.Layers)}, true
}

// mostTags is how many other names of an image are asked about.
const mostTags = 16

// known gives ref to an image that the cluster has by another of its names in Docker, tags. Nothing is read from Docker then.
func (o Options) known(ctx context.Context, ref image.Ref, id string, tags []string) (Result, bool) {
	for _, tag := range tags[:min(len(tags), mostTags)] {
		other, err := wantTag(tag)
		if err != nil || other == ref {
			continue
		}
		m, r, ok := o.means(ctx, other, id)
		if !ok {
			continue
		}
		for _, b := range append([]image.Descriptor{*m.Config}, m.Layers...) {
			if lacks, err := o.Client.Claim(ctx, o.repo(ref), b.Digest); err != nil || lacks != nil {
				return Result{}, false
			}
		}
		if _, err := o.Client.PutManifest(ctx, o.repo(ref), ref.Tag, m.mediaType, m.raw); err != nil {
			return Result{}, false
		}
		r.Ref = ref
		return r, true
	}
	return Result{}, false
}

func (o Options) repo(ref image.Ref) registry.Repo {
	return registry.Repo{Tenant: o.Tenant, Name: ref.Name}
}

// Archive sends an image from an archive: what `docker save` writes, or an OCI layout in a tar, either compressed with
// gzip or not. If it has several images, pick is the name of the one that is wanted; otherwise it may be empty.
func Archive(ctx context.Context, r io.Reader, pick string, o Options) (Result, error) {
	o = o.withDefaults()
	var as, wanted *image.Ref
	if o.As != "" {
		ref, err := wantTag(o.As)
		if err != nil {
			return Result{}, err
		}
		as = &ref
	}
	if pick != "" {
		ref, err := image.ParseRef(pick)
		if err != nil {
			return Result{}, err
		}
		wanted = &ref
	}
	return o.load(ctx, r, as, wanted)
}

// load does what the package's documentation says, from step 2 on.
func (o Options) load(ctx context.Context, r io.Reader, as, wanted *image.Ref) (res Result, err error) {
	t, done, err := record(ctx, r, o.TempDir, limits{o.MaxArchive, image.MaxBlob}, reading(o.Progress))
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	p, err := read(t, wish{ref: wanted, architecture: o.Architecture})
	if err != nil {
		return Result{}, err
	}
	if as == nil {
		if p.name == "" {
			return Result{}, errors.New("the archive does not say what the image is called: say what the cluster is to call it")
		}
		ref, err := wantTag(p.name)
		if err != nil {
			return Result{}, err
		}
		as = &ref
	}
	return o.send(ctx, t, p, *as)
}

// send sends the blobs that the server lacks, then the manifest.
func (o Options) send(ctx context.Context, t *tape, p picture, ref image.Ref) (Result, error) {
	track := newTracker(o.Progress)
	jobs := []job{track.job(p.config, "", false)}
	for i, l := range p.layers {
		if !slices.ContainsFunc(jobs, func(j job) bool { return j.digest == l.digest }) {
			jobs = append(jobs, track.job(l, p.diffIDs[i], true))
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(o.AtOnce)
	for _, j := range jobs {
		group.Go(func() error {
			src := registry.Source{Digest: j.digest, Size: j.size, Open: t.opener(j)}
			s, err := o.Sender.Send(gctx, o.repo(ref), src, func(at int64) { track.moved(j.digest, at) })
			track.settle(j.digest, s, err)
			return err
		})
	}
	err := group.Wait()
	res := track.result
	res.Ref, res.Digest = ref, image.Sum(p.manifest)
	if err == nil {
		_, err = o.Client.PutManifest(ctx, o.repo(ref), ref.Tag, p.media, p.manifest)
	}
	if err != nil {
		return res, fmt.Errorf("send image %s: %w", ref.Familiar(), err)
	}
	track.done()
	return res, nil
}

// job is a blob to be sent.
type job struct {
	entry
	diffID image.Digest // of a layer once unpacked; empty for the configuration
}

// opener returns what opens e for sending. A layer that is compressed with gzip is unpacked first, once, to see that it
// is what the configuration promises: Docker would refuse it otherwise, but only later and on every machine.
func (t *tape) opener(j job) func(int64) (io.ReadCloser, error) {
	checked := false
	return func(from int64) (io.ReadCloser, error) {
		if !checked {
			if err := t.unpacksTo(j.entry, j.diffID); err != nil {
				return nil, err
			}
			checked = true
		}
		return io.NopCloser(t.open(j.entry, from)), nil
	}
}

func (t *tape) unpacksTo(e entry, diffID image.Digest) error {
	media, err := t.mediaType(e)
	if err != nil || diffID == "" || !strings.HasSuffix(media, "+gzip") {
		return err
	}
	zr, err := gzip.NewReader(t.open(e, 0))
	if err != nil {
		return fmt.Errorf("the archive is damaged: layer %s cannot be unpacked: %w", e.digest, err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(zr, image.MaxBlob+1))
	if err != nil {
		return fmt.Errorf("the archive is damaged: layer %s cannot be unpacked: %w", e.digest, err)
	}
	if n > image.MaxBlob {
		return fmt.Errorf("layer %s has more than %d bytes when unpacked", e.digest, int64(image.MaxBlob))
	}
	if got := image.DigestOf([sha256.Size]byte(sum.Sum(nil))); got != diffID {
		return fmt.Errorf("the archive is damaged: layer %s unpacks to %s, but the image's configuration says %s", e.digest, got, diffID)
	}
	return nil
}
