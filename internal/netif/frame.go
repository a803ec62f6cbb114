package netif

import (
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

// etherTypeARP is ARP's EtherType.
const etherTypeARP = uint16(ethernet.EtherTypeARP)

// broadcast is the address of everybody on the segment.
func broadcast() net.HardwareAddr { return net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// announcement is the frames of one round for one address: gratuitous ARP as a
// request and as a reply. The target hardware address is the announced one
// (RFC 9568 section 6.4.1), which hosts ignore.
func announcement(mac net.HardwareAddr, addr netip.Addr) ([][]byte, error) {
	var frames [][]byte
	for _, op := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		packet, err := arp.NewPacket(op, mac, addr, mac, addr)
		if err != nil {
			return nil, err
		}
		payload, err := packet.MarshalBinary()
		if err != nil {
			return nil, err
		}
		frame := ethernet.Frame{Destination: broadcast(), Source: mac, EtherType: ethernet.EtherTypeARP, Payload: payload}
		b, err := frame.MarshalBinary()
		if err != nil {
			return nil, err
		}
		frames = append(frames, b)
	}
	return frames, nil
}
