package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// tableName is the nft table that holds everything of ours, in family inet.
const tableName = "argosy"

// memberSet is the set of underlay addresses of the cluster's machines.
const memberSet = "members"

// Rule is one rule of our nft table.
type Rule struct {
	Chain string
	Text  string
	Mark  string // kept as the rule's comment
}

// Rules returns the nft rules of a machine, chain by chain and in order. They
// only take away: a verdict "accept" in one table does not overrule another
// table, which is why packets between bridge and VXLAN device also need their
// place in Docker's own chain.
func Rules(cfg Config) []Rule {
	var (
		bridge = strconv.Quote(cfg.BridgeName)
		tunnel = strconv.Quote(cfg.DeviceName)
		subnet = cfg.Self.Subnet.String()
		whole  = cfg.ClusterRange.String()
		ours   = fmt.Sprintf("{ %s, %s }", bridge, tunnel)
		rules  []Rule
	)
	add := func(chain, format string, args ...any) {
		r := Rule{Chain: chain, Text: fmt.Sprintf(format, args...)}
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", len(rules), r.Chain, r.Text))
		r.Mark = "argosy " + hex.EncodeToString(sum[:6])
		rules = append(rules, r)
	}

	// VXLAN packets from anybody who is not a member end here.
	add(chainInput, "udp dport %d ip saddr @%s accept", cfg.Port, memberSet)
	add(chainInput, "udp dport %d counter drop", cfg.Port)

	// Before routing: nobody speaks with an address that is not theirs. The
	// third rule leaves the loopback device alone, because the machine talks to
	// its own gateway address through it.
	add(chainOrigin, "iifname %s ip saddr != %s counter drop", bridge, subnet)
	add(chainOrigin, "iifname %s meta nfproto ipv6 drop", tunnel)
	add(chainOrigin, "iifname != { \"lo\", %s } ip saddr %s counter drop", bridge, subnet)
	add(chainOrigin, "iifname %s ip saddr != %s counter drop", tunnel, whole)
	add(chainOrigin, "iifname %s ip daddr != %s counter drop", tunnel, subnet)

	// Addresses of the cluster range that no machine holds are refused at once
	// rather than sent to the default gateway. From outside, a container is
	// reached through published ports only: those have been through DNAT.
	add(chainForward, "iifname %s oifname != %s ip daddr %s reject with icmpx type no-route", bridge, ours, whole)
	add(chainForward, "iifname != %s oifname %s ct state new ct status & dnat == 0 counter drop", ours, bridge)

	// Only what leaves the cluster range hides behind the machine's address.
	add(chainNAT, "ip saddr %s ip daddr != %s oifname != %s masquerade", subnet, whole, ours)
	return rules
}

const (
	chainInput   = "input"
	chainOrigin  = "origin"
	chainForward = "forward"
	chainNAT     = "postrouting"
)

// acceptRules are the iptables rules, in the order in which they shall stand,
// that let packets pass between the bridge and the VXLAN device although Docker
// drops what it did not set up itself.
func acceptRules(cfg Config) []string {
	pair := func(in, out string) string {
		return fmt.Sprintf("-i %s -o %s -m comment --comment %s -j ACCEPT", in, out, acceptMark)
	}
	return []string{pair(cfg.BridgeName, cfg.DeviceName), pair(cfg.DeviceName, cfg.BridgeName)}
}

// acceptMark is the comment by which rules of ours are known in chains that
// belong to somebody else.
const acceptMark = "argosy"
