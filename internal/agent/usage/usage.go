package usage

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/host"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Sampler remembers the last sample, so that rates can be told. It is used by one goroutine.
type Sampler struct {
	root string
	v2   bool
	last map[string]reading // by container
	// The machine's own.
	busy, total uint64
	traffic     traffic
	at          time.Time
	buf         []byte
}

type reading struct {
	at      time.Time
	cpu     uint64 // nanoseconds
	traffic traffic
	paths   paths
}

// traffic is bytes since a beginning that may come again: a device that is made anew counts from 0.
type traffic struct{ received, sent, read, written int64 }

// since is how much a second has been added to what was, nil when something was taken away or no time has passed.
func (t traffic) since(was traffic, d time.Duration) *argosyv1.Traffic {
	if d <= 0 || t.received < was.received || t.sent < was.sent || t.read < was.read || t.written < was.written {
		return nil
	}
	rate := func(now, was int64) int64 { return int64(float64(now-was) / d.Seconds()) }
	return &argosyv1.Traffic{NetworkReceived: rate(t.received, was.received), NetworkSent: rate(t.sent, was.sent),
		DiskRead: rate(t.read, was.read), DiskWritten: rate(t.written, was.written)}
}

// paths are where a container's cgroup files are; they do not change while it runs.
type paths struct {
	pid                        int
	cpu, memory, stat, io, net string
}

// New makes a Sampler of the machine whose file systems are mounted at root.
func New(root string) *Sampler {
	_, err := os.Stat(filepath.Join(root, "sys/fs/cgroup/cgroup.controllers"))
	return &Sampler{root: root, v2: err == nil, last: map[string]reading{}, buf: make([]byte, 64<<10)}
}

// Sample reads what running containers use. Those that end meanwhile are left out, and so are rates at the first sample of a
// container.
func (s *Sampler) Sample(now time.Time, containers []core.Container, disk string) *argosyv1.UsageReport {
	r := &argosyv1.UsageReport{Machine: s.machine(now, disk)}
	next := make(map[string]reading, len(containers))
	for _, c := range containers {
		if c.State != core.Running || c.PID <= 0 {
			continue
		}
		was, known := s.last[c.ContainerID]
		if !known || was.paths.pid != c.PID {
			p, err := s.find(c.PID, c.Unit)
			if err != nil {
				continue
			}
			was, known = reading{paths: p}, false
		}
		if was.paths.cpu == "" { // of what is not accounted for it there is nothing to read, now or later
			next[c.ContainerID] = was
			continue
		}
		u, cpu, err := s.member(was.paths)
		if err != nil {
			continue
		}
		moved := traffic{u.NetworkReceived, u.NetworkSent, u.DiskRead, u.DiskWritten}
		if known && cpu >= was.cpu && now.After(was.at) {
			u.CpuMilli = int64(float64(cpu-was.cpu) / float64(now.Sub(was.at)) * 1000)
			u.Rate = moved.since(was.traffic, now.Sub(was.at))
		}
		u.Key, u.Member, u.At = c.Owner.Key.Proto(), c.Member, timestamppb.New(now)
		r.Members = append(r.Members, u)
		next[c.ContainerID] = reading{at: now, cpu: cpu, traffic: moved, paths: was.paths}
	}
	s.last = next
	return r
}

