package netif

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// macvlanBridge is MACVLAN_MODE_BRIDGE of include/uapi/linux/if_link.h. In
// private mode the kernel gives a multicast frame that comes in with the hardware
// address of a macvlan to that macvlan alone: the advertisements of another
// director that is active too would never be heard.
const macvlanBridge = 4

// Attributes of include/uapi/linux/if_link.h, and values of
// net/ipv6/addrconf.h.
const (
	genModeNone   = 1      // IN6_ADDR_GEN_MODE_NONE
	skipStats     = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	macvlanKind   = "macvlan"
	virtualMetric = 1024
)

// arpSettings are the parameters of ARP that an interface is changed for when a
// virtual one is put on it (V3-ACT-01): ignore has it answer for its own addresses
// alone, not for those of the macvlan, and announce has it ask with none but its
// own, when a packet from a virtual address leaves through it.
type arpSettings struct{ ignore, announce uint32 }

// String is how the alias of a virtual interface keeps what was found.
func (a arpSettings) String() string {
	return fmt.Sprintf("%sarp_ignore=%d arp_announce=%d", aliasMark, a.ignore, a.announce)
}

// aliasMark begins the alias of each interface that lvsha made.
const aliasMark = "lvsha "

// parseAlias reads what String wrote.
func parseAlias(alias string) (a arpSettings, ok bool) {
	n, err := fmt.Sscanf(strings.TrimPrefix(alias, aliasMark), "arp_ignore=%d arp_announce=%d", &a.ignore, &a.announce)
	return a, strings.HasPrefix(alias, aliasMark) && err == nil && n == 2
}

// raised is what the interface below gets. More than that is left.
func (a arpSettings) raised() arpSettings { return arpSettings{max(a.ignore, 1), max(a.announce, 2)} }

// MakeVirtual implements vrrp.Links. What the interface below had is kept in the
// alias of the virtual one before it is changed: it outlives a crash, and is
// gone with the last interface that needs it.
func (l *Links) MakeVirtual(v vrrp.Virtual) error {
	base, n := l.of(v.Base), l.of(v.Name)
	base.base.Lock()
	defer base.base.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := l.conns.ask(func(c *kernel) error { return n.makeVirtual(c, v) }); err != nil {
		return fmt.Errorf("making interface %s on %s: %w", v.Name, v.Base, err)
	}
	return nil
}

func (n *netInterface) makeVirtual(c *kernel, v vrrp.Virtual) error {
	base, err := getDevice(c, v.Base)
	if err != nil {
		return err
	}
	have, err := getDevice(c, v.Name)
	switch {
	case errors.Is(err, ErrNoInterface):
		if err := newMacvlan(c, v, base.index); err != nil {
			return err
		}
		if have, err = getDevice(c, v.Name); err != nil {
			return err
		}
	case err != nil:
		return err
	case !have.virtual():
		return errors.New("an interface of that name is there, which lvsha did not make")
	case have.base != base.index || !bytes.Equal(have.mac, v.MAC[:]) || have.mode != macvlanBridge:
		if err := deleteLink(c, have.index); err != nil {
			return err
		}
		return n.makeVirtual(c, v)
	}
	var known below
	if n.below != nil {
		known = *n.below
	}
	if known.index == base.index && have.alias != "" && have.flags&unix.IFF_UP != 0 && base.arp == base.arp.raised() {
		return nil
	}
	found, ok := parseAlias(have.alias)
	switch {
	case ok:
	case known.index == base.index:
		// Somebody has removed the interface, and the alias with it.
		found = known.found
	default:
		if found, err = findSettings(c, base); err != nil {
			return err
		}
	}
	n.below = &below{base.index, found}
	return n.setUpVirtual(c, v, have, base, found)
}

// below is the interface below a virtual one, and what it had before.
type below struct {
	index int
	found arpSettings
}

// setUpVirtual configures both interfaces and switches the virtual one on.
func (n *netInterface) setUpVirtual(c *kernel, v vrrp.Virtual, have, base device, found arpSettings) error {
	// The macvlan answers for its own addresses alone too, and must not drop what
	// the route back would send through the interface below.
	parameters := map[uint16]uint32{arpIgnore: 1, arpAnnounce: 2, arpFilter: 0, rpFilter: reversePath(), promoteSecondaries: 1}
	if err := setLink(c, have.index, 0, 0, parameters, func(attributes *netlink.AttributeEncoder) {
		attributes.String(unix.IFLA_IFALIAS, found.String())
	}); err != nil {
		return fmt.Errorf("configuring it: %w", err)
	}
	if want := found.raised(); base.arp != want {
		if err := setARP(c, base.index, want); err != nil {
			return err
		}
	}
	if err := noOwnAddresses(c, have.index); err != nil {
		return err
	}
	for _, p := range [...]struct{ name, value string }{
		{"accept_ra", "0"},  // would give it addresses made from the virtual MAC (V3-V6-07)
		{"forwarding", "1"}, // has answers say that a router sends them (V3-ACT-02)
	} {
		file := filepath.Join("/proc/sys/net/ipv6/conf", v.Name, p.name)
		if err := os.WriteFile(file, []byte(p.value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			n.links.log.Warn("configuring the virtual interface for IPv6", "error", err)
		}
	}
	if err := setLink(c, have.index, unix.IFF_UP, unix.IFF_UP, nil, nil); err != nil {
		return fmt.Errorf("switching it on: %w", err)
	}
	return nil
}

// reversePath is rp_filter of a virtual interface. The kernel takes the higher
// one of this and that of all: strict would drop what comes from hosts to which
// the interface below is the way.
func reversePath() uint32 {
	if all, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/rp_filter"); err == nil && strings.TrimSpace(string(all)) == "0" {
		return 0
	}
	return 2
}

