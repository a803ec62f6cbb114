package ipvs

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
)

// From include/uapi/linux/ip_vs.h: the commands and attributes that
// cloudflare/ipvs lacks or keeps to itself.
const (
	genlName      = "IPVS"
	genlVersion   = 1
	cmdNewService = 1
	cmdSetService = 2
	cmdGetService = 4
	cmdGetDest    = 8

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
	svcAttrStats64  = 12
)

// engineConn reads the table, and writes services with the one thing that
// cloudflare/ipvs does not know of them: their persistence engine.
type engineConn struct{ g *nlconn.Generic }

func newEngineConn() (*engineConn, error) {
	g, err := nlconn.DialGeneric(genlName)
	if err != nil {
		return nil, err
	}
	return &engineConn{g}, nil
}

func (c *engineConn) close() error { return c.g.Close() }

// write makes or edits a service.
func (c *engineConn) write(command uint8, s Service) error {
	data, err := encodeService(s)
	if err != nil {
		return fmt.Errorf("encoding service %s: %w", s.Key, err)
	}
	_, err = c.g.Execute(genetlink.Message{
		Header: genetlink.Header{Command: command, Version: genlVersion}, Data: data,
	}, netlink.Acknowledge)
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
