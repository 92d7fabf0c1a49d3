package manifest

import (
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func TestGrantsCheck(t *testing.T) {
	bind := func(path string) *argosyv1.ContainerSpec {
		return &argosyv1.ContainerSpec{Mounts: []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_BIND, Source: path, Target: "/x"}}}
	}
	capability := func(word string) *argosyv1.ContainerSpec { return &argosyv1.ContainerSpec{CapAdd: []string{word}} }
	sysctl := func(name string) *argosyv1.ContainerSpec {
		return &argosyv1.ContainerSpec{Sysctls: map[string]string{name: "1"}}
	}
	some := Grants{HostPaths: []string{"/srv"}, Capabilities: []string{"NET_ADMIN"}}
	for name, c := range map[string]struct {
		spec   *argosyv1.ContainerSpec
		grants Grants
		fine   bool
	}{
		"nothing":                {&argosyv1.ContainerSpec{}, Grants{}, true},
		"no container":           {nil, Grants{}, true},
		"a path":                 {bind("/srv/www"), Grants{}, false},
		"a granted path":         {bind("/srv/www"), some, true},
		"the granted directory":  {bind("/srv"), some, true},
		"beside it":              {bind("/srvx"), some, false},
		"out of it":              {bind("/srv/../etc"), some, false},
		"relative":               {bind("srv/../../etc"), some, false},
		"nothing at all":         {bind(""), some, false},
		"the socket":             {bind("/var/run/docker.sock"), some, false},
		"the socket's directory": {bind("/run"), Grants{HostPaths: []string{"/run"}}, false},
		"the granted socket":     {bind("/run/docker.sock"), Grants{DockerSocket: true}, true},
		"all with the socket":    {bind("/"), Grants{DockerSocket: true}, false},
		"an ordinary capability": {capability("CAP_CHOWN"), Grants{}, true},
		"another":                {capability("cap_sys_admin"), some, false},
		"a granted one":          {capability("CAP_NET_ADMIN"), some, true},
		"all":                    {capability("ALL"), some, false},
		"all granted":            {capability("SYS_ADMIN"), Grants{Capabilities: []string{"ALL"}}, true},
		"unknown":                {capability("X"), some, false},
		"no new privileges":      {&argosyv1.ContainerSpec{SecurityOpt: []string{"no-new-privileges:true"}}, Grants{}, true},
		"unconfined":             {&argosyv1.ContainerSpec{SecurityOpt: []string{"seccomp=unconfined"}}, Grants{}, false},
		"protected":              {&argosyv1.ContainerSpec{OomScoreAdj: -1}, Grants{}, false},
		"its own parameter":      {sysctl("net.core.somaxconn"), Grants{}, true},
		"with slashes":           {sysctl("net/core/somaxconn"), Grants{}, true},
		"the machine's":          {sysctl("kernel.panic"), Grants{}, false},
		"a detour":               {sysctl("net/../kernel/panic"), Grants{}, false},
		"a dotted detour":        {sysctl("net...kernel.panic"), Grants{}, false},
	} {
		if err := c.grants.Check(c.spec); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}
