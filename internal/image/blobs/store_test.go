package blobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/argosy-cluster/argosy/internal/image"
)

func open(t *testing.T, dir string, opts Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t *testing.T, s *Store, tenant string, content []byte) image.Digest {
	t.Helper()
	d := image.Sum(content)
	id, at, err := s.Start(tenant, d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(tenant, id, at, bytes.NewReader(content[at:])); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(tenant, id, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func get(t *testing.T, s *Store, tenant string, d image.Digest) []byte {
	t.Helper()
	f, size, err := s.Blob(tenant, d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("read %d of %d bytes: %v", len(b), size, err)
	}
	return b
}

// putImage makes an image whose layers have the given contents, and names it.
func putImage(t *testing.T, s *Store, tenant, name, tag string, layers ...string) image.Digest {
	t.Helper()
	raw := manifestOf(t, func(content []byte) { put(t, s, tenant, content) }, layers...)
	d, err := s.PutManifest(tenant, name, tag, image.TypeOCIManifest, raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func manifestOf(t *testing.T, store func([]byte), layers ...string) []byte {
	t.Helper()
	var cfg image.Config
	cfg.OS, cfg.RootFS.Type = "linux", "layers"
	var descs []image.Descriptor
	for _, l := range layers {
		d := image.Sum([]byte(l))
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, d)
		descs = append(descs, image.Descriptor{MediaType: image.TypeOCILayer, Digest: d, Size: int64(len(l))})
		store([]byte(l))
	}
	rawConfig, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	store(rawConfig)
	raw, err := image.NewManifest(image.Descriptor{MediaType: image.TypeOCIConfig, Digest: image.Sum(rawConfig), Size: int64(len(rawConfig))}, descs)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestUploadInPieces(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	d := image.Sum(content)
	id, at, err := s.Start("default", d)
	if err != nil || at != 0 {
		t.Fatal(at, err)
	}
	at, err = s.Append("default", id, 0, io.MultiReader(bytes.NewReader(content[:300_000]), iotest.ErrReader(errors.New("gone"))))
	if at != 300_000 || err == nil {
		t.Fatalf("a sender that went away left the upload at %d, %v", at, err)
	}
	again, at, err := s.Start("default", d)
	if again != id || at != 300_000 || err != nil {
		t.Fatalf("starting again gave %s at %d, %v; want %s at 300000", again, at, err, id)
	}
	var oe *OffsetError
	if at, err := s.Append("default", id, 100, bytes.NewReader(content)); !errors.As(err, &oe) || oe.Have != 300_000 || at != 300_000 {
		t.Errorf("appending at a wrong place: %d, %v", at, err)
	}
	if _, err := s.Append("default", id, 300_000, bytes.NewReader(content[300_000:])); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit("default", id, d); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(get(t, s, "default", d), content) {
		t.Error("the blob is not what was sent")
	}
	if _, err := s.Append("default", id, -1, strings.NewReader("more")); !errors.Is(err, ErrUnknown) {
		t.Errorf("appending to a committed upload: %v", err)
	}
}

func TestUploadGoesOnAfterRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	content := []byte("first half, second half")
	d := image.Sum(content)
	id, _, err := s.Start("default", d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append("default", id, 0, bytes.NewReader(content[:11])); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second process opened the store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	id, at, err := s.Start("default", d)
	if err != nil || at != 11 {
		t.Fatalf("after the restart the upload stands at %d, %v", at, err)
	}
	if _, err := s.Append("default", id, 11, bytes.NewReader(content[11:])); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit("default", id, d); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(get(t, s, "default", d), content) {
		t.Error("the blob is not what was sent")
	}
}

func TestWrongContentIsRefusedAndGone(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	d := image.Sum([]byte("promised"))
	id, _, err := s.Start("default", d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append("default", id, 0, strings.NewReader("something else")); err != nil {
		t.Fatal(err)
	}
	var de *DigestError
	if err := s.Commit("default", id, d); !errors.As(err, &de) {
		t.Fatalf("committing something else: %v", err)
	}
	if there, _ := s.Claim("default", d); there {
		t.Error("the wrong content is a blob now")
	}
	if _, at, err := s.Start("default", d); at != 0 || err != nil {
		t.Errorf("the wrong content is still the beginning of the next upload: %d, %v", at, err)
	}
}

func TestBoundsOfUploads(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxBlob: 100, MaxUploads: 3})
	id, _, err := s.Start("default", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append("default", id, 0, bytes.NewReader(make([]byte, 101))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("101 bytes of 100 allowed: %v", err)
	}
	for range 2 {
		if _, _, err := s.Start("default", ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Start("default", ""); !errors.Is(err, ErrBusy) {
		t.Errorf("a fourth upload of 3 allowed: %v", err)
	}
	if _, _, err := s.Start("other", ""); err != nil {
		t.Errorf("one tenant's uploads hinder another: %v", err)
	}
	if err := s.Cancel("default", id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Start("default", ""); err != nil {
		t.Errorf("a cancelled upload still counts: %v", err)
	}
	full := open(t, t.TempDir(), Options{MinFree: 1 << 60})
	if _, _, err := full.Start("default", ""); !errors.Is(err, ErrFull) {
		t.Errorf("an upload to a full disk: %v", err)
	}
}

func TestTwoSendersOfOneBlob(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := bytes.Repeat([]byte("abcdefgh"), 1<<17)
	d := image.Sum(content)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				if there, err := s.Claim("default", d); there || err != nil {
					return
				}
				id, at, err := s.Start("default", d)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = s.Append("default", id, at, iotest.HalfReader(bytes.NewReader(content[min(at, int64(len(content))):])))
				var oe *OffsetError
				if errors.As(err, &oe) || errors.Is(err, ErrUnknown) {
					continue
				}
				if err == nil {
					err = s.Commit("default", id, d)
				}
				if err != nil && !errors.Is(err, ErrUnknown) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(get(t, s, "default", d), content) {
		t.Error("four senders made something else")
	}
}

func TestTenantsShareDiskNotSight(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	content := []byte("the same for both")
	d := put(t, s, "alice", content)
	if _, _, err := s.Blob("bob", d); !errors.Is(err, ErrUnknown) {
		t.Errorf("bob reads what only alice sent: %v", err)
	}
	if there, _ := s.Claim("bob", d); there {
		t.Error("bob claims what only alice sent")
	}
	put(t, s, "bob", content)
	a, err := os.Stat(filepath.Join(dir, "tenants", "alice", "blobs", d.Hex()))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Stat(filepath.Join(dir, "tenants", "bob", "blobs", d.Hex()))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(a, b) {
		t.Error("the same content is on disk twice")
	}
}

func TestManifestNeedsItsBlobs(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	raw := manifestOf(t, func([]byte) {}, "layer one", "layer two")
	var missing *MissingError
	if _, err := s.PutManifest("default", "app", "1", "", raw); !errors.As(err, &missing) || len(missing.Digests) != 3 {
		t.Errorf("a manifest without its blobs: %v", err)
	}
	if _, ok, err := s.Resolve("default", image.Ref{Name: "app", Tag: "1"}); ok || err != nil {
		t.Errorf("a refused manifest has a name: %v", err)
	}
	d := putImage(t, s, "default", "app", "1", "layer one", "layer two")
	got, ok, err := s.Resolve("default", image.Ref{Name: "app", Tag: "1"})
	if got != d || !ok || err != nil {
		t.Errorf("app:1 is %s, %v, %v; want %s", got, ok, err, d)
	}
	if _, ok, _ := s.Resolve("other", image.Ref{Name: "app", Tag: "1"}); ok {
		t.Error("another tenant resolves the name")
	}
	if _, ok, _ := s.Resolve("other", image.Ref{Name: "app", Digest: d}); ok {
		t.Error("another tenant resolves the digest")
	}
	wrongSize := bytes.Replace(raw, []byte(`"size":9`), []byte(`"size":8`), 1)
	if _, err := s.PutManifest("default", "app", "1", "", wrongSize); !errors.Is(err, ErrInvalid) {
		t.Errorf("a manifest with a wrong size: %v", err)
	}
	swapped := manifestOf(t, func([]byte) {}, "layer two", "layer one")
	one := bytes.ReplaceAll(raw, []byte(image.Sum([]byte("layer one"))), []byte(image.Sum([]byte("layer two"))))
	if _, err := s.PutManifest("default", "app", "1", "", one); !errors.Is(err, ErrInvalid) {
		t.Errorf("a manifest whose layers are not its configuration's: %v", err)
	}
	if _, err := s.PutManifest("default", "app", "1", "", swapped); !errors.As(err, &missing) || len(missing.Digests) != 1 {
		t.Errorf("a manifest whose configuration is missing: %v", err)
	}
	if got, _, _ := s.Resolve("default", image.Ref{Name: "app", Tag: "1"}); got != d {
		t.Error("refused manifests moved the name")
	}
}

func TestNames(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	one := putImage(t, s, "default", "team/app", "1", "one")
	two := putImage(t, s, "default", "team/app", "1", "two")
	if got, _, _ := s.Resolve("default", image.Ref{Name: "team/app", Tag: "1"}); got != two {
		t.Error("the name did not move to the new image")
	}
	if got, ok, _ := s.Resolve("default", image.Ref{Name: "team/app", Digest: one}); got != one || !ok {
		t.Error("the old image is gone with its name")
	}
	if err := s.Tag("default", "old", "kept", one); err != nil {
		t.Fatal(err)
	}
	all, err := s.List("default")
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, n := range all {
		text = append(text, fmt.Sprintf("%s:%s %t", n.Name, n.Tag, n.Size > 0))
	}
	if got := strings.Join(text, ", "); got != "old:kept true, team/app:1 true" {
		t.Errorf("the list is %s", got)
	}
	if err := s.Untag("default", "old", "kept"); err != nil {
		t.Fatal(err)
	}
	if err := s.Untag("default", "old", "kept"); !errors.Is(err, ErrUnknown) {
		t.Errorf("untagging twice: %v", err)
	}
	for _, bad := range []string{"..", "a/../b", "/etc", "A", "a+b", "", "a//b", strings.Repeat("a", 300)} {
		if err := s.Tag("default", bad, "x", one); !errors.Is(err, ErrInvalid) {
			t.Errorf("the name %q was taken: %v", bad, err)
		}
		if err := s.Tag(bad, "x", "x", one); !errors.Is(err, ErrInvalid) {
			t.Errorf("the tenant %q was taken: %v", bad, err)
		}
	}
	for _, bad := range []string{"..", ".", "a/b", "", "-x"} {
		if err := s.Tag("default", "x", bad, one); !errors.Is(err, ErrInvalid) {
			t.Errorf("the tag %q was taken: %v", bad, err)
		}
	}
}

// clock is a clock that tests move.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }
