package ipvs

import "fmt"

// TunnelType is how TUN wraps packets. The numbers are the kernel's.
type TunnelType uint8

// The types of tunnel. IPIP is the default.
const (
	// IPIP is one IP packet in another, of either family.
	IPIP TunnelType = iota
	// GUE is generic UDP encapsulation, to a port.
	GUE
	// GRE is generic routing encapsulation.
	GRE
)

// String returns "ipip", "gue" or "gre".
func (t TunnelType) String() string {
	switch t {
	case IPIP:
		return "ipip"
	case GUE:
		return "gue"
	case GRE:
		return "gre"
	default:
		return fmt.Sprintf("type %d", uint8(t))
	}
}

// Checksum is what a tunnel's own header has of it. The numbers are the kernel's.
type Checksum uint8

// The checksums. NoChecksum is the default.
const (
	NoChecksum Checksum = iota
	// PlainChecksum is over the whole packet. GUE and GRE have it.
	PlainChecksum
	// RemoteChecksum is one that the other end works out into the inner packet's. GUE
	// has it.
	RemoteChecksum
)

// String returns "none", "plain" or "remote".
func (c Checksum) String() string {
	switch c {
	case NoChecksum:
		return "none"
	case PlainChecksum:
		return "plain"
	case RemoteChecksum:
		return "remote"
	default:
		return fmt.Sprintf("flags %d", uint8(c))
	}
}

// Tunnel is how packets to a destination under TUN are wrapped. The zero value is
// IPIP.
type Tunnel struct {
	Type TunnelType
	// Port is the UDP port of GUE, 1 to 65535, and zero for the others.
	Port     uint16
	Checksum Checksum
}

// String returns the tunnel in words: "ipip", "gre checksum plain", "gue port 6080".
func (t Tunnel) String() string {
	s := t.Type.String()
	if t.Port != 0 {
		s += fmt.Sprintf(" port %d", t.Port)
	}
	if t.Checksum != NoChecksum {
		s += fmt.Sprintf(" checksum %s", t.Checksum)
	}
	return s
}

// Problem returns why there is no such tunnel, or "".
func (t Tunnel) Problem() string {
	switch {
	case t.Type > GRE:
		return fmt.Sprintf("%s is none of ipip, gue, gre", t.Type)
	case t.Checksum > RemoteChecksum:
		return fmt.Sprintf("checksum %s is none of none, plain, remote", t.Checksum)
	case t.Type == GUE && t.Port == 0:
		return "gue needs a port"
	case t.Type != GUE && t.Port != 0:
		return fmt.Sprintf("%s has no port", t.Type)
	case t.Type == IPIP && t.Checksum != NoChecksum:
		return "ipip has no checksum"
	case t.Type == GRE && t.Checksum == RemoteChecksum:
		return "gre has no remote checksum"
	default:
		return ""
	}
}
