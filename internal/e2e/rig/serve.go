package rig

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"lvsha/internal/lab"
)

// Listen opens a TCP port on a host and closes every connection at once.
func (r *Rig) Listen(h *lab.Host, port int) net.Listener {
	r.Helper()
	return r.Accept(h, port, func(net.Conn) {})
}

// Accept serves a TCP port on a host; each connection is closed when serve
// returns.
func (r *Rig) Accept(h *lab.Host, port int, serve func(net.Conn)) net.Listener {
	r.Helper()
	var l net.Listener
	r.Check(h.Do(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
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
				serve(c)
			}()
		}
	}()
	return l
}

// Servers gives the client's host the addresses of the servers.
func (r *Rig) Servers(addresses ...string) {
	r.Helper()
	for _, a := range addresses {
		_, err := r.Client.Run("ip", "addr", "add", a+"/24", "dev", "eth0")
		r.Check(err)
	}
}

// ServeName answers with a name on TCP and UDP port 7000 of every address.
func (r *Rig) ServeName(h *lab.Host, name string) {
	r.Helper()
	r.Accept(h, 7000, func(c net.Conn) { io.WriteString(c, name) })
	// One socket for each address, so that an answer leaves from the address asked.
	out, err := h.Run("ip", "-br", "-4", "addr")
	r.Check(err)
	for field := range strings.FieldsSeq(out) {
		prefix, err := netip.ParsePrefix(field)
		if err != nil {
			continue
		}
		var u net.PacketConn
		r.Check(h.Do(func() (err error) {
			u, err = net.ListenPacket("udp4", netip.AddrPortFrom(prefix.Addr(), 7000).String())
			return err
		}))
		r.Cleanup(func() { u.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				u.WriteTo([]byte(name), from)
			}
		}()
	}
}

// Echo answers on port 7000 with what it gets.
func (r *Rig) Echo(h *lab.Host) {
	r.Helper()
	r.Accept(h, 7000, func(c net.Conn) { io.Copy(c, c) })
}
