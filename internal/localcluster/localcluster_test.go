package localcluster

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// wellEquipped is a host that lacks nothing for three machines.
func wellEquipped() facts {
	return facts{
		Root: true, EngineAnswers: true, EngineOS: "linux", EngineCanLimit: true,
		HasDockerd: true, HasIptables: true, HasMmdebstrap: true, InotifyFree: 100,
		MemoryAvailable: 8 << 30, DiskAvailable: 40 << 30, DiskPath: "/var/lib/docker",
	}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*facts)
		n      int
		want   []string // a part of each sentence
	}{
		{"nothing missing", func(*facts) {}, 3, nil},
		{"no root", func(f *facts) { f.Root = false }, 3, []string{"need root"}},
		{"no engine installed", func(f *facts) { f.EngineAnswers, f.HasDockerd = false, false }, 3, []string{"apt-get install docker.io"}},
		{"engine stopped under systemd", func(f *facts) { f.EngineAnswers, f.Systemd = false, true }, 3, []string{"systemctl start docker"}},
		{"engine to be started by hand", func(f *facts) { f.EngineAnswers = false }, 3, nil},
		{"by hand without iptables", func(f *facts) { f.EngineAnswers, f.HasIptables = false, false }, 3, []string{"install iptables"}},
		{"engine elsewhere", func(f *facts) { f.EngineRemote = true }, 3, []string{"unset DOCKER_HOST"}},
		{"engine at a place of its own", func(f *facts) { f.EngineElsewhere = "unix:///x" }, 3, nil},
		{"no engine at a place of its own", func(f *facts) { f.EngineElsewhere, f.EngineAnswers = "unix:///x", false }, 3, []string{"No Docker Engine answers at unix:///x"}},
		{"inotify", func(f *facts) { f.InotifyFree = 23 }, 3, []string{"need about 24, and root may make 23 more"}},
		{"rootless", func(f *facts) { f.EngineRootless = true }, 3, []string{"rootless"}},
		{"no memory cgroup", func(f *facts) { f.EngineCanLimit = false }, 3, []string{"cgroup_enable=memory"}},
		{"windows", func(f *facts) { f.EngineOS = "windows" }, 3, []string{"windows"}},
		{"no builder", func(f *facts) { f.HasMmdebstrap = false }, 3, []string{"install mmdebstrap"}},
		{"no builder, none needed", func(f *facts) { f.HasMmdebstrap, f.HasImage = false, true }, 3, nil},
		{"memory", func(f *facts) { f.MemoryAvailable = 1 << 30 }, 3, []string{"2.0 GiB, and 1.0 GiB is available"}},
		{"disk", func(f *facts) { f.DiskAvailable = 7 << 30 }, 3, []string{"7.5 GiB, and 7.0 GiB is available at /var/lib/docker"}},
		{"disk suffices once the image is there", func(f *facts) { f.DiskAvailable, f.HasImage = 7<<30, true }, 3, nil},
		{"nothing more to start", func(f *facts) { f.MemoryAvailable, f.DiskAvailable = 0, 0 }, 0, nil},
		{"binary", func(f *facts) { f.ExecutableError = "argosyd is missing" }, 3, []string{"cannot get argosy: argosyd is missing"}},
		{"all at once", func(f *facts) {
			*f = facts{DiskPath: "/"}
		}, 3, []string{"need root", "apt-get install docker.io", "mmdebstrap", "inotify", "memory", "disk"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := wellEquipped()
			tc.change(&f)
			got := problems(f, tc.n)
			if len(got) != len(tc.want) {
				t.Fatalf("got %d sentences, want %d:\n%s", len(got), len(tc.want), strings.Join(got, "\n"))
			}
			for i, want := range tc.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("sentence %d is %q, want one with %q", i, got[i], want)
				}
			}
		})
	}
}

