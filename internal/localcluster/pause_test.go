package localcluster

import "testing"

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
