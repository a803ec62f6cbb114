package healthcheck

import "context"

// TCP is satisfied when the connection is established.
type TCP struct{}

var _ Question = TCP{}

// Kind is "tcp".
func (TCP) Kind() string { return "tcp" }

// String is empty.
func (TCP) String() string { return "" }

// Prepare is part of Question.
func (q TCP) Prepare() (ProbeFunc, error) { return q.probe, nil }

// probe connects and closes. The close is an orderly one: a reset would fill
// the servers' logs.
func (TCP) probe(ctx context.Context, t Target) (Answer, error) {
	if err := connect(ctx, t); err != nil {
		return Answer{}, dialError(err, t)
	}
	return Answer{Detail: "connected"}, nil
}
