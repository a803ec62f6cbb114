package bfd

import (
	"encoding/binary"
	"fmt"
	"time"
)

const (
	// packetLen is a control packet without authentication (RFC 5880 section
	// 4.1), and authLen the shortest one with it.
	packetLen = 24
	authLen   = 26
	// version is the protocol's.
	version = 1
)

// The flags of a control packet, in its second octet.
const (
	flagPoll       = 1 << 5
	flagFinal      = 1 << 4
	flagControl    = 1 << 3 // control plane independent; not looked at
	flagAuth       = 1 << 2
	flagDemand     = 1 << 1
	flagMultipoint = 1 << 0
)

// Packet is a BFD control packet. Intervals are whole microseconds on the wire.
type Packet struct {
	Diag  Diag
	State State
	// Poll asks for an answer with Final.
	Poll, Final bool
	// Auth says that an authentication section follows, of which nothing is kept.
	Auth bool
	// Demand says that the sender wants no periodic packets while it is Up.
	Demand bool
	// Multiplier is how many packets may be missing, 1 to 255.
	Multiplier uint8
	// MyDiscriminator is the sender's number of the session, YourDiscriminator
	// the receiver's, 0 while it is not known.
	MyDiscriminator, YourDiscriminator uint32
	// MinTx is how often the sender would like to send, MinRx how often it is able to
	// receive; 0 asks for no periodic packets.
	MinTx, MinRx time.Duration
}

// String is the packet in one line.
func (p Packet) String() string {
	flags := ""
	for _, f := range []struct {
		set  bool
		name string
	}{{p.Poll, " P"}, {p.Final, " F"}, {p.Auth, " A"}, {p.Demand, " D"}} {
		if f.set {
			flags += f.name
		}
	}
	return fmt.Sprintf("%s%s, %#x to %#x, tx %s, rx %s, multiplier %d, %s",
		p.State, flags, p.MyDiscriminator, p.YourDiscriminator, p.MinTx, p.MinRx, p.Multiplier, p.Diag)
}

// Append adds the packet as it is on the wire, without authentication.
func (p *Packet) Append(b []byte) []byte {
	flags := byte(p.State) << 6
	for _, f := range []struct {
		set bool
		bit byte
	}{{p.Poll, flagPoll}, {p.Final, flagFinal}, {p.Demand, flagDemand}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, version<<5|byte(p.Diag)&0x1f, flags, p.Multiplier, packetLen)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscriminator)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscriminator)
	b = binary.BigEndian.AppendUint32(b, micros(p.MinTx))
	b = binary.BigEndian.AppendUint32(b, micros(p.MinRx))
	return binary.BigEndian.AppendUint32(b, 0) // no echo
}

// Decode reads a packet and says whether it passes the first checks of RFC 5880
// section 6.8.6, in their order.
func (p *Packet) Decode(b []byte) Reason {
	switch {
	case len(b) < 4:
		return TooShort
	case b[0]>>5 != version:
		return BadVersion
	case b[3] < packetLen, b[1]&flagAuth != 0 && b[3] < authLen, len(b) < int(b[3]):
		return BadLength
	case b[2] == 0:
		return ZeroMultiplier
	case b[1]&flagMultipoint != 0:
		return Multipoint
	case binary.BigEndian.Uint32(b[4:]) == 0:
		return ZeroDiscriminator
	}
	*p = Packet{
		Diag: Diag(b[0] & 0x1f), State: State(b[1] >> 6),
		Poll: b[1]&flagPoll != 0, Final: b[1]&flagFinal != 0, Auth: b[1]&flagAuth != 0, Demand: b[1]&flagDemand != 0,
		Multiplier:      b[2],
		MyDiscriminator: binary.BigEndian.Uint32(b[4:]), YourDiscriminator: binary.BigEndian.Uint32(b[8:]),
		MinTx: interval(b[12:]), MinRx: interval(b[16:]),
	}
	return Accepted
}

// micros is an interval as it is on the wire.
func micros(d time.Duration) uint32 {
	return uint32(min(max(d/time.Microsecond, 0), 1<<32-1))
}

func interval(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

// Reason is why a packet was dropped.
type Reason string

// The reasons; Accepted is none.
const (
	Accepted          Reason = ""
	BadTTL            Reason = "ttl"
	TooShort          Reason = "too_short"
	BadVersion        Reason = "version"
	BadLength         Reason = "length"
	ZeroMultiplier    Reason = "zero_multiplier"
	Multipoint        Reason = "multipoint"
	ZeroDiscriminator Reason = "zero_discriminator"
	// UnknownDiscriminator is a number that we gave to no session.
	UnknownDiscriminator Reason = "unknown_discriminator"
	// NoDiscriminator is a state in which the sender must know our number.
	NoDiscriminator Reason = "no_discriminator"
	// NoSession is a stranger, or one more than there is room for.
	NoSession Reason = "no_session"
	// Authenticated is a packet with authentication, which is not in use.
	Authenticated Reason = "authentication"
	// LocallyDown is a packet for a session that is AdminDown here.
	LocallyDown Reason = "admin_down"
)
