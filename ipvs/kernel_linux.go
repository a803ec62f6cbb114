package ipvs

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	cfipvs "github.com/cloudflare/ipvs"
	"github.com/cloudflare/ipvs/netmask"
)

// kernel is the IPVS of the network namespace it was opened in.
type kernel struct {
	c     cfipvs.Client
	pe    *engineConn
	batch *batch
	// listed are the services and servers of the last list.
	listed map[ServiceKey][]Destination
}

// Open connects to the IPVS of the calling thread's network namespace. The
// connection stays with that namespace. The error is ErrNoIPVS where the module
// is not loaded.
func Open() (Kernel, error) {
	c, err := cfipvs.New()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, ErrNoIPVS
	case err != nil:
		return nil, fmt.Errorf("connecting to IPVS: %w", explain(err))
	}
	pe, err := newEngineConn()
	if err != nil {
		closeClient(c)
		return nil, fmt.Errorf("connecting to IPVS: %w", explain(err))
	}
	many, err := newBatch(pe.g.Family.ID)
	if err != nil {
		return nil, fmt.Errorf("connecting to IPVS: %w", errors.Join(err, closeClient(c), pe.close()))
	}
	return &kernel{c: c, pe: pe, batch: many}, nil
}

// Close closes the netlink sockets. cfipvs.Client has no Close of its own.
func (k *kernel) Close() error {
	return errors.Join(closeClient(k.c), k.pe.close(), k.batch.close())
}

