package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrRangeFull says that a cluster range has no subnet left.
var ErrRangeFull = errors.New("no subnet left")

// Allocate returns the lowest /24 of the cluster range that overlaps nothing in
// taken. It is deterministic: the same arguments, in whatever order, give the
// same subnet. Prefixes of another family or outside the range are ignored.
func Allocate(clusterRange netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	if err := checkRange(clusterRange); err != nil {
		return netip.Prefix{}, err
	}
	first := v4(clusterRange.Addr()) >> (32 - SubnetBits)
	count := uint32(1) << (SubnetBits - clusterRange.Bits())
	used := make([]bool, count)
	for _, t := range taken {
		if !t.IsValid() || !t.Addr().Is4() || !t.Overlaps(clusterRange) {
			continue
		}
		lo := v4(t.Masked().Addr()) >> (32 - SubnetBits)
		span := uint32(1)
		if t.Bits() < SubnetBits {
			span = 1 << (SubnetBits - t.Bits())
		}
		// A prefix wider than the range starts before it: count from the range.
		if lo < first {
			lo, span = first, count
		}
		for i := lo - first; i < min(lo-first+span, count); i++ {
			used[i] = true
		}
	}
	for i, u := range used {
		if !u {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], (first+uint32(i))<<(32-SubnetBits))
			return netip.PrefixFrom(netip.AddrFrom4(b), SubnetBits), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%w: the cluster range %s holds %d machines and every subnet is taken; remove lost machines, or create the cluster with a wider range", ErrRangeFull, clusterRange, count)
}

// Route is one of a machine's own routes, as [Routes] reads them.
type Route struct {
	Dst    netip.Prefix
	Device string     // may be empty
	Via    netip.Addr // may be the zero Addr
	Own    bool       // made by Argosy, now or in an earlier run
}

func (r Route) String() string {
	s := r.Dst.String()
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	if r.Device != "" {
		s += " dev " + r.Device
	}
	return s
}

// Overlaps returns an error that names every route that the cluster range, or a
// machine's subnet, would shadow. Default routes and Argosy's own do not count.
func Overlaps(p netip.Prefix, routes []Route) error {
	var clash []string
	for _, r := range routes {
		if r.Own || !r.Dst.IsValid() || r.Dst.Bits() == 0 || !r.Dst.Overlaps(p) {
			continue
		}
		clash = append(clash, r.String())
	}
	if len(clash) == 0 {
		return nil
	}
	const shown = 5
	more := ""
	if len(clash) > shown {
		more = fmt.Sprintf(" and %d more", len(clash)-shown)
		clash = clash[:shown]
	}
	return fmt.Errorf("the cluster's addresses %s overlap with routes that this machine already has (%s%s); remove those routes, or create the cluster with another range", p, strings.Join(clash, ", "), more)
}
