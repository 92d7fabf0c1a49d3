package network

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// fullLook is how long what was read of nft and iptables counts while the
// kernel says that nothing has changed: a guard against what its counter does
// not cover.
const fullLook = 2 * time.Minute

// packetRules is what was read of nft and iptables, and when. Reading takes
// processes, so it is not done again while the kernel's count of changes to
// nftables stands still. The legacy iptables does not count there: on a machine
// that has it, Docker's chain is read each time.
type packetRules struct {
	filter     filter
	generation uint32 // 0: nothing was read
	read       time.Time
	legacy     bool
	rules      []RuleMark
	members    []netip.Addr
	docker     DockerChain
}

func (p *packetRules) look(ctx context.Context) error {
	// Asked for first: a change during the look then makes the next one read.
	generation := rulesetGeneration()
	same := generation != 0 && generation == p.generation && time.Since(p.read) < fullLook
	if same && !p.legacy {
		return nil
	}
	p.generation = 0
	var err error
	if !same {
		if p.rules, p.members, err = p.filter.look(ctx); err != nil {
			return err
		}
		p.legacy = isLegacy(ctx)
		p.read = time.Now()
	}
	if p.docker, err = lookDockerChain(ctx); err != nil {
		return err
	}
	p.generation = generation
	return nil
}

// isLegacy says whether iptables keeps its rules apart from nftables.
func isLegacy(ctx context.Context) bool {
	out, err := iptables(ctx, "--version")
	return err == nil && !strings.Contains(string(out), "nf_tables")
}

// rulesetGeneration returns the kernel's count of changes to this namespace's
// nftables, or 0 if it does not tell.
func rulesetGeneration() uint32 {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: unix.NFNETLINK_V0})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN)
	if err != nil || len(msgs) != 1 || len(msgs[0]) < nl.SizeofNfgenmsg {
		return 0
	}
	attrs, err := nl.ParseRouteAttr(msgs[0][nl.SizeofNfgenmsg:])
	if err != nil {
		return 0
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.NFTA_GEN_ID && len(a.Value) == 4 {
			return binary.BigEndian.Uint32(a.Value)
		}
	}
	return 0
}
