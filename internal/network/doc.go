// Package network gives containers on different machines one flat address
// space.
//
// Every machine owns a /24 out of the cluster range. Its containers live on a
// Docker bridge with that subnet; packets for another machine's subnet are
// routed into a VXLAN device and arrive on the other machine's bridge, with
// their source address unchanged. Nothing is learnt: each peer contributes one
// forwarding entry, one neighbour, one route and one member of the set of
// underlay addresses from which VXLAN packets are accepted.
//
//	container ── argosy0 ── route ── argosy-vx ══ UDP over the underlay ══ argosy-vx ── route ── argosy0 ── container
//
// The main loop is that of every room: look, decide, act.
//
//	for {
//		seen := look()                       // netlink, nft, iptables, /proc/sys
//		for _, step := range Decide(cfg, peers, seen) {
//			act(step)                        // one change to the kernel
//		}
//		wait for a change, a nudge or the recheck interval
//	}
//
// [Decide] is pure: what it returns for a machine that is already right is
// empty, so a restarted agent disturbs no packet, and a thousand peers of which
// one changed cost one peer's steps. [VXLAN] is the thin actor, a [Driver], so
// that an encrypted overlay can take its place. [Keeper] is the loop.
//
// # What is kept from whom
//
// VXLAN packets are accepted only from the underlay addresses of members. The
// underlay is trusted not to forge source addresses: VXLAN carries no proof of
// the sender, and only an encrypting driver can give one. Inside the tunnel a
// packet must come from the cluster range, not claim to be of this machine's
// subnet, and be meant for this machine's subnet; a container cannot send with
// an address outside its machine's subnet. From outside the cluster a container
// is reached through published ports alone.
//
// # Who owns what
//
// The Docker network itself (bridge, addresses of containers, published ports)
// belongs to Docker and is created with what [DockerNetworkOptions] returns.
// This package owns the VXLAN device and everything attached to it, the nft
// table "argosy", and two rules, marked with a comment, in the chain that
// Docker keeps for its users. It also turns on net.ipv4.ip_forward and never
// turns it off, because Docker relies on it too.
package network
