package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/raw" //lint:ignore SA1019 mdlayher/packet, its successor, is not among the chosen libraries
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// What does not fit into the queue of an interface may be stuck there for ever, and
// with it the worker, which has addresses to remove.
const (
	// sendMost is how long a frame may wait for room, twice: a process that was not
	// run meanwhile has not waited.
	sendMost = 10 * time.Millisecond
	// callMost is how long the frames of one call may wait together: 255 addresses
	// have 510, which take 36 ms at 10 Mbit/s.
	callMost = 100 * time.Millisecond
	// jamPause is how long no frame is tried after that was not enough.
	jamPause = 100 * time.Millisecond
)

// errJammed says that frames do not leave an interface.
var errJammed = errors.New("its queue is full, and nothing leaves it")

// sender sends frames on one interface.
type sender struct {
	mu sync.Mutex // guards what follows, and is held while frames wait for room
	// index is the interface's that the sockets are of.
	index int
	// conns are open for the protocols that were announced.
	conns map[ethernet.EtherType]*raw.Conn
	// jammed is until when nothing is tried.
	jammed time.Time
}

// announce sends one round for each address.
func (s *sender) announce(link vrrp.Link, addrs []netip.Addr) error {
	if link.MAC == [6]byte{} {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.jammed) {
		return errJammed
	}
	left := callMost
	for _, addr := range addrs {
		frames, err := announcement(link.MAC[:], addr)
		if err != nil {
			return fmt.Errorf("encoding the announcement of %s: %w", addr, err)
		}
		for _, frame := range frames {
			waited, err := s.send(link, frame, left)
			left -= waited
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				// The socket stays: another one would only fill the queue further.
				s.jammed = time.Now().Add(jamPause)
				return fmt.Errorf("sending the announcement of %s: %w", addr, errJammed)
			case err != nil:
				if !errors.Is(err, unix.ENOBUFS) { // the queue is full, or has no carrier
					_ = s.reset() // the error that counts is the other one
				}
				return fmt.Errorf("sending the announcement of %s: %w", addr, err)
			}
		}
	}
	return nil
}

// prepare opens the socket for a protocol.
func (s *sender) prepare(link vrrp.Link, protocol ethernet.EtherType) error {
	if link.MAC == [6]byte{} {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn(link, protocol)
	return err
}

// send transmits one frame, and returns how long that took. The time that the socket
// takes to open, because the kernel waits for others, is none that the frame waits.
func (s *sender) send(link vrrp.Link, frame *ethernet.Frame, most time.Duration) (waited time.Duration, err error) {
	conn, err := s.conn(link, frame.EtherType)
	if err != nil {
		return 0, err
	}
	b, err := frame.MarshalBinary()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for range 2 {
		if err = conn.SetWriteDeadline(time.Now().Add(min(most, sendMost))); err != nil {
			break
		}
		if _, err = conn.WriteTo(b, &raw.Addr{HardwareAddr: frame.Destination}); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return time.Since(began), err
}

// conn is the socket for a protocol, opened if it is not, or is of an interface that
// had the name before.
func (s *sender) conn(link vrrp.Link, protocol ethernet.EtherType) (*raw.Conn, error) {
	if s.index != link.Index {
		_ = s.reset() // its interface is gone
		s.index = link.Index
	}
	conn := s.conns[protocol]
	if conn == nil {
		var err error
		if conn, err = openSender(link, protocol); err != nil {
			return nil, err
		}
		if s.conns == nil {
			s.conns = make(map[ethernet.EtherType]*raw.Conn)
		}
		s.conns[protocol] = conn
	}
	return conn, nil
}

// openSender opens a socket that only sends.
func openSender(link vrrp.Link, protocol ethernet.EtherType) (*raw.Conn, error) {
	conn, err := raw.ListenPacket(&net.Interface{Index: link.Index, Name: link.Name}, uint16(protocol), nil)
	if err != nil {
		return nil, fmt.Errorf("opening packet socket: %w", err)
	}
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err == nil {
		err = conn.SetBPF(nothing)
	}
	if err != nil {
		return nil, fmt.Errorf("setting packet filter: %w", errors.Join(err, conn.Close()))
	}
	return conn, nil
}

// close closes the sockets; they are opened again when they are needed.
func (s *sender) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reset()
}

func (s *sender) reset() error {
	var errs []error
	for protocol, c := range s.conns {
		errs = append(errs, c.Close())
		delete(s.conns, protocol)
	}
	s.jammed = time.Time{}
	return errors.Join(errs...)
}
