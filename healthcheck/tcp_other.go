//go:build !linux

package healthcheck

import (
	"context"
	"net/netip"
)

func connect(ctx context.Context, server netip.AddrPort) error {
	conn, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return err
	}
	conn.Close()
	return nil
}
