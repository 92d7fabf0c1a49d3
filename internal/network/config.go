package network

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/argosy-cluster/argosy/internal/defaults"
)

// Defaults of a cluster's network. The port is not IANA's 4789, so that Docker
// Swarm or another overlay on the same machine keeps its own.
const (
	DefaultVNI        = 42501
	DefaultPort       = 8473
	DefaultBridgeName = "argosy0"
	DefaultDeviceName = "argosy-vx"

	// SubnetBits is the prefix length of a machine's subnet.
	SubnetBits = 24

	// Overhead is what VXLAN over IPv4 adds to a packet: outer IP 20, UDP 8,
	// VXLAN 8, inner Ethernet 14.
	Overhead = 50

	minMTU = 576
	maxMTU = 65535 - Overhead
)

// DefaultClusterRange is the range that machines' subnets are taken from unless
// the cluster was made with another.
func DefaultClusterRange() netip.Prefix { return netip.MustParsePrefix(defaults.NetworkRange) }

// Peer is a machine as the others reach it.
type Peer struct {
	Machine  string       // the machine's id
	Underlay netip.Addr   // where its VXLAN packets come from and go to; IPv4
	Subnet   netip.Prefix // its containers' addresses, a /24 of the cluster range
}

// Config is one machine's part in the cluster's network.
type Config struct {
	Self         Peer
	ClusterRange netip.Prefix // the zero value means DefaultClusterRange
	VNI          int          // 0: DefaultVNI
	Port         int          // UDP port of the tunnel; 0: DefaultPort
	Underlay     string       // device that holds Self.Underlay; "": found by Complete
	BridgeName   string       // "": DefaultBridgeName
	DeviceName   string       // the VXLAN device; "": DefaultDeviceName
	MTU          int          // of containers and the VXLAN device; 0: the underlay's less Overhead, found by Complete
}

// WithDefaults fills in everything that can be known without looking at the
// machine. Underlay and MTU stay as they are.
func (c Config) WithDefaults() Config {
	if !c.ClusterRange.IsValid() {
		c.ClusterRange = DefaultClusterRange()
	}
	c.ClusterRange = c.ClusterRange.Masked()
	c.Self.Subnet = c.Self.Subnet.Masked()
	c.VNI = cmp.Or(c.VNI, DefaultVNI)
	c.Port = cmp.Or(c.Port, DefaultPort)
	c.BridgeName = cmp.Or(c.BridgeName, DefaultBridgeName)
	c.DeviceName = cmp.Or(c.DeviceName, DefaultDeviceName)
	return c
}

// Validate says everything that is wrong with a configuration that has its
// defaults.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if err := checkRange(c.ClusterRange); err != nil {
		errs = append(errs, err)
	} else if err := checkSubnet(c.ClusterRange, c.Self.Subnet); err != nil {
		bad("this machine's subnet: %w", err)
	}
	if !c.Self.Underlay.IsValid() {
		bad("this machine's underlay address is not given")
	} else if !usableUnderlay(c.Self.Underlay) {
		bad("this machine's underlay address %s is not an IPv4 address that other machines can send to", c.Self.Underlay)
	} else if c.ClusterRange.Contains(c.Self.Underlay) {
		bad("this machine's own address %s lies in the cluster range %s; create the cluster with another range", c.Self.Underlay, c.ClusterRange)
	}
	if c.VNI < 1 || c.VNI >= 1<<24 {
		bad("VNI %d is not between 1 and %d", c.VNI, 1<<24-1)
	}
	if c.Port < 1 || c.Port > 65535 {
		bad("port %d is not between 1 and 65535", c.Port)
	}
	for _, name := range []string{c.BridgeName, c.DeviceName} {
		if !validDeviceName(name) {
			bad("%q cannot name a network device: 1 to 15 letters, digits, '-', '_' or '.'", name)
		}
	}
	if c.Underlay != "" && !validDeviceName(c.Underlay) {
		bad("%q cannot name the underlay device: 1 to 15 letters, digits, '-', '_' or '.'", c.Underlay)
	}
	if c.BridgeName == c.DeviceName {
		bad("bridge and VXLAN device are both called %q", c.BridgeName)
	}
	if c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU) {
		bad("MTU %d is not between %d and %d", c.MTU, minMTU, maxMTU)
	}
	return errors.Join(errs...)
}

