package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"
)

// Neighbours are the hardware addresses that the kernel knows of machines on this
// machine's segments.
func (l *Links) Neighbours() (map[netip.Addr][6]byte, error) {
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("connecting to rtnetlink: %w", err)
	}
	defer conn.Close()
	messages, err := conn.Neigh.List()
	if err != nil {
		return nil, fmt.Errorf("listing neighbours: %w", err)
	}
	out := make(map[netip.Addr][6]byte)
	for _, m := range messages {
		if m.Attributes == nil || len(m.Attributes.LLAddress) != 6 || m.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE|unix.NUD_NOARP) != 0 {
			continue
		}
		if a, ok := netip.AddrFromSlice(m.Attributes.Address); ok {
			out[a.Unmap()] = [6]byte(m.Attributes.LLAddress)
		}
	}
	return out, nil
}

// MTU is the size of packets on an interface.
func (l *Links) MTU(ifname string) (int, error) {
	ifi, err := net.InterfaceByName(ifname)
	var operation *net.OpError
	if errors.As(err, &operation) {
		return 0, fmt.Errorf("%w: %s", ErrNoInterface, ifname)
	}
	if err != nil {
		return 0, fmt.Errorf("looking at %s: %w", ifname, err)
	}
	return ifi.MTU, nil
}
