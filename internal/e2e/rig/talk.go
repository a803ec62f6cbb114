package rig

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/lab"
)

// protocols are what the servers speak, with their socket types.
var protocols = map[string]int{"tcp": unix.SOCK_STREAM, "udp": unix.SOCK_DGRAM, "sctp": unix.SOCK_STREAM}

// socket makes a socket of a protocol, in the present namespace.
func socket(protocol string, a netip.Addr) (fd int, err error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	number := map[string]int{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}[protocol]
	return unix.Socket(family, protocols[protocol]|unix.SOCK_CLOEXEC, number)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// Tell has a host answer on an address with its name, who asked and what was asked:
// "dr 10.0.0.9>10.0.0.100:7000".
func (r *Rig) Tell(h *lab.Host, protocol string, at netip.AddrPort) {
	r.Helper()
	var file *os.File
	r.Check(h.Do(func() error {
		fd, err := socket(protocol, at.Addr())
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), protocol)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, sockaddr(at)); err != nil {
			return fmt.Errorf("binding %s to %s: %w", protocol, at, err)
		}
		if protocol == "udp" {
			return nil
		}
		return unix.Listen(fd, 16)
	}))
	defer file.Close()
	answer := func(from net.Addr) []byte {
		asker := netip.MustParseAddrPort(from.String()).Addr().Unmap()
		return fmt.Appendf(nil, "%s %s>%s", h.Name, asker, at)
	}
	if protocol == "udp" {
		conn, err := net.FilePacketConn(file)
		r.Check(err)
		r.Cleanup(func() { conn.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := conn.ReadFrom(b)
				if err != nil {
					return
				}
				conn.WriteTo(answer(from), from)
			}
		}()
		return
	}
	l, err := net.FileListener(file)
	r.Check(err)
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write(answer(c.RemoteAddr()))
			c.Close()
		}
	}()
}

// Ask is what a host is told at an address, with a firewall mark if that is not zero; or
// why it is told nothing.
func (r *Rig) Ask(h *lab.Host, protocol string, to netip.AddrPort, mark int) string {
	var conn net.Conn
	err := h.Do(func() error {
		fd, err := socket(protocol, to.Addr())
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(fd), protocol)
		defer file.Close()
		if mark != 0 {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark); err != nil {
				return err
			}
		}
		// Which bounds connect too; a first packet that is lost is sent again after a second.
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 4}); err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(to)); err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		conn, err = net.FileConn(file)
		return err
	})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(4 * time.Second))
	if protocol == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return err.Error()
		}
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil && err != io.EOF {
		return err.Error()
	}
	return string(b[:n])
}

// Talk has a host answer on an address to all that is said on a connection, with its
// name, who asks and what was asked: "far 10.0.0.150>10.9.0.21:7600".
func (r *Rig) Talk(h *lab.Host, protocol string, at netip.AddrPort) {
	r.Helper()
	answer := func(from net.Addr) []byte {
		asker := netip.MustParseAddrPort(from.String()).Addr().Unmap()
		return fmt.Appendf(nil, "%s %s>%s", h.Name, asker, at)
	}
	if protocol == "udp" {
		r.Tell(h, protocol, at)
		return
	}
	var l net.Listener
	r.Check(h.Do(func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	}))
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 100)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
					if _, err := c.Write(answer(c.RemoteAddr())); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// Talking is a connection of a client over which there is talk.
type Talking struct {
	net.Conn
	// Protocol is tcp or udp.
	Protocol string
}

// Open connects from a host, or fails the test.
func (r *Rig) Open(h *lab.Host, protocol string, to netip.AddrPort) *Talking {
	r.Helper()
	var conn net.Conn
	r.Check(h.Do(func() (err error) {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).Dial(protocol, to.String())
		return err
	}))
	r.Cleanup(func() { conn.Close() })
	return &Talking{conn, protocol}
}

// Says asks and returns the answer, or why there is none. A datagram may be lost.
func (c *Talking) Says(limit time.Duration) string {
	tries := map[string]int{"tcp": 1, "udp": 3}[c.Protocol]
	var err error
	for range tries {
		c.SetDeadline(time.Now().Add(limit / time.Duration(tries)))
		if _, err = c.Write([]byte("?")); err != nil {
			continue
		}
		b := make([]byte, 100)
		var n int
		if n, err = c.Read(b); err == nil {
			return string(b[:n])
		}
	}
	return err.Error()
}

// Answered reports whether what Says returned is an answer; the words of an error have an
// arrow between addresses.
func Answered(text string) bool {
	return strings.Contains(text, ">") && !strings.Contains(text, "->")
}
