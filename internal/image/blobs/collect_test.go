package blobs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/argosy-cluster/argosy/internal/image"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func nobody(string, image.Digest) bool { return false }

func TestCollect(t *testing.T) {
	c := &clock{now: epoch}
	dir := t.TempDir()
	s := open(t, dir, Options{Now: c.Now})
	named := putImage(t, s, "default", "named", "1", "base", "named")
	pinned := putImage(t, s, "default", "pinned", "1", "base", "pinned")
	stale := putImage(t, s, "default", "stale", "1", "base", "stale")
	other := putImage(t, s, "other", "stale", "1", "base", "stale")
	for _, n := range []string{"pinned", "stale"} {
		if err := s.Untag("default", n, "1"); err != nil {
			t.Fatal(err)
		}
	}
	orphan := put(t, s, "default", []byte("orphan"))
	half, _, err := s.Start("default", image.Sum([]byte("half")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "uploads", "default."+half), epoch, epoch); err != nil {
		t.Fatal(err)
	}
	// Uploads and manifests are files of the real clock; here all is as old as the clock says.
	for _, d := range []image.Digest{named, pinned, stale} {
		if err := touch(s.manifest("default", d), epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := touch(s.manifest("other", other), epoch); err != nil {
		t.Fatal(err)
	}
	isPinned := func(tenant string, d image.Digest) bool { return tenant == "default" && d == pinned }

	got, err := s.Collect(t.Context(), isPinned, epoch)
	if err != nil || got != (Collected{}) {
		t.Fatalf("what was sent at the limit was collected: %+v, %v", got, err)
	}
	c.now = epoch.Add(time.Hour)
	fresh := put(t, s, "default", []byte("fresh"))
	got, err = s.Collect(t.Context(), isPinned, epoch.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	// The stale manifest; its configuration, its own layer and the orphan; the half upload.
	if got.Manifests != 1 || got.Blobs != 3 || got.Uploads != 1 {
		t.Errorf("collected %+v", got)
	}
	for what, d := range map[string]image.Digest{"base": image.Sum([]byte("base")), "named": image.Sum([]byte("named")), "pinned": image.Sum([]byte("pinned")), "fresh": fresh} {
		if there, err := s.Claim("default", d); !there || err != nil {
			t.Errorf("%s is gone, %v", what, err)
		}
	}
	for what, d := range map[string]image.Digest{"stale": image.Sum([]byte("stale")), "orphan": orphan} {
		if _, _, err := s.Blob("default", d); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s is still there", what)
		}
	}
	if string(get(t, s, "other", image.Sum([]byte("stale")))) != "stale" {
		t.Error("one tenant's garbage took another's content")
	}
	if there, _ := exists(s.pool(orphan.Hex())); there {
		t.Error("the orphan still takes disk")
	}
	if there, _ := exists(s.pool(image.Sum([]byte("stale")).Hex())); !there {
		t.Error("content that another tenant has left the pool")
	}
}

func TestCollectKeepsWhatWasJustResolvedOrClaimed(t *testing.T) {
	c := &clock{now: epoch}
	s := open(t, t.TempDir(), Options{Now: c.Now})
	d := putImage(t, s, "default", "app", "1", "layer")
	if err := s.Untag("default", "app", "1"); err != nil {
		t.Fatal(err)
	}
	loose := put(t, s, "default", []byte("loose"))
	c.now = epoch.Add(48 * time.Hour)
	if _, ok, err := s.Resolve("default", image.Ref{Name: "app", Digest: d}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if there, err := s.Claim("default", loose); !there || err != nil {
		t.Fatal(there, err)
	}
	got, err := s.Collect(t.Context(), nobody, c.now.Add(-time.Hour))
	if err != nil || got != (Collected{}) {
		t.Errorf("collected %+v, %v", got, err)
	}
}

func TestDamagedTenantDoesNotStopCollect(t *testing.T) {
	c := &clock{now: epoch}
	s := open(t, t.TempDir(), Options{Now: c.Now})
	d := putImage(t, s, "bad", "app", "1", "layer")
	if err := os.WriteFile(s.manifest("bad", d), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, s, "good", []byte("orphan"))
	got, err := s.Collect(t.Context(), nobody, epoch.Add(time.Hour))
	if err == nil || !strings.Contains(err.Error(), "tenant bad") || got.Blobs != 1 {
		t.Errorf("collected %+v, %v", got, err)
	}
	if there, _ := s.Claim("bad", image.Sum([]byte("layer"))); !there {
		t.Error("blobs went although nobody knows what needs them")
	}
}

// Whatever a tenant has: nothing that is needed goes, and nothing that is not needed and old stays.
func TestDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digest := rapid.Custom(func(t *rapid.T) image.Digest {
			return image.Sum([]byte{byte(rapid.IntRange(0, 15).Draw(t, "n"))})
		})
		when := rapid.Custom(func(t *rapid.T) time.Time {
			return epoch.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "age")) * time.Hour)
		})
		made := 0
		thing := rapid.Custom(func(t *rapid.T) item {
			made++
			return item{path: strconv.Itoa(made), used: when.Draw(t, "used")}
		})
		h := held{
			named:     rapid.MapOf(digest, rapid.Just(true)).Draw(t, "named"),
			manifests: rapid.MapOf(digest, thing).Draw(t, "manifests"),
			needs:     rapid.MapOf(digest, rapid.SliceOfN(digest, 0, 4)).Draw(t, "needs"),
			blobs:     rapid.MapOf(digest, thing).Draw(t, "blobs"),
		}
		pinned := rapid.MapOf(digest, rapid.Just(true)).Draw(t, "pinned")
		manifests, blobs := decide(h, func(d image.Digest) bool { return pinned[d] }, epoch)

		// What is needed, found by spreading until nothing changes.
		needed := map[image.Digest]bool{}
		for d, m := range h.manifests {
			if h.named[d] || pinned[d] || !m.used.Before(epoch) {
				needed[d] = true
			}
		}
		for grown := true; grown; {
			grown = false
			for d := range needed {
				for _, n := range h.needs[d] {
					if !needed[n] {
						needed[n], grown = true, true
					}
				}
			}
		}
		for d, m := range h.manifests {
			if slices.Contains(manifests, m) == needed[d] {
				t.Fatalf("manifest %s: needed %t", d.Short(), needed[d])
			}
		}
		for d, b := range h.blobs {
			if old := b.used.Before(epoch); slices.Contains(blobs, b) != (old && !needed[d]) {
				t.Fatalf("blob %s: needed %t, old %t", d.Short(), needed[d], old)
			}
		}
	})
}

