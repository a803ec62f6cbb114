package nlconn

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn is a connection to one family of netlink. Its own methods may be called from
// any goroutine; Send and Receive are for those who listen to groups, on a
// connection that does nothing else.
type Conn struct {
	*netlink.Conn
	raw syscall.RawConn

	mu sync.Mutex // guards the buffer, and has one question and its answer go at a time
	in []byte
}

// room is what a part of a list may take, in octets. The kernel makes parts as large
// as the receiver's buffer, up to 32 KiB: fewer parts are interrupted less often.
// Only what it tells of one object may be larger, and then the buffer grows.
const room = 64 << 10

// Dial connects to a family such as unix.NETLINK_ROUTE, in the network namespace of
// the calling thread. The configuration may be nil.
func Dial(family int, config *netlink.Config) (*Conn, error) {
	c, err := netlink.Dial(family, config)
	if err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Conn{Conn: c, raw: raw, in: make([]byte, room)}, nil
}

// Execute asks for one thing, or has one done. A list is Dump's.
func (c *Conn) Execute(m netlink.Message) ([]netlink.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Conn.Execute(m)
}

// Dump asks for a list: the message names what, and has its flags set here. Where the
// list changed each time while it was told, the error is ErrInterrupted and the
// messages are those of the last time: what is in them was there, but what is not
// may be there all the same.
func (c *Conn) Dump(m netlink.Message) ([]netlink.Message, error) { return c.dump(m, tries) }

// Glance is Dump that does not insist: for those who ask for each thing alone that
// they miss in the list.
func (c *Conn) Glance(m netlink.Message) ([]netlink.Message, error) { return c.dump(m, few) }

func (c *Conn) dump(m netlink.Message, tries int) (messages []netlink.Message, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.Header.Flags |= netlink.Request | netlink.Dump
	err = again(tries, func() (interrupted bool, err error) {
		messages, interrupted, err = c.list(m)
		return interrupted, err
	})
	if err != nil && !errors.Is(err, ErrInterrupted) {
		return nil, err
	}
	return messages, err
}

// list is one try of Dump. The library would not tell of a list that was interrupted:
// the flag may be on the message that ends it, which it keeps to itself.
func (c *Conn) list(m netlink.Message) (messages []netlink.Message, interrupted bool, err error) {
	sent, err := c.Send(m)
	if err != nil {
		return nil, false, err
	}
	return gather(sent.Header.Sequence, c.receive)
}

// receive reads one datagram, which is the caller's. One that the buffer has no room
// for is not whole, and the next one has room.
func (c *Conn) receive() (datagram []byte, whole bool, err error) {
	var n int
	var failed error
	err = c.raw.Read(func(fd uintptr) bool {
		for {
			// With MSG_TRUNC the length is the datagram's, not the buffer's.
			n, _, failed = unix.Recvfrom(int(fd), c.in, unix.MSG_TRUNC)
			if !errors.Is(failed, unix.EINTR) {
				return !errors.Is(failed, unix.EAGAIN)
			}
		}
	})
	if err == nil {
		err = os.NewSyscallError("recvfrom", failed)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the kernel's list: %w", err)
	}
	if n > len(c.in) {
		cut := c.in
		c.in = make([]byte, 2*n)
		return cut, false, nil
	}
	return slices.Clone(c.in[:n]), true, nil
}
