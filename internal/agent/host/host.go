package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is where the machine's file systems are mounted: "/".
type Root string

const maxFile = 1 << 20

// read reads a small file; what is longer than maxFile is an error.
func (r Root) read(name string) (string, error) {
	f, err := os.Open(filepath.Join(string(r), name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > maxFile:
			return "", fmt.Errorf("%s is longer than %d bytes", name, maxFile)
		case err != nil || n == 0:
			return string(bytes.TrimSpace(buf)), nil
		}
	}
}

func (r Root) number(name string) (int64, bool) {
	s, err := r.read(name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// BootID differs after each boot. A machine that is itself a container shares the kernel's id with its host, so the start
// of its first process is part of it.
func (r Root) BootID() (string, error) {
	id, err := r.read("proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	stat, err := r.read("proc/1/stat")
	if err != nil {
		return "", fmt.Errorf("read when the machine started: %w", err)
	}
	start := startTime(stat)
	if len(id) > 64 || start == "" {
		return "", errors.New("the kernel's boot id is not understood")
	}
	return id + "-" + start, nil
}

// startTime is field 22 of a process's stat, counted after the name, which may hold anything.
func startTime(stat string) string {
	i := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[i+1:])
	if i < 0 || len(fields) < 20 {
		return ""
	}
	return fields[19]
}

// Capacity is what this process and everything beside it may use: the machine's, or less where a cgroup around it says so.
// cpus are in thousandths.
func (r Root) Capacity() (cpuMilli, memory int64) {
	cpuMilli, memory = int64(runtime.NumCPU())*1000, r.memTotal()
	for _, c := range r.cgroups() {
		if n, ok := c.cpuLimit(); ok {
			cpuMilli = min(cpuMilli, n)
		}
		if n, ok := c.memoryLimit(); ok {
			memory = min(memory, n)
		}
	}
	return cpuMilli, memory
}

func (r Root) memTotal() int64 {
	info, err := r.read("proc/meminfo")
	if err != nil {
		return 0
	}
	return meminfo(info)["MemTotal"]
}

// meminfo reads /proc/meminfo, in bytes.
func meminfo(text string) map[string]int64 {
	out := map[string]int64{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(fields[0], 10, 53); err == nil && n >= 0 {
			out[name] = n << 10
		}
	}
	return out
}

// cgroup is a directory of a cgroup hierarchy. With version 1 cpu and memory are in two.
type cgroup struct {
	r           Root
	v2          bool
	cpu, memory string
}

// cgroups lists the cgroups that this process is in, from its own upwards.
func (r Root) cgroups() []cgroup {
	text, err := r.read("proc/self/cgroup")
	if err != nil {
		return nil
	}
	cpu, memory, v2 := "", "", ""
	for _, line := range strings.Split(text, "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, c := range strings.Split(parts[1], ",") {
			switch c {
			case "cpu":
				cpu = parts[2]
			case "memory":
				memory = parts[2]
			}
		}
		if parts[0] == "0" && parts[1] == "" {
			v2 = parts[2]
		}
	}
	var list []cgroup
	if _, err := os.Stat(filepath.Join(string(r), "sys/fs/cgroup/cgroup.controllers")); err == nil {
		for _, p := range upwards(v2) {
			list = append(list, cgroup{r: r, v2: true, cpu: "sys/fs/cgroup" + p, memory: "sys/fs/cgroup" + p})
		}
		return list
	}
	for _, p := range upwards(cpu) {
		list = append(list, cgroup{r: r, cpu: "sys/fs/cgroup/cpu" + p})
	}
	for _, p := range upwards(memory) {
		list = append(list, cgroup{r: r, memory: "sys/fs/cgroup/memory" + p})
	}
	return list
}

// upwards lists a cgroup's path and those of all above it, up to the root, which inside a container shows its own limits.
func upwards(p string) []string {
	p = path.Clean("/" + p)
	list := []string{p}
	for p != "/" {
		p = path.Dir(p)
		list = append(list, p)
	}
	return list
}

func (c cgroup) cpuLimit() (milli int64, ok bool) {
	if c.cpu == "" {
		return 0, false
	}
	if c.v2 {
		s, err := c.r.read(c.cpu + "/cpu.max")
		fields := strings.Fields(s)
		if err != nil || len(fields) != 2 {
			return 0, false
		}
		quota, err1 := strconv.ParseInt(fields[0], 10, 64)
		period, err2 := strconv.ParseInt(fields[1], 10, 64)
		return milliOf(quota, period, err1 == nil && err2 == nil)
	}
	quota, ok1 := c.r.number(c.cpu + "/cpu.cfs_quota_us")
	period, ok2 := c.r.number(c.cpu + "/cpu.cfs_period_us")
	return milliOf(quota, period, ok1 && ok2)
}

func milliOf(quota, period int64, ok bool) (int64, bool) {
	if !ok || quota <= 0 || period <= 0 || quota > math.MaxInt64/1000 {
		return 0, false
	}
	return quota * 1000 / period, true
}

func (c cgroup) memoryLimit() (int64, bool) {
	if c.memory == "" {
		return 0, false
	}
	name := "/memory.limit_in_bytes"
	if c.v2 {
		name = "/memory.max"
	}
	n, ok := c.r.number(c.memory + name)
	// Version 1 writes "no limit" as a huge number.
	if !ok || n <= 0 || n > 1<<60 {
		return 0, false
	}
	return n, true
}

// Disk returns the size of the file system that holds dir and how much of it is used, in bytes.
func Disk(dir string) (total, used int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("look how full the disk of %s is: %w", dir, err)
	}
	size := st.Bsize
	// What only root may still use counts as used: that is where others get "no space left".
	return int64(st.Blocks) * size, (int64(st.Blocks) - int64(st.Bavail)) * size, nil
}
