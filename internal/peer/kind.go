package peer

import "context"

const (
	// DefaultWindow is the window of a kind that names none.
	DefaultWindow = 1 << 20
	// minWindow has room for the longest message, and maxWindow is what a peer may claim.
	minWindow = 2 * MaxPayload
	maxWindow = 16 << 20
	// composeLimit is the longest payload of Compose: it is asked once there is
	// room for that.
	composeLimit = 64 << 10
	// messageCost is what a message costs in its window besides its payload, so
	// that empty ones are bounded too.
	messageCost = 64
)

// ComposeLimit bounds the payload that Compose may return, in octets.
const ComposeLimit = composeLimit

// Kind is a kind of message that a room understands. Sessions of one director do
// not overlap: Close of the old one comes before Open of the new one.
type Kind struct {
	// Name is 1 to 32 octets; it is what both ends agree on.
	Name string
	// Window bounds the octets that may be on their way to Receive, 512 KiB to 16
	// MiB; zero means DefaultWindow.
	Window int
	// Open is called when a session begins whose other end knows the kind, and
	// Close when it has ended, after the last Receive. They must not block; nil is
	// nobody.
	Open, Close func(*Session)
	// Receive takes a message, which is its own from then on. Those of one session
	// and kind come one after the other, in order. It may block as long as it
	// likes, up to ctx: only senders of its kind wait. An error ends the session:
	// it is for what a peer of good will does not send. Nil ignores all.
	Receive func(ctx context.Context, s *Session, payload []byte) error
	// Compose, if not nil, is asked for what there is to say: when the session
	// begins, after each Channel.Wake, and again at once while more is true. It
	// must not block. A payload of more than ComposeLimit octets is a broken
	// invariant; nil says nothing.
	Compose func(s *Session) (payload []byte, more bool)
}

func (k Kind) window() int {
	if k.Window == 0 {
		return DefaultWindow
	}
	return min(max(k.Window, minWindow), maxWindow)
}
