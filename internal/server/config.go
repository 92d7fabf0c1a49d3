package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/pattern"
)

func (c Config) complete() (Config, error) {
	if c.Listen == "" {
		c.Listen = ":" + defaults.ServerPort
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 {
		return c, fmt.Errorf("--listen %q is not host:port, such as :%s or 192.0.2.10:%s", c.Listen, defaults.ServerPort, defaults.ServerPort)
	}
	if c.Socket == "" {
		c.Socket = defaults.ServerSocket
	}
	if c.FenceDir == "" {
		c.FenceDir = defaults.FenceDir
	}
	if c.Name == "" {
		if c.Name, err = joinedName(c.DataDir); err != nil {
			return c, err
		}
	}
	for _, place := range c.FleetAPI {
		if err := checkFleetAPI(place); err != nil {
			return c, err
		}
	}
	c.Advertise = slices.Clone(c.Advertise)
	for i, a := range c.Advertise {
		if c.Advertise[i], err = advertised(a, port); err != nil {
			return c, err
		}
	}
	if len(c.Advertise) == 0 {
		addr, err := ownAddress()
		if err != nil {
			return c, err
		}
		c.Advertise = []string{net.JoinHostPort(addr, port)}
	}
	if c, err = c.completePeers(); err != nil {
		return c, err
	}
	if c, err = c.completeWitness(); err != nil {
		return c, err
	}
	if err := c.External.Check(); err != nil {
		return c, err
	}
	c.completeLayouts()
	if c.Settings == nil {
		c.Settings = DefaultSettings()
	}
	return c, checkRange(c.Settings.GetNetworkRange())
}

// advertised is an address as machines dial it: host:port.
func advertised(a, port string) (string, error) {
	host, own, err := net.SplitHostPort(a)
	if err != nil {
		host, own = strings.Trim(a, "[]"), port
	}
	_, ipErr := netip.ParseAddr(host)
	if n, err := strconv.ParseUint(own, 10, 16); err != nil || n == 0 || ipErr != nil && !hostName.MatchString(host) {
		return "", fmt.Errorf("--advertise %q is nowhere that machines could reach: write a host or host:port, such as 192.0.2.10", a)
	}
	return net.JoinHostPort(host, own), nil
}

var hostName = pattern.New(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$`)

// checkRange refuses a range that no machine could get a subnet of: it is the cluster's for good.
func checkRange(text string) error {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !p.Addr().Is4():
		return fmt.Errorf("--network-range %q is not an IPv4 network such as 10.64.0.0/10", text)
	case p != p.Masked():
		return fmt.Errorf("--network-range %s has bits beyond its length: the network is %s", p, p.Masked())
	case p.Bits() > largestRange:
		return fmt.Errorf("--network-range %s has no room: each machine gets a /24 of it, so it is a /%d or larger", p, largestRange)
	}
	return nil
}

// largestRange is the longest prefix of a cluster's range: two machines.
const largestRange = 23

// ownAddress is the first address of this host that others may reach.
func ownAddress() (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("reading this host's addresses: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("this host has no address that machines could reach: give one with --advertise")
}
