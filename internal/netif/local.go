package netif

import (
	"fmt"
	"net"
	"net/netip"
)

// LocalTo is the address and the interface from which this machine speaks to
// another one, as the kernel's routes have it now.
func LocalTo(peer netip.Addr) (iface string, local netip.Addr, err error) {
	// Connecting a datagram socket sends nothing and chooses the source.
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, 9)))
	if err != nil {
		return "", netip.Addr{}, fmt.Errorf("finding the way to %s: %w", peer, err)
	}
	defer conn.Close()
	local = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if iface = peer.Zone(); iface != "" {
		return iface, local, nil
	}
	links := New(nil)
	defer links.Close()
	if iface, _, _, err = links.WayTo(peer); err != nil {
		return "", netip.Addr{}, err
	}
	return iface, local, nil
}
