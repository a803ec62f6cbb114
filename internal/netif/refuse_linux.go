package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
)

// Refuse implements vrrp.Links: packets to the address are dropped where they
// would be delivered to this machine, by a table of nftables of our own (V3-ACT-04,
// V3-OWN-07). ARP is no IP packet, and neighbour solicitations and advertisements
// get through (V3-ACT-05).
func (l *Links) Refuse(iface string, addr netip.Addr) error {
	l.refusing.Lock()
	defer l.refusing.Unlock()
	err := onNftables(func(c *nftables.Conn, steady func(func() error) error) error {
		f := newFilter()
		var rules []*nftables.Rule
		err := steady(func() error {
			rules = nil
			there, err := f.there(c)
			if err != nil || !there {
				return err
			}
			rules, err = c.GetRules(f.table, f.chain)
			return err
		})
		if err != nil {
			return err
		}
		if len(rules) != len(f.rules()) {
			// All at once, or not at all.
			c.AddTable(f.table)
			c.AddChain(f.chain)
			c.FlushChain(f.chain)
			for _, s := range f.sets() {
				if err := c.AddSet(s, nil); err != nil {
					return err
				}
			}
			for _, r := range f.rules() {
				c.AddRule(&nftables.Rule{Table: f.table, Chain: f.chain, Exprs: r})
			}
		}
		set, key := f.element(iface, addr)
		if err := c.SetAddElements(set, []nftables.SetElement{{Key: key}}); err != nil {
			return err
		}
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("refusing packets to %s with nftables: %w", addr, err)
	}
	l.refused[refusal{iface, addr}] = true
	return nil
}

// Permit implements vrrp.Links. The table goes with the last address.
func (l *Links) Permit(iface string, addr netip.Addr) error {
	l.refusing.Lock()
	defer l.refusing.Unlock()
	for r := range l.refused {
		if r.addr == addr && r.iface != iface && !addr.IsLinkLocalUnicast() {
			delete(l.refused, refusal{iface, addr})
			return nil
		}
	}
	err := onNftables(func(c *nftables.Conn, steady func(func() error) error) error {
		f := newFilter()
		var there bool
		err := steady(func() (err error) {
			there, err = f.there(c)
			return err
		})
		if err != nil || !there {
			return err
		}
		set, key := f.element(iface, addr)
		if err := c.SetDeleteElements(set, []nftables.SetElement{{Key: key}}); err != nil {
			return err
		}
		if err := c.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if len(l.refused) > 1 || len(l.refused) == 1 && !l.refused[refusal{iface, addr}] {
			return nil
		}
		left := 0
		err = steady(func() error {
			left = 0
			for _, s := range f.sets() {
				elements, err := c.GetSetElements(s)
				if err != nil {
					return err
				}
				left += len(elements)
			}
			return nil
		})
		if err != nil || left > 0 {
			return err
		}
		c.DelTable(f.table)
		if err := c.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("permitting packets to %s with nftables: %w", addr, err)
	}
	delete(l.refused, refusal{iface, addr})
	return nil
}

// refusal is an address that is refused.
type refusal struct {
	iface string
	addr  netip.Addr
}

// onNftables connects to nftables. What is read inside steady is whole.
func onNftables(f func(c *nftables.Conn, steady func(read func() error) error) error) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	ruleset, err := nlconn.DialRuleset()
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer ruleset.Close()
	return explain(f(c, func(read func() error) error {
		_, err := ruleset.Steady(read)
		return err
	}), "CAP_NET_ADMIN")
}

// filter is the table, as nft(8) would have it:
//
//	table inet lvsha {
//	  set refused4 { type ipv4_addr; }
//	  set refused6 { type ipv6_addr; }
//	  set refused6_link { type ipv6_addr . ifname; }
//	  chain input {
//	    type filter hook input priority filter - 1; policy accept;
//	    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
//	    ip daddr @refused4 drop
//	    ip6 daddr @refused6 drop
//	    ip6 daddr . iifname @refused6_link drop
//	  }
//	}
type filter struct {
	table                    *nftables.Table
	chain                    *nftables.Chain
	refused4, refused6, link *nftables.Set
}

func newFilter() filter {
	table := &nftables.Table{Name: "lvsha", Family: nftables.TableFamilyINet}
	return filter{
		table: table,
		chain: &nftables.Chain{
			Name: "input", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
			// Before what the machine's own rules accept.
			Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityFilter - 1),
		},
		refused4: &nftables.Set{Table: table, Name: "refused4", KeyType: nftables.TypeIPAddr},
		refused6: &nftables.Set{Table: table, Name: "refused6", KeyType: nftables.TypeIP6Addr},
		link: &nftables.Set{
			Table: table, Name: "refused6_link", Concatenation: true,
			KeyType: nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeIFName),
		},
	}
}

// there says whether the table is.
func (f filter) there(c *nftables.Conn) (bool, error) {
	tables, err := c.ListTablesOfFamily(f.table.Family)
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == f.table.Name }), err
}

func (f filter) sets() []*nftables.Set { return []*nftables.Set{f.refused4, f.refused6, f.link} }

// element is where an address goes.
func (f filter) element(iface string, addr netip.Addr) (*nftables.Set, []byte) {
	switch {
	case addr.Is4():
		return f.refused4, addr.AsSlice()
	case addr.IsLinkLocalUnicast():
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, iface)
		return f.link, append(addr.AsSlice(), name...)
	default:
		return f.refused6, addr.AsSlice()
	}
}

// rules are the expressions of each rule.
func (f filter) rules() [][]expr.Any {
	// Registers of 16 octets; a concatenation has one part in each.
	const first, second = unix.NFT_REG_1, unix.NFT_REG_2
	is := func(key expr.MetaKey, value byte) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: key, Register: first},
			&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{value}},
		}
	}
	// The destination's place in the header: RFC 791 section 3.1, RFC 8200 section 3.
	to := func(family byte, offset, length uint32) []expr.Any {
		return append(is(expr.MetaKeyNFPROTO, family),
			&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length})
	}
	drop := func(e []expr.Any, s *nftables.Set) []expr.Any {
		return append(e, &expr.Lookup{SourceRegister: first, SetName: s.Name, SetID: s.ID}, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	const solicitation, advertisement = 135, 136 // RFC 4861 sections 4.3 and 4.4
	return [][]expr.Any{
		append(append(is(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV6), is(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6)...),
			&expr.Payload{DestRegister: first, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Range{Op: expr.CmpOpEq, Register: first, FromData: []byte{solicitation}, ToData: []byte{advertisement}},
			&expr.Verdict{Kind: expr.VerdictAccept}),
		drop(to(unix.NFPROTO_IPV4, 16, 4), f.refused4),
		drop(to(unix.NFPROTO_IPV6, 24, 16), f.refused6),
		drop(append(to(unix.NFPROTO_IPV6, 24, 16), &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: second}), f.link),
	}
}
