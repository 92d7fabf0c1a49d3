package usage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// tree makes files below a directory of the test.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	devs = "Inter-|   Receive  | Transmit\n    lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n"
	pid  = 42
)

func TestSample(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"cgroup v2": {
			"sys/fs/cgroup/cgroup.controllers": "cpu memory io",
			"proc/42/cgroup":                   "0::/docker/abc\n", "proc/42/net/dev": devs,
			"sys/fs/cgroup/docker/abc/cpu.stat":       "usage_usec 1000000\nuser_usec 1\n",
			"sys/fs/cgroup/docker/abc/memory.current": "5000\n",
			"sys/fs/cgroup/docker/abc/memory.stat":    "anon 1\ninactive_file 1000\n",
			"sys/fs/cgroup/docker/abc/io.stat":        "8:0 rbytes=10 wbytes=20 rios=1\n8:1 rbytes=1 wbytes=2\n",
		},
		"cgroup v1": {
			"proc/42/cgroup": "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n2:blkio:/docker/abc\n1:name=systemd:/x\n", "proc/42/net/dev": devs,
			"sys/fs/cgroup/cpuacct/docker/abc/cpuacct.usage":                 "1000000000\n",
			"sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes":          "5000\n",
			"sys/fs/cgroup/memory/docker/abc/memory.stat":                    "inactive_file 1\ntotal_inactive_file 1000\n",
			"sys/fs/cgroup/blkio/docker/abc/blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\n8:1 Read 1\n8:1 Write 2\n8:1 Total 3\nTotal 33\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, files)
			s, at := New(root), time.Unix(1000, 0)
			running := core.Container{ContainerID: "c", Member: "web", State: core.Running, PID: pid}
			gone := core.Container{ContainerID: "d", State: core.Running, PID: 43}
			ended := core.Container{ContainerID: "e", State: core.Exited, PID: pid}
			list := []core.Container{running, gone, ended}
			if first := s.Sample(at, list, root); len(first.Members) != 1 || first.Members[0].CpuMilli != 0 {
				t.Fatalf("the first sample is %v", first)
			}
			for path, text := range files { // half a second of cpu more
				if strings.HasSuffix(path, "cpu.stat") || strings.HasSuffix(path, "cpuacct.usage") {
					more := strings.Replace(text, "1000000", "1500000", 1)
					if err := os.WriteFile(filepath.Join(root, path), []byte(more), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			u := s.Sample(at.Add(2*time.Second), list, root).Members[0]
			if u.Member != "web" || u.CpuMilli != 250 || u.Memory != 4000 || u.DiskRead != 11 || u.DiskWritten != 22 ||
				u.NetworkReceived != 100 || u.NetworkSent != 200 {
				t.Errorf("the second sample is %v", u)
			}
			if r := u.Rate; r == nil || r.NetworkReceived != 0 || r.DiskWritten != 0 {
				t.Errorf("nothing was sent or written, and the rate is %v", r)
			}
		})
	}
}

func TestReadIsBounded(t *testing.T) {
	root := tree(t, map[string]string{"long": strings.Repeat("x", 100<<10), "empty": ""})
	s := New(root)
	if text, err := s.read(filepath.Join(root, "long")); err != nil || len(text) != 64<<10 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if text, err := s.read(filepath.Join(root, "empty")); err != nil || text != "" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := s.read(filepath.Join(root, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := s.read(root); err == nil {
		t.Error("a directory was read")
	}
}

// TestRates: how much a second is told from the second sample on, and not where a counter began anew.
func TestRates(t *testing.T) {
	was := traffic{received: 1000, sent: 500, read: 0, written: 4096}
	now := traffic{received: 3000, sent: 500, read: 8192, written: 4096}
	r := now.since(was, 2*time.Second)
	if r == nil || r.NetworkReceived != 1000 || r.NetworkSent != 0 || r.DiskRead != 4096 || r.DiskWritten != 0 {
		t.Errorf("the rate is %v", r)
	}
	if r := was.since(now, 2*time.Second); r != nil {
		t.Errorf("a counter that began anew gives a rate: %v", r)
	}
	if r := now.since(was, 0); r != nil {
		t.Errorf("no time gives a rate: %v", r)
	}
}

// TestMachineTraffic: a machine's own devices and disks count, not what is stacked on them or inside.
func TestMachineTraffic(t *testing.T) {
	net := func(n string) string {
		return "Inter-|   Receive |\n face |bytes |\n" +
			"    lo: 9000 0 0 0 0 0 0 0 9000 0\n  eth0: " + n + "000 0 0 0 0 0 0 0 100 0\ndocker0: 7777 0 0 0 0 0 0 0 7777 0\nveth12: 7777 0 0 0 0 0 0 0 7777 0\n"
	}
	disk := func(n string) string {
		return "   8  0 sda 1 0 " + n + "0 0 1 0 4 0 0 0 0\n   8  1 sda1 1 0 " + n + "0 0 1 0 4 0 0 0 0\n 253 0 dm-0 1 0 " + n + "0 0 1 0 4 0 0 0 0\n"
	}
	root := tree(t, map[string]string{"proc/net/dev": net("1"), "proc/diskstats": disk("1"), "sys/block/sda/size": "1", "sys/block/dm-0/size": "1"})
	s, at := New(root), time.Unix(1000, 0)
	if first := s.Sample(at, nil, root).Machine; first.Rate != nil {
		t.Errorf("the first sample has a rate: %v", first.Rate)
	}
	for name, text := range map[string]string{"proc/net/dev": net("3"), "proc/diskstats": disk("5")} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := s.Sample(at.Add(2*time.Second), nil, root).Machine.Rate
	if r == nil || r.NetworkReceived != 1000 || r.NetworkSent != 0 || r.DiskRead != 40*sector/2 || r.DiskWritten != 0 {
		t.Errorf("the rate is %v", r)
	}
}

// TestUnitsThatAreNotAccounted: a unit in a cgroup that it shares has no usage of its own, and is asked for its cgroup once in its life.
func TestUnitsThatAreNotAccounted(t *testing.T) {
	shared, own := "2:cpuacct:/\n1:memory:/system.slice/a.service\n", "2:cpuacct:/system.slice/a.service\n"
	root := tree(t, map[string]string{"proc/42/cgroup": shared, "proc/43/cgroup": own, "sys/fs/cgroup/cpuacct/system.slice/a.service/cpuacct.usage": "1\n"})
	s := New(root)
	unit := core.Container{ContainerID: "c", Member: "a.service", State: core.Running, PID: pid, Unit: &core.Unit{Name: "a.service"}}
	sampled := func() int { return len(s.Sample(time.Unix(1000, 0), []core.Container{unit}, root).Members) }
	if n := sampled(); n != 0 {
		t.Errorf("what others use is told as its own: %d", n)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/42/cgroup"), []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := sampled(); n != 0 {
		t.Errorf("it is asked again: %d", n)
	}
	if unit.PID = 43; sampled() != 1 {
		t.Error("a process that has a cgroup of its own is not told of")
	}
}
