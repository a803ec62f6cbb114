package packetfilter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Rules are read as netlink has them: google/nftables 0.3.0 takes the direction of a ct
// expression for four octets, of which the kernel tells one, and so reads none of a
// chain that has one.

// attributes reads the attributes of an answer.
func attributes(m netlink.Message) (*netlink.AttributeDecoder, error) {
	if len(m.Data) < 4 {
		return nil, errors.New("an answer without a header")
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return nil, err
	}
	ad.ByteOrder = binary.BigEndian
	return ad, nil
}

// rules are the expressions of a chain's rules, in their order.
func (k *kernel) rules(t *nftables.Table, chain string) ([][]byte, error) {
	which, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: append([]byte(t.Name), 0)}, {Type: unix.NFTA_RULE_CHAIN, Data: append([]byte(chain), 0)},
	})
	if err != nil {
		return nil, err
	}
	msgs, err := k.ruleset.Dump(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE},
		// struct nfgenmsg
		Data: append([]byte{byte(t.Family), unix.NFNETLINK_V0, 0, 0}, which...),
	})
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, m := range msgs {
		ad, err := attributes(m)
		if err != nil {
			return nil, err
		}
		for ad.Next() {
			if ad.Type() == unix.NFTA_RULE_EXPRESSIONS {
				out = append(out, ad.Bytes())
			}
		}
		if err := ad.Err(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// natMapIPs is NF_NAT_RANGE_MAP_IPS of include/uapi/linux/netfilter/nf_nat.h.
const natMapIPs = 1

// sameRule reports whether a rule of the kernel has the expressions that are wanted.
func sameRule(family byte, want []expr.Any, have []byte) (bool, error) {
	ad, err := netlink.NewAttributeDecoder(have)
	if err != nil {
		return false, fmt.Errorf("decoding a rule: %w", err)
	}
	for ad.Next() {
		if len(want) == 0 {
			return false, nil
		}
		data, err := expr.Marshal(family, want[0])
		if err != nil {
			return false, fmt.Errorf("encoding a rule: %w", err)
		}
		if same, err := sameAttributes(data, ad.Bytes(), is[*expr.NAT](want[0])); err != nil || !same {
			return false, err
		}
		want = want[1:]
	}
	return len(want) == 0, ad.Err()
}

// sameAttributes reports whether all that is wanted is there. What is there beyond it
// are values that go without saying. A set's number is that of a transaction, and
// nothing that the kernel tells; to the flags of NAT it adds that there are addresses.
func sameAttributes(want, have []byte, nat bool) (bool, error) {
	there, err := netlink.UnmarshalAttributes(have)
	if err != nil {
		return false, fmt.Errorf("decoding an expression: %w", err)
	}
	wanted, err := netlink.UnmarshalAttributes(want)
	if err != nil {
		return false, fmt.Errorf("decoding an expression: %w", err)
	}
	const flags = netlink.Nested | netlink.NetByteOrder
	for _, w := range wanted {
		found := false
		for _, h := range there {
			if w.Type&^flags != h.Type&^flags {
				continue
			}
			if nat && w.Type == unix.NFTA_NAT_FLAGS && len(w.Data) == 4 {
				w.Data[3] |= natMapIPs
			}
			if found = sameNumber(w.Data, h.Data); !found && w.Type&netlink.Nested != 0 {
				if found, err = sameAttributes(w.Data, h.Data, nat); err != nil {
					return false, err
				}
			}
			break
		}
		if transient := w.Type == unix.NFTA_LOOKUP_SET_ID && bytes.Equal(w.Data, make([]byte, 4)); !found && !transient {
			return false, nil
		}
	}
	return true, nil
}

func is[T expr.Any](e expr.Any) bool {
	_, ok := e.(T)
	return ok
}

// sameNumber compares values: the same octets, or the same number in more of them.
func sameNumber(a, b []byte) bool {
	return bytes.Equal(a, b) || len(a) <= 8 && len(b) <= 8 && bytes.Equal(bytes.TrimLeft(a, "\x00"), bytes.TrimLeft(b, "\x00")) && len(a) > 0 && len(b) > 0
}
