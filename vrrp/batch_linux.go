package vrrp

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many packets one system call reads at most.
const batchSize = 64

// message is struct mmsghdr of recvmmsg(2), which x/sys does not have.
type message struct {
	header unix.Msghdr
	length uint32
}

// batch is what recvmmsg needs beside the packets' own buffers. A backup of many
// virtual routers gets their advertisements together.
type batch struct {
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	senders  [batchSize]unix.RawSockaddrInet6
	controls [batchSize][256]byte
}

// read reads packets into buffers until there are no more of either, and returns
// how many.
func (b *batch) read(fd int, buffers [][]byte) int {
	n := min(len(buffers), batchSize)
	for i := range n {
		b.vectors[i].Base = &buffers[i][0]
		b.vectors[i].SetLen(len(buffers[i]))
		h := &b.messages[i].header
		*h = unix.Msghdr{
			Name: (*byte)(unsafe.Pointer(&b.senders[i])), Namelen: uint32(unsafe.Sizeof(b.senders[i])),
			Iov: &b.vectors[i], Control: &b.controls[i][0],
		}
		h.SetIovlen(1)
		h.SetControllen(len(b.controls[i]))
	}
	if n == 0 {
		return 0
	}
	for {
		got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			return int(got)
		case !errors.Is(errno, unix.EINTR):
			// Nothing there, or an error of the interface, such as ENETDOWN, which
			// is what the link watcher tells about.
			return 0
		}
	}
}

// truncated says whether a packet did not fit its buffer.
func (b *batch) truncated(i int) bool { return b.messages[i].header.Flags&unix.MSG_TRUNC != 0 }

// control is what came beside a packet.
func (b *batch) control(i int) []byte {
	return b.controls[i][:b.messages[i].header.Controllen]
}

// sender is an IPv6 packet's source; other sockets do not tell it, or in the
// packet itself.
func (b *batch) sender(i int) (netip.Addr, bool) {
	if b.messages[i].header.Namelen < unix.SizeofSockaddrInet6 || b.senders[i].Family != unix.AF_INET6 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16(b.senders[i].Addr), true
}
