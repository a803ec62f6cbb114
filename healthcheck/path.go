package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Path is a way to a server that clients take: to the address of a service, by
// whatever forwarding method the service has, and to the one server that the
// firewall mark of the packets selects. The zero value is the direct way.
type Path struct {
	// VIP is what is connected to: the service's address with the port that is
	// probed.
	VIP netip.AddrPort
	// Mark is the firewall mark of the probe's packets (SO_MARK).
	Mark uint32
	// Source is this machine's address that they come from; the zero Addr leaves
	// it to the kernel.
	Source netip.Addr
	// Port is the source port of datagrams. The Monitor gives each probe another
	// one; it is zero in what the Monitor is told and tells.
	Port uint16
}

// Direct reports whether the path is the direct way to the server.
func (p Path) Direct() bool { return p == Path{} }

// errNotReady is of a probe that was not sent, because its path does not exist
// yet, or not for the moment.
var errNotReady = fmt.Errorf("%w: not asked", ErrInconclusive)

// address is what a probe connects to.
func (t Target) address() netip.AddrPort {
	if t.Path.Direct() {
		return t.Server
	}
	return t.Path.VIP
}

// dialer is what connects along the target's path.
func (t Target) dialer(network string) (*net.Dialer, error) {
	if t.Path.Direct() {
		return &dialer, nil
	}
	d := &net.Dialer{KeepAlive: dialer.KeepAlive, Control: t.Path.control}
	switch source := net.IP(t.Path.Source.AsSlice()); {
	case !strings.HasPrefix(network, "udp"):
		if source != nil {
			d.LocalAddr = &net.TCPAddr{IP: source}
		}
	case t.Path.Port == 0:
		// The kernel knows a connection by its addresses and ports, not by its mark:
		// an old port would lead to the server that it led to before.
		return nil, fmt.Errorf("%w: every source port was in use within %v", ErrInconclusive, portRest)
	default:
		d.LocalAddr = &net.UDPAddr{IP: source, Port: int(t.Path.Port)}
	}
	return d, nil
}

// ask probes an entry's target. A failure along a path that this machine is to
// blame for says nothing about the server.
func (m *Monitor) ask(ctx context.Context, ask ProbeFunc, t Target) (Answer, error) {
	if !t.Check.Through {
		return ask(ctx, t)
	}
	if t.Path.Direct() {
		return Answer{}, fmt.Errorf("%w: nobody has said what leads through the service", errNotReady)
	}
	if err := m.pathReady(t.Path); err != nil {
		return Answer{}, fmt.Errorf("%w: %v", errNotReady, err)
	}
	answer, err := ask(ctx, t)
	if err == nil {
		m.pathLearned(t.Path)
	}
	if err == nil || errors.Is(err, ErrInconclusive) {
		return answer, err
	}
	why := m.pathReady(t.Path)
	if why == nil {
		why = m.pathExcuse(t.Path)
	}
	if why != nil {
		// Nothing of it is wrapped that could be taken for the server's silence.
		return Answer{}, fmt.Errorf("%w: %v (seen: %v)", ErrInconclusive, why, err)
	}
	return answer, err
}
