package files

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

func store(t *testing.T) (*Store, string, string) {
	t.Helper()
	run, err := os.MkdirTemp("/dev/shm", "argosy-files-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	secrets, configs := filepath.Join(run, "secrets"), filepath.Join(t.TempDir(), "configs")
	s, err := Open(Config{Secrets: secrets, Configs: configs, Unseal: func(_ string, x *argosyv1.SealedSecret) ([]byte, error) {
		if string(x.GetSealed()) == "rot" {
			return nil, errors.New("it was changed on the way")
		}
		return append([]byte(nil), x.GetSealed()...), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s, secrets, configs
}

func wanted() (*argosyv1.Assignment, *argosyv1.ContainerSpec) {
	spec := &argosyv1.ContainerSpec{
		Name:    "mysql",
		Secrets: []*argosyv1.FileRef{{Source: "root"}, {Source: "tls", Target: "/etc/tls/key", Uid: "7", Gid: "8", Mode: 0o400}, {Source: "root", Target: "/run/secrets/other"}},
		Configs: []*argosyv1.FileRef{{Source: "site"}},
	}
	return &argosyv1.Assignment{
		Key: &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "lamp", Number: 1}, AppUid: "0123456789abcdef", Incarnation: 1,
		Containers: []*argosyv1.ContainerSpec{spec},
		Secrets:    []*argosyv1.SealedSecret{{Name: "root", Version: 1, Sealed: []byte("hunter2")}, {Name: "tls", Version: 1, Sealed: []byte("key")}},
		Configs:    map[string][]byte{"site": []byte("listen 80")},
	}, spec
}

// inside maps what a container would see to what is on the machine.
func inside(t *testing.T, s *Store, a *argosyv1.Assignment, spec *argosyv1.ContainerSpec, path string) string {
	t.Helper()
	mounts, err := s.Mounts(a, spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.Target == path {
			return m.Source
		}
		if rest, ok := strings.CutPrefix(path, m.Target+"/"); ok {
			return filepath.Join(m.Source, rest)
		}
	}
	t.Fatalf("nothing is mounted at %s: %v", path, mounts)
	return ""
}

func TestWrite(t *testing.T) {
	s, secrets, configs := store(t)
	a, spec := wanted()
	if err := s.Write(a, spec); err != nil {
		t.Fatal(err)
	}
	reads := func(path, want string, mode os.FileMode, uid uint32) (inode uint64) {
		t.Helper()
		real := inside(t, s, a, spec, path)
		got, err := os.ReadFile(real)
		st, serr := os.Stat(real)
		if err != nil || serr != nil || string(got) != want || st.Mode().Perm() != mode || st.Sys().(*syscall.Stat_t).Uid != uid {
			t.Fatalf("%s: %q, %v, %v %v; want %q, %v, user %d", path, got, st, err, serr, want, mode, uid)
		}
		return st.Sys().(*syscall.Stat_t).Ino
	}
	root := reads("/run/secrets/root", "hunter2", 0o444, 0)
	reads("/run/secrets/other", "hunter2", 0o444, 0)
	tls := reads("/etc/tls/key", "key", 0o400, 7)
	reads("/site", "listen 80", 0o444, 0)

	// Nothing changes: nothing is written.
	if err := s.Write(a, spec); err != nil {
		t.Fatal(err)
	}
	if reads("/run/secrets/root", "hunter2", 0o444, 0) != root {
		t.Error("a secret that did not change was written again")
	}

	next := proto.CloneOf(a)
	next.Secrets[0].Sealed, next.Secrets[1].Sealed, next.Configs["site"] = []byte("correct horse"), []byte("k"), []byte("listen 8080")
	before := inside(t, s, a, spec, "/site")
	if err := s.Write(next, spec); err != nil {
		t.Fatal(err)
	}
	a = next
	if reads("/run/secrets/root", "correct horse", 0o444, 0) == root {
		t.Error("a secret in a mounted directory was rewritten, not replaced")
	}
	if reads("/etc/tls/key", "k", 0o400, 7) != tls {
		t.Error("a secret that is mounted by itself was replaced: the container does not see it")
	}
	reads("/site", "listen 8080", 0o444, 0)
	if old, err := os.ReadFile(before); err != nil || string(old) != "listen 80" {
		t.Errorf("a container that runs with the old config sees %q, %v", old, err)
	}

	// A secret that is not named any more goes.
	gone := inside(t, s, a, spec, "/run/secrets/other")
	less := proto.CloneOf(spec)
	less.Secrets = less.Secrets[:2]
	if err := s.Write(a, less); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a secret that nothing names is still there: %v", err)
	}

	for _, dir := range []string{secrets, configs} {
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s is open to others: %v %v", dir, st.Mode(), err)
		}
	}
	if err := s.Remove(core.IDOf(a)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{secrets, configs} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v %v", dir, left, err)
		}
	}
}