func TestFreeSubnet(t *testing.T) {
	p := netip.MustParsePrefix
	for _, tc := range []struct {
		used []netip.Prefix
		want string
	}{
		{nil, "172.30.0.0/24"},
		{[]netip.Prefix{p("172.30.0.0/24"), p("172.30.2.0/24"), p("10.0.0.0/8")}, "172.30.1.0/24"},
		{[]netip.Prefix{p("172.30.0.0/17")}, "172.30.128.0/24"},
		{[]netip.Prefix{p("172.30.0.77/32")}, "172.30.1.0/24"},
		{[]netip.Prefix{p("172.16.0.0/12")}, ""},
	} {
		got, err := freeSubnet(tc.used)
		if tc.want == "" {
			if err == nil {
				t.Errorf("used %v: got %s, want an error", tc.used, got)
			}
			continue
		}
		if err != nil || got.String() != tc.want {
			t.Errorf("used %v: got %s, %v, want %s", tc.used, got, err, tc.want)
		}
	}
}

func TestEveryMachineHasAnAddress(t *testing.T) {
	subnet := netip.MustParsePrefix("172.30.7.0/24")
	seen := map[netip.Addr]bool{}
	for n := 1; n <= MaxMachines; n++ {
		a := machineAddress(subnet, n)
		if !subnet.Contains(a) || seen[a] {
			t.Fatalf("machine %d got %s", n, a)
		}
		seen[a] = true
	}
}

func TestMachineCapabilities(t *testing.T) {
	full := len(capabilityNames) - len(neverGiven)
	if len(capabilityNames) != 38 {
		t.Errorf("%d capability names, want those of bits 0 to 37", len(capabilityNames))
	}
	for _, status := range []string{"Name:\tx\nCapBnd:\t000001ffffffffff\nCapAmb:\t0\n", "", "CapBnd:", "CapBnd:\tzz\n"} {
		if got := machineCapabilities(status); len(got) != full || slices.Contains(got, "SYS_TIME") {
			t.Errorf("from %q: %v", status, got)
		}
	}
	confined := "CapBnd:\t000001fffeffffff\n" // without bit 24
	if got := machineCapabilities(confined); len(got) != full-1 || slices.Contains(got, "SYS_RESOURCE") {
		t.Errorf("on a host without SYS_RESOURCE: %v", got)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"": true, "a": true, "my-cluster-2": true, "aaaaaaaaaaaaaaaaaaaa": true,
		"aaaaaaaaaaaaaaaaaaaaa": false, "-a": false, "a-": false, "A": false, "a/b": false, "..": false, "a\n": false, "1a": false,
	} {
		l, err := New(Options{Name: name})
		if (err == nil) != ok {
			t.Errorf("name %q: %v, want accepted: %v", name, err, ok)
		}
		if l != nil {
			l.Close()
		}
	}
}

func TestRecipe(t *testing.T) {
	names, err := packages()
	if err != nil || !slices.Contains(names, "docker.io") || slices.ContainsFunc(names, func(s string) bool { return strings.ContainsAny(s, " #,") }) {
		t.Errorf("packages: %q, %v", names, err)
	}
	h := recipeHash(nil)
	if len(h) != 12 || h != recipeHash(nil) {
		t.Errorf("recipe hash %q does not repeat", h)
	}
	if more := recipeHash([]string{"vim"}); more == h || more != recipeHash([]string{"vim"}) || more == recipeHash([]string{"nano"}) {
		t.Errorf("recipe hash %q with a package more, %q without", more, h)
	}
	dir := t.TempDir()
	if err := writeRecipe(dir); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"/rootfs": 0o755, "/setup.sh": 0o644, "/rootfs/usr/local/sbin/machine-init": 0o644} {
		st, err := os.Stat(dir + path)
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", path, st.Mode(), err, mode)
		}
	}
}

