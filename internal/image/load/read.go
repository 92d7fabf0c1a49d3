package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/argosy-cluster/argosy/internal/image"
)

// picture is one image found in an archive, checked and ready to be sent.
type picture struct {
	name     string // as the archive calls it; may be empty
	manifest []byte
	media    string
	config   entry
	layers   []entry
	diffIDs  []image.Digest // of the layers once unpacked
}

// wish says which image of an archive is wanted.
type wish struct {
	ref          *image.Ref // or nil: the only one
	architecture string
}

// read finds the wanted image. Both layouts may be in one archive; the list that Docker writes goes first, since any
// Docker wrote it the same way.
func read(t *tape, w wish) (picture, error) {
	if e, err := t.find("manifest.json"); err == nil {
		return readDocker(t, e, w)
	}
	if e, err := t.find("index.json"); err == nil {
		return readOCI(t, e, w)
	}
	return picture{}, errors.New("the archive has neither manifest.json nor index.json, so it is no image: give what `docker save` wrote (not `docker export`)")
}

// listed is an entry of manifest.json.
type listed struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func readDocker(t *tape, e entry, w wish) (picture, error) {
	raw, err := t.bytes(e, image.MaxManifest)
	if err != nil {
		return picture{}, err
	}
	var list []listed
	if err := json.Unmarshal(raw, &list); err != nil {
		return picture{}, fmt.Errorf("the archive's manifest.json is not understood: %w", err)
	}
	names := make([][]string, 0, len(list))
	for _, l := range list {
		names = append(names, l.RepoTags)
	}
	i, name, err := choose(names, w.ref)
	if err != nil {
		return picture{}, err
	}
	p := picture{name: name}
	if p.config, err = t.find(list[i].Config); err != nil {
		return picture{}, err
	}
	// Docker calls the configuration by its own digest; then that is a promise.
	if base := strings.TrimSuffix(path.Base(list[i].Config), ".json"); len(base) == 64 && base != p.config.digest.Hex() {
		return picture{}, fmt.Errorf("the archive is damaged: its configuration %.80q has the digest %s", list[i].Config, p.config.digest)
	}
	if len(list[i].Layers) > image.MaxLayers {
		return picture{}, fmt.Errorf("the image has %d layers; %d are allowed", len(list[i].Layers), image.MaxLayers)
	}
	var layers []image.Descriptor
	for _, l := range list[i].Layers {
		layer, err := t.find(l)
		if err != nil {
			return picture{}, err
		}
		media, err := t.mediaType(layer)
		if err != nil {
			return picture{}, err
		}
		p.layers = append(p.layers, layer)
		layers = append(layers, image.Descriptor{MediaType: media, Digest: layer.digest, Size: layer.size})
	}
	config := image.Descriptor{MediaType: image.TypeOCIConfig, Digest: p.config.digest, Size: p.config.size}
	if p.manifest, err = image.NewManifest(config, layers); err != nil {
		return picture{}, err
	}
	return p, p.check(t)
}

// check compares what the configuration promises with the layers that are there.
func (p *picture) check(t *tape) error {
	m, err := image.ParseManifest(p.manifest, "")
	if err != nil {
		return err
	}
	p.media = m.MediaType
	raw, err := t.bytes(p.config, image.MaxConfig)
	if err != nil {
		return err
	}
	cfg, err := image.ParseConfig(raw)
	if err != nil {
		return err
	}
	p.diffIDs = cfg.RootFS.DiffIDs
	if err := cfg.Describes(m); err != nil {
		return fmt.Errorf("the archive is damaged: %w", err)
	}
	return nil
}

