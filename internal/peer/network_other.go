//go:build !linux

package peer

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// NewNetwork is a network without anybody: a director runs on Linux.
func NewNetwork() Network { return network{} }

type network struct{}

var errNotLinux = errors.New("the channel between directors is for Linux")

func (network) Listen(context.Context, netip.AddrPort) (net.Listener, error) {
	return nil, errNotLinux
}

func (network) Dial(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
	return nil, errNotLinux
}