func TestMachinesOf(t *testing.T) {
	at := func(s string) *container.NetworkSettingsSummary {
		return &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
			"n": {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr(s)}},
		}}
	}
	got := machinesOf([]container.Summary{
		{Names: []string{"/argosy-x-m10"}, Labels: map[string]string{labelMachine: "10"}, State: "exited", NetworkSettings: at("172.30.0.20")},
		{Names: []string{"/argosy-x-m2"}, Labels: map[string]string{labelMachine: "2"}, State: "running", NetworkSettings: at("172.30.0.12")},
		{Names: []string{"/guest"}, Labels: map[string]string{labelMachine: "x"}},
		{Labels: map[string]string{labelMachine: "3"}},
		{Names: []string{"/guest"}, Labels: map[string]string{labelMachine: "-1"}},
	})
	want := []Machine{
		{"m2", "argosy-x-m2", netip.MustParseAddr("172.30.0.12"), "running"},
		{"m10", "argosy-x-m10", netip.MustParseAddr("172.30.0.20"), "exited"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestProcessIdentity(t *testing.T) {
	own := process{Pid: os.Getpid(), Start: startTime(os.Getpid())}
	if !own.alive() {
		t.Error("the present process does not count as alive")
	}
	if (process{Pid: os.Getpid(), Start: own.Start + "1"}).alive() {
		t.Error("a pid used again counts as the old process")
	}
	if (process{}).alive() {
		t.Error("no process counts as alive")
	}
}

func TestParseSums(t *testing.T) {
	got := parseSums([]byte("aa  /bin/x\nbb  /etc/a b\nrubbish\n\n"))
	if len(got) != 2 || got["/bin/x"] != "aa" || got["/etc/a b"] != "bb" {
		t.Errorf("got %v", got)
	}
}

func TestTail(t *testing.T) {
	w := &tail{keep: 4}
	for _, s := range []string{"ab", "cdef", "", "g"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("wrote %d of %q, %v", n, s, err)
		}
	}
	if w.String() != "defg" {
		t.Errorf("kept %q, want the last 4 bytes", w)
	}
}

func TestPollKeepsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := poll(t.Context(), time.Second, func(ctx context.Context) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return notYet("the door is shut")
		})
		if err == nil || !strings.Contains(err.Error(), "the door is shut") {
			t.Errorf("it gave up with %v", err)
		}
		final := errors.New("the door is gone")
		if err := poll(t.Context(), time.Second, func(context.Context) error { return final }); !errors.Is(err, final) {
			t.Errorf("a final error became %v", err)
		}
	})
}

func TestLossRules(t *testing.T) {
	peer := netip.MustParseAddr("172.30.0.12")
	in, out := `chain prerouting { type filter hook prerouting priority -400; iifname "eth0"`, `chain postrouting { type filter hook postrouting priority 400; oifname "eth0"`
	for _, tc := range []struct {
		loss Loss
		want []string // what follows on the device, of each chain
	}{
		{Loss{}, nil},
		{Loss{In: true, Out: true}, []string{in + " drop;", out + " drop;"}},
		{Loss{In: true}, []string{in + " drop;"}},
		{Loss{Out: true, Percent: 30}, []string{out + " numgen random mod 100 < 30 drop;"}},
		{Loss{In: true, Out: true, Peer: peer}, []string{in + " ip saddr 172.30.0.12 drop;", out + " ip daddr 172.30.0.12 drop;"}},
	} {
		text := tc.loss.rules()
		if n := strings.Count(text, "chain "); n != len(tc.want) {
			t.Errorf("%+v: %d chains, want %d:\n%s", tc.loss, n, len(tc.want), text)
		}
		for _, want := range tc.want {
			if !strings.Contains(text, want) {
				t.Errorf("%+v: %q is not in\n%s", tc.loss, want, text)
			}
		}
	}
}

// A machine's disk is the source of its volume where it has one, and is unknown to the Engine.
func TestVolumeSource(t *testing.T) {
	with, without := &Local{opts: Options{Name: "x", Disk: 1 << 30}}, &Local{opts: Options{Name: "x"}}
	if got := with.volumeSource("m1", "docker"); got != "/var/lib/argosy-local/x/m1-docker" {
		t.Errorf("with a disk: %s", got)
	}
	for _, got := range []string{with.volumeSource("m1", "containerd"), without.volumeSource("m1", "docker")} {
		if strings.Contains(got, "/") {
			t.Errorf("without a disk: %s", got)
		}
	}
}
