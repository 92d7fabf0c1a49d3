package device

import (
	"cmp"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mounted"
	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
)

var rounds = flag.Int("rounds", 100, "how many starts TestRounds tries; the promise was tried with 10000")

// field is what TestRounds plays on: a volume that was used, beside storage that is none of its.
type field struct {
	d            *Driver
	right, wrong string // devices
	host         string // a directory of the machine
	dev          uint64 // of right
	c            volume.Claim
	p            mounted.Place
	revision     uint64 // of the token that the round began with
}

// A case of what there may be where the volume should be staged, when Publish looks. ok tells whether it may be published at
// all; may, that it may or may not, as things happen at the same time.
type situation struct {
	name    string
	arrange func(t *testing.T, f *field)
	ok, may bool
	// why it is refused, where that is certain; Unverified unless something else is said.
	why volume.Reason
	// during happens while Publish runs.
	during func(f *field) error
}

func mountAt(t *testing.T, what, at, kind string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(what, at, kind, flags, ""); err != nil {
		t.Fatalf("mount %s at %s: %v", what, at, err)
	}
}

func situations() []situation {
	stage := func(t *testing.T, f *field, flags uintptr) {
		t.Helper()
		mountAt(t, f.right, f.p.Staged(), "ext4", flags)
	}
	right := func(t *testing.T, f *field) { stage(t, f, 0) }
	return []situation{
		{name: "right", arrange: right, ok: true},
		{name: "absent", arrange: func(*testing.T, *field) {}},
		{name: "no directory", arrange: func(t *testing.T, f *field) {
			if err := f.p.Unstage(); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "wrong device", arrange: func(t *testing.T, f *field) { mountAt(t, f.wrong, f.p.Staged(), "ext4", 0) }},
		{name: "wrong file system", arrange: func(t *testing.T, f *field) { mountAt(t, "tmpfs", f.p.Staged(), "tmpfs", 0) }},
		{name: "a directory of the machine", arrange: func(t *testing.T, f *field) { mountAt(t, f.host, f.p.Staged(), "", unix.MS_BIND) }},
		{name: "a part of the right one", arrange: func(t *testing.T, f *field) {
			stage(t, f, 0)
			mountAt(t, f.p.Staged()+"/data", f.p.Staged(), "", unix.MS_BIND)
		}},
		{name: "something over it", arrange: func(t *testing.T, f *field) {
			stage(t, f, 0)
			mountAt(t, "tmpfs", f.p.Staged(), "tmpfs", 0)
		}},
		{name: "a link to it", arrange: func(t *testing.T, f *field) {
			stage(t, f, 0)
			aside := f.p.Dir() + "/aside"
			if err := errors.Join(os.Mkdir(aside, 0o700), unix.Mount(f.p.Staged(), aside, "", unix.MS_BIND, ""), unix.Unmount(f.p.Staged(), 0),
				os.Remove(f.p.Staged()), os.Symlink("aside", f.p.Staged())); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "stale token", why: volume.Overtaken, arrange: func(t *testing.T, f *field) {
			right(t, f)
			f.c.Token = volume.Token{Generation: 1, Revision: 1}
			staged := f.p.Staged()
			f.p, _ = mounted.PlaceOf(f.d.Base, f.c)
			if err := errors.Join(f.p.Make(), unix.Mount(staged, f.p.Staged(), "", unix.MS_BIND, "")); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "read-only", why: volume.ReadOnly, arrange: func(t *testing.T, f *field) { stage(t, f, unix.MS_RDONLY) }},
		{name: "mount read-only", why: volume.ReadOnly, arrange: func(t *testing.T, f *field) {
			stage(t, f, 0)
			mountAt(t, "", f.p.Staged(), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY)
		}},
		{name: "late", arrange: func(*testing.T, *field) {}, may: true,
			during: func(f *field) error { return unix.Mount(f.right, f.p.Staged(), "ext4", 0, "") }},
		{name: "the wrong one late", arrange: func(*testing.T, *field) {},
			during: func(f *field) error { return unix.Mount(f.wrong, f.p.Staged(), "ext4", 0, "") }},
		{name: "gone meanwhile", arrange: right, may: true,
			during: func(f *field) error { return unix.Unmount(f.p.Staged(), unix.MNT_DETACH) }},
		{name: "covered meanwhile", arrange: right, may: true,
			during: func(f *field) error { return unix.Mount("tmpfs", f.p.Staged(), "tmpfs", 0, "") }},
		{name: "read-only meanwhile", arrange: right, may: true,
			during: func(f *field) error {
				return unix.Mount("", f.p.Staged(), "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
			}},
	}
}

// TestRounds is the promise that nothing starts on storage that is absent, wrong, stale, read-only or late: after each
// Publish something is started as the Engine would start it, which binds the published path, and where that writes is looked at.
func TestRounds(t *testing.T) {
	volumetest.Root(t)
	f := &field{d: New(Config{Base: volumetest.Base(t)}), host: t.TempDir()}
	f.right, f.wrong = volumetest.Loop(t, volumetest.Image(t, 16), false), volumetest.Loop(t, volumetest.Image(t, 16), false)
	volumetest.Format(t, f.right)
	volumetest.Format(t, f.wrong)
	var err error
	if f.dev, err = deviceOf(f.right); err != nil {
		t.Fatal(err)
	}
	v := volume.Volume{Name: "default/shop/db.1/data", Device: &volume.Device{Source: f.right}}
	f.begin(t, v, 2)
	if err := f.d.Stage(t.Context(), f.c); err != nil {
		t.Fatal(err)
	}
	pub, err := f.d.Publish(t.Context(), f.c)
	if err != nil {
		t.Fatal(err)
	}
	v.UUID = pub.UUID
	f.end(t)

	all, ran, refused := situations(), map[string]int{}, map[string]int{}
	for n := range *rounds {
		s := all[n%len(all)]
		if n >= len(all) {
			s = all[rand.IntN(len(all))]
		}
		f.begin(t, v, uint64(3+n))
		s.arrange(t, f)
		began := make(chan error, 1)
		if s.during != nil {
			go func() { began <- s.during(f) }()
		}
		_, err := f.d.Publish(t.Context(), f.c)
		wrote := f.start(t)
		switch {
		case err == nil && !s.ok && !s.may:
			t.Fatalf("round %d, %s: published", n, s.name)
		case err != nil && s.ok:
			t.Fatalf("round %d, %s: refused: %v", n, s.name, err)
		case err != nil && s.during == nil && volume.ReasonOf(err) != cmp.Or(s.why, volume.Unverified):
			t.Fatalf("round %d, %s: refused for another reason: %v", n, s.name, err)
		case err != nil && wrote:
			t.Fatalf("round %d, %s: refused, and a process ran: %v", n, s.name, err)
		case wrote:
			ran[s.name]++
		default:
			refused[s.name]++
		}
		if s.during != nil {
			if err := <-began; err != nil && s.name != "gone meanwhile" && s.name != "read-only meanwhile" {
				t.Logf("round %d, %s: %v", n, s.name, err)
			}
		}
		f.end(t)
		if n%1000 == 999 {
			t.Logf("%d rounds", n+1)
		}
	}
	t.Logf("ran: %v", ran)
	t.Logf("did not run: %v", refused)
}

func (f *field) begin(t *testing.T, v volume.Volume, revision uint64) {
	t.Helper()
	f.revision = revision
	f.c = volume.Claim{Volume: v, Token: volume.Token{Generation: 1, Revision: revision}}
	var err error
	if f.p, err = mounted.PlaceOf(f.d.Base, f.c); err != nil {
		t.Fatal(err)
	}
	if err := f.p.Make(); err != nil {
		t.Fatal(err)
	}
}

// start is a container's start: it binds the published path, which has to exist, and writes. Wherever it could write has to
// be the right file system.
func (f *field) start(t *testing.T) bool {
	t.Helper()
	at := filepath.Join(t.TempDir(), "in-the-container")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(f.p.Published(), at, "", unix.MS_BIND, ""); err != nil {
		return false // the Engine refuses to start it
	}
	defer func() {
		if err := volumetest.Unmount(at); err != nil {
			t.Fatal(err)
		}
	}()
	var st unix.Stat_t
	if err := unix.Stat(at, &st); err != nil {
		t.Fatal(err)
	}
	if st.Dev != f.dev {
		t.Fatal("a process ran on something else than the volume")
	}
	if err := os.WriteFile(at+"/ran", []byte(f.c.Token.String()), 0o600); err != nil && !errors.Is(err, unix.EROFS) {
		t.Fatal(err)
	}
	return true
}

// end unmounts everything, and looks for what may have been written beside the volume.
func (f *field) end(t *testing.T) {
	t.Helper()
	for _, dir := range []string{f.p.Dir() + "/aside"} {
		_ = unix.Unmount(dir, 0)
		if fi, err := os.Lstat(f.p.Staged()); err == nil && fi.Mode()&os.ModeSymlink != 0 {
			if err := errors.Join(os.Remove(f.p.Staged()), os.Remove(dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.d.Unpublish(t.Context(), f.c); err != nil {
		t.Fatal(err)
	}
	if err := f.d.Unstage(t.Context(), f.c); err != nil {
		t.Fatal(err)
	}
	// A situation may have used the place of an earlier token, too.
	earlier, err := mounted.PlaceOf(f.d.Base, volume.Claim{Volume: f.c.Volume, Token: volume.Token{Generation: 1, Revision: f.revision}})
	if err := errors.Join(err, earlier.Unpublish(), earlier.Unstage()); err != nil {
		t.Fatal(err)
	}
	// An Engine that starts a container just then has what was mounted in that one's namespace for a moment.
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := mounted.Exclusive(f.right)
		if err == nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{f.p.Dir(), f.host} {
		names, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) || len(names) > 0 {
			t.Fatalf("something is left in %s: %v, %v", dir, names, err)
		}
	}
}

// A file system whose storage is gone answers nothing. It is refused, and can be unmounted.
func TestStorageGoesAway(t *testing.T) {
	volumetest.Root(t)
	b := bench(t, volumetest.Image(t, 16))
	c := volume.Claim{Volume: b.Volume, Token: volume.Token{Generation: 1, Revision: 1}}
	if err := b.Driver.Stage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	p, err := mounted.PlaceOf(b.Driver.(*Driver).Base, c)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(p.Staged())
	if err != nil {
		t.Fatal(err)
	}
	const shutdown, withoutFlush = 0x8004587D, 2
	if err := errors.Join(unix.IoctlSetPointerInt(int(root.Fd()), shutdown, withoutFlush), root.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Driver.Publish(t.Context(), c); err == nil {
		t.Fatal("published what does not answer")
	} else {
		t.Log(err)
	}
	if _, err := os.Stat(p.Published()); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("something is visible: %v", err)
	}
	if err := errors.Join(b.Driver.Unpublish(t.Context(), c), b.Driver.Unstage(t.Context(), c), b.Driver.Quiet(t.Context(), b.Volume)); err != nil {
		t.Fatal(err)
	}
}
