package network

import (
	"context"
	"fmt"
	"net/netip"

	"sigs.k8s.io/knftables"
)

// filter keeps our nft table. Its zero value is ready.
type filter struct {
	nft knftables.Interface // nil until first used, or a fake
}

func (f *filter) open() (knftables.Interface, error) {
	if f.nft == nil {
		nft, err := knftables.New(knftables.InetFamily, tableName)
		if err != nil {
			return nil, fmt.Errorf("network: nftables cannot be used (install the package nftables, and run as root): %w", err)
		}
		f.nft = nft
	}
	return f.nft, nil
}

// look returns the marks of the table's rules, nil if there is no table, and
// the members of its set.
func (f *filter) look(ctx context.Context) ([]RuleMark, []netip.Addr, error) {
	nft, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	rules, err := nft.ListRules(ctx, "")
	if knftables.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("network: read the nft table %s: %w", tableName, err)
	}
	marks := make([]RuleMark, 0, len(rules))
	for _, r := range rules {
		m := RuleMark{Chain: r.Chain}
		if r.Comment != nil {
			m.Mark = *r.Comment
		}
		marks = append(marks, m)
	}
	elements, err := nft.ListElements(ctx, "set", memberSet)
	if knftables.IsNotFound(err) {
		// Without its set the table is not ours to repair in part.
		return []RuleMark{}, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("network: read the nft set %s: %w", memberSet, err)
	}
	members := make([]netip.Addr, 0, len(elements))
	for _, e := range elements {
		if len(e.Key) != 1 {
			continue
		}
		if a, err := netip.ParseAddr(e.Key[0]); err == nil {
			members = append(members, a)
		}
	}
	return marks, members, nil
}

// install replaces the whole table in one transaction: at no instant is a
// packet judged by half of it.
func (f *filter) install(ctx context.Context, rules []Rule, members []netip.Addr) error {
	nft, err := f.open()
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
	tx.Add(&knftables.Set{Name: memberSet, Type: "ipv4_addr"})
	for _, m := range members {
		tx.Add(member(m))
	}
	for _, c := range baseChains() {
		tx.Add(c)
	}
	for _, r := range rules {
		tx.Add(&knftables.Rule{Chain: r.Chain, Rule: r.Text, Comment: knftables.PtrTo(r.Mark)})
	}
	return nft.Run(ctx, tx)
}

// members takes steps of kind add-member and delete-member together.
func (f *filter) members(ctx context.Context, steps []Step) error {
	nft, err := f.open()
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	for _, s := range steps {
		if s.Op == OpAddMember {
			tx.Add(member(s.Addr))
		} else {
			tx.Delete(member(s.Addr))
		}
	}
	return nft.Run(ctx, tx)
}

func (f *filter) remove(ctx context.Context) error {
	nft, err := f.open()
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{}) // so that deleting it cannot fail
	tx.Delete(&knftables.Table{})
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("delete the nft table %s: %w", tableName, err)
	}
	return nil
}

func member(a netip.Addr) *knftables.Element {
	return &knftables.Element{Set: memberSet, Key: []string{a.String()}}
}

func baseChains() []*knftables.Chain {
	base := func(name string, kind knftables.BaseChainType, hook knftables.BaseChainHook, priority knftables.BaseChainPriority) *knftables.Chain {
		return &knftables.Chain{Name: name, Type: &kind, Hook: &hook, Priority: &priority}
	}
	return []*knftables.Chain{
		base(chainInput, knftables.FilterType, knftables.InputHook, knftables.FilterPriority+"-10"),
		base(chainOrigin, knftables.FilterType, knftables.PreroutingHook, knftables.RawPriority),
		base(chainForward, knftables.FilterType, knftables.ForwardHook, knftables.FilterPriority+"-10"),
		base(chainNAT, knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority),
	}
}
