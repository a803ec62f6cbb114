package netif

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

// broadcast is the address of everybody on the segment.
func broadcast() net.HardwareAddr { return net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// announcement is the frames of one round for one address.
func announcement(mac net.HardwareAddr, addr netip.Addr) ([]*ethernet.Frame, error) {
	if addr.Is4() {
		return gratuitousARP(mac, addr)
	}
	// The address is installed without duplicate address detection, so it can be
	// its own source (V3-V6-06), as keepalived has it.
	f, err := neighbourAdvertisement(mac, addr, addr)
	if err != nil {
		return nil, err
	}
	return []*ethernet.Frame{f}, nil
}

// gratuitousARP is a request and a reply, both broadcast. The target hardware address is the announced one
// (RFC 9568 section 6.4.1), which hosts ignore.
func gratuitousARP(mac net.HardwareAddr, addr netip.Addr) ([]*ethernet.Frame, error) {
	var frames []*ethernet.Frame
	for _, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		packet, err := arp.NewPacket(op, mac, addr, mac, addr)
		if err != nil {
			return nil, err
		}
		payload, err := packet.MarshalBinary()
		if err != nil {
			return nil, err
		}
		frames = append(frames, &ethernet.Frame{Destination: broadcast(), Source: mac, EtherType: ethernet.EtherTypeARP, Payload: payload})
	}
	return frames, nil
}

// neighbourAdvertisement is an unsolicited one to all nodes: the sender is a
// router, and hosts are to replace what they had (RFC 9568 section 6.4.1, RFC 4861
// section 7.2.6).
func neighbourAdvertisement(mac net.HardwareAddr, source, target netip.Addr) (*ethernet.Frame, error) {
	all := netip.IPv6LinkLocalAllNodes()
	message, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Router: true, Override: true, TargetAddress: target,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	}, source, all)
	if err != nil {
		return nil, err
	}
	// The IPv6 header (RFC 8200 section 3): ICMPv6, hop limit 255.
	packet := binary.BigEndian.AppendUint32(nil, 6<<28)
	packet = binary.BigEndian.AppendUint16(packet, uint16(len(message)))
	packet = append(packet, 58, 255)
	packet = append(packet, source.AsSlice()...)
	packet = append(packet, all.AsSlice()...)
	return &ethernet.Frame{
		// The group's hardware address (RFC 2464 section 7).
		Destination: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, Source: mac, EtherType: ethernet.EtherTypeIPv6,
		Payload: append(packet, message...),
	}, nil
}
