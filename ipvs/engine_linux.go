package ipvs

import (
	"encoding/binary"
	"fmt"
	"net"

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
	cmdGetService = 4

	cmdAttrService = 1

	svcAttrFamily   = 1
	svcAttrProtocol = 2
	svcAttrAddr     = 3
	svcAttrPort     = 4
	svcAttrMark     = 5
	svcAttrSched    = 6
	svcAttrFlags    = 7
	svcAttrTimeout  = 8
	svcAttrNetmask  = 9
	svcAttrEngine   = 11 // IPVS_SVC_ATTR_PE_NAME
)

// engineReader reads the one thing of a service that cloudflare/ipvs cannot see:
// its persistence engine.
type engineReader struct {
	c      *genetlink.Conn
	family genetlink.Family
}

func newEngineReader() (*engineReader, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, err
	}
	family, err := c.GetFamily(genlName)
	if err != nil {
		_ = c.Close() // the first error is the one that says why
		return nil, err
	}
	return &engineReader{c: c, family: family}, nil
}

func (r *engineReader) close() error { return r.c.Close() }

// engine returns the name of a service's persistence engine, or "".
func (r *engineReader) engine(k ServiceKey) (string, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(cmdAttrService, func(ae *netlink.AttributeEncoder) error {
		encodeKey(ae, k)
		return nil
	})
	data, err := ae.Encode()
	if err != nil {
		return "", fmt.Errorf("encoding service %s: %w", k, err)
	}
	msgs, err := r.c.Execute(genetlink.Message{
		Header: genetlink.Header{Command: cmdGetService, Version: genlVersion},
		Data:   data,
	}, r.family.ID, netlink.Request)
	if err != nil {
		return "", err
	}
	for _, m := range msgs {
		if name, err := engineName(m.Data); name != "" || err != nil {
			return name, err
		}
	}
	return "", nil
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

// engineName finds the engine in the answer to a cmdGetService.
func engineName(b []byte) (string, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return "", fmt.Errorf("decoding service: %w", err)
	}
	var name string
	for ad.Next() {
		if ad.Type() != cmdAttrService {
			continue
		}
		ad.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() == svcAttrEngine {
					name = ad.String()
				}
			}
			return nil
		})
	}
	if err := ad.Err(); err != nil {
		return "", fmt.Errorf("decoding service: %w", err)
	}
	return name, nil
}

// Engine is part of EngineKernel.
func (k *kernel) Engine(key ServiceKey) (string, error) {
	name, err := k.pe.engine(key)
	if err != nil {
		return "", fmt.Errorf("reading the persistence engine of service %s: %w", key, explain(err))
	}
	return name, nil
}

// AddServiceWithEngine is part of EngineKernel.
func (k *kernel) AddServiceWithEngine(s Service, engine string) error {
	to := serviceTo(s)
	ae := netlink.NewAttributeEncoder()
	ae.Nested(cmdAttrService, func(ae *netlink.AttributeEncoder) error {
		encodeKey(ae, s.Key)
		ae.String(svcAttrSched, s.Scheduler)
		flags := binary.NativeEndian.AppendUint32(nil, uint32(to.Flags))
		ae.Bytes(svcAttrFlags, binary.NativeEndian.AppendUint32(flags, ^uint32(0)))
		ae.Uint32(svcAttrTimeout, to.Timeout)
		// The mask of IPv4, the length of IPv6.
		if ones := to.Netmask.Bits(); s.Key.Addr.Addr().Is6() {
			ae.Uint32(svcAttrNetmask, uint32(ones))
		} else {
			ae.Bytes(svcAttrNetmask, net.CIDRMask(ones, 32))
		}
		ae.String(svcAttrEngine, engine)
		return nil
	})
	data, err := ae.Encode()
	if err != nil {
		return fmt.Errorf("encoding service %s: %w", s.Key, err)
	}
	_, err = k.pe.c.Execute(genetlink.Message{
		Header: genetlink.Header{Command: cmdNewService, Version: genlVersion}, Data: data,
	}, k.pe.family.ID, netlink.Request|netlink.Acknowledge)
	return err
}
