package nlconn

import (
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// DialGeneric connects to generic netlink and finds one of its families. The error is
// os.ErrNotExist where the kernel has none of that name.
func DialGeneric(name string) (*Generic, error) {
	c, err := Dial(genetlink.Protocol, nil)
	if err != nil {
		return nil, err
	}
	id, err := c.familyID(name)
	if err != nil {
		_ = c.Close() // the first error is the one that says why
		return nil, err
	}
	return &Generic{c: c, Family: genetlink.Family{ID: id, Name: name}}, nil
}

// familyID asks for the number of a family. The library would wait for an answer without
// end, and take one to a question that was given up for it.
func (c *Conn) familyID(name string) (uint16, error) {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.CTRL_ATTR_FAMILY_NAME, Data: append([]byte(name), 0)}})
	if err != nil {
		return 0, err
	}
	control := &Generic{c: c, Family: genetlink.Family{ID: unix.GENL_ID_CTRL, Name: "nlctrl"}}
	answers, err := control.Execute(genetlink.Message{Header: genetlink.Header{Command: unix.CTRL_CMD_GETFAMILY, Version: 1}, Data: data}, 0)
	if err != nil {
		return 0, fmt.Errorf("asking for the family %s of generic netlink: %w", name, err)
	}
	for _, a := range answers {
		attributes, err := netlink.NewAttributeDecoder(a.Data)
		if err != nil {
			return 0, fmt.Errorf("decoding what the family %s of generic netlink is: %w", name, err)
		}
		for attributes.Next() {
			if attributes.Type() == unix.CTRL_ATTR_FAMILY_ID {
				return attributes.Uint16(), attributes.Err()
			}
		}
	}
	return 0, fmt.Errorf("the kernel does not say which number the family %s of generic netlink has", name)
}

// Generic is a connection to one family of generic netlink.
type Generic struct {
	c *Conn
	// Family is its name, and the number that the kernel has given it.
	Family genetlink.Family
}

// Close closes the connection.
func (g *Generic) Close() error { return g.c.Close() }

// Gone reports whether the family that the connection was made for is no more: its
// module was unloaded, and if it was loaded again the family has another number. The
// kernel answers a question of a dead family with ENOENT, as it does one about a thing
// that is not there.
func (g *Generic) Gone() (bool, error) {
	now, err := g.c.familyID(g.Family.Name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	}
	return now != g.Family.ID, nil
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
