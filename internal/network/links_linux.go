package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks routes of ours in the kernel's table, as "proto" in
// `ip route`. The number is taken by nobody in iproute2's list.
const routeProtocol = 167

// look retries a netlink dump that changed under its reader; the kernel says so
// rather than give half an answer.
func dump[T any](f func() (T, error)) (T, error) {
	var out T
	var err error
	for range 5 {
		out, err = f()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

// underlay returns the device that holds an address, and its MTU. With a name
// given, that device must be the one.
func underlay(addr netip.Addr, name string) (string, int, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return "", 0, fmt.Errorf("read this machine's addresses: %w", err)
	}
	for _, a := range addrs {
		got, ok := netip.AddrFromSlice(a.IP.To4())
		if !ok || got != addr {
			continue
		}
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return "", 0, fmt.Errorf("read device %d: %w", a.LinkIndex, err)
		}
		if name == "" || link.Attrs().Name == name {
			return link.Attrs().Name, link.Attrs().MTU, nil
		}
	}
	if name != "" {
		return "", 0, fmt.Errorf("device %s of this machine does not have the address %s", name, addr)
	}
	return "", 0, fmt.Errorf("no device of this machine has the address %s", addr)
}

// Routes reads the machine's main IPv4 routes for [Overlaps]. Routes through
// the devices that cfg names, and those marked as Argosy's, count as own.
func Routes(cfg Config) ([]Route, error) {
	cfg = cfg.WithDefaults()
	list, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("network: read this machine's routes: %w", err)
	}
	names := map[int]string{}
	out := make([]Route, 0, len(list))
	for _, r := range list {
		dst, ok := toPrefix(r.Dst)
		if !ok {
			continue
		}
		name, known := names[r.LinkIndex]
		if !known && r.LinkIndex != 0 {
			if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				name = link.Attrs().Name
			}
			names[r.LinkIndex] = name
		}
		via, _ := netip.AddrFromSlice(r.Gw.To4())
		out = append(out, Route{
			Dst: dst, Device: name, Via: via,
			Own: r.Protocol == routeProtocol || name == cfg.BridgeName || name == cfg.DeviceName,
		})
	}
	return out, nil
}

func lookLinks(cfg Config) (Seen, error) {
	var seen Seen
	link, err := netlink.LinkByName(cfg.DeviceName)
	if notFound(err) {
		return seen, nil
	}
	if err != nil {
		return seen, fmt.Errorf("network: read device %s: %w", cfg.DeviceName, err)
	}
	dev, err := readDevice(link)
	if err != nil {
		return seen, err
	}
	seen.Device = &dev
	index := link.Attrs().Index

	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: index}, netlink.RT_FILTER_OIF)
	})
	if err != nil {
		return seen, fmt.Errorf("network: read routes of %s: %w", cfg.DeviceName, err)
	}
	for _, r := range routes {
		dst, ok := toPrefix(r.Dst)
		if !ok || r.Protocol == unix.RTPROT_KERNEL {
			continue
		}
		via, _ := netip.AddrFromSlice(r.Gw.To4())
		seen.Routes = append(seen.Routes, SeenRoute{
			Dst: dst, Via: via,
			Steady: r.Protocol == routeProtocol && r.Flags&int(netlink.FLAG_ONLINK) != 0,
		})
	}
	neighbours, err := dump(func() ([]netlink.Neigh, error) { return netlink.NeighList(index, netlink.FAMILY_V4) })
	if err != nil {
		return seen, fmt.Errorf("network: read neighbours of %s: %w", cfg.DeviceName, err)
	}
	for _, n := range neighbours {
		addr, ok := netip.AddrFromSlice(n.IP.To4())
		// Entries that the kernel makes for broadcast and multicast carry NOARP.
		if !ok || n.State&netlink.NUD_NOARP != 0 {
			continue
		}
		seen.Neighbours = append(seen.Neighbours, Neighbour{Addr: addr, MAC: toMAC(n.HardwareAddr), Steady: n.State == netlink.NUD_PERMANENT})
	}
	forwards, err := dump(func() ([]netlink.Neigh, error) { return netlink.NeighList(index, syscall.AF_BRIDGE) })
	if err != nil {
		return seen, fmt.Errorf("network: read the forwarding table of %s: %w", cfg.DeviceName, err)
	}
	for _, f := range forwards {
		dst, ok := netip.AddrFromSlice(f.IP.To4())
		if !ok {
			continue
		}
		seen.Forwards = append(seen.Forwards, Forward{MAC: toMAC(f.HardwareAddr), Underlay: dst, Steady: f.State&netlink.NUD_PERMANENT != 0})
	}
	return seen, nil
}

func readDevice(link netlink.Link) (Device, error) {
	attrs := link.Attrs()
	d := Device{Kind: link.Type(), MAC: toMAC(attrs.HardwareAddr), MTU: attrs.MTU, Up: attrs.Flags&net.FlagUp != 0}
	if vx, ok := link.(*netlink.Vxlan); ok {
		d.VNI, d.Port, d.Learning = vx.VxlanId, vx.Port, vx.Learning
		d.Local, _ = netip.AddrFromSlice(vx.SrcAddr.To4())
		if vx.VtepDevIndex != 0 {
			if lower, err := netlink.LinkByIndex(vx.VtepDevIndex); err == nil {
				d.Underlay = lower.Attrs().Name
			}
		}
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return d, fmt.Errorf("network: read addresses of %s: %w", attrs.Name, err)
	}
	for _, a := range addrs {
		if p, ok := toPrefix(a.IPNet); ok {
			ip, _ := netip.AddrFromSlice(a.IP.To4())
			d.Addrs = append(d.Addrs, netip.PrefixFrom(ip, p.Bits()))
		}
	}
	return d, nil
}