func TestScrub(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	d := putImage(t, s, "default", "app", "1", "base", "layer")
	kept := putImage(t, s, "default", "other", "1", "base")
	if found, err := s.Scrub(t.Context()); len(found) > 0 || err != nil {
		t.Fatalf("a sound store: %v, %v", found, err)
	}
	layer := image.Sum([]byte("layer"))
	if err := os.WriteFile(s.pool(layer.Hex()), []byte("lay3r"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := s.Scrub(t.Context())
	if err != nil || len(found) != 1 || found[0].Digest != layer || !slices.Equal(found[0].Manifests, []image.Digest{d}) || !slices.Equal(found[0].Tenants, []string{"default"}) {
		t.Fatalf("found %+v, %v", found, err)
	}
	if _, ok, err := s.Resolve("default", image.Ref{Name: "app", Tag: "1"}); ok || err != nil {
		t.Errorf("an image that cannot be pulled still resolves: %v", err)
	}
	if got, ok, err := s.Resolve("default", image.Ref{Name: "other", Tag: "1"}); got != kept || !ok || err != nil {
		t.Errorf("a sound image went with it: %v", err)
	}
	if again := putImage(t, s, "default", "app", "1", "base", "layer"); again != d {
		t.Error("loading again made something else")
	}
	if string(get(t, s, "default", layer)) != "layer" {
		t.Error("loading again did not bring the layer back")
	}
}
