package packetfilter

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
)

// kernel is the nftables of the network namespace it was opened in.
type kernel struct {
	c *nftables.Conn
	// ruleset is for what the library does not read, and says whether what it reads
	// is whole.
	ruleset nlconn.Ruleset

	// seen is the number of the ruleset, which every transaction of anybody changes,
	// with which the tables were those of held, when they were read; that is empty if it is
	// not known.
	seen uint32
	held []Table
	read time.Time
}

// trust is how long the number of the ruleset alone says that nothing has changed. It
// is no proof for ever: nf_tables begins to count anew when it is loaded again.
const trust = 30 * time.Second

// transactionSize is room for one transaction, which is one message to the socket, in
// octets: 100,000 addresses and more.
const transactionSize = 16 << 20

// Open connects to the nftables of the calling thread's network namespace. The
// connection stays with that namespace.
func Open() (Kernel, error) {
	ruleset, err := nlconn.DialRuleset()
	if err != nil {
		return nil, fmt.Errorf("connecting to nftables: %w", explain(err))
	}
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return c.SetWriteBuffer(transactionSize)
	}))
	if err != nil {
		return nil, fmt.Errorf("connecting to nftables: %w", errors.Join(explain(err), ruleset.Close()))
	}
	return &kernel{c: c, ruleset: ruleset}, nil
}

// Close closes the netlink sockets.
func (k *kernel) Close() error { return errors.Join(k.c.CloseLasting(), k.ruleset.Close()) }

// Same compares what rules, sets and elements are made of.
func (k *kernel) Same(tables []Table) (bool, error) {
	gen, err := k.ruleset.Generation()
	if errors.Is(err, unix.EINVAL) {
		err = ErrNoNftables // of nfnetlink_rcv_msg, which knows no such subsystem
	}
	if err != nil {
		return false, fmt.Errorf("asking nftables for its generation: %w", explain(err))
	}
	// These very tables, or it would take milliseconds every second.
	if k.seen == gen && time.Since(k.read) < trust && len(tables) > 0 && len(tables) == len(k.held) && &tables[0] == &k.held[0] {
		return true, nil
	}
	have, gen, err := k.readAll()
	if err != nil {
		return false, err
	}
	for ipv6, p := range have {
		t, wanted := find(tables, ipv6)
		if wanted != p.there {
			return false, nil
		}
		if same, err := p.same(t); err != nil || wanted && !same {
			return false, err
		}
	}
	k.seen, k.held, k.read = gen, tables, time.Now()
	return true, nil
}

// find is the table of a family; an empty one if none is wanted.
func find(tables []Table, ipv6 bool) (t Table, wanted bool) {
	for _, t := range tables {
		if t.IPv6 == ipv6 {
			return t, true
		}
	}
	return Table{IPv6: ipv6}, false
}

// Replace changes what differs, in one transaction: of a packet either all has been, or
// nothing yet. Sets are changed element by element, because one that is made anew is
// empty for a moment (nft_pipapo_commit comes after the rules are changed). Connections
// keep the address that they were given.
func (k *kernel) Replace(tables []Table) error {
	have, _, err := k.readAll()
	if err != nil {
		return err
	}
	k.held = nil
	if err := k.compose(tables, have); err != nil {
		return err
	}
	if k.c.Flush() == nil {
		return nil
	}
	// Somebody may have added what keeps a part of ours in use: make all of it anew.
	for ipv6, p := range have {
		if p.there {
			k.c.DelTable(p.in)
		}
		have[ipv6] = present{in: p.in}
	}
	if err := k.compose(tables, have); err != nil {
		return err
	}
	if err := k.c.Flush(); err != nil {
		return fmt.Errorf("changing the nftables tables %s: %w", TableName, explain(err))
	}
	return nil
}

// compose makes the transaction.
func (k *kernel) compose(tables []Table, have map[bool]present) error {
	for _, ipv6 := range []bool{false, true} {
		t, wanted := find(tables, ipv6)
		if err := k.change(have[ipv6], t, wanted); err != nil {
			return fmt.Errorf("changing the nftables table %s %s: %w", family(ipv6), TableName, err)
		}
	}
	return nil
}

// someElements is how many elements a netlink message has room for: their list is an
// attribute, of 64 KiB at most, and the longest elements take about 150 octets.
const someElements = 400

func sameSet(want, have *nftables.Set) bool {
	// The library reads the type of a map's values for that of its keys.
	return want.Interval == have.Interval && want.IsMap == have.IsMap && want.Concatenation == have.Concatenation &&
		(want.IsMap || want.KeyType.GetNFTMagic() == have.KeyType.GetNFTMagic())
}

// verdict is that of an element as the kernel tells it, none of a set's.
func verdict(e nftables.SetElement) []byte {
	if e.VerdictData == nil {
		return nil
	}
	b, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_VERDICT_CODE, Data: binaryutil.BigEndian.PutUint32(uint32(e.VerdictData.Kind))},
		{Type: unix.NFTA_VERDICT_CHAIN, Data: append([]byte(e.VerdictData.Chain), 0)},
	})
	if err != nil {
		panic(fmt.Sprintf("packetfilter: encoding a verdict: %v", err)) // names of chains are short
	}
	return b
}

func sameChain(want, have *nftables.Chain) bool {
	if want.Hooknum == nil || have.Hooknum == nil {
		return want.Hooknum == nil && have.Hooknum == nil
	}
	return want.Type == have.Type && *want.Hooknum == *have.Hooknum &&
		have.Priority != nil && *want.Priority == *have.Priority && (have.Policy == nil || *have.Policy == *want.Policy)
}

// explain puts what to do in front of errors that have a remedy.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("nftables needs the capability CAP_NET_ADMIN: %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w: %w", ErrNoNftables, err)
	}
	return err
}
