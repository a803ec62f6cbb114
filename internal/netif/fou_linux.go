package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/internal/nlconn"
)

// From include/uapi/linux/fou.h.
const (
	fouName    = "fou"
	fouVersion = 1
	fouAdd     = 1 // FOU_CMD_ADD
	fouDelete  = 2
	fouGet     = 3
	fouPort    = 1 // FOU_ATTR_PORT
	fouFamily  = 2
	fouType    = 4
	fouGUE     = 2 // FOU_ENCAP_GUE
)

// GUEPort is a UDP port on which packets of generic UDP encapsulation are unwrapped.
type GUEPort struct {
	Port uint16 `json:"port"`
	IPv6 bool   `json:"ipv6"`
}

// String is "UDP port 6080", with the family if that is IPv6.
func (p GUEPort) String() string {
	if p.IPv6 {
		return fmt.Sprintf("UDP port %d of IPv6", p.Port)
	}
	return fmt.Sprintf("UDP port %d", p.Port)
}

// ErrNoGUE says that the kernel does not unwrap GUE, at least not now.
var ErrNoGUE = errors.New("the kernel has no GUE: modprobe fou (and fou6)")

// GUEPorts are the ports where GUE is unwrapped; none where the kernel does not know it.
func (l *Links) GUEPorts() (out []GUEPort, err error) {
	answers, err := fou(func(g *nlconn.Generic) ([]genetlink.Message, error) {
		return g.Dump(genetlink.Message{Header: genetlink.Header{Command: fouGet, Version: fouVersion}})
	})
	if errors.Is(err, ErrNoGUE) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing ports of GUE: %w", err)
	}
	for _, m := range answers {
		ad, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return nil, fmt.Errorf("listing ports of GUE: %w", err)
		}
		var p GUEPort
		gue := false
		for ad.Next() {
			switch ad.Type() {
			case fouPort:
				if b := ad.Bytes(); len(b) == 2 {
					p.Port = binary.BigEndian.Uint16(b)
				}
			case fouFamily:
				p.IPv6 = ad.Uint8() == unix.AF_INET6
			case fouType:
				gue = ad.Uint8() == fouGUE
			}
		}
		if err := ad.Err(); err != nil {
			return nil, fmt.Errorf("listing ports of GUE: %w", err)
		}
		if gue {
			out = append(out, p)
		}
	}
	return out, nil
}

// OpenGUE has packets of GUE that come to a port unwrapped. The error is ErrNoGUE where
// the module is not loaded.
func (l *Links) OpenGUE(p GUEPort) error {
	if err := changePort(fouAdd, p); err != nil {
		return fmt.Errorf("opening %s for GUE: %w", p, explain(err, "CAP_NET_ADMIN"))
	}
	return nil
}

// CloseGUE ends that. A port that is not open is no error.
func (l *Links) CloseGUE(p GUEPort) error {
	err := changePort(fouDelete, p)
	if err != nil && !errors.Is(err, ErrNoGUE) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("closing %s for GUE: %w", p, err)
	}
	return nil
}

// changePort opens or closes a port.
func changePort(command uint8, p GUEPort) error {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(fouPort, binary.BigEndian.AppendUint16(nil, p.Port))
	ae.Uint8(fouFamily, map[bool]uint8{false: unix.AF_INET, true: unix.AF_INET6}[p.IPv6])
	ae.Uint8(fouType, fouGUE)
	data, err := ae.Encode()
	if err != nil {
		return err
	}
	_, err = fou(func(g *nlconn.Generic) ([]genetlink.Message, error) {
		m := genetlink.Message{Header: genetlink.Header{Command: command, Version: fouVersion}, Data: data}
		return g.Execute(m, netlink.Acknowledge)
	})
	return err
}

// fou connects to the module.
func fou(ask func(*nlconn.Generic) ([]genetlink.Message, error)) ([]genetlink.Message, error) {
	g, err := nlconn.DialGeneric(fouName)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoGUE
	}
	if err != nil {
		return nil, err
	}
	defer g.Close()
	return ask(g)
}
