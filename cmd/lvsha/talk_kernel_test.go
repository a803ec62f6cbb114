//go:build ipvskernel

package main_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/lab"
)

// talk has a host answer on an address to all that is said on a connection, with its
// name, who asks and what was asked: "far 10.0.0.150>10.9.0.21:7600".
func (r *rig) talk(h *lab.Host, protocol string, at netip.AddrPort) {
	r.Helper()
	answer := func(from net.Addr) []byte {
		asker := netip.MustParseAddrPort(from.String()).Addr().Unmap()
		return fmt.Appendf(nil, "%s %s>%s", h.Name, asker, at)
	}
	if protocol == "udp" {
		r.tell(h, protocol, at)
		return
	}
	var l net.Listener
	r.check(h.Do(func() (err error) {
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

// talking is a connection of a client over which there is talk.
type talking struct {
	net.Conn
	protocol string
}

// open connects from a host, or fails the test.
func (r *rig) open(h *lab.Host, protocol string, to netip.AddrPort) *talking {
	r.Helper()
	var conn net.Conn
	r.check(h.Do(func() (err error) {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).Dial(protocol, to.String())
		return err
	}))
	r.Cleanup(func() { conn.Close() })
	return &talking{conn, protocol}
}

// says asks and returns the answer, or why there is none. A datagram may be lost.
func (c *talking) says(limit time.Duration) string {
	tries := map[string]int{"tcp": 1, "udp": 3}[c.protocol]
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

// netip100 is a port of the virtual address.
func netip100(port uint16) netip.AddrPort { return netip.AddrPortFrom(vip, port) }

// multicastBy has a socket's multicast leave by an interface.
func multicastBy(raw syscall.RawConn, index int) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)})
	}); e != nil {
		return e
	}
	return err
}

// answered says whether what says returned is an answer; the words of an error have an
// arrow between addresses.
func answered(text string) bool {
	return strings.Contains(text, ">") && !strings.Contains(text, "->")
}
