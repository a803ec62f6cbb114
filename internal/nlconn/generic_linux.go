package nlconn

import (
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// DialGeneric connects to generic netlink and finds one of its families. The error is
// os.ErrNotExist where the kernel has none of that name.
func DialGeneric(name string) (*Generic, error) {
	c, err := Dial(genetlink.Protocol, nil)
	if err != nil {
		return nil, err
	}
	family, err := genetlink.NewConn(c.Conn).GetFamily(name)
	if err != nil {
		_ = c.Close() // the first error is the one that says why
		return nil, err
	}
	return &Generic{c: c, Family: family}, nil
}

// Generic is a connection to one family of generic netlink.
type Generic struct {
	c *Conn
	// Family is what the kernel said of it.
	Family genetlink.Family
}

// Close closes the connection.
func (g *Generic) Close() error { return g.c.Close() }

// Gone reports whether the family that the connection was made for is no more: its
// module was unloaded, and if it was loaded again the family has another number. The
// kernel answers a question of a dead family with ENOENT, as it does one about a thing
// that is not there.
func (g *Generic) Gone() (bool, error) {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	now, err := genetlink.NewConn(g.c.Conn).GetFamily(g.Family.Name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("asking for the family %s of generic netlink again: %w", g.Family.Name, err)
	}
	return now.ID != g.Family.ID, nil
}

// Conn is the connection below.
func (g *Generic) Conn() *Conn { return g.c }

// Execute is Conn.Execute.
func (g *Generic) Execute(m genetlink.Message, flags netlink.HeaderFlags) ([]genetlink.Message, error) {
	return g.ask(m, flags, g.c.Execute)
}

// Dump is Conn.Dump.
func (g *Generic) Dump(m genetlink.Message) ([]genetlink.Message, error) {
	return g.ask(m, 0, g.c.Dump)
}

func (g *Generic) ask(m genetlink.Message, flags netlink.HeaderFlags, ask func(netlink.Message) ([]netlink.Message, error)) ([]genetlink.Message, error) {
	data, err := m.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encoding a question of %s: %w", g.Family.Name, err)
	}
	answers, err := ask(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(g.Family.ID), Flags: netlink.Request | flags}, Data: data})
	out := make([]genetlink.Message, 0, len(answers))
	for _, a := range answers {
		var m genetlink.Message
		if err := m.UnmarshalBinary(a.Data); err != nil {
			return nil, fmt.Errorf("decoding an answer of %s: %w", g.Family.Name, err)
		}
		out = append(out, m)
	}
	return out, err
}
