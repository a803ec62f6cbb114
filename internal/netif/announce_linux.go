package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/raw" //lint:ignore SA1019 mdlayher/packet, its successor, is not among the chosen libraries
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// announcer sends frames on one interface.
type announcer struct {
	index int
	conn  *raw.Conn
}

// Announce implements vrrp.Links: for each address an ARP request and an ARP
// reply, both gratuitous and broadcast, because hosts differ in which of them
// they learn from (RFC 5227 section 3). An interface without ARP is left alone.
func (l *Links) Announce(iface string, addrs []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.announce(iface, addrs)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		// What we know of the interface is old.
		l.forget(iface)
		err = l.announce(iface, addrs)
	}
	if err != nil {
		return fmt.Errorf("announcing on %s: %w", iface, explain(err, "CAP_NET_RAW"))
	}
	return nil
}

// forget drops what is known of an interface.
func (l *Links) forget(iface string) {
	delete(l.known, iface)
	if a := l.announcers[iface]; a != nil {
		a.close()
		delete(l.announcers, iface)
	}
}

// announce is one try.
func (l *Links) announce(iface string, addrs []netip.Addr) error {
	link, ok := l.known[iface]
	if !ok {
		var err error
		if link, err = lookUp(iface); err != nil {
			return err
		}
	}
	if link.MAC == [6]byte{} {
		return nil
	}
	a := l.announcers[iface]
	if a != nil && a.index != link.Index {
		a.close()
		a = nil
	}
	if a == nil {
		var err error
		if a, err = openAnnouncer(link); err != nil {
			return err
		}
		l.announcers[iface] = a
	}
	for _, addr := range addrs {
		frames, err := announcement(link.MAC[:], addr)
		if err != nil {
			return fmt.Errorf("encoding ARP for %s: %w", addr, err)
		}
		for _, frame := range frames {
			if _, err := a.conn.WriteTo(frame, &raw.Addr{HardwareAddr: broadcast()}); err != nil {
				l.forget(iface)
				return fmt.Errorf("sending ARP for %s: %w", addr, err)
			}
		}
	}
	return nil
}

// openAnnouncer opens a socket that only sends.
func openAnnouncer(link vrrp.Link) (*announcer, error) {
	conn, err := raw.ListenPacket(&net.Interface{Index: link.Index, Name: link.Name}, etherTypeARP, nil)
	if err != nil {
		return nil, fmt.Errorf("opening ARP socket: %w", err)
	}
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err == nil {
		err = conn.SetBPF(nothing)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("setting ARP filter: %w", err)
	}
	return &announcer{index: link.Index, conn: conn}, nil
}

func (a *announcer) close() error { return a.conn.Close() }