// read reads a kernel file of at most 64 KiB; what it returns is valid until the next read. It makes the calls itself: there
// are hundreds of files in a sample, and os.File would register each with the runtime's poller and take it out again.
func (s *Sampler) read(name string) (string, error) {
	fd, err := again(func() (int, error) { return unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	n := 0
	for n < len(s.buf) {
		m, err := again(func() (int, error) { return unix.Read(fd, s.buf[n:]) })
		if err != nil {
			return "", &os.PathError{Op: "read", Path: name, Err: err}
		}
		if m == 0 {
			break
		}
		n += m
	}
	return string(s.buf[:n]), nil
}

// again repeats a call for as long as signals interrupt it.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (s *Sampler) number(name string) uint64 {
	text, err := s.read(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// find finds a process's cgroups.
// of a unit only those that are its own: what is not accounted for it is in a cgroup that it shares, and it has the machine's
// network.
func (s *Sampler) find(pid int, unit *core.Unit) (paths, error) {
	proc := filepath.Join(s.root, "proc", strconv.Itoa(pid))
	text, err := s.read(filepath.Join(proc, "cgroup"))
	if err != nil {
		return paths{}, err
	}
	p := paths{pid: pid, net: filepath.Join(proc, "net/dev")}
	if unit != nil {
		p.net = ""
	}
	base := filepath.Join(s.root, "sys/fs/cgroup")
	for _, line := range strings.Split(text, "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir := filepath.Clean("/" + parts[2])
		if unit != nil && !strings.Contains(dir+"/", "/"+unit.Name+"/") {
			continue
		}
		if s.v2 && parts[0] == "0" {
			d := filepath.Join(base, dir)
			p.cpu, p.memory, p.stat, p.io = d+"/cpu.stat", d+"/memory.current", d+"/memory.stat", d+"/io.stat"
		}
		for _, c := range strings.Split(parts[1], ",") {
			switch c {
			case "cpuacct":
				p.cpu = filepath.Join(base, "cpuacct", dir, "cpuacct.usage")
			case "memory":
				d := filepath.Join(base, "memory", dir)
				p.memory, p.stat = d+"/memory.usage_in_bytes", d+"/memory.stat"
			case "blkio":
				p.io = filepath.Join(base, "blkio", dir, "blkio.throttle.io_service_bytes")
			}
		}
	}
	return p, nil
}

func (s *Sampler) member(p paths) (*argosyv1.MemberUsage, uint64, error) {
	text, err := s.read(p.cpu)
	if err != nil {
		return nil, 0, err
	}
	var cpu uint64
	if s.v2 {
		cpu = field(text, "usage_usec") * 1000
	} else if cpu, err = strconv.ParseUint(strings.TrimSpace(text), 10, 64); err != nil {
		return nil, 0, err
	}
	u := &argosyv1.MemberUsage{Memory: int64(s.number(p.memory))}
	// Pages of files that nobody maps now can be had back at once; they are not what a container needs.
	if text, err := s.read(p.stat); err == nil {
		name := "total_inactive_file"
		if s.v2 {
			name = "inactive_file"
		}
		u.Memory = max(u.Memory-int64(field(text, name)), 0)
	}
	if text, err := s.read(p.io); err == nil {
		u.DiskRead, u.DiskWritten = blocks(text, s.v2)
	}
	if text, err := s.read(p.net); err == nil {
		u.NetworkReceived, u.NetworkSent = devices(text, func(name string) bool { return name != "lo" })
	}
	return u, cpu, nil
}

// field finds "name number" among lines of that form.
func field(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// blocks adds up what all disks read and wrote.
func blocks(text string, v2 bool) (read, written int64) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if !v2 {
			if len(f) == 3 {
				add(f[2], f[1] == "Read", &read)
				add(f[2], f[1] == "Write", &written)
			}
			continue
		}
		for _, x := range f {
			k, v, _ := strings.Cut(x, "=")
			add(v, k == "rbytes", &read)
			add(v, k == "wbytes", &written)
		}
	}
	return read, written
}

func add(text string, when bool, to *int64) {
	if !when {
		return
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		*to += n
	}
}

// devices adds up what the devices that count received and sent.
func devices(text string, counts func(name string) bool) (received, sent int64) {
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 9 || !counts(strings.TrimSpace(name)) {
			continue
		}
		add(f[0], true, &received)
		add(f[8], true, &sent)
	}
	return received, sent
}

// isUplink says whether a network device leads out of the machine: what goes through its bridges, its containers' cables and
// its tunnels goes through that too, or stays inside.
func isUplink(name string) bool {
	for _, inner := range []string{"lo", "veth", "docker", "br-", "virbr", "tun", "tap", "wg", "vxlan", "flannel", "cali", "cni", "argosy", "dummy", "ifb", "bond"} {
		if strings.HasPrefix(name, inner) {
			return false
		}
	}
	return true
}

// sector is the unit of /proc/diskstats, whatever a disk's own may be.
const sector = 512

// disks adds up what a machine's disks read and wrote. Partitions are parts of a disk, and what is stacked on disks goes
// through them.
func disks(text string, isDisk func(name string) bool) (read, written int64) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || !isDisk(f[2]) {
			continue
		}
		add(f[5], true, &read)
		add(f[9], true, &written)
	}
	return read * sector, written * sector
}

func (s *Sampler) isDisk(name string) bool {
	for _, inner := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"} {
		if strings.HasPrefix(name, inner) {
			return false
		}
	}
	_, err := os.Stat(filepath.Join(s.root, "sys/block", name))
	return err == nil
}

func (s *Sampler) machine(now time.Time, disk string) *argosyv1.MachineUsage {
	u := &argosyv1.MachineUsage{At: timestamppb.New(now)}
	if text, err := s.read(filepath.Join(s.root, "proc/stat")); err == nil {
		busy, total, cpus := ticks(text)
		if !s.at.IsZero() && total > s.total && busy >= s.busy {
			u.CpuMilli = int64(float64(busy-s.busy) / float64(total-s.total) * 1000 * float64(cpus))
		}
		s.busy, s.total = busy, total
	}
	var moved traffic
	if text, err := s.read(filepath.Join(s.root, "proc/net/dev")); err == nil {
		moved.received, moved.sent = devices(text, isUplink)
	}
	if text, err := s.read(filepath.Join(s.root, "proc/diskstats")); err == nil {
		moved.read, moved.written = disks(text, s.isDisk)
	}
	if !s.at.IsZero() {
		u.Rate = moved.since(s.traffic, now.Sub(s.at))
	}
	s.traffic, s.at = moved, now
	if text, err := s.read(filepath.Join(s.root, "proc/meminfo")); err == nil {
		u.Memory = int64(kib(text, "MemTotal:")) - int64(kib(text, "MemAvailable:"))
	}
	if total, used, err := host.Disk(disk); err == nil {
		u.DiskTotal, u.DiskUsed = total, used
	}
	return u
}

func kib(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			f := strings.Fields(rest)
			if len(f) == 0 {
				return 0
			}
			n, err := strconv.ParseUint(f[0], 10, 53)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// ticks reads the first lines of /proc/stat: time that all cpus were busy, all time, and how many cpus there are.
func ticks(text string) (busy, total uint64, cpus int) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || !strings.HasPrefix(f[0], "cpu") {
			continue
		}
		if f[0] != "cpu" {
			cpus++
			continue
		}
		for i, x := range f[1:min(len(f), 9)] { // guest time is in user time already
			n, err := strconv.ParseUint(x, 10, 64)
			if err != nil {
				return 0, 0, 0
			}
			total += n
			if i != 3 && i != 4 { // idle, waiting for a disk
				busy += n
			}
		}
	}
	return busy, total, cpus
}
