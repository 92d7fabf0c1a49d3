package join

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/host"
	"github.com/argosy-cluster/argosy/internal/pattern"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Capacity is the machine's, in the amounts that the membership declares and, where it declares none, as this host shows
// them. What is declared wins: a machine in a container sees the whole host.
func (m *Membership) Capacity() (*argosyv1.Capacity, error) {
	c := &argosyv1.Capacity{CpuMilli: m.CPUMilli, Memory: m.MemoryBytes, ReserveCpuMilli: m.ReserveCPU, ReserveMemory: m.ReserveBytes}
	cpu, memory := host.Root("/").Capacity()
	c.CpuMilli, c.Memory = cmp.Or(c.CpuMilli, cpu), cmp.Or(c.Memory, memory)
	if c.Memory == 0 {
		return nil, errors.New("this host does not say how much memory it has: declare it with --memory")
	}
	state.FillReserve(c)
	return c, nil
}

var notInName = pattern.New(`[^a-z0-9-]+`)

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
