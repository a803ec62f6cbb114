package cmsg

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Beside is what control messages tell of a packet. What was not asked for is zero.
type Beside struct {
	// Stamp is when the kernel received it, by the wall clock.
	Stamp time.Time
	// Index is that of the interface it arrived on.
	Index int
	// Destination is the address it was sent to.
	Destination netip.Addr
	// Hops is the TTL or hop limit it arrived with; one that is missing is 0, which is
	// not 255.
	Hops uint8
	// Drops counts the packets that did not fit into the socket's buffer before it, and
	// begins anew after 2^32.
	Drops uint32
}

// Parse reads control messages without allocating. What is damaged ends it.
func Parse(oob []byte) (b Beside) {
	const header = unix.SizeofCmsghdr
	for len(oob) >= header {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		if h.Len < header || uint64(h.Len) > uint64(len(oob)) {
			break
		}
		data := oob[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			ts := (*unix.Timespec)(unsafe.Pointer(&data[0]))
			b.Stamp = time.Unix(ts.Unix())
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			b.Drops = binary.NativeEndian.Uint32(data)
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			b.Index, b.Destination = int(info.Ifindex), netip.AddrFrom4(info.Addr)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			b.Index, b.Destination = int(info.Ifindex), netip.AddrFrom16(info.Addr)
		case len(data) >= 4 && ((h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL) ||
			(h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT)):
			if hops := binary.NativeEndian.Uint32(data); hops <= 255 {
				b.Hops = uint8(hops)
			}
		}
		next := unix.CmsgSpace(int(h.Len) - unix.CmsgLen(0))
		if next > len(oob) {
			break
		}
		oob = oob[next:]
	}
	return b
}

// Arrival puts the stamp on the monotonic clock, of which now is the present time. A step
// of the wall clock in between must not move it out of the time in which the packet can
// have come: since the socket was last found empty, at drained. Without a stamp it is now.
func (b Beside) Arrival(now, drained time.Time) time.Time {
	if b.Stamp.IsZero() {
		return now
	}
	age := now.Round(0).Sub(b.Stamp)
	return now.Add(-min(max(age, 0), now.Sub(drained)))
}

// From is the control message that gives a packet its source address and the interface
// it leaves by.
func From(source netip.Addr, index int) []byte {
	if source.Is4() {
		return (&ipv4.ControlMessage{Src: source.AsSlice(), IfIndex: index}).Marshal()
	}
	return (&ipv6.ControlMessage{Src: source.AsSlice(), IfIndex: index}).Marshal()
}
