package localcluster

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFreezerOf(t *testing.T) {
	const id = "ea9695"
	for name, c := range map[string]struct{ groups, want string }{
		"v1":                  {"9:name=systemd:/docker/ea9695/init.scope\n6:freezer:/docker/ea9695\n0::/docker/ea9695/init.scope\n", "/sys/fs/cgroup/freezer/docker/ea9695/freezer.state"},
		"v2":                  {"0::/docker/ea9695/init.scope\n", "/sys/fs/cgroup/docker/ea9695/cgroup.freeze"},
		"v2 by systemd":       {"0::/system.slice/docker-ea9695.scope/init.scope\n", "/sys/fs/cgroup/system.slice/docker-ea9695.scope/cgroup.freeze"},
		"not of a container":  {"0::/system.slice/docker.service\n", ""},
		"not a list of those": {"freezer\n::\n", ""},
	} {
		f, err := freezerOf(c.groups, id)
		if f.file != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", name, f.file, err)
		}
	}
}

// TestResume: a machine goes on without the Engine, which may wait for it. One that is gone, or was not paused, is left alone.
func TestResume(t *testing.T) {
	l := &Local{} // no Engine
	state := filepath.Join(t.TempDir(), "freezer.state")
	if err := os.WriteFile(state, []byte("FROZEN"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := freezer{file: state, frozen: "FROZEN", thawed: "THAWED", state: state, shown: "FROZEN"}
	l.paused.Store("m1", f)
	if err := l.Resume(t.Context(), "m1"); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(state); err != nil || string(text) != "THAWED" {
		t.Errorf("its group says %s, %v", text, err)
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	l.paused.Store("m1", freezer{file: filepath.Join(state, "gone"), state: state})
	for _, machine := range []string{"m1", "m1", "m2"} {
		if err := l.Resume(t.Context(), machine); err != nil {
			t.Errorf("%s: %v", machine, err)
		}
	}
}
