package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	cfipvs "github.com/cloudflare/ipvs"
	"github.com/cloudflare/ipvs/netmask"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The kernel tells the table in parts and goes on by the number of what it has told:
// when something before that comes or goes meanwhile, it tells of something twice, or
// leaves out something that is there, and it does not say so (ip_vs_genl_dump_services).
// So what was in the last list and is not in this one is asked for alone, or once more.
// cloudflare/ipvs keeps its connection to itself, and could not tell of a list that a
// kernel flags as interrupted either.

// services lists the services, without their servers.
func (k *kernel) services() ([]Service, error) {
	answers, err := k.pe.g.Dump(genetlink.Message{Header: genetlink.Header{Command: cmdGetService, Version: genlVersion}})
	if err != nil {
		return nil, err
	}
	services := make([]Service, 0, len(answers))
	there := make(map[ServiceKey]bool, len(answers))
	for _, m := range answers {
		s, err := decodeService(m.Data)
		if err != nil {
			return nil, err
		}
		if !there[s.Key] {
			services = append(services, s)
		}
		there[s.Key] = true
	}
	for key := range k.listed {
		if there[key] {
			continue
		}
		s, ok, err := k.service(key)
		if err != nil {
			return nil, err
		}
		if ok {
			services = append(services, s)
		}
	}
	return services, nil
}

// service asks for one service alone; ok is false if it is not there.
func (k *kernel) service(key ServiceKey) (s Service, ok bool, err error) {
	data, err := encodeName(key)
	if err != nil {
		return Service{}, false, err
	}
	answers, err := k.pe.g.Execute(genetlink.Message{Header: genetlink.Header{Command: cmdGetService, Version: genlVersion}, Data: data}, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return Service{}, false, nil
	case err != nil:
		return Service{}, false, err
	case len(answers) != 1:
		return Service{}, false, fmt.Errorf("%d answers about service %s", len(answers), key)
	}
	s, err = decodeService(answers[0].Data)
	return s, err == nil, err
}

// encodeName is what names a service.
func encodeName(key ServiceKey) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(cmdAttrService, func(ae *netlink.AttributeEncoder) error {
		encodeKey(ae, key)
		return nil
	})
	return ae.Encode()
}

// How many servers of a service the kernel tells in one part, whatever the buffer, and
// how many lists have to lack one.
const (
	atOnce = 16
	lists  = 3
)

// destinations lists the servers of a service; one that is gone has none. The kernel
// does not tell of one server alone, so what one list lacks may be in another one.
func (k *kernel) destinations(key ServiceKey) ([]Destination, error) {
	known := k.listed[key]
	list, err := k.dumpDestinations(key)
	for n := 1; err == nil && n < lists && len(known) > atOnce && lacks(list, known); n++ {
		var more []Destination
		if more, err = k.dumpDestinations(key); err == nil {
			list = merge(more, list)
		}
	}
	for i := range list {
		list[i].Place = len(list) - i // the newest is listed first
	}
	return list, err
}

// lacks reports whether a list lacks one of some servers.
func lacks(list, servers []Destination) bool {
	there := make(map[netip.AddrPort]bool, len(list))
	for _, d := range list {
		there[d.Addr] = true
	}
	return slices.ContainsFunc(servers, func(d Destination) bool { return !there[d.Addr] })
}

// merge adds to a list what another one has beyond it, each behind the server that
// it was behind there.
func merge(list, more []Destination) []Destination {
	there := make(map[netip.AddrPort]bool, len(list))
	for _, d := range list {
		there[d.Addr] = true
	}
	at := 0 // behind the last of them that both have
	for _, d := range more {
		if there[d.Addr] {
			same := func(o Destination) bool { return o.Addr == d.Addr }
			// Both are in one order, as a rule.
			if i := slices.IndexFunc(list[at:], same); i >= 0 {
				at += i + 1
			} else {
				at = slices.IndexFunc(list, same) + 1
			}
			continue
		}
		list = slices.Insert(list, at, d)
		at++
	}
	return list
}

func (k *kernel) dumpDestinations(key ServiceKey) ([]Destination, error) {
	data, err := encodeName(key)
	if err != nil {
		return nil, err
	}
	answers, err := k.pe.g.Dump(genetlink.Message{Header: genetlink.Header{Command: cmdGetDest, Version: genlVersion}, Data: data})
	if err != nil {
		return nil, err
	}
	list := make([]Destination, 0, len(answers))
	there := make(map[netip.AddrPort]bool, len(answers))
	for _, m := range answers {
		d, err := decodeDestination(m.Data)
		if err != nil {
			return nil, err
		}
		if !there[d.Addr] {
			list = append(list, d)
		}
		there[d.Addr] = true
	}
	return list, nil
}

