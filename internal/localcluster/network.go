package localcluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// pool is where clusters take their networks from, a /24 each. It lies in the
// part of 172.16/12 that Docker's own default networks reach last, and outside
// 10/8 and 100.64/10, where cluster ranges usually are.
var pool = netip.MustParsePrefix("172.30.0.0/16")

// firstHost is the last byte of m1's address; those below are left to the
// gateway and to guests on the same network.
const firstHost = 10

// freeSubnet returns the first /24 of the pool that overlaps with none of used.
func freeSubnet(used []netip.Prefix) (netip.Prefix, error) {
	base := pool.Addr().As4()
	for i := range 256 {
		base[2] = byte(i)
		candidate := netip.PrefixFrom(netip.AddrFrom4(base), 24)
		free := true
		for _, u := range used {
			if u.Overlaps(candidate) {
				free = false
				break
			}
		}
		if free {
			return candidate, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free network is left in %s for another local cluster", pool)
}

// machineAddress is where machine number (from 1) lives in subnet.
func machineAddress(subnet netip.Prefix, number int) netip.Addr {
	a := subnet.Masked().Addr().As4()
	a[3] = byte(firstHost + number)
	return netip.AddrFrom4(a)
}

// usedPrefixes are the networks that the host's interfaces are in. A default
// route overlaps everything and says nothing, so routes are not asked.
func usedPrefixes() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out, nil
}

// ensureNetwork creates the cluster's network unless it is there, and returns
// its subnet. Machines have fixed addresses in it: one that was killed comes
// back where it was.
func (l *Local) ensureNetwork(ctx context.Context) (netip.Prefix, error) {
	name := l.prefix()
	if res, err := l.docker.NetworkInspect(ctx, name, client.NetworkInspectOptions{}); err == nil {
		if res.Network.Labels[labelCluster] != l.opts.Name {
			return netip.Prefix{}, fmt.Errorf("a Docker network named %s exists and is not this cluster's: remove it with `docker network rm %s`, or choose another name", name, name)
		}
		for _, c := range res.Network.IPAM.Config {
			if c.Subnet.Addr().Is4() {
				return c.Subnet, nil
			}
		}
		return netip.Prefix{}, fmt.Errorf("the Docker network %s has no IPv4 subnet", name)
	} else if !errdefs.IsNotFound(err) {
		return netip.Prefix{}, err
	}
	var subnet netip.Prefix
	err := l.step("", "create the network", func() error {
		used, err := usedPrefixes()
		if err != nil {
			return err
		}
		for {
			if subnet, err = freeSubnet(used); err != nil {
				return err
			}
			_, err = l.docker.NetworkCreate(ctx, name, client.NetworkCreateOptions{
				Driver: "bridge",
				Labels: map[string]string{labelCluster: l.opts.Name},
				IPAM:   &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet}}},
			})
			if err == nil || !strings.Contains(err.Error(), "overlap") {
				return err
			}
			used = append(used, subnet) // the Engine knows of one that has no interface now
		}
	})
	return subnet, err
}
