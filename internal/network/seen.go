package network

import "net/netip"

// Seen is what a machine's kernel holds of the cluster's network. It is plain
// data, so that [Decide] can be tested without a kernel.
type Seen struct {
	Device     *Device // nil: there is no device of that name
	Routes     []SeenRoute
	Neighbours []Neighbour
	Forwards   []Forward
	Rules      []RuleMark // rules of the nft table, chain by chain; nil: no table
	Members    []netip.Addr
	Sysctls    map[string]string // only keys that exist
	Docker     DockerChain
}

// Device is a network device with the name of our VXLAN device.
type Device struct {
	Kind     string // "vxlan", or what else has taken the name
	VNI      int
	Port     int
	Local    netip.Addr
	Underlay string
	Learning bool
	MAC      MAC
	MTU      int
	Up       bool
	Addrs    []netip.Prefix
}

// SeenRoute is a route into the VXLAN device. Steady is false when it lacks
// what ours have (the on-link flag, our protocol number).
type SeenRoute struct {
	Dst    netip.Prefix
	Via    netip.Addr
	Steady bool
}

// Neighbour is an address of the VXLAN device's link. Steady is false when it
// is not permanent.
type Neighbour struct {
	Addr   netip.Addr
	MAC    MAC
	Steady bool
}

// Forward is an entry of the VXLAN device's forwarding table: frames for MAC go
// to Underlay.
type Forward struct {
	MAC      MAC
	Underlay netip.Addr
	Steady   bool
}

// RuleMark identifies a rule of our nft table: its comment is a digest of what
// it says and where it stands, so that a rule that was changed, moved or added
// by somebody else is noticed.
type RuleMark struct {
	Chain string
	Mark  string
}

// DockerChain is the iptables chain in which packets between the bridge and the
// VXLAN device have to be accepted.
type DockerChain struct {
	Chain string   // "DOCKER-USER", "FORWARD", or "": nothing drops them
	Rules []string // as `iptables -S` prints them, without "-A chain "
}
