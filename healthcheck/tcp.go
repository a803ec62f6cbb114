package healthcheck

import "context"

// probeTCP connects and closes. The close is an orderly one: a reset would fill
// the servers' logs.
func probeTCP(ctx context.Context, t Target) (string, error) {
	if err := connect(ctx, t.Server); err != nil {
		return "", dialError(err, t)
	}
	return "connected", nil
}
