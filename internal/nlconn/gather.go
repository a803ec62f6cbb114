package nlconn

import (
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/mdlayher/netlink"
)

// From include/uapi/linux/netlink.h.
const (
	headerLen = 16
	alignTo   = 4
)

// gather reads datagrams up to the message that ends a list, and reports whether the
// list was interrupted: any of its messages may say so, that last one too. A
// datagram that is not whole is as good as an interruption.
func gather(sequence uint32, receive func() (datagram []byte, whole bool, err error)) (messages []netlink.Message, interrupted bool, err error) {
	for {
		datagram, whole, err := receive()
		if err != nil {
			return nil, false, err
		}
		interrupted = interrupted || !whole
		for len(datagram) >= headerLen {
			length := int(binary.NativeEndian.Uint32(datagram))
			next := (length + alignTo - 1) &^ (alignTo - 1)
			if length < headerLen || next > len(datagram) {
				if !whole {
					break
				}
				return nil, false, errors.New("the kernel's answer is cut short")
			}
			var part netlink.Message
			if err := part.UnmarshalBinary(datagram[:next]); err != nil {
				return nil, false, err
			}
			datagram = datagram[next:]
			if part.Header.Sequence != sequence {
				continue // what is left of a question that was given up
			}
			interrupted = interrupted || part.Header.Flags&netlink.DumpInterrupted != 0
			if part.Header.Type == netlink.Error || part.Header.Type == netlink.Done {
				return messages, interrupted, answer(part)
			}
			messages = append(messages, part)
		}
	}
}

// answer is the error that the last message of a list has in it.
func answer(last netlink.Message) error {
	if len(last.Data) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(last.Data)); code < 0 {
		return &netlink.OpError{Op: "receive", Err: syscall.Errno(-code), Sequence: last.Header.Sequence}
	}
	return nil
}
