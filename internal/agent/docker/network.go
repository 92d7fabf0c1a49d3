package docker

import (
	"context"
	"fmt"
	"net/netip"

	netroom "github.com/argosy-cluster/argosy/internal/network"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// EnsureNetwork makes the machine's container network as wanted. One with the same name and another subnet is replaced,
// unless containers use it.
func (e *Engine) EnsureNetwork(ctx context.Context, want netroom.DockerNetwork) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := e.api.NetworkInspect(ctx, want.Name, client.NetworkInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return fault("look at network "+want.Name, err)
	case has(res.Network.IPAM.Config, want.Subnet):
		return nil
	case len(res.Network.Containers) > 0:
		return fmt.Errorf("the Docker network %s has another subnet than this machine's %s, and %d containers use it; remove those and the network", want.Name, want.Subnet, len(res.Network.Containers))
	default:
		if _, err := e.api.NetworkRemove(ctx, res.Network.ID, client.NetworkRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			return fault("replace network "+want.Name, err)
		}
	}
	yes := true
	_, err = e.api.NetworkCreate(ctx, want.Name, client.NetworkCreateOptions{
		Driver: want.Driver, EnableIPv4: &yes, Options: want.Options, Labels: map[string]string{labelCluster: e.cfg.ClusterID},
		IPAM: &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: want.Subnet, Gateway: want.Gateway}}},
	})
	if err != nil && !errdefs.IsConflict(err) {
		return fault("make network "+want.Name, err)
	}
	return nil
}

func has(list []network.IPAMConfig, subnet netip.Prefix) bool {
	for _, c := range list {
		if c.Subnet.Masked() == subnet.Masked() {
			return true
		}
	}
	return false
}
