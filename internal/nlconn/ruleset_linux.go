package nlconn

import (
	"encoding/binary"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Ruleset is a connection to nf_tables, for which the library that reads and changes
// tables has one of its own. The number of the ruleset, which every transaction of
// anybody changes, says whether what was read over that is whole.
type Ruleset struct{ *Conn }

// DialRuleset connects to nf_tables.
func DialRuleset() (Ruleset, error) {
	c, err := Dial(unix.NETLINK_NETFILTER, nil)
	return Ruleset{c}, err
}

// Generation is the number of the ruleset (nf_tables_getgen). The error is
// unix.EINVAL where the kernel has no nf_tables.
func (r Ruleset) Generation() (uint32, error) {
	answers, err := r.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}, // struct nfgenmsg
	})
	if err != nil {
		return 0, err
	}
	for _, m := range answers {
		if len(m.Data) < 4 {
			return 0, errors.New("an answer without a header")
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, err
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), ad.Err()
			}
		}
		if err := ad.Err(); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("no answer")
}

// Steady reads until the ruleset did not change meanwhile, and returns its number. It
// gives up as Again does.
func (r Ruleset) Steady(read func() error) (generation uint32, err error) {
	err = Again(func() (interrupted bool, err error) {
		if generation, err = r.Generation(); err != nil {
			return false, err
		}
		failed := read()
		after, err := r.Generation()
		if err != nil {
			return false, errors.Join(failed, err)
		}
		return after != generation, failed
	})
	return generation, err
}