// decodeService reads an answer to a cmdGetService.
func decodeService(b []byte) (Service, error) {
	var s cfipvs.Service
	var engine string
	var traffic Traffic
	var address, mask []byte
	err := inside(b, cmdAttrService, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			switch ad.Type() {
			case svcAttrFamily:
				s.Family = cfipvs.AddressFamily(ad.Uint16())
			case svcAttrProtocol:
				s.Protocol = cfipvs.Protocol(ad.Uint16())
			case svcAttrAddr:
				address = ad.Bytes()
			case svcAttrPort:
				s.Port = portOf(ad.Bytes())
			case svcAttrMark:
				s.FWMark = ad.Uint32()
			case svcAttrSched:
				s.Scheduler = ad.String()
			case svcAttrFlags:
				// struct ip_vs_flags: the flags, and which of them are meant
				if b := ad.Bytes(); len(b) == 8 {
					s.Flags = cfipvs.Flags(binary.NativeEndian.Uint32(b))
				}
			case svcAttrTimeout:
				s.Timeout = ad.Uint32()
			case svcAttrNetmask:
				mask = ad.Bytes()
			case svcAttrEngine:
				engine = ad.String()
			case svcAttrStats64:
				ad.Nested(traffic.decode)
			}
		}
		return nil
	})
	if err != nil {
		return Service{}, fmt.Errorf("decoding service: %w", err)
	}
	s.Address = addressOf(s.Family, address)
	switch {
	case s.Family == cfipvs.INET && len(mask) == 4:
		s.Netmask, _ = netmask.MaskFromSlice(mask)
	case s.Family == cfipvs.INET6 && len(mask) == 4:
		s.Netmask = netmask.MaskFrom(int(binary.NativeEndian.Uint32(mask)), 128) // of IPv6 it is the length
	}
	from := serviceFrom(s)
	from.Engine, from.Traffic = engine, traffic
	return from, nil
}

// decodeDestination reads an answer to a cmdGetDest.
func decodeDestination(b []byte) (Destination, error) {
	var d cfipvs.DestinationExtended
	var traffic Traffic
	var address []byte
	err := inside(b, cmdAttrDest, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			switch ad.Type() {
			case destAttrFamily:
				d.Family = cfipvs.AddressFamily(ad.Uint16())
			case destAttrAddr:
				address = ad.Bytes()
			case destAttrPort:
				d.Port = portOf(ad.Bytes())
			case destAttrForward:
				d.FwdMethod = cfipvs.ForwardType(ad.Uint32())
			case destAttrWeight:
				d.Weight = ad.Uint32()
			case destAttrUpper:
				d.UpperThreshold = ad.Uint32()
			case destAttrLower:
				d.LowerThreshold = ad.Uint32()
			case destAttrActive:
				d.ActiveConnections = ad.Uint32()
			case destAttrInact:
				d.InactiveConnections = ad.Uint32()
			case destAttrPersist:
				d.PersistentConnections = ad.Uint32()
			case destAttrTunType:
				d.TunnelType = cfipvs.TunnelType(ad.Uint8())
			case destAttrTunPort:
				d.TunnelPort = portOf(ad.Bytes())
			case destAttrTunFlag:
				d.TunnelFlags = cfipvs.TunnelFlags(ad.Uint16())
			case destAttrStats64:
				ad.Nested(traffic.decode)
			}
		}
		return nil
	})
	if err != nil {
		return Destination{}, fmt.Errorf("decoding server: %w", err)
	}
	d.Address = addressOf(d.Family, address)
	from := destinationFrom(d)
	from.Traffic = traffic
	return from, nil
}

// inside decodes what is in one attribute.
func inside(b []byte, attribute uint16, decode func(*netlink.AttributeDecoder) error) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		if ad.Type() == attribute {
			ad.Nested(decode)
		}
	}
	return ad.Err()
}

// portOf is a port in the octet order of networks.
func portOf(b []byte) uint16 {
	if len(b) != 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// addressOf is an address, for which the kernel tells sixteen octets of either family.
func addressOf(family cfipvs.AddressFamily, b []byte) netip.Addr {
	if family == cfipvs.INET && len(b) >= 4 {
		b = b[:4]
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// decode reads IPVS_STATS_ATTR_*, in 64 bits each.
func (t *Traffic) decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case 1:
			t.Connections = ad.Uint64()
		case 2:
			t.InPackets = ad.Uint64()
		case 3:
			t.OutPackets = ad.Uint64()
		case 4:
			t.InBytes = ad.Uint64()
		case 5:
			t.OutBytes = ad.Uint64()
		case 6:
			t.ConnectionRate = ad.Uint64()
		case 7:
			t.InPacketRate = ad.Uint64()
		case 8:
			t.OutPacketRate = ad.Uint64()
		case 9:
			t.InByteRate = ad.Uint64()
		case 10:
			t.OutByteRate = ad.Uint64()
		}
	}
	return nil
}
