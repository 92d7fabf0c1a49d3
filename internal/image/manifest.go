package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Media types of the documents that are understood.
const (
	TypeOCIManifest = "application/vnd.oci.image.manifest.v1+json"
	TypeOCIIndex    = "application/vnd.oci.image.index.v1+json"
	TypeOCIConfig   = "application/vnd.oci.image.config.v1+json"
	TypeOCILayer    = "application/vnd.oci.image.layer.v1.tar"

	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	TypeDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
)

// Bounds on what is read from outside. Real images stay far below each of them.
const (
	MaxManifest = 1 << 20  // bytes
	MaxConfig   = 4 << 20  // bytes
	MaxLayers   = 256      // Docker itself stops at 127
	MaxIndex    = 256      // manifests in an index
	MaxBlob     = 64 << 30 // bytes; a store may be told to take less
)

// Descriptor points at a blob.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      Digest            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Platform is what an entry of an index is made for.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// Manifest is an image manifest (Config and Layers), or an index (Manifests), never both.
type Manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *Descriptor  `json:"config,omitempty"`
	Layers        []Descriptor `json:"layers,omitempty"`
	Manifests     []Descriptor `json:"manifests,omitempty"`
}

// IsIndex tells an index from an image manifest.
func (m Manifest) IsIndex() bool { return m.MediaType == TypeOCIIndex || m.MediaType == TypeDockerList }

// Blobs returns what an image manifest needs: its configuration, then its layers, lowest first.
func (m Manifest) Blobs() []Descriptor {
	if m.Config == nil {
		return nil
	}
	return append([]Descriptor{*m.Config}, m.Layers...)
}

// ParseManifest reads and checks a manifest or an index. mediaType is what the sender called it, or "" when nobody did;
// a document that calls itself something else is refused, so that no two readers can take one text for two things.
func ParseManifest(raw []byte, mediaType string) (Manifest, error) {
	if len(raw) > MaxManifest {
		return Manifest{}, fmt.Errorf("a manifest of %d bytes is too large: %d are allowed", len(raw), MaxManifest)
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return Manifest{}, fmt.Errorf("the manifest is not understood: %w", err)
	}
	if m.MediaType == "" { // OCI lets a document leave its type out
		m.MediaType = TypeOCIManifest
		if m.Config == nil {
			m.MediaType = TypeOCIIndex
		}
	}
	if mediaType != "" && m.MediaType != mediaType {
		return Manifest{}, fmt.Errorf("the manifest is of type %s and was sent as %s", clip(m.MediaType), clip(mediaType))
	}
	if m.SchemaVersion != 2 {
		return Manifest{}, fmt.Errorf("the manifest has schema version %d; only 2 is understood", m.SchemaVersion)
	}
	switch m.MediaType {
	case TypeOCIManifest, TypeDockerManifest:
		return m, m.checkImage()
	case TypeOCIIndex, TypeDockerList:
		return m, m.checkIndex()
	}
	return Manifest{}, fmt.Errorf("a manifest of type %s is not understood", clip(m.MediaType))
}

func (m Manifest) checkImage() error {
	if m.Config == nil || len(m.Manifests) > 0 {
		return errors.New("an image manifest needs a config and has no manifests")
	}
	if len(m.Layers) > MaxLayers {
		return fmt.Errorf("the image has %d layers; %d are allowed", len(m.Layers), MaxLayers)
	}
	if m.Config.MediaType != TypeOCIConfig && m.Config.MediaType != TypeDockerConfig {
		return fmt.Errorf("a manifest whose config is of type %s is not a container image", clip(m.Config.MediaType))
	}
	if m.Config.Size > MaxConfig {
		return fmt.Errorf("the image's configuration has %d bytes; %d are allowed", m.Config.Size, MaxConfig)
	}
	for _, d := range m.Blobs() {
		if err := d.check(MaxBlob); err != nil {
			return err
		}
	}
	return nil
}

func (m Manifest) checkIndex() error {
	if m.Config != nil || len(m.Layers) > 0 {
		return errors.New("an index has manifests, neither a config nor layers")
	}
	if len(m.Manifests) > MaxIndex {
		return fmt.Errorf("the index has %d manifests; %d are allowed", len(m.Manifests), MaxIndex)
	}
	for _, d := range m.Manifests {
		if err := d.check(MaxManifest); err != nil {
			return err
		}
	}
	return nil
}

func (d Descriptor) check(most int64) error {
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return err
	}
	if d.Size < 0 || d.Size > most {
		return fmt.Errorf("%s has a size of %d bytes; 0 to %d are allowed", d.Digest, d.Size, most)
	}
	if len(d.URLs) > 0 {
		return fmt.Errorf("%s is to be fetched from elsewhere (%s); Argosy does not", d.Digest, clip(d.URLs[0]))
	}
	return nil
}

// Config is the part of an image's configuration that Argosy looks at. The rest is Docker's.
type Config struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// ParseConfig reads and checks an image's configuration.
func ParseConfig(raw []byte) (Config, error) {
	if len(raw) > MaxConfig {
		return Config{}, fmt.Errorf("an image configuration of %d bytes is too large: %d are allowed", len(raw), MaxConfig)
	}
	var c Config
	if err := json.Unmarshal(raw, &c); err != nil {
		return Config{}, fmt.Errorf("the image's configuration is not understood: %w", err)
	}
	if c.RootFS.Type != "layers" || len(c.RootFS.DiffIDs) > MaxLayers {
		return Config{}, fmt.Errorf("the image's configuration has %d layers of type %s; at most %d of type \"layers\" are allowed",
			len(c.RootFS.DiffIDs), clip(c.RootFS.Type), MaxLayers)
	}
	for _, d := range c.RootFS.DiffIDs {
		if _, err := ParseDigest(string(d)); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// Describes says whether the configuration is that of the image manifest m: as many layers, and each layer that is not
// compressed has the digest that the configuration promises.
func (c Config) Describes(m Manifest) error {
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("the image's configuration lists %d layers, its manifest %d", len(c.RootFS.DiffIDs), len(m.Layers))
	}
	for i, l := range m.Layers {
		plain := l.MediaType == TypeOCILayer || l.MediaType == TypeDockerLayer
		if plain && l.Digest != c.RootFS.DiffIDs[i] {
			return fmt.Errorf("layer %d is %s, but the image's configuration says %s", i+1, l.Digest, c.RootFS.DiffIDs[i])
		}
	}
	return nil
}

// NewManifest writes the OCI manifest of an image. Equal arguments give equal bytes, so the same image has the same
// digest whoever sends it.
func NewManifest(config Descriptor, layers []Descriptor) ([]byte, error) {
	m := Manifest{SchemaVersion: 2, MediaType: TypeOCIManifest, Config: &config, Layers: slices.Clone(layers)}
	if err := m.checkImage(); err != nil {
		return nil, err
	}
	return json.Marshal(m)
}
