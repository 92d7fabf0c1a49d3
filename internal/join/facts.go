package join

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Capacity is the machine's, in the amounts that the membership declares and, where it declares none, as this host shows
// them. What is declared wins: a machine in a container sees the whole host.
func (m *Membership) Capacity() (*argosyv1.Capacity, error) {
	c := &argosyv1.Capacity{CpuMilli: m.CPUMilli, Memory: m.MemoryBytes, ReserveCpuMilli: m.ReserveCPU, ReserveMemory: m.ReserveBytes}
	if c.CpuMilli == 0 {
		c.CpuMilli = int64(runtime.NumCPU()) * 1000
	}
	if c.Memory == 0 {
		total, err := totalMemory("/proc/meminfo")
		if err != nil {
			return nil, err
		}
		c.Memory = total
	}
	state.FillReserve(c)
	return c, nil
}

// totalMemory reads MemTotal of /proc/meminfo, in bytes.
func totalMemory(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("finding out how much memory this machine has: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), "MemTotal:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil || kib <= 0 || kib > 1<<40 {
			return 0, fmt.Errorf("%s says nothing useful about memory: %q", path, s.Text())
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("%s does not say how much memory this machine has: declare it with --memory", path)
}

// BootID is the kernel's random id of this boot.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading this boot's id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

var notInName = regexp.MustCompile(`[^a-z0-9-]+`)

// DefaultName is a name for this machine made of its host's.
func DefaultName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding this host's name: %w", err)
	}
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	name := strings.Trim(notInName.ReplaceAllString(host, "-"), "-")
	if name == "" || len(name) > 63 || name[0] < 'a' || name[0] > 'z' {
		return "", errors.New("this host's name makes no machine's name: give one with --name")
	}
	return name, nil
}

// AddressTowards is the address of this host that packets to a server leave from.
func AddressTowards(server string) (string, error) {
	conn, err := net.Dial("udp", server) // sends nothing
	if err != nil {
		return "", fmt.Errorf("finding the address of this machine: %w; give it with --address", err)
	}
	defer conn.Close()
	addr, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || addr.IP.IsLoopback() {
		return "", errors.New("this machine reaches the server over its own loopback, which other machines cannot: give its address with --address")
	}
	return addr.IP.String(), nil
}
