package doctor

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"lvsha/ipvs"
)

// question is something sent, of which the answers tell. Each has the number by which
// its answers are known: the sequence number of an echo.
type question struct {
	// iface is where frame is sent.
	iface string
	frame []byte
	// Otherwise packet is the payload of protocol, or of UDP to a port, sent to an
	// address in the ordinary way.
	packet   []byte
	protocol int
	port     uint16
	to       netip.AddrPort
	// whole says that the packet may not be fragmented, whatever the kernel knows of the
	// path.
	whole bool
}

// wrapped is an echo request to a virtual address inside a tunnel, as IPVS would wrap it.
func wrapped(t ipvs.Tunnel, server netip.Addr, inner []byte, ipv6 bool) question {
	protocol, kind := 4, uint16(etherIPv4)
	if ipv6 {
		protocol, kind = 41, etherIPv6
	}
	q := question{protocol: protocol, packet: inner, to: netip.AddrPortFrom(server, 0)}
	switch t.Type {
	case ipvs.GRE: // RFC 2784
		header := []byte{0, 0, 0, 0}
		if t.Checksum != ipvs.NoChecksum {
			header = []byte{0x80, 0, 0, 0, 0, 0, 0, 0}
		}
		binary.BigEndian.PutUint16(header[2:], kind)
		q.protocol, q.packet = 47, append(header, inner...)
		if t.Checksum != ipvs.NoChecksum {
			binary.BigEndian.PutUint16(q.packet[4:], checksum(q.packet))
		}
	case ipvs.GUE: // draft-ietf-intarea-gue, version 0
		q.packet = append([]byte{0, byte(protocol), 0, 0}, inner...)
		q.protocol, q.port = 0, t.Port
	}
	return q
}

// overhead is how many bytes a tunnel adds to a packet (ip_vs_tunnel_xmit in
// net/netfilter/ipvs/ip_vs_xmit.c).
func overhead(t ipvs.Tunnel, server netip.Addr) int {
	n := 20
	if server.Is6() {
		n = 40
	}
	switch t.Type {
	case ipvs.GRE:
		n += 4
		if t.Checksum != ipvs.NoChecksum {
			n += 4
		}
	case ipvs.GUE:
		n += 8 + 4
		if t.Checksum == ipvs.RemoteChecksum {
			n += 8
		}
	}
	return n
}

// sizes are the lengths of packets that are tried on a path of an MTU, largest first.
func sizes(mtu int) []int {
	out := []int{mtu}
	for _, n := range []int{9000, 8000, 4000, 1500, 1492, 1480, 1472, 1460, 1450, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1000, 576, 100} {
		if n < mtu {
			out = append(out, n)
		}
	}
	return out
}

func (q question) String() string {
	if q.frame != nil {
		return fmt.Sprintf("frame of %d bytes on %s", len(q.frame), q.iface)
	}
	return fmt.Sprintf("packet of protocol %d to %s", q.protocol, q.to)
}
