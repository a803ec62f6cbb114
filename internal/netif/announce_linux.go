package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/raw" //lint:ignore SA1019 mdlayher/packet, its successor, is not among the chosen libraries
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// announcer sends frames on one interface.
type announcer struct {
	index int
	// conns are open for the protocols that were announced.
	conns map[ethernet.EtherType]*raw.Conn
}

// Announce implements vrrp.Links. An IPv4 address has an ARP request and an ARP
// reply, both gratuitous and broadcast, because hosts differ in which of them
// they learn from (RFC 5227 section 3); an IPv6 address has an unsolicited
// neighbour advertisement. An interface without hardware address is left alone.
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

// prepare opens the socket that announcing an address will need, if it can: when
// the address comes, hosts wait for the announcement.
func (l *Links) prepare(iface string, addr netip.Addr) {
	protocol := ethernet.EtherTypeARP
	if addr.Is6() {
		protocol = ethernet.EtherTypeIPv6
	}
	link, a, err := l.announcer(iface)
	if a != nil && err == nil {
		_, err = a.conn(link, protocol)
	}
	if err != nil {
		l.log.Debug("preparing to announce", "interface", iface, "address", addr, "error", err)
	}
}

// announcer is the announcer of an interface as it is now; nil for one without
// hardware address.
func (l *Links) announcer(iface string) (vrrp.Link, *announcer, error) {
	link, ok := l.known[iface]
	if !ok {
		var err error
		if link, err = lookUp(iface); err != nil {
			return link, nil, err
		}
	}
	if link.MAC == [6]byte{} {
		return link, nil, nil
	}
	a := l.announcers[iface]
	if a != nil && a.index != link.Index {
		a.close()
		a = nil
	}
	if a == nil {
		a = &announcer{index: link.Index, conns: make(map[ethernet.EtherType]*raw.Conn)}
		l.announcers[iface] = a
	}
	return link, a, nil
}

// announce is one try.
func (l *Links) announce(iface string, addrs []netip.Addr) error {
	link, a, err := l.announcer(iface)
	if a == nil || err != nil {
		return err
	}
	for _, addr := range addrs {
		frames, err := announcement(link.MAC[:], addr)
		if err != nil {
			return fmt.Errorf("encoding the announcement of %s: %w", addr, err)
		}
		for _, frame := range frames {
			if err := a.send(link, frame); err != nil {
				l.forget(iface)
				return fmt.Errorf("sending the announcement of %s: %w", addr, err)
			}
		}
	}
	return nil
}

// conn is the socket for a protocol, opened if it is not.
func (a *announcer) conn(link vrrp.Link, protocol ethernet.EtherType) (*raw.Conn, error) {
	conn := a.conns[protocol]
	if conn == nil {
		var err error
		if conn, err = openSender(link, protocol); err != nil {
			return nil, err
		}
		a.conns[protocol] = conn
	}
	return conn, nil
}

// send transmits one frame.
func (a *announcer) send(link vrrp.Link, frame *ethernet.Frame) error {
	conn, err := a.conn(link, frame.EtherType)
	if err != nil {
		return err
	}
	b, err := frame.MarshalBinary()
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(b, &raw.Addr{HardwareAddr: frame.Destination})
	return err
}

// openSender opens a socket that only sends.
func openSender(link vrrp.Link, protocol ethernet.EtherType) (*raw.Conn, error) {
	conn, err := raw.ListenPacket(&net.Interface{Index: link.Index, Name: link.Name}, uint16(protocol), nil)
	if err != nil {
		return nil, fmt.Errorf("opening packet socket: %w", err)
	}
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err == nil {
		err = conn.SetBPF(nothing)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("setting packet filter: %w", err)
	}
	return conn, nil
}

func (a *announcer) close() error {
	var errs []error
	for _, c := range a.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
