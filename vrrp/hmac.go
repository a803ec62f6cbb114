package vrrp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"net/netip"
	"slices"
	"time"
)

// The HMAC trailer behind a packet (draft-cassen-vrrp-auth-hmac, as keepalived
// 2.4.2 and later have it): type, key id, two octets of zero, the sequence of
// eight octets, and the first 16 octets of HMAC-SHA256.
const (
	trailerLen = 28
	// trailerMAC is the offset of the HMAC in the trailer.
	trailerMAC = 12
	macLen     = 16
	// trailerSHA256 is the only type there is.
	trailerSHA256 = 1
	// multicastSenders is how many senders to the group are remembered: more
	// than two speak only while they contend.
	multicastSenders = 4
)

// looksSigned says whether octets that follow a packet are a trailer.
func looksSigned(b []byte) bool {
	return len(b) == trailerLen && b[0] == trailerSHA256 && b[1] != 0 && b[2] == 0 && b[3] == 0
}

// authenticator signs one virtual router's advertisements and checks those of
// the others. It outlives a change of keys, because the sequence and the marks
// must. It reads no clock.
type authenticator struct {
	// auth, peers and window are those of the configuration in force.
	auth   *Auth
	peers  []netip.Addr
	window time.Duration
	keys   []hashKey

	// sent is the last sequence that was signed.
	sent uint64
	// marks are the highest sequences heard, by sender.
	marks []mark
	// uses counts up with each mark that is touched.
	uses uint64

	// input and sum are here so that no packet allocates.
	input []byte
	sum   [sha256.Size]byte
}

// hashKey is a key ready for use.
type hashKey struct {
	id   uint8
	hash hash.Hash
}

// mark is the highest sequence of a sender.
type mark struct {
	sender   netip.Addr
	sequence uint64
	used     uint64
}

// configure takes in a configuration, which may be the one in force.
func (a *authenticator) configure(cfg *Config) {
	if a.auth == cfg.Auth {
		return
	}
	a.auth, a.peers, a.window = cfg.Auth, cfg.Unicast, cfg.authWindow()
	a.keys = a.keys[:0]
	for _, k := range cfg.Auth.Keys {
		a.keys = append(a.keys, hashKey{k.ID, hmac.New(sha256.New, []byte(k.Secret))})
	}
	if len(a.peers) > 0 {
		a.marks = slices.DeleteFunc(a.marks, func(m mark) bool { return !slices.Contains(a.peers, m.sender) })
	}
}

// key is the key of an ID, nil if there is none.
func (a *authenticator) key(id uint8) hash.Hash {
	for _, k := range a.keys {
		if k.id == id {
			return k.hash
		}
	}
	return nil
}

// sign fills the trailer at the end of a packet. wall is the time of day.
func (a *authenticator) sign(wall time.Time, src netip.Addr, packet []byte) {
	a.sent = a.next(wall)
	trailer := packet[len(packet)-trailerLen:]
	trailer[0], trailer[1], trailer[2], trailer[3] = trailerSHA256, a.auth.Send, 0, 0
	binary.BigEndian.PutUint64(trailer[4:], a.sent)
	copy(trailer[trailerMAC:], a.digest(a.key(a.auth.Send), src, packet))
}

// next is the sequence of the next packet: the clock, or one more than the last
// where the clock has not moved on. After the clock was set back far it begins
// with the clock again, as receivers have forgotten the future by then; where
// only growth counts it goes on growing.
func (a *authenticator) next(wall time.Time) uint64 {
	clock := sequenceOf(wall)
	if after(clock, a.sent) || a.sent == 0 {
		return clock
	}
	if ahead := int32(uint32(a.sent>>32) - uint32(clock>>32)); !a.auth.Monotonic && time.Duration(ahead)*time.Second > a.window {
		return clock
	}
	return a.sent + 1
}

