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
	links, err := net.Interfaces()
	if err != nil {
		return "", netip.Addr{}, fmt.Errorf("listing interfaces: %w", err)
	}
	for _, link := range links {
		addrs, err := link.Addrs()
		if err != nil {
			continue // it is gone
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == local.WithZone("") {
				return link.Name, local, nil
			}
		}
	}
	return "", netip.Addr{}, fmt.Errorf("no interface has the address %s that %s is reached from", local, peer)
}