// findSettings is what the interface below had before any of ours was on it.
func findSettings(c *kernel, base device) (arpSettings, error) {
	siblings, err := virtualsOn(c, base.index)
	if err != nil {
		return arpSettings{}, err
	}
	for _, s := range siblings {
		if found, ok := parseAlias(s.alias); ok {
			return found, nil
		}
	}
	return base.arp, nil
}

// RemoveVirtual implements vrrp.Links.
func (l *Links) RemoveVirtual(v vrrp.Virtual) error {
	base, n := l.of(v.Base), l.of(v.Name)
	base.base.Lock()
	defer base.base.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	err := l.conns.ask(func(c *kernel) error {
		have, err := getDevice(c, v.Name)
		if errors.Is(err, ErrNoInterface) {
			// Gone with the interface below, or taken away from it.
			if n.below != nil {
				return restore(c, n.below.index, n.below.found, 0)
			}
			return nil
		}
		if err != nil || !have.virtual() || !bytes.Equal(have.mac, v.MAC[:]) {
			return err
		}
		return removeVirtual(c, have)
	})
	if err != nil {
		return fmt.Errorf("removing interface %s: %w", v.Name, err)
	}
	n.below = nil
	_ = n.sender.close() // its interface is gone
	return nil
}

// removeVirtual puts the interface below back as it was before the alias that
// says so is gone, but not before the addresses are, which it would answer for.
func removeVirtual(c *kernel, have device) error {
	if found, ok := parseAlias(have.alias); ok {
		if err := setLink(c, have.index, 0, unix.IFF_UP, nil, nil); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("switching it off: %w", err)
		}
		if err := restore(c, have.base, found, 1); err != nil {
			return err
		}
	}
	return deleteLink(c, have.index)
}

// restore puts back what an interface had before, unless more than some of our
// virtual ones are on it.
func restore(c *kernel, base int, found arpSettings, some int) error {
	siblings, err := virtualsOn(c, base)
	if err != nil || len(siblings) > some {
		return err
	}
	if err := setARP(c, base, found); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// virtual says whether lvsha made the interface: it says so itself, or has not
// come to that yet but has an address that nothing else has.
func (d device) virtual() bool {
	return d.kind == macvlanKind && (strings.HasPrefix(d.alias, aliasMark) || bytes.HasPrefix(d.mac, []byte{0, 0, 0x5e, 0, 1}) || bytes.HasPrefix(d.mac, []byte{0, 0, 0x5e, 0, 2}))
}

// newMacvlan makes the interface, switched off.
func newMacvlan(c *kernel, v vrrp.Virtual, base int) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, v.Name)
	attributes.Uint32(unix.IFLA_LINK, uint32(base))
	attributes.Bytes(unix.IFLA_ADDRESS, v.MAC[:])
	attributes.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, macvlanKind)
		info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
			data.Uint32(unix.IFLA_MACVLAN_MODE, macvlanBridge)
			return nil
		})
		return nil
	})
	return linkRequest(c, unix.RTM_NEWLINK, netlink.Create|netlink.Excl, 0, 0, 0, attributes)
}

// noOwnAddresses keeps the kernel from giving the interface a link-local address,
// which would be made from the virtual MAC and so be another director's too
// (V3-TX-05). A kernel without IPv6 has nothing to be told.
func noOwnAddresses(c *kernel, index int) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.Nested(unix.IFLA_AF_SPEC, func(families *netlink.AttributeEncoder) error {
		families.Nested(unix.AF_INET6, func(family *netlink.AttributeEncoder) error {
			family.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, genModeNone)
			return nil
		})
		return nil
	})
	err := linkRequest(c, unix.RTM_SETLINK, 0, index, 0, 0, attributes)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("setting addr_gen_mode: %w", err)
	}
	return nil
}

// setARP sets the parameters of the interface below.
func setARP(c *kernel, index int, a arpSettings) error {
	if err := setLink(c, index, 0, 0, map[uint16]uint32{arpIgnore: a.ignore, arpAnnounce: a.announce}, nil); err != nil {
		return fmt.Errorf("setting arp_ignore and arp_announce of the interface below: %w", err)
	}
	return nil
}

func deleteLink(c *kernel, index int) error {
	err := linkRequest(c, unix.RTM_DELLINK, 0, index, 0, 0, netlink.NewAttributeEncoder())
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// virtualsOn are our interfaces on another one.
func virtualsOn(c *kernel, base int) ([]device, error) {
	devices, err := listDevices(c)
	if err != nil {
		return nil, err
	}
	var out []device
	for _, d := range devices {
		if d.base == base && d.kind == macvlanKind && strings.HasPrefix(d.alias, aliasMark) {
			out = append(out, d)
		}
	}
	return out, nil
}