// verify checks the trailer of a packet that passed all other tests: type,
// freshness, key, HMAC, replay, in this order, so that a flood of old packets
// costs no digest. wall is the time of day when the packet arrived. offset is
// how far the sender's clock is behind it. Only an accepted packet is remembered.
func (a *authenticator) verify(wall time.Time, p *Packet) (reason Reason, offset time.Duration) {
	trailer := p.Payload[len(p.Payload)-trailerLen:]
	if trailer[0] != trailerSHA256 || trailer[2] != 0 || trailer[3] != 0 {
		return AuthMalformed, 0
	}
	sequence := binary.BigEndian.Uint64(trailer[4:])
	offset = between(sequence, sequenceOf(wall))
	if !a.auth.Monotonic && !a.fresh(sequence, wall) {
		return AuthStale, offset
	}
	key := a.key(trailer[1])
	if key == nil {
		return AuthUnknownKey, offset
	}
	if subtle.ConstantTimeCompare(trailer[trailerMAC:], a.digest(key, p.Source, p.Payload)) != 1 {
		return AuthInvalid, offset
	}
	if !a.remember(sequence, wall, p.Source) {
		return AuthReplay, offset
	}
	return Accepted, offset
}

// fresh says whether a sequence is within the window, by whole seconds.
func (a *authenticator) fresh(sequence uint64, wall time.Time) bool {
	age := time.Duration(int32(uint32(wall.Unix())-uint32(sequence>>32))) * time.Second
	return age <= a.window && age >= -a.window
}

// remember raises the sender's mark, unless the sequence has not grown.
func (a *authenticator) remember(sequence uint64, wall time.Time, sender netip.Addr) bool {
	i := slices.IndexFunc(a.marks, func(m mark) bool { return m.sender == sender })
	// A mark outside the window only orders packets that the window refuses. To
	// forget it lets a sender in whose clock was set back.
	if i >= 0 && (a.auth.Monotonic || a.fresh(a.marks[i].sequence, wall)) && !after(sequence, a.marks[i].sequence) {
		return false
	}
	if i < 0 {
		if i = len(a.marks); i < max(multicastSenders, len(a.peers)) {
			a.marks = append(a.marks, mark{})
		} else {
			i = 0
			for j := range a.marks {
				if a.marks[j].used < a.marks[i].used {
					i = j
				}
			}
		}
	}
	a.uses++
	a.marks[i] = mark{sender, sequence, a.uses}
	return true
}

// digest is the HMAC of a packet with its trailer: over a header of family,
// version, VRID, zero and source address, the packet with its checksum read as
// zero, and the trailer with its HMAC read as zero. The destination is not
// covered, so that one signature serves all unicast peers. It is valid until the
// next call.
func (a *authenticator) digest(key hash.Hash, src netip.Addr, packet []byte) []byte {
	var header [20]byte
	header[1], header[2] = packet[0]>>4, packet[1]
	if src.Is4() {
		v4 := src.As4()
		header[0] = byte(IPv4)
		copy(header[4:], v4[:])
	} else {
		v6 := src.As16()
		header[0] = byte(IPv6)
		copy(header[4:], v6[:])
	}
	var zero [macLen]byte
	in := append(a.input[:0], header[:]...)
	in = append(in, packet[:6]...)
	in = append(in, 0, 0)
	in = append(in, packet[8:len(packet)-macLen]...)
	in = append(in, zero[:]...)
	a.input = in
	key.Reset()
	key.Write(in)
	return key.Sum(a.sum[:0])[:macLen]
}

// sequenceOf is a time as a sequence: seconds since 1970 in 32 bits, the fraction in
// 16, and a counter in 16, which is 0.
func sequenceOf(wall time.Time) uint64 {
	return uint64(uint32(wall.Unix()))<<32 | uint64(wall.Nanosecond())<<16/1e9<<16
}

// after compares sequences by serial number arithmetic (RFC 1982), which goes on
// when the seconds wrap in 2106.
func after(a, b uint64) bool { return int64(a-b) > 0 }

// between is the time from one sequence to another.
func between(from, to uint64) time.Duration {
	d := int64(to - from)
	return time.Duration(d>>32)*time.Second + time.Duration(uint64(d)&0xffff_ffff*1e9>>32)
}
