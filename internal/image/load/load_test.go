package load

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
	"github.com/argosy-cluster/argosy/internal/image/registry"
	"github.com/argosy-cluster/argosy/internal/image/testimage"
)

func server(t *testing.T) (*blobs.Store, Options) {
	t.Helper()
	store, err := blobs.Open(t.TempDir(), blobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	srv := httptest.NewServer(registry.NewHandler(store, registry.Options{
		Authorize: func(*http.Request, string, registry.Action) error { return nil },
		Log:       slog.New(slog.NewTextHandler(t.Output(), nil)),
	}))
	t.Cleanup(srv.Close)
	return store, Options{Client: registry.NewClient(srv.URL, srv.Client()), Tenant: "default", TempDir: t.TempDir()}
}

// file is an entry of a tar under construction.
type file struct {
	tar.Header
	data string
}

func reg(name, data string) file {
	return file{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}, data}
}

func link(name, target string) file {
	return file{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}, ""}
}

func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func configOf(t testing.TB, layers ...string) string {
	t.Helper()
	var c image.Config
	c.OS, c.Architecture, c.RootFS.Type = "linux", "amd64", "layers"
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, image.Sum([]byte(l)))
	}
	return marshal(t, c)
}

// legacy is what an old Docker writes for an image with layers "one", "two" and "one" again, the last as a link.
func legacy(t testing.TB) []file {
	cfg := configOf(t, "one", "two", "one")
	name := image.Sum([]byte(cfg)).Hex() + ".json"
	return []file{
		reg("aa/layer.tar", "one"), reg("aa/json", "{}"), reg("aa/VERSION", "1.0"),
		reg("bb/layer.tar", "two"),
		link("cc/layer.tar", "../aa/layer.tar"),
		reg(name, cfg),
		reg("manifest.json", marshal(t, []listed{{Config: name, RepoTags: []string{"shop:7"}, Layers: []string{"aa/layer.tar", "bb/layer.tar", "cc/layer.tar"}}})),
		reg("repositories", "{}"),
	}
}

