package healthcheck

import (
	"context"
	"net"
)

// dialer connects without keep-alive probes: no connection lives long enough.
var dialer = net.Dialer{KeepAlive: -1}

// probeTCP connects and closes. The close is an orderly one: a reset would fill
// the servers' logs.
func probeTCP(ctx context.Context, t Target) (string, error) {
	conn, err := dialer.DialContext(ctx, "tcp", t.Server.String())
	if err != nil {
		return "", dialError(err, t)
	}
	conn.Close()
	return "connected", nil
}