func closeClient(c cfipvs.Client) error {
	if closer, ok := c.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// gone tells an answer about a thing that is not there from that of a family that is no
// more.
func (k *kernel) gone(err error) error {
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	gone, asking := k.pe.g.Gone()
	switch {
	case asking != nil:
		return errors.Join(err, asking)
	case gone:
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// List dumps the services, and the destinations of each.
func (k *kernel) List() ([]Service, error) {
	return k.listUnless(func() bool { return false })
}

// listUnless asks before each service.
func (k *kernel) listUnless(hurry func() bool) ([]Service, error) {
	services, err := k.services()
	if err != nil {
		return nil, fmt.Errorf("listing IPVS services: %w", explain(k.gone(err)))
	}
	listed := make(map[ServiceKey][]Destination, len(services))
	for i := range services {
		if hurry() {
			return nil, errHurried
		}
		s := &services[i]
		if s.Destinations, err = k.destinations(s.Key); err != nil {
			return nil, fmt.Errorf("listing servers of IPVS service %s: %w", s.Key, explain(k.gone(err)))
		}
		listed[s.Key] = s.Destinations
	}
	k.listed = listed
	return normalTable(services), nil
}

// AddService creates a service.
func (k *kernel) AddService(s Service) error {
	if s.Engine != "" {
		return k.gone(k.pe.write(cmdNewService, s))
	}
	return k.gone(k.c.CreateService(serviceTo(s)))
}

// SetService edits a service. An edit that names no persistence engine, as those of
// cloudflare/ipvs, takes away the one that there is.
func (k *kernel) SetService(s Service) error {
	if s.Engine != "" {
		return k.gone(k.pe.write(cmdSetService, s))
	}
	return k.gone(k.c.UpdateService(serviceTo(s)))
}

// RemoveService removes a service with its destinations.
func (k *kernel) RemoveService(key ServiceKey) error {
	return k.gone(k.c.RemoveService(serviceTo(Service{Key: key})))
}

// AddServer creates a destination.
func (k *kernel) AddServer(key ServiceKey, d Destination) error {
	return k.gone(k.c.CreateDestination(serviceTo(Service{Key: key}), destinationTo(d)))
}

// SetServer edits a destination, tunnel and thresholds included.
func (k *kernel) SetServer(key ServiceKey, d Destination) error {
	return k.gone(k.c.UpdateDestination(serviceTo(Service{Key: key}), destinationTo(d)))
}

// RemoveServer removes a destination.
func (k *kernel) RemoveServer(key ServiceKey, d Destination) error {
	return k.gone(k.c.RemoveDestination(serviceTo(Service{Key: key}), destinationTo(d)))
}

// Timeouts reads all three.
func (k *kernel) Timeouts() (Timeouts, error) {
	c, err := k.c.Config()
	if err != nil {
		return Timeouts{}, k.gone(err)
	}
	seconds := func(n uint32) time.Duration { return time.Duration(n) * time.Second }
	return Timeouts{TCP: seconds(c.TCPTimeout), TCPFin: seconds(c.TCPFinTimeout), UDP: seconds(c.UDPTimeout)}, nil
}

// SetTimeouts writes all three, of which the kernel takes zero for no change.
func (k *kernel) SetTimeouts(t Timeouts) error {
	seconds := func(d time.Duration) uint32 { return uint32(d / time.Second) }
	return k.gone(k.c.SetConfig(cfipvs.Config{TCPTimeout: seconds(t.TCP), TCPFinTimeout: seconds(t.TCPFin), UDPTimeout: seconds(t.UDP)}))
}

func family(a netip.Addr) cfipvs.AddressFamily {
	if a.Is4() {
		return cfipvs.INET
	}
	return cfipvs.INET6
}

// unmapped takes an IPv4 address out of its IPv6 form, of which the kernel would
// take the first four bytes: zeros.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// serviceTo never leaves the mask zero: the kernel wants one from whoever creates
// or edits.
func serviceTo(s Service) cfipvs.Service {
	s.Key.Addr = unmapped(s.Key.Addr)
	bits := s.Key.Addr.Addr().BitLen()
	ones := bits
	if s.PersistenceMask != 0 {
		ones = int(s.PersistenceMask)
	}
	to := cfipvs.Service{
		Address:   s.Key.Addr.Addr(),
		Netmask:   netmask.MaskFrom(ones, bits),
		Scheduler: s.Scheduler,
		Timeout:   uint32(s.Persistence / time.Second),
		Port:      s.Key.Addr.Port(),
		FWMark:    s.Key.Mark,
		Family:    family(s.Key.Addr.Addr()),
		Protocol:  cfipvs.Protocol(s.Key.Protocol),
	}
	if s.Persistence != 0 {
		to.Flags |= cfipvs.ServicePersistent
	}
	if s.OnePacket {
		to.Flags |= cfipvs.ServiceOnePacket
	}
	for i, flag := range schedulerFlags {
		if s.Flags&(1<<i) != 0 {
			to.Flags |= flag
		}
	}
	return to
}

// schedulerFlags are the kernel's flags in the order of ours.
var schedulerFlags = [3]cfipvs.Flags{cfipvs.ServiceSchedulerOpt1, cfipvs.ServiceSchedulerOpt2, cfipvs.ServiceSchedulerOpt3}

func serviceFrom(s cfipvs.Service) Service {
	from := Service{Scheduler: s.Scheduler}
	if s.FWMark == 0 {
		from.Key = ServiceKey{Protocol: Protocol(s.Protocol), Addr: netip.AddrPortFrom(s.Address, s.Port)}
	} else {
		from.Key = MarkKey(s.FWMark, s.Family == cfipvs.INET6)
	}
	from.OnePacket = s.Flags&cfipvs.ServiceOnePacket != 0
	for i, flag := range schedulerFlags {
		if s.Flags&flag != 0 {
			from.Flags |= 1 << i
		}
	}
	// The kernel keeps a timeout without the flag, where it means nothing.
	if s.Flags&cfipvs.ServicePersistent != 0 {
		from.Persistence = time.Duration(s.Timeout) * time.Second
		from.PersistenceMask = uint8(max(s.Netmask.Bits(), 0))
	}
	return from
}

func destinationTo(d Destination) cfipvs.Destination {
	d.Addr = unmapped(d.Addr)
	to := cfipvs.Destination{
		Address: d.Addr.Addr(),
		Port:    d.Addr.Port(),
		Weight:  uint32(d.Weight),
		Family:  family(d.Addr.Addr()),

		UpperThreshold: uint32(d.UpperThreshold),
		LowerThreshold: uint32(d.LowerThreshold),
		TunnelType:     cfipvs.TunnelType(d.Tunnel.Type),
		TunnelPort:     d.Tunnel.Port,
		TunnelFlags:    cfipvs.TunnelFlags(d.Tunnel.Checksum),
	}
	switch d.Forward {
	case NAT:
		to.FwdMethod = cfipvs.Masquerade
	case TUN:
		to.FwdMethod = cfipvs.Tunnel
	case Local:
		to.FwdMethod = cfipvs.Local
	default:
		to.FwdMethod = cfipvs.DirectRoute
	}
	return to
}

func destinationFrom(d cfipvs.DestinationExtended) Destination {
	from := Destination{
		Addr:     netip.AddrPortFrom(d.Address, d.Port),
		Weight:   int(d.Weight),
		Active:   int(d.ActiveConnections),
		Inactive: int(d.InactiveConnections),

		Templates: int(d.PersistentConnections),

		UpperThreshold: int(d.UpperThreshold),
		LowerThreshold: int(d.LowerThreshold),
	}
	switch d.FwdMethod {
	case cfipvs.DirectRoute:
		from.Forward = DR
	case cfipvs.Masquerade:
		from.Forward = NAT
	case cfipvs.Local:
		from.Forward = Local
	case cfipvs.Tunnel:
		from.Forward = TUN
		from.Tunnel = Tunnel{TunnelType(d.TunnelType), d.TunnelPort, Checksum(d.TunnelFlags)}
		if from.Tunnel.Problem() != "" || int(from.Tunnel.Checksum) != int(d.TunnelFlags) {
			from.Tunnel = Tunnel{}
			from.Extra = fmt.Sprintf("tunnel %s port %d flags %d", TunnelType(d.TunnelType), d.TunnelPort, d.TunnelFlags)
		}
	}
	return from
}