func TestLegacyArchiveWithLinkedLayer(t *testing.T) {
	store, opts := server(t)
	var stages []Stage
	opts.Progress = func(p Progress) { stages = append(stages, p.Stage) }
	res, err := Archive(t.Context(), bytes.NewReader(archive(t, legacy(t)...)), "", opts)
	if err != nil {
		t.Fatal(err)
	}
	if res.Ref.Familiar() != "shop:7" || res.Layers != 2 || res.LayersSent != 2 {
		t.Errorf("got %+v", res)
	}
	raw, _, err := store.Manifest("default", res.Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := image.ParseManifest(raw, "")
	if err != nil || len(m.Layers) != 3 || m.Layers[0].Digest != m.Layers[2].Digest || m.Layers[1].Digest != image.Sum([]byte("two")) {
		t.Errorf("the manifest is %s, %v", raw, err)
	}
	if stages[0] != Sending || stages[len(stages)-1] != Done {
		t.Errorf("stages %v", stages)
	}
}

// The same archive gives the same image from a file, from a stream, and compressed.
func TestWaysToGiveAnArchive(t *testing.T) {
	_, opts := server(t)
	raw := archive(t, legacy(t)...)
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := Archive(t.Context(), bytes.NewReader(raw), "", opts)
	if err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]io.Reader{"file": f, "gzip": &packed} {
		got, err := Archive(t.Context(), r, "", opts)
		if err != nil || got.Digest != want.Digest || got.BytesSent != 0 || got.LayersPresent != 2 {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	left, err := os.ReadDir(opts.TempDir)
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

func gz(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func blob(data string) file { return reg(blobDir+image.Sum([]byte(data)).Hex(), data) }

func desc(media, data string) image.Descriptor {
	return image.Descriptor{MediaType: media, Digest: image.Sum([]byte(data)), Size: int64(len(data))}
}

// oci is an OCI layout of one image for amd64 and one for arm64, with compressed layers.
func oci(t testing.TB) (files []file, amd64 image.Digest) {
	var platforms []image.Descriptor
	for _, arch := range []string{"arm64", "amd64"} {
		plain := "layer for " + arch
		packed, cfg := gz(t, plain), configOf(t, plain)
		config := desc(image.TypeOCIConfig, cfg)
		m := marshal(t, image.Manifest{SchemaVersion: 2, MediaType: image.TypeOCIManifest, Config: &config,
			Layers: []image.Descriptor{desc(image.TypeOCILayer+"+gzip", packed)}})
		files = append(files, blob(packed), blob(cfg), blob(m))
		d := desc(image.TypeOCIManifest, m)
		d.Platform = &image.Platform{OS: "linux", Architecture: arch}
		platforms = append(platforms, d)
		amd64 = d.Digest
	}
	inner := marshal(t, image.Manifest{SchemaVersion: 2, MediaType: image.TypeOCIIndex, Manifests: platforms})
	top := desc(image.TypeOCIIndex, inner)
	top.Annotations = map[string]string{annotationName: "docker.io/library/multi:2", annotationRef: "2"}
	files = append(files, blob(inner), reg("oci-layout", `{"imageLayoutVersion":"1.0.0"}`),
		reg("index.json", marshal(t, image.Manifest{SchemaVersion: 2, MediaType: image.TypeOCIIndex, Manifests: []image.Descriptor{top}})))
	return files, amd64
}

func TestOCILayoutKeepsItsDigest(t *testing.T) {
	_, opts := server(t)
	files, want := oci(t)
	opts.Architecture = "amd64"
	res, err := Archive(t.Context(), bytes.NewReader(archive(t, files...)), "", opts)
	if err != nil {
		t.Fatal(err)
	}
	if res.Digest != want || res.Ref.Familiar() != "multi:2" || res.LayersSent != 1 {
		t.Errorf("got %+v, want digest %s", res, want)
	}
	opts.Architecture = "riscv64"
	if _, err := Archive(t.Context(), bytes.NewReader(archive(t, files...)), "", opts); err == nil || !strings.Contains(err.Error(), "linux/amd64") {
		t.Errorf("an architecture that is not there: %v", err)
	}
}

// What a Docker of today writes: both lists, and content under its digest.
func TestArchiveOfNewDocker(t *testing.T) {
	store, opts := server(t)
	old, err := Archive(t.Context(), bytes.NewReader(archive(t, legacy(t)...)), "", opts)
	if err != nil {
		t.Fatal(err)
	}
	cfg := configOf(t, "one", "two", "one")
	config := desc(image.TypeOCIConfig, cfg)
	one, two := desc(image.TypeOCILayer, "one"), desc(image.TypeOCILayer, "two")
	m := marshal(t, image.Manifest{SchemaVersion: 2, MediaType: image.TypeOCIManifest, Config: &config, Layers: []image.Descriptor{one, two, one}})
	top := desc(image.TypeOCIManifest, m)
	top.Annotations = map[string]string{annotationName: "docker.io/library/shop:7", annotationRef: "7"}
	under := func(d image.Descriptor) string { return blobDir + d.Digest.Hex() }
	files := []file{
		{Header: tar.Header{Name: "blobs/", Typeflag: tar.TypeDir}}, {Header: tar.Header{Name: blobDir, Typeflag: tar.TypeDir}},
		blob("one"), blob("two"), blob(cfg), blob(m),
		reg("index.json", marshal(t, image.Manifest{SchemaVersion: 2, MediaType: image.TypeOCIIndex, Manifests: []image.Descriptor{top}})),
		reg("manifest.json", marshal(t, []listed{{under(config), []string{"shop:7"}, []string{under(one), under(two), under(one)}}})),
		reg("oci-layout", `{"imageLayoutVersion":"1.0.0"}`),
	}
	res, err := Archive(t.Context(), bytes.NewReader(archive(t, files...)), "", opts)
	if err != nil || res.Digest != old.Digest || res.BytesSent != 0 {
		t.Errorf("the same image from another Docker: %+v, %v; want %s", res, err, old.Digest)
	}
	files = slices.DeleteFunc(files, func(f file) bool { return f.Name == "manifest.json" })
	res, err = Archive(t.Context(), bytes.NewReader(archive(t, files...)), "", opts)
	if err != nil || res.Ref.Familiar() != "shop:7" || res.LayersPresent != 2 {
		t.Errorf("without manifest.json: %+v, %v", res, err)
	}
	if _, ok, err := store.Resolve("default", image.Ref{Name: "shop", Tag: "7"}); !ok || err != nil {
		t.Error(ok, err)
	}
}

// An archive of other hands, with compressed layers.
func TestArchiveOfForeignTool(t *testing.T) {
	store, opts := server(t)
	img, err := random.Image(100_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("team/foreign:3")
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if err := tarball.Write(tag, img, &raw); err != nil {
		t.Fatal(err)
	}
	res, err := Archive(t.Context(), &raw, "", opts)
	if err != nil || res.Ref.Name != "team/foreign" || res.LayersSent != 3 {
		t.Fatalf("got %+v, %v", res, err)
	}
	text, _, err := store.Manifest("default", res.Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := image.ParseManifest(text, "")
	if err != nil {
		t.Fatal(err)
	}
	want, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range want.Layers {
		if string(m.Layers[i].Digest) != l.Digest.String() || !strings.HasSuffix(m.Layers[i].MediaType, "+gzip") {
			t.Errorf("layer %d is %+v, want %s", i, m.Layers[i], l.Digest)
		}
	}
}

func TestSeveralImagesInOneArchive(t *testing.T) {
	_, opts := server(t)
	a, b := configOf(t, "a"), configOf(t, "b")
	raw := archive(t, reg("a.json", a), reg("b.json", b), reg("a.tar", "a"), reg("b.tar", "b"),
		reg("manifest.json", marshal(t, []listed{{"a.json", []string{"team/a:1"}, []string{"a.tar"}}, {"b.json", []string{"team/b:1", "team/b:2"}, []string{"b.tar"}}})))
	if _, err := Archive(t.Context(), bytes.NewReader(raw), "", opts); err == nil || !strings.Contains(err.Error(), "team/a:1, team/b:1") {
		t.Errorf("nobody said which: %v", err)
	}
	res, err := Archive(t.Context(), bytes.NewReader(raw), "team/b:2", opts)
	if err != nil || res.Ref.Familiar() != "team/b:2" {
		t.Errorf("got %+v, %v", res, err)
	}
	opts.As = "mine:1"
	res, err = Archive(t.Context(), bytes.NewReader(raw), "team/a:1", opts)
	if err != nil || res.Ref.Familiar() != "mine:1" || res.Layers != 1 {
		t.Errorf("got %+v, %v", res, err)
	}
}

// Each of these is refused with a sentence, and nothing of it becomes an image.
func TestHostileArchives(t *testing.T) {
	store, opts := server(t)
	opts.MaxArchive = 1 << 20
	opts.Architecture = "amd64"
	without := func(name string) []file {
		var left []file
		for _, f := range legacy(t) {
			if !strings.HasSuffix(f.Name, name) {
				left = append(left, f)
			}
		}
		return left
	}
	with := func(f ...file) []file { return append(legacy(t), f...) }
	badLayer := without("bb/layer.tar")
	badLayer = append(badLayer, reg("bb/layer.tar", "not two"))
	liar := configOf(t, "plain")
	lies := gz(t, "something else")
	ociFiles, _ := oci(t)
	ociFiles[0].data = "x" + ociFiles[0].data[1:]
	for what, c := range map[string]struct {
		files []file
		says  string
	}{
		"nothing":             {nil, "empty"},
		"no list":             {without("manifest.json"), "no image"},
		"no layer":            {without("bb/layer.tar"), "incomplete"},
		"other layer":         {badLayer, "damaged"},
		"absolute":            {with(reg("/etc/passwd", "x")), "not allowed"},
		"climbs":              {with(reg("a/../../x", "x")), "leads out"},
		"backslash":           {with(reg(`a\..\x`, "x")), "not allowed"},
		"twice":               {with(reg("./aa/../aa/layer.tar", "evil")), "two entries"},
		"link out":            {with(link("zz", "../../etc/passwd")), "leads out"},
		"link absolute":       {with(link("zz", "/etc/passwd")), "not allowed"},
		"link twice":          {with(link("aa/layer.tar", "bb/layer.tar")), "two entries"},
		"hard link":           {with(file{Header: tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "aa/json"}}), "neither"},
		"device":              {with(file{Header: tar.Header{Name: "d", Typeflag: tar.TypeChar}}), "neither"},
		"fifo":                {with(file{Header: tar.Header{Name: "d", Typeflag: tar.TypeFifo}}), "neither"},
		"huge":                {with(reg("big", strings.Repeat("x", 2<<20))), "larger"},
		"config of a liar":    {append(without(".json"), reg("c.json", liar), reg("manifest.json", `[{"Config":"c.json","RepoTags":["a:1"],"Layers":["aa/layer.tar"]}]`)), "damaged"},
		"gzip of a liar":      {[]file{reg("c.json", liar), reg("l", lies), reg("manifest.json", `[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l"]}]`)}, "damaged"},
		"config by wrong sum": {[]file{reg(strings.Repeat("0", 64)+".json", liar), reg("l", "plain"), reg("manifest.json", `[{"Config":"`+strings.Repeat("0", 64)+`.json","RepoTags":["a:1"],"Layers":["l"]}]`)}, "damaged"},
		"blob of a liar":      {ociFiles, "damaged"},
		"links in a circle":   {[]file{link("a", "b"), link("b", "a"), reg("manifest.json", `[{"Config":"a"}]`)}, "nowhere"},
		"list leads out":      {[]file{reg("manifest.json", `[{"Config":"../../etc/passwd"}]`)}, "leads out"},
		"nonsense list":       {[]file{reg("manifest.json", `{"a":1}`)}, "not understood"},
		"empty list":          {[]file{reg("manifest.json", `[]`)}, "no image"},
		"no name":             {[]file{reg("c.json", configOf(t, "l")), reg("l", "l"), reg("manifest.json", `[{"Config":"c.json","Layers":["l"]}]`)}, "say what"},
		"name with a digest":  {[]file{reg("c.json", configOf(t, "l")), reg("l", "l"), reg("manifest.json", `[{"Config":"c.json","RepoTags":["a@sha256:`+strings.Repeat("0", 64)+`"],"Layers":["l"]}]`)}, "digest"},
		"big list":            {[]file{reg("manifest.json", strings.Repeat(" ", image.MaxManifest)+"[]")}, "larger"},
		"index is no index":   {[]file{reg("index.json", `{"schemaVersion":2,"config":{"mediaType":"`+image.TypeOCIConfig+`","digest":"sha256:`+strings.Repeat("0", 64)+`"}}`)}, "no index"},
	} {
		_, err := Archive(t.Context(), bytes.NewReader(archive(t, c.files...)), "", opts)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want something with %q", what, err, c.says)
		}
	}
	for what, raw := range map[string][]byte{
		"text":       []byte("this is no archive at all, but it is long enough to be looked at"),
		"nothing":    {},
		"cut":        archive(t, legacy(t)...)[:1500],
		"gzip cut":   []byte(gz(t, "x")[:8]),
		"gzip bomb":  []byte(gz(t, strings.Repeat("\x00", 8<<20))),
		"sparse":     sparse(t),
		"old sparse": oldSparse(t),
	} {
		if _, err := Archive(t.Context(), bytes.NewReader(raw), "", opts); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if all, err := store.List("default"); len(all) > 0 || err != nil {
		t.Errorf("something became an image: %v, %v", all, err)
	}
}

// sparse is an archive whose one entry claims a terabyte of zeros in a few bytes, as GNU tar writes it today. The
// writer of package tar does not make such, so the records get their real names afterwards.
func sparse(t *testing.T) []byte {
	t.Helper()
	raw := archive(t, file{Header: tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: 512, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"XXX.sparse.major": "1", "XXX.sparse.minor": "0", "XXX.sparse.name": "zeros", "XXX.sparse.realsize": "1099511627776",
	}}, data: "1\n1099511627776\n0\n" + strings.Repeat("\x00", 512-18)})
	raw = bytes.ReplaceAll(raw, []byte("XXX.sparse"), []byte("GNU.sparse"))
	h, err := tar.NewReader(bytes.NewReader(raw)).Next()
	if err != nil || h.Size != 1<<40 {
		t.Fatalf("the sparse archive of this test is none: %+v, %v", h, err)
	}
	return raw
}

// oldSparse is the same as GNU tar wrote it once.
func oldSparse(t *testing.T) []byte {
	t.Helper()
	raw := archive(t, file{Header: tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Format: tar.FormatGNU}})
	const kind, size, sum = 156, 483, 148
	raw[kind] = tar.TypeGNUSparse
	copy(raw[size:], "10000000000\x00")
	copy(raw[sum:], "        ")
	total := 0
	for _, b := range raw[:512] {
		total += int(b)
	}
	copy(raw[sum:], fmt.Sprintf("%06o\x00 ", total))
	h, err := tar.NewReader(bytes.NewReader(raw)).Next()
	if err != nil || h.Typeflag != tar.TypeGNUSparse {
		t.Fatalf("the sparse archive of this test is none: %+v, %v", h, err)
	}
	return raw
}

func TestManyEntries(t *testing.T) {
	_, opts := server(t)
	var files []file
	for i := range maxEntries + 1 {
		files = append(files, file{Header: tar.Header{Name: "d" + strings.Repeat("x", i%50) + "/", Typeflag: tar.TypeDir}})
	}
	if _, err := Archive(t.Context(), bytes.NewReader(archive(t, files...)), "", opts); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}

func TestCancelledWhileReading(t *testing.T) {
	_, opts := server(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Archive(ctx, bytes.NewReader(archive(t, legacy(t)...)), "", opts); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(archive(f, legacy(f)...))
	files, _ := oci(f)
	f.Add(archive(f, files...))
	var b bytes.Buffer
	if err := testimage.Archive(&b, testimage.Spec{Ref: "a:1", Layers: [][]testimage.File{{{Path: "x", Data: []byte("y")}}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		tape, done, err := record(t.Context(), bytes.NewReader(raw), t.TempDir(), limits{1 << 20, 1 << 19}, func(int64) {})
		if err != nil {
			return
		}
		defer func() { _ = done() }()
		p, err := read(tape, wish{architecture: "amd64"})
		if err != nil {
			return
		}
		m, err := image.ParseManifest(p.manifest, "")
		if err != nil {
			t.Fatalf("an archive was taken whose manifest is refused: %v", err)
		}
		for i, l := range m.Layers {
			b, err := io.ReadAll(tape.open(p.layers[i], 0))
			if err != nil || image.Sum(b) != l.Digest || int64(len(b)) != l.Size {
				t.Errorf("layer %d is not what its descriptor says: %v", i, err)
			}
		}
	})
}

// FuzzContents varies what is in an archive whose tar is sound.
func FuzzContents(f *testing.F) {
	cfg := configOf(f, "layer")
	f.Add("manifest.json", `[{"Config":"c","RepoTags":["a:1"],"Layers":["l"]}]`, "c", cfg, "l", "layer", "k", "l")
	f.Add("index.json", `{"schemaVersion":2,"manifests":[]}`, "c", cfg, "l", "layer", "k", "../l")
	f.Fuzz(func(t *testing.T, n1, d1, n2, d2, n3, d3, name, target string) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, e := range []file{reg(n1, d1), reg(n2, d2), reg(n3, d3), link(name, target)} {
			if w.WriteHeader(&e.Header) != nil {
				return
			}
			if _, err := io.WriteString(w, e.data); err != nil {
				return
			}
		}
		if w.Close() != nil {
			return
		}
		tape, err := scan(t.Context(), bytes.NewReader(b.Bytes()), limits{1 << 20, 1 << 19}, func(int64) {})
		if err != nil {
			return
		}
		tape.file = bytes.NewReader(b.Bytes())
		for name, e := range tape.entries {
			got, err := io.ReadAll(tape.open(e, 0))
			if err != nil || image.Sum(got) != e.digest {
				t.Errorf("entry %q is not where the tape says: %v", name, err)
			}
			if strings.HasPrefix(name, "/") || name == ".." || strings.HasPrefix(name, "../") {
				t.Errorf("the tape has an entry %q", name)
			}
		}
		p, err := read(tape, wish{architecture: "amd64"})
		if err != nil {
			return
		}
		if _, err := image.ParseManifest(p.manifest, ""); err != nil {
			t.Errorf("an archive was taken whose manifest is refused: %v", err)
		}
	})
}
