package ipvs

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// From include/uapi/linux/ip_vs.h: the commands and attributes that
// cloudflare/ipvs lacks or keeps to itself.
const (
	genlName      = "IPVS"
	genlVersion   = 1
	cmdNewService = 1
	cmdSetService = 2
	cmdGetService = 4

	cmdAttrService = 1

	svcAttrFamily   = 1
	svcAttrProtocol = 2
	svcAttrAddr     = 3
	svcAttrPort     = 4
	svcAttrMark     = 5
	svcAttrSched    = 6
	svcAttrFlags    = 7 // struct ip_vs_flags: the flags, and which of them are meant
	svcAttrTimeout  = 8
	svcAttrNetmask  = 9
	svcAttrEngine   = 11 // IPVS_SVC_ATTR_PE_NAME
)

// engineConn reads and writes services with the one thing that cloudflare/ipvs does not
// know of them: their persistence engine.
type engineConn struct {
	c      *genetlink.Conn
	family genetlink.Family
}

func newEngineConn() (*engineConn, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, err
	}
	family, err := c.GetFamily(genlName)
	if err != nil {
		_ = c.Close() // the first error is the one that says why
		return nil, err
	}
	return &engineConn{c: c, family: family}, nil
}

func (c *engineConn) close() error { return c.c.Close() }

// engines returns the persistence engines of the services that have one.
func (c *engineConn) engines() (map[ServiceKey]string, error) {
	msgs, err := c.c.Execute(genetlink.Message{
		Header: genetlink.Header{Command: cmdGetService, Version: genlVersion},
	}, c.family.ID, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, err
	}
	out := make(map[ServiceKey]string)
	for _, m := range msgs {
		key, name, err := decodeEngine(m.Data)
		if err != nil {
			return nil, err
		}
		if name != "" {
			out[key] = name
		}
	}
	return out, nil
}

// write makes or edits a service.
func (c *engineConn) write(command uint8, s Service) error {
	data, err := encodeService(s)
	if err != nil {
		return fmt.Errorf("encoding service %s: %w", s.Key, err)
	}
	_, err = c.c.Execute(genetlink.Message{
		Header: genetlink.Header{Command: command, Version: genlVersion}, Data: data,
	}, c.family.ID, netlink.Request|netlink.Acknowledge)
	return err
}

// encodeService encodes all of a service.
func encodeService(s Service) ([]byte, error) {
	to := serviceTo(s)
	ae := netlink.NewAttributeEncoder()
	ae.Nested(cmdAttrService, func(ae *netlink.AttributeEncoder) error {
		encodeKey(ae, s.Key)
		ae.String(svcAttrSched, s.Scheduler)
		flags := binary.NativeEndian.AppendUint32(nil, uint32(to.Flags))
		ae.Bytes(svcAttrFlags, binary.NativeEndian.AppendUint32(flags, math.MaxUint32))
		ae.Uint32(svcAttrTimeout, to.Timeout)
		bits := s.Key.Addr.Addr().Unmap().BitLen()
		ones := bits
		if s.PersistenceMask != 0 {
			ones = int(s.PersistenceMask)
		}
		if bits == 32 {
			ae.Bytes(svcAttrNetmask, binary.BigEndian.AppendUint32(nil, math.MaxUint32<<(32-ones)))
		} else {
			ae.Uint32(svcAttrNetmask, uint32(ones)) // of IPv6 it is the length
		}
		ae.String(svcAttrEngine, s.Engine)
		return nil
	})
	return ae.Encode()
}

func encodeKey(ae *netlink.AttributeEncoder, k ServiceKey) {
	addr := k.Addr.Addr().Unmap()
	if addr.Is4() {
		ae.Uint16(svcAttrFamily, unix.AF_INET)
	} else {
		ae.Uint16(svcAttrFamily, unix.AF_INET6)
	}
	if k.Mark != 0 {
		ae.Uint32(svcAttrMark, k.Mark)
		return
	}
	ae.Uint16(svcAttrProtocol, uint16(k.Protocol))
	ae.Bytes(svcAttrAddr, addr.AsSlice())
	ae.Bytes(svcAttrPort, binary.BigEndian.AppendUint16(nil, k.Addr.Port()))
}

// decodeEngine finds service and engine in an answer to a cmdGetService.
func decodeEngine(b []byte) (key ServiceKey, engine string, err error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return ServiceKey{}, "", fmt.Errorf("decoding service: %w", err)
	}
	var family, port uint16
	var addr []byte
	for ad.Next() {
		if ad.Type() != cmdAttrService {
			continue
		}
		ad.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				switch ad.Type() {
				case svcAttrFamily:
					family = ad.Uint16()
				case svcAttrProtocol:
					key.Protocol = Protocol(ad.Uint16())
				case svcAttrAddr:
					addr = ad.Bytes()
				case svcAttrPort:
					if b := ad.Bytes(); len(b) == 2 {
						port = binary.BigEndian.Uint16(b)
					}
				case svcAttrMark:
					key.Mark = ad.Uint32()
				case svcAttrEngine:
					engine = ad.String()
				}
			}
			return nil
		})
	}
	if err := ad.Err(); err != nil {
		return ServiceKey{}, "", fmt.Errorf("decoding service: %w", err)
	}
	if key.Mark != 0 {
		return MarkKey(key.Mark, family == unix.AF_INET6), engine, nil
	}
	// The kernel tells sixteen octets of either family.
	if family == unix.AF_INET && len(addr) >= 4 {
		addr = addr[:4]
	}
	if a, ok := netip.AddrFromSlice(addr); ok {
		key.Addr = netip.AddrPortFrom(a, port)
	}
	return key, engine, nil
}
