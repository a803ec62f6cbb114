package bfd

import (
	"net/netip"
	"time"
)

// ControlPort is where sessions over a single hop are heard (RFC 5881 section 4).
const ControlPort = 3784

const (
	// firstPort and lastPort bound the source port (RFC 5881 section 4).
	firstPort, lastPort = 49152, 65535
	// ttl is what every packet carries (RFC 5881 section 5, RFC 5082).
	ttl = 255
)

// MaxBatch is how many packets one Receive returns at most. Fewer mean that
// nothing more was queued.
const MaxBatch = 64

// Datagram is a packet that came to the control port.
type Datagram struct {
	Interface           string
	Source, Destination netip.Addr
	// TTL is the hop limit it arrived with.
	TTL uint8
	// At is when the kernel received it.
	At time.Time
	// Payload is valid until the next Receive.
	Payload []byte
}

// Network is an interface and a family in which sessions are heard.
type Network struct {
	Interface string
	// IPv6 tells the families apart.
	IPv6 bool
}

// network is where a session is heard.
func (k Key) network() Network { return Network{k.Interface, k.Peer.Is6()} }

// Port is the network as the loop sees it. Only Wake may be called from other
// goroutines than the loop's.
type Port interface {
	// Listen starts hearing a network.
	Listen(Network) error
	// Current says whether what Listen opened is still on the interface of that
	// name: one that was made again is another.
	Current(Network) bool
	// Unlisten ends Listen. A network that is not open is fine.
	Unlisten(Network)
	// Open makes a session ready for Send: it gets a source port of its own.
	Open(Key) error
	// Close ends Open. A session that is not open is fine.
	Close(Key)
	// Send transmits a packet of a session. It never blocks.
	Send(Key, []byte) error
	// Receive appends what was heard, in order of arrival, and waits for it
	// until the time given, or for ever when that is zero. It returns early
	// and empty after a Wake.
	Receive(buf []Datagram, until time.Time) ([]Datagram, error)
	// Wake makes the present or the next Receive return.
	Wake()
	// Shutdown frees everything. The Port cannot be used again.
	Shutdown() error
}