func TestFaultsAreNamed(t *testing.T) {
	s, secrets, _ := store(t)
	for want, spoil := range map[string]func(*argosyv1.Assignment, *argosyv1.ContainerSpec){
		"secret root does not exist":                           func(a *argosyv1.Assignment, _ *argosyv1.ContainerSpec) { a.Secrets = a.Secrets[1:] },
		"secret root cannot be opened with this machine's key": func(a *argosyv1.Assignment, _ *argosyv1.ContainerSpec) { a.Secrets[0].Sealed = []byte("rot") },
		`uid "postgres" is not a number`:                       func(_ *argosyv1.Assignment, c *argosyv1.ContainerSpec) { c.Secrets[0].Uid = "postgres" },
		`"/run/secrets/../../etc/passwd" is not an absolute path of a file`: func(_ *argosyv1.Assignment, c *argosyv1.ContainerSpec) {
			c.Secrets[0].Target = "/run/secrets/../../etc/passwd"
		},
		`"key" is not an absolute path of a file`: func(_ *argosyv1.Assignment, c *argosyv1.ContainerSpec) { c.Secrets[0].Target = "key" },
		`"../.." cannot be part of a file's name`: func(a *argosyv1.Assignment, _ *argosyv1.ContainerSpec) { a.Key.App = "../.." },
		`"a/b" cannot be part of a file's name`:   func(_ *argosyv1.Assignment, c *argosyv1.ContainerSpec) { c.Name = "a/b" },
		"config site has no content":              func(a *argosyv1.Assignment, _ *argosyv1.ContainerSpec) { a.Configs = nil },
		"4194305 bytes are too many":              func(a *argosyv1.Assignment, _ *argosyv1.ContainerSpec) { a.Secrets[0].Sealed = make([]byte, 4<<20+1) },
	} {
		a, spec := wanted()
		spoil(a, spec)
		if err := s.Write(a, spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := s.Sweep(nil); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(secrets); err != nil || len(left) > 0 {
		t.Errorf("left after the sweep: %v %v", left, err)
	}
}

func TestSecretsNeverGoToDisk(t *testing.T) {
	dir := t.TempDir()
	if on, err := onTmpfs(dir); err != nil || on {
		t.Fatalf("this test needs a temporary directory on a disk; %s is on a tmpfs (%v): set TMPDIR", dir, err)
	}
	secrets := filepath.Join(dir, "secrets")
	_, err := Open(Config{Secrets: secrets, Configs: filepath.Join(dir, "configs")})
	on, terr := onTmpfs(secrets)
	if terr != nil {
		t.Fatal(terr)
	}
	defer func() { _ = syscall.Unmount(secrets, syscall.MNT_DETACH) }()
	switch {
	case os.Geteuid() == 0 && (err != nil || !on):
		t.Errorf("root got no tmpfs mounted: %v", err)
	case os.Geteuid() != 0 && (err == nil || !strings.Contains(err.Error(), "secrets may only be kept in memory")):
		t.Errorf("without a tmpfs, Open says %v", err)
	}
}
