//go:build !linux

package healthcheck

import "context"

func connect(ctx context.Context, t Target) error {
	conn, err := t.dial(ctx, "tcp")
	if err != nil {
		return err
	}
	conn.Close()
	return nil
}