// Gateway returns the bridge's own address: the first of the subnet. The name
// server listens on it.
func (c Config) Gateway() netip.Addr { return c.Self.Subnet.Masked().Addr().Next() }

// Screen separates the peers that can be reached from those that must not be
// programmed. It returns them ordered by machine id and says why each of the
// others was left out; one bad peer harms only itself. The machine itself, and
// any former identity of it (another id with its own underlay address), are
// left out without a word.
func (c Config) Screen(peers []Peer) ([]Peer, error) {
	sorted := slices.Clone(peers)
	slices.SortFunc(sorted, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(a.Machine, b.Machine), a.Underlay.Compare(b.Underlay), a.Subnet.Addr().Compare(b.Subnet.Addr()))
	})
	var (
		errs  []error
		good  = make([]Peer, 0, len(sorted))
		owner = map[netip.Prefix]string{c.Self.Subnet.Masked(): c.Self.Machine}
	)
	for _, p := range sorted {
		if p.Machine == c.Self.Machine || p.Underlay == c.Self.Underlay {
			continue
		}
		p.Subnet = p.Subnet.Masked()
		if err := c.checkPeer(p, owner); err != nil {
			errs = append(errs, fmt.Errorf("machine %q is left out of the network: %w", p.Machine, err))
			continue
		}
		owner[p.Subnet] = p.Machine
		good = append(good, p)
	}
	return good, errors.Join(errs...)
}

func (c Config) checkPeer(p Peer, owner map[netip.Prefix]string) error {
	if !p.Underlay.IsValid() {
		return errors.New("its underlay address is not known")
	}
	if !usableUnderlay(p.Underlay) {
		return fmt.Errorf("its underlay address %s is not an IPv4 address that can be sent to", p.Underlay)
	}
	if c.ClusterRange.Contains(p.Underlay) {
		return fmt.Errorf("its underlay address %s lies in the cluster range %s", p.Underlay, c.ClusterRange)
	}
	if err := checkSubnet(c.ClusterRange, p.Subnet); err != nil {
		return err
	}
	if other, taken := owner[p.Subnet]; taken {
		return fmt.Errorf("its subnet %s belongs to machine %q", p.Subnet, other)
	}
	return nil
}

func checkRange(r netip.Prefix) error {
	switch {
	case !r.IsValid() || !r.Addr().Is4():
		return fmt.Errorf("cluster range %s is not an IPv4 range such as %s", r, DefaultClusterRange())
	case r.Bits() < 8 || r.Bits() > SubnetBits:
		return fmt.Errorf("cluster range %s must be between a /8 and a /%d", r, SubnetBits)
	case r != r.Masked():
		return fmt.Errorf("cluster range %s has bits set beyond its prefix; %s is meant, perhaps", r, r.Masked())
	}
	return nil
}

func checkSubnet(r, s netip.Prefix) error {
	switch {
	case !s.IsValid() || !s.Addr().Is4() || s.Bits() != SubnetBits:
		return fmt.Errorf("subnet %s is not an IPv4 /%d", s, SubnetBits)
	case !r.Contains(s.Addr()):
		return fmt.Errorf("subnet %s is not within the cluster range %s", s, r)
	}
	return nil
}

func usableUnderlay(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// validDeviceName is narrower than the kernel's rule, so that a name can stand
// in an nft or iptables rule without quoting.
func validDeviceName(s string) bool {
	if len(s) == 0 || len(s) > 15 || s == "." || s == ".." || s[0] == '-' {
		return false
	}
	for _, b := range []byte(s) {
		if !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.') {
			return false
		}
	}
	return true
}

// MAC is the hardware address of a VXLAN device.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// TunnelMAC derives the hardware address of a machine's VXLAN device from its
// subnet, so that nobody has to be told it. The prefix is locally administered
// and differs from the 02:42 that Docker gives its containers.
func TunnelMAC(subnet netip.Prefix) MAC {
	m := MAC{0xae, 0x67}
	binary.BigEndian.PutUint32(m[2:], v4(subnet.Masked().Addr()))
	return m
}

// TunnelAddr returns the address of a machine's VXLAN device: the subnet's
// zeroth, which Docker never gives to a container.
func TunnelAddr(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr() }

func v4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
