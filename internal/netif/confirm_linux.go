package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
	"lvsha/vrrp"
)

// confirm asks alone for each thing that was there before and that a list lacks, and
// puts it back if it is there. A router that believed a list that was interrupted
// would give its addresses away. What cannot be found out stays as it was, and doubt
// says so.
func confirm(c *kernel, before, now []vrrp.Link) (links []vrrp.Link, doubt bool, err error) {
	at := make(map[int]int, len(now))
	for i := range now {
		at[now[i].Index] = i
	}
	for i := range before {
		was := &before[i]
		n, listed := at[was.Index]
		if !listed || was.Up && !now[n].Up {
			d, err := getDeviceAt(c, was.Index)
			switch {
			case errors.Is(err, ErrNoInterface) && !listed:
				continue
			case errors.Is(err, ErrNoInterface):
				now[n].Up = false // the next list will lack it
				continue
			case err != nil:
				return nil, false, err
			}
			link := d.link()
			if listed {
				link.Addresses = now[n].Addresses
				now[n] = link
			} else {
				n = len(now)
				now = append(now, link)
			}
		}
		if slices.Equal(was.Addresses, now[n].Addresses) {
			continue
		}
		there, unsure, err := confirmAddresses(c, was.Addresses, &now[n], address.usable)
		if err != nil {
			return nil, false, err
		}
		now[n].Addresses = append(now[n].Addresses, there...)
		doubt = doubt || unsure
	}
	return now, doubt, nil
}

// missing are the addresses that are not on an interface, or cannot be used there.
func (k *kernel) missing(index int, addresses []netip.Prefix) ([]netip.Prefix, error) {
	have, err := addressesBy(k.Glance, unix.AF_UNSPEC, index)
	if err != nil && !errors.Is(err, nlconn.ErrInterrupted) {
		return nil, err
	}
	link := vrrp.Link{Index: index}
	there := make(map[netip.Prefix]bool, len(have))
	for _, a := range have {
		if a.usable() {
			there[a.prefix] = true
			link.Addresses = append(link.Addresses, a.prefix)
		}
	}
	confirmed, _, err := confirmAddresses(k, addresses, &link, address.usable)
	if err != nil {
		return nil, err
	}
	for _, p := range confirmed {
		there[p] = true
	}
	return slices.DeleteFunc(slices.Clone(addresses), func(p netip.Prefix) bool { return there[p] }), nil
}

// confirmAddresses finds which of an interface's addresses are there that a list of
// now lacks, and count.
func confirmAddresses(c *kernel, addresses []netip.Prefix, now *vrrp.Link, counts func(address) bool) (there []netip.Prefix, doubt bool, err error) {
	listed := make(map[netip.Addr]bool, len(now.Addresses))
	for _, p := range now.Addresses {
		listed[p.Addr()] = true
	}
	var four []netip.Prefix
	for _, p := range addresses {
		switch {
		case listed[p.Addr()]: // at most its prefix length is another
		case p.Addr().Is4():
			four = append(four, p)
		default:
			a, ok, err := getAddress(c, now.Index, p.Addr())
			if err != nil {
				return nil, false, err
			}
			if ok && counts(a) {
				there = append(there, a.prefix)
			}
		}
	}
	if len(four) == 0 {
		return there, false, nil
	}
	routed, unsure, err := confirmByRoute(c, four, now)
	if err != nil || len(unsure) == 0 {
		return append(there, routed...), false, err
	}
	have, err := listAddresses(c, unix.AF_INET, now.Index)
	switch {
	case errors.Is(err, nlconn.ErrInterrupted):
		return slices.Concat(there, routed, unsure), true, nil
	case errors.Is(err, unix.ENODEV):
		return slices.Concat(there, routed), false, nil
	case err != nil:
		return nil, false, err
	}
	gone := func(p netip.Prefix) bool {
		return !slices.ContainsFunc(have, func(a address) bool { return a.prefix == p })
	}
	return slices.Concat(there, routed, slices.DeleteFunc(unsure, gone)), false, nil
}

// confirmByRoute finds which IPv4 addresses are on an interface, of which the kernel
// tells only in lists: it has a local route to each. That there is none says
// something only where it has one to an address that is known to be there, and the
// same address may be on another interface: then it is unsure.
func confirmByRoute(c *kernel, addresses []netip.Prefix, now *vrrp.Link) (there, unsure []netip.Prefix, err error) {
	var missing []netip.Prefix
	for _, p := range addresses {
		index, err := localRoute(c, p.Addr())
		switch {
		case err != nil:
			return nil, nil, err
		case index == now.Index:
			there = append(there, p)
		case index != 0:
			unsure = append(unsure, p)
		default:
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return there, unsure, nil
	}
	for _, p := range now.Addresses {
		if !p.Addr().Is4() {
			continue
		}
		index, err := localRoute(c, p.Addr())
		if err != nil {
			return nil, nil, err
		}
		if index == now.Index {
			return there, unsure, nil
		}
	}
	return there, append(unsure, missing...), nil
}

// localRoute is the interface that the kernel has an IPv4 address on, as its route to
// it says, and 0 if it has none.
func localRoute(c *kernel, addr netip.Addr) (index int, err error) {
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, addr.AsSlice())
	encoded, err := attributes.Encode()
	if err != nil {
		return 0, err
	}
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[1] = unix.AF_INET, 32
	binary.NativeEndian.PutUint32(header[8:], unix.RTM_F_LOOKUP_TABLE|unix.RTM_F_FIB_MATCH) // as it is in the table
	answers, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
		Data:   append(header, encoded...),
	})
	var errno unix.Errno
	if errors.As(err, &errno) {
		return 0, nil // there is no way to it at all
	}
	if err != nil || len(answers) == 0 {
		return 0, fmt.Errorf("looking for the route to %s: %w", addr, err)
	}
	r, err := parseRoute(answers[0].Data)
	if err != nil || r.kind != unix.RTN_LOCAL || r.protocol != unix.RTPROT_KERNEL || r.dst != netip.PrefixFrom(addr, 32) {
		return 0, err
	}
	return r.index, nil
}