// mediaType looks at how a layer is packed.
func (t *tape) mediaType(e entry) (string, error) {
	var magic [4]byte
	if _, err := io.ReadFull(t.open(e, 0), magic[:min(4, e.size)]); err != nil {
		return "", fmt.Errorf("read the archive: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic[:], []byte{0x1f, 0x8b}):
		return image.TypeOCILayer + "+gzip", nil
	case bytes.Equal(magic[:], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return image.TypeOCILayer + "+zstd", nil
	}
	return image.TypeOCILayer, nil
}

// choose returns the image that has the wanted name, or the only one.
func choose(names [][]string, want *image.Ref) (int, string, error) {
	var all []string
	for i, of := range names {
		for _, name := range of {
			ref, err := image.ParseRef(name)
			if err == nil && want != nil && ref.Name == want.Name && ref.Tag == want.Tag {
				return i, name, nil
			}
			all = append(all, name)
		}
	}
	if len(names) == 1 {
		name := ""
		if len(names[0]) == 1 {
			name = names[0][0]
		}
		return 0, name, nil
	}
	if len(names) == 0 {
		return 0, "", errors.New("the archive lists no image")
	}
	if len(all) > 20 {
		all = append(all[:20], "…")
	}
	return 0, "", fmt.Errorf("the archive has %d images (%.1000s): say which one by its name", len(names), strings.Join(all, ", "))
}

const (
	annotationRef  = "org.opencontainers.image.ref.name"
	annotationName = "io.containerd.image.name"
)

func readOCI(t *tape, e entry, w wish) (picture, error) {
	raw, err := t.bytes(e, image.MaxManifest)
	if err != nil {
		return picture{}, err
	}
	index, err := image.ParseManifest(raw, "")
	if err != nil {
		return picture{}, fmt.Errorf("the archive's index.json: %w", err)
	}
	if !index.IsIndex() {
		return picture{}, errors.New("the archive's index.json is no index")
	}
	var names [][]string
	for _, d := range index.Manifests {
		var of []string
		for _, name := range []string{d.Annotations[annotationName], d.Annotations[annotationRef]} {
			if strings.ContainsAny(name, "/:") { // else it is a bare tag of who knows what
				of = []string{name}
				break
			}
		}
		names = append(names, of)
	}
	i, name, err := choose(names, w.ref)
	if err != nil {
		return picture{}, err
	}
	p := picture{name: name}
	m, err := t.document(index.Manifests[i].Digest, &p)
	if err != nil {
		return picture{}, err
	}
	if m.IsIndex() {
		if m, err = t.forArchitecture(m, w.architecture, &p); err != nil {
			return picture{}, err
		}
	}
	for i, d := range m.Blobs() {
		blob, err := t.find(blobDir + d.Digest.Hex())
		if err != nil {
			return picture{}, err
		}
		if blob.size != d.Size {
			return picture{}, fmt.Errorf("the archive is damaged: %s has %d bytes, its manifest says %d", d.Digest, blob.size, d.Size)
		}
		if i == 0 {
			p.config = blob
		} else {
			p.layers = append(p.layers, blob)
		}
	}
	return p, p.check(t)
}

// document reads the manifest or index d, which becomes p's manifest.
func (t *tape) document(d image.Digest, p *picture) (image.Manifest, error) {
	e, err := t.find(blobDir + d.Hex())
	if err != nil {
		return image.Manifest{}, err
	}
	raw, err := t.bytes(e, image.MaxManifest)
	if err != nil {
		return image.Manifest{}, err
	}
	p.manifest = raw
	return image.ParseManifest(raw, "")
}

func (t *tape) forArchitecture(index image.Manifest, architecture string, p *picture) (image.Manifest, error) {
	var has []string
	for _, d := range index.Manifests {
		if d.Platform == nil {
			continue
		}
		if d.Platform.OS == "linux" && d.Platform.Architecture == architecture {
			m, err := t.document(d.Digest, p)
			if err == nil && m.IsIndex() {
				err = errors.New("the archive has an index within an index within an index")
			}
			return m, err
		}
		has = append(has, d.Platform.OS+"/"+d.Platform.Architecture)
	}
	return image.Manifest{}, fmt.Errorf("the archive has no image for linux/%s, only for: %.300s", architecture, strings.Join(has, ", "))
}