// links takes steps about the VXLAN device and what is attached to it, over one
// netlink socket.
type links struct {
	cfg    Config
	handle *netlink.Handle
	link   netlink.Link // nil until known
}

func openLinks(cfg Config) (*links, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("network: open a netlink socket: %w", err)
	}
	return &links{cfg: cfg, handle: h}, nil
}

func (l *links) close() { l.handle.Close() }

func (l *links) take(s Step) error {
	switch s.Op {
	case OpDeleteDevice:
		l.link = nil
		return deleteDevice(l.cfg.DeviceName)
	case OpCreateDevice:
		return l.create(s.Device)
	}
	if l.link == nil {
		link, err := l.handle.LinkByName(l.cfg.DeviceName)
		if err != nil {
			return fmt.Errorf("find device %s: %w", l.cfg.DeviceName, err)
		}
		l.link = link
	}
	index := l.link.Attrs().Index
	switch s.Op {
	case OpSetMTU:
		return l.handle.LinkSetMTU(l.link, s.MTU)
	case OpSetUp:
		return l.handle.LinkSetUp(l.link)
	case OpAddAddr:
		return l.handle.AddrReplace(l.link, &netlink.Addr{IPNet: toIPNet(s.Prefix), Scope: int(netlink.SCOPE_LINK)})
	case OpDeleteAddr:
		return gone(l.handle.AddrDel(l.link, &netlink.Addr{IPNet: toIPNet(s.Prefix)}))
	case OpSetRoute:
		return l.handle.RouteReplace(route(index, s))
	case OpDeleteRoute:
		return gone(l.handle.RouteDel(&netlink.Route{LinkIndex: index, Dst: toIPNet(s.Prefix), Scope: netlink.SCOPE_NOWHERE}))
	case OpSetNeighbour:
		return l.handle.NeighSet(neighbour(index, s))
	case OpDeleteNeighbour:
		return gone(l.handle.NeighDel(neighbour(index, s)))
	case OpSetForward:
		return l.handle.NeighSet(forward(index, s))
	case OpDeleteForward:
		return gone(l.handle.NeighDel(forward(index, s)))
	}
	return fmt.Errorf("there is no operation %q", s.Op)
}

func (l *links) create(d Device) error {
	lower, err := l.handle.LinkByName(d.Underlay)
	if err != nil {
		return fmt.Errorf("find the underlay device %s: %w", d.Underlay, err)
	}
	vx := &netlink.Vxlan{
		LinkAttrs:    netlink.NewLinkAttrs(),
		VxlanId:      d.VNI,
		VtepDevIndex: lower.Attrs().Index,
		SrcAddr:      d.Local.AsSlice(),
		Port:         d.Port,
		Learning:     false,
	}
	vx.Name, vx.MTU, vx.HardwareAddr = l.cfg.DeviceName, d.MTU, d.MAC[:]
	if err := l.handle.LinkAdd(vx); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EEXIST) {
			return fmt.Errorf("%w: another device of this machine uses VNI %d or UDP port %d; give the cluster another port", err, d.VNI, d.Port)
		}
		return err
	}
	l.link, err = l.handle.LinkByName(l.cfg.DeviceName)
	return err
}

func deleteDevice(name string) error {
	link, err := netlink.LinkByName(name)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find device %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("delete device %s: %w", name, err)
	}
	return nil
}

func route(index int, s Step) *netlink.Route {
	return &netlink.Route{
		LinkIndex: index,
		Dst:       toIPNet(s.Prefix),
		Gw:        s.Via.AsSlice(),
		Protocol:  routeProtocol,
		Flags:     int(netlink.FLAG_ONLINK),
	}
}

func neighbour(index int, s Step) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    index,
		Family:       netlink.FAMILY_V4,
		State:        netlink.NUD_PERMANENT,
		Type:         unix.RTN_UNICAST,
		IP:           s.Addr.AsSlice(),
		HardwareAddr: s.MAC[:],
	}
}

func forward(index int, s Step) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex:    index,
		Family:       syscall.AF_BRIDGE,
		State:        netlink.NUD_PERMANENT | netlink.NUD_NOARP,
		Flags:        netlink.NTF_SELF,
		IP:           s.Addr.AsSlice(),
		HardwareAddr: s.MAC[:],
	}
}

// gone makes an error of a thing that has gone by itself none.
func gone(err error) error {
	for _, e := range []error{syscall.ENOENT, syscall.ESRCH, syscall.EADDRNOTAVAIL, syscall.ENODEV} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

func notFound(err error) bool {
	var nf netlink.LinkNotFoundError
	return errors.As(err, &nf)
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP.To4())
	ones, bits := n.Mask.Size()
	if !ok || bits != 32 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones).Masked(), true
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func toMAC(h net.HardwareAddr) (m MAC) {
	copy(m[:], h)
	return m
}
