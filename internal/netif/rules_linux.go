package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// sizeofRule is that of struct fib_rule_hdr (include/uapi/linux/fib_rules.h).
const sizeofRule = 12

// AddRule implements vrrp.Paths. The same rule of somebody else serves as well.
func (l *Links) AddRule(r vrrp.Rule) error {
	err := l.conns.ask(func(c *kernel) error {
		err := ruleRequest(c, r, unix.RTM_NEWRULE, netlink.Create|netlink.Excl)
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("adding rule %s: %w", r, err)
	}
	return nil
}

// RemoveRule implements vrrp.Paths. Somebody else's stays.
func (l *Links) RemoveRule(r vrrp.Rule) error {
	err := l.conns.ask(func(c *kernel) error {
		have, err := listRules(c, familyOf(r.Family))
		if err != nil || !slices.Contains(have, listed{r, protocol}) {
			return err
		}
		err = ruleRequest(c, r, unix.RTM_DELRULE, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("removing rule %s: %w", r, err)
	}
	return nil
}

// missingRules are those that are not there, whoever made them.
func missingRules(c *kernel, rules []vrrp.Rule) (gone []vrrp.Rule, err error) {
	known := make(map[vrrp.Family][]listed)
	for _, r := range rules {
		have, ok := known[r.Family]
		if !ok {
			if have, err = listRules(c, familyOf(r.Family)); err != nil {
				return nil, fmt.Errorf("listing rules: %w", err)
			}
			known[r.Family] = have
		}
		if !slices.ContainsFunc(have, func(h listed) bool { return h.rule == r }) {
			gone = append(gone, r)
		}
	}
	return gone, nil
}

func familyOf(f vrrp.Family) byte {
	if f == vrrp.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// ruleRequest sends a struct fib_rule_hdr with attributes.
func ruleRequest(c *kernel, r vrrp.Rule, message netlink.HeaderType, how netlink.HeaderFlags) error {
	header := make([]byte, sizeofRule)
	header[0] = familyOf(r.Family)
	header[7] = unix.FR_ACT_TO_TBL
	attributes := netlink.NewAttributeEncoder()
	if r.To.IsValid() && r.To.Bits() > 0 {
		header[1] = byte(r.To.Bits())
		attributes.Bytes(unix.FRA_DST, r.To.Masked().Addr().AsSlice())
	}
	if r.From.IsValid() && r.From.Bits() > 0 {
		header[2] = byte(r.From.Bits())
		attributes.Bytes(unix.FRA_SRC, r.From.Masked().Addr().AsSlice())
	}
	if r.In != "" {
		attributes.String(unix.FRA_IIFNAME, r.In)
	}
	if r.Out != "" {
		attributes.String(unix.FRA_OIFNAME, r.Out)
	}
	if r.Mask != 0 {
		attributes.Uint32(unix.FRA_FWMARK, r.Mark)
		attributes.Uint32(unix.FRA_FWMASK, r.Mask)
	}
	attributes.Uint32(unix.FRA_PRIORITY, r.Priority)
	attributes.Uint32(unix.FRA_TABLE, r.Table)
	attributes.Uint8(unix.FRA_PROTOCOL, protocol)
	encoded, err := attributes.Encode()
	if err != nil {
		return err
	}
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: message, Flags: netlink.Request | netlink.Acknowledge | how},
		Data:   append(header, encoded...),
	})
	return err
}

// listed is a rule with who made it.
type listed struct {
	rule     vrrp.Rule
	protocol byte
}

// listRules are all rules of a family that could be ours: those that look up a
// table.
func listRules(c *kernel, family byte) ([]listed, error) {
	header := make([]byte, sizeofRule)
	header[0] = family
	answers, err := c.Dump(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETRULE}, Data: header})
	if err != nil {
		return nil, err
	}
	var out []listed
	for _, m := range answers {
		r, ok, err := parseRule(m.Data)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// parseRule reads a struct fib_rule_hdr with attributes. ok is false for a rule
// that selects by something that none of ours does.
func parseRule(b []byte) (l listed, ok bool, err error) {
	if len(b) < sizeofRule {
		return l, false, errors.New("the kernel's answer is too short")
	}
	const invert = 0x2 // FIB_RULE_INVERT
	ok = b[7] == unix.FR_ACT_TO_TBL && b[3] == 0 && binary.NativeEndian.Uint32(b[8:])&invert == 0
	l.rule = vrrp.Rule{Family: vrrp.IPv4, Table: uint32(b[4])}
	if b[0] == unix.AF_INET6 {
		l.rule.Family = vrrp.IPv6
	}
	attributes, err := netlink.NewAttributeDecoder(b[sizeofRule:])
	if err != nil {
		return l, false, err
	}
	prefix := func(bits byte) netip.Prefix {
		a, _ := netip.AddrFromSlice(attributes.Bytes())
		return netip.PrefixFrom(a, int(bits))
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.FRA_DST:
			l.rule.To = prefix(b[1])
		case unix.FRA_SRC:
			l.rule.From = prefix(b[2])
		case unix.FRA_IIFNAME:
			l.rule.In = attributes.String()
		case unix.FRA_OIFNAME:
			l.rule.Out = attributes.String()
		case unix.FRA_FWMARK:
			l.rule.Mark = attributes.Uint32()
		case unix.FRA_FWMASK:
			l.rule.Mask = attributes.Uint32()
		case unix.FRA_PRIORITY:
			l.rule.Priority = attributes.Uint32()
		case unix.FRA_TABLE:
			l.rule.Table = attributes.Uint32()
		case unix.FRA_PROTOCOL:
			l.protocol = attributes.Uint8()
		case unix.FRA_TUN_ID, unix.FRA_UID_RANGE, unix.FRA_IP_PROTO, unix.FRA_SPORT_RANGE, unix.FRA_DPORT_RANGE, unix.FRA_L3MDEV:
			ok = false
		}
	}
	return l, ok, attributes.Err()
}
