package testimage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
)

// File is one entry of a layer. A Path that ends in "/" is a directory.
type File struct {
	Path string
	Mode int64 // permission bits; 0 means 0644, or 0755 for a directory
	Data []byte
}

// Spec is an image to be made. The same Spec always gives the same bytes, hence the same ids.
type Spec struct {
	Ref        string   // name:tag; empty for an image without a name
	Layers     [][]File // lowest first; at least one
	Entrypoint []string
	Cmd        []string
	Env        []string // NAME=value
	Labels     map[string]string
}

type config struct {
	Architecture string       `json:"architecture"`
	OS           string       `json:"os"`
	Created      string       `json:"created"`
	Config       execution    `json:"config"`
	RootFS       rootFS       `json:"rootfs"`
	History      []historyRow `json:"history"`
}

type execution struct {
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Cmd        []string          `json:"Cmd,omitempty"`
	Env        []string          `json:"Env,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type historyRow struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// Archive writes the image as a tar in the layout that every Docker Engine reads with `docker load`.
func Archive(w io.Writer, spec Spec) error {
	const epoch = "1970-01-01T00:00:00Z"
	cfg := config{
		Architecture: runtime.GOARCH, OS: "linux", Created: epoch,
		Config: execution{Entrypoint: spec.Entrypoint, Cmd: spec.Cmd, Env: spec.Env, Labels: spec.Labels},
		RootFS: rootFS{Type: "layers"},
	}
	var files []File
	var layers []string
	for _, entries := range spec.Layers {
		var layer bytes.Buffer
		if err := writeTar(&layer, entries); err != nil {
			return err
		}
		id := hexSum(layer.Bytes())
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, "sha256:"+id)
		cfg.History = append(cfg.History, historyRow{epoch, "testimage"})
		files = append(files, File{Path: id + "/layer.tar", Data: layer.Bytes()})
		layers = append(layers, id+"/layer.tar")
	}
	raw, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	name := hexSum(raw) + ".json"
	files = append(files, File{Path: name, Data: raw})

	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	list := entry{Config: name, Layers: layers}
	if spec.Ref != "" {
		list.RepoTags = []string{spec.Ref}
	}
	raw, err = json.Marshal([]entry{list})
	if err != nil {
		return err
	}
	return writeTar(w, append(files, File{Path: "manifest.json", Data: raw}))
}

func writeTar(w io.Writer, files []File) error {
	tw := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Name: f.Path, Mode: f.Mode, Size: int64(len(f.Data)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if strings.HasSuffix(f.Path, "/") {
			h.Typeflag, h.Size = tar.TypeDir, 0
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if _, err := tw.Write(f.Data); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	return tw.Close()
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
