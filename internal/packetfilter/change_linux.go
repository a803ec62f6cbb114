package packetfilter

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/nftables"

	"lvsha/internal/nlconn"
)

// present is what is in the kernel of a table.
type present struct {
	in       *nftables.Table
	there    bool
	sets     []*nftables.Set
	elements map[string][]nftables.SetElement
	chains   []*nftables.Chain
	rules    map[string][][]byte
}

// readAll reads the tables of both families, by whether it is IPv6's, and the number of the
// ruleset that they are of. Had that changed meanwhile, a list could lack what is there.
func (k *kernel) readAll() (have map[bool]present, generation uint32, err error) {
	generation, err = k.ruleset.Steady(func() error {
		have = make(map[bool]present)
		for _, ipv6 := range []bool{false, true} {
			p, err := k.readTable(ipv6)
			if err != nil {
				return err
			}
			have[ipv6] = p
		}
		return nil
	})
	if errors.Is(err, nlconn.ErrInterrupted) {
		err = fmt.Errorf("reading the nftables tables %s: %w", TableName, err)
	}
	return have, generation, err
}

// readTable reads one table. What goes meanwhile is not there.
func (k *kernel) readTable(ipv6 bool) (present, error) {
	p := present{in: Table{IPv6: ipv6}.table(), elements: make(map[string][]nftables.SetElement), rules: make(map[string][][]byte)}
	err := func() error {
		tables, err := k.c.ListTablesOfFamily(p.in.Family)
		p.there = slices.ContainsFunc(tables, func(o *nftables.Table) bool { return o.Name == TableName })
		if err != nil || !p.there {
			return err
		}
		if p.sets, err = k.c.GetSets(p.in); err != nil {
			return err
		}
		for _, s := range p.sets {
			if p.elements[s.Name], err = k.c.GetSetElements(&nftables.Set{Table: p.in, Name: s.Name}); err != nil {
				return err
			}
		}
		if p.chains, err = k.c.ListChainsOfTableFamily(p.in.Family); err != nil {
			return err
		}
		p.chains = slices.DeleteFunc(p.chains, func(c *nftables.Chain) bool { return c.Table.Name != TableName })
		for _, c := range p.chains {
			if p.rules[c.Name], err = k.rules(p.in, c.Name); err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return p, fmt.Errorf("reading the nftables table %s %s: %w", family(ipv6), TableName, explain(err))
	}
	return p, nil
}

// same reports whether there is nothing to change.
func (p present) same(t Table) (bool, error) {
	if !p.like(t) || len(p.sets) != len(t.Sets) || len(p.chains) != len(t.Chains) {
		return false, nil
	}
	for _, s := range t.Sets {
		if add, remove := s.difference(p.elements[s.Name]); len(add)+len(remove) > 0 || p.set(s.Name) == nil {
			return false, nil
		}
	}
	for _, c := range t.Chains {
		if same, err := p.sameRules(c, t); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (p present) set(name string) *nftables.Set {
	if i := slices.IndexFunc(p.sets, func(s *nftables.Set) bool { return s.Name == name }); i >= 0 {
		return p.sets[i]
	}
	return nil
}

func (p present) chain(name string) *nftables.Chain {
	if i := slices.IndexFunc(p.chains, func(c *nftables.Chain) bool { return c.Name == name }); i >= 0 {
		return p.chains[i]
	}
	return nil
}

// like reports whether nothing of the wanted names is of another kind, which no change
// could make it.
func (p present) like(t Table) bool {
	for _, s := range t.Sets {
		if have := p.set(s.Name); have != nil && !sameSet(s.set(p.in, t.IPv6), have) {
			return false
		}
	}
	for _, c := range t.Chains {
		if have := p.chain(c.Name); have != nil && !sameChain(c.chain(p.in), have) {
			return false
		}
	}
	return true
}

func (p present) sameRules(c Chain, t Table) (bool, error) {
	have := p.rules[c.Name]
	if p.chain(c.Name) == nil || len(have) != len(c.Rules) {
		return false, nil
	}
	for i, r := range c.Rules {
		if same, err := sameRule(byte(p.in.Family), r.exprs(t.IPv6, noSets(t)), have[i]); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// noSets are sets without the numbers that they have in a transaction.
func noSets(t Table) map[string]*nftables.Set {
	out := make(map[string]*nftables.Set, len(t.Sets))
	for _, s := range t.Sets {
		out[s.Name] = &nftables.Set{}
	}
	return out
}

// difference is what has to be done to the elements of a set.
func (s Set) difference(have []nftables.SetElement) (add, remove []nftables.SetElement) {
	type key struct{ from, to, chain string }
	of := func(e nftables.SetElement, chain []byte) key {
		to := e.KeyEnd
		if len(to) == 0 && s.interval() {
			to = e.Key
		}
		return key{string(e.Key), string(to), string(chain)}
	}
	there := make(map[key]bool, len(have))
	for _, e := range have {
		there[of(e, e.Val)] = true
	}
	wanted := make(map[key]bool, len(s.Elements))
	for _, e := range s.elements() {
		k := of(e, verdict(e))
		wanted[k] = true
		if !there[k] {
			add = append(add, e)
		}
	}
	for _, e := range have {
		if !wanted[of(e, e.Val)] {
			remove = append(remove, nftables.SetElement{Key: e.Key, KeyEnd: e.KeyEnd})
		}
	}
	return add, remove
}

// change adds to the transaction what makes a table of what is there.
func (k *kernel) change(p present, t Table, wanted bool) error {
	if p.there && (!wanted || !p.like(t)) {
		k.c.DelTable(p.in)
		p = present{in: p.in}
	}
	if !wanted {
		return nil
	}
	if !p.there {
		k.c.AddTable(p.in)
	}
	for _, c := range t.Chains {
		if p.chain(c.Name) == nil {
			k.c.AddChain(c.chain(p.in))
		}
	}
	sets := make(map[string]*nftables.Set, len(t.Sets))
	for i, s := range t.Sets {
		set := s.set(p.in, t.IPv6)
		set.ID = uint32(i + 1) // in this transaction and table
		if p.set(s.Name) != nil {
			set.ID = 0
		} else if err := k.c.AddSet(set, nil); err != nil {
			return fmt.Errorf("making the set %s: %w", s.Name, err)
		}
		sets[s.Name] = set
		add, remove := s.difference(p.elements[s.Name])
		// One that stays, but goes elsewhere, is removed first.
		for some := range slices.Chunk(remove, someElements) {
			if err := k.c.SetDeleteElements(set, some); err != nil {
				return fmt.Errorf("removing elements of the set %s: %w", s.Name, err)
			}
		}
		for some := range slices.Chunk(add, someElements) {
			if err := k.c.SetAddElements(set, some); err != nil {
				return fmt.Errorf("adding elements to the set %s: %w", s.Name, err)
			}
		}
	}
	for _, c := range t.Chains {
		if same, err := p.sameRules(c, t); err != nil {
			return err
		} else if same {
			continue
		}
		chain := c.chain(p.in)
		if p.chain(c.Name) != nil {
			k.c.FlushChain(chain)
		}
		for _, r := range c.Rules {
			k.c.AddRule(&nftables.Rule{Table: p.in, Chain: chain, Exprs: r.exprs(t.IPv6, sets)})
		}
	}
	// What leads to something goes before that.
	remove := func(hooked bool) {
		for _, c := range p.chains {
			if (c.Hooknum != nil) == hooked && !slices.ContainsFunc(t.Chains, func(w Chain) bool { return w.Name == c.Name }) {
				k.c.DelChain(&nftables.Chain{Name: c.Name, Table: p.in})
			}
		}
	}
	remove(true)
	for _, s := range p.sets {
		if !slices.ContainsFunc(t.Sets, func(w Set) bool { return w.Name == s.Name }) {
			k.c.DelSet(&nftables.Set{Name: s.Name, Table: p.in})
		}
	}
	remove(false)
	return nil
}
