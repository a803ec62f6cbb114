package peer

import (
	"crypto/ed25519"
	"crypto/tls"
	"net"
)

// AppendFrame appends any frame.
func AppendFrame(b []byte, typ byte, kind string, payload []byte) []byte {
	return appendFrame(b, frame{frameType(typ), kind, payload})
}

// TLSConfig is that of a director with a key, which believes everybody.
func TLSConfig(key ed25519.PrivateKey) *tls.Config {
	own, err := certificate(key)
	if err != nil {
		panic(err)
	}
	return tlsConfig(own, func(Pin) error { return nil })
}

// NewLively is a connection that watches over the other end.
func NewLively(conn net.Conn) net.Conn { return &lively{Conn: conn} }

// FormerFarewell has the end of Run say what it did before there was Restarting.
func (c *Channel) FormerFarewell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.farewell = " stops"
}
