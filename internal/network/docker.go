package network

import (
	"net/netip"
	"strconv"
	"strings"
)

// DockerNetwork is what the cluster's Docker network on one machine is created
// with.
type DockerNetwork struct {
	Name    string
	Driver  string
	Subnet  netip.Prefix
	Gateway netip.Addr
	Options map[string]string // driver options
}

// DockerNetworkOptions decides the Docker network of a machine. The MTU must be
// known ([Complete]). apiVersion is the Engine's own ("1.41"): from 1.48
// (Engine 28) Docker drops packets that arrive for a container from another
// device than its bridge before any rule of ours sees them, unless the network
// is created unprotected; package network's own rules then do the protecting.
// Older Engines refuse that option, so it is left out for them and for versions
// that cannot be read.
func DockerNetworkOptions(cfg Config, apiVersion string) DockerNetwork {
	cfg = cfg.WithDefaults()
	opts := map[string]string{
		"com.docker.network.bridge.name":       cfg.BridgeName,
		"com.docker.network.bridge.enable_icc": "true",
		// Docker would masquerade what goes to other machines' containers.
		"com.docker.network.bridge.enable_ip_masquerade": "false",
	}
	if cfg.MTU != 0 {
		opts["com.docker.network.driver.mtu"] = strconv.Itoa(cfg.MTU)
	}
	if apiAtLeast(apiVersion, 1, 48) {
		opts["com.docker.network.bridge.gateway_mode_ipv4"] = "nat-unprotected"
	}
	return DockerNetwork{
		Name:    "argosy",
		Driver:  "bridge",
		Subnet:  cfg.Self.Subnet,
		Gateway: cfg.Gateway(),
		Options: opts,
	}
}

func apiAtLeast(version string, major, minor int) bool {
	a, b, ok := strings.Cut(version, ".")
	if !ok {
		return false
	}
	x, err := strconv.Atoi(a)
	if err != nil {
		return false
	}
	y, err := strconv.Atoi(b)
	if err != nil {
		return false
	}
	return x > major || x == major && y >= minor
}
