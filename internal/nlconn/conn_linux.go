package nlconn

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

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

// answerTimeout is how long an answer is waited for once the question has been sent.
// The kernel does what it is asked within the system call that sends, which takes as long
// as it takes; after that the answer is there. One that is not was never given.
const answerTimeout = 5 * time.Second

// Execute asks for one thing, or has one done. A list is Dump's. The error is
// os.ErrDeadlineExceeded when the kernel does not answer; whether it has done what it was
// asked for is then not known.
func (c *Conn) Execute(m netlink.Message) ([]netlink.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent, err := c.Send(m)
	if err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	answers, err := c.answers(sent.Header.Sequence)
	return answers, errors.Join(err, c.SetReadDeadline(time.Time{}))
}

// answers receives what answers a question, and passes over what is left of one that was
// given up.
func (c *Conn) answers(sequence uint32) ([]netlink.Message, error) {
	for {
		answers, err := c.Receive()
		var told *netlink.OpError
		if errors.As(err, &told) && told.Sequence != 0 && told.Sequence != sequence {
			continue
		}
		if err != nil {
			return nil, err
		}
		ours := slices.DeleteFunc(answers, func(m netlink.Message) bool { return m.Header.Sequence != sequence })
		if len(ours) > 0 {
			return ours, nil
		}
	}
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

// receive reads one datagram, which is the caller's. It looks at it first: one that the
// buffer had no room for would be lost, and with it perhaps the message that ends the
// list.
func (c *Conn) receive() (datagram []byte, err error) {
	n, err := c.read(unix.MSG_PEEK | unix.MSG_TRUNC) // the length is the datagram's
	if err == nil {
		if n > len(c.in) {
			c.in = make([]byte, 2*n)
		}
		n, err = c.read(0)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's list: %w", err)
	}
	return slices.Clone(c.in[:n]), nil
}

func (c *Conn) read(flags int) (n int, err error) {
	var failed error
	err = c.raw.Read(func(fd uintptr) bool {
		for {
			n, _, failed = unix.Recvfrom(int(fd), c.in, flags)
			if !errors.Is(failed, unix.EINTR) {
				return !errors.Is(failed, unix.EAGAIN)
			}
		}
	})
	if err == nil {
		err = os.NewSyscallError("recvfrom", failed)
	}
	return n, err
}
