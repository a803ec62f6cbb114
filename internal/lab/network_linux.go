package lab

import (
	"errors"
	"fmt"
	"slices"
)

// Network is a set of hosts on Ethernet segments. All segments are bridges of
// one more host, the switch.
type Network struct {
	sw    *Host
	hosts []*Host
	ports int
}

// Segment is one Ethernet segment: a bridge that floods multicast.
type Segment struct {
	net  *Network
	name string
}

// Port is one host's place on a segment.
type Port struct {
	net  *Network
	name string // of the switch's end of the cable
}

// NewNetwork makes a network without hosts. Close must be called.
func NewNetwork() (*Network, error) {
	sw, err := newHost("switch")
	if err != nil {
		return nil, err
	}
	return &Network{sw: sw}, nil
}

// Close kills all that runs on the hosts and takes the network away. A second
// Close does nothing.
func (n *Network) Close() error {
	if n.sw == nil {
		return nil
	}
	sw := n.sw
	n.sw = nil
	var errs []error
	for _, h := range n.hosts {
		errs = append(errs, h.close())
	}
	n.hosts = nil
	return errors.Join(append(errs, sw.close())...)
}

// Segment makes an Ethernet segment; name has at most 15 characters.
func (n *Network) Segment(name string) (*Segment, error) {
	if _, err := n.sw.Run("ip", "link", "add", name, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"); err != nil {
		return nil, err
	}
	if _, err := n.sw.Run("ip", "link", "set", name, "up"); err != nil {
		return nil, err
	}
	return &Segment{net: n, name: name}, nil
}

// Host makes a host without cables.
func (n *Network) Host(name string) (*Host, error) {
	h, err := newHost(name)
	if err != nil {
		return nil, err
	}
	n.hosts = append(n.hosts, h)
	return h, nil
}

// PowerOff takes the power from a host: what runs on it is gone, as are its
// interfaces and all that the kernel had for it. It comes back as a new Host.
func (n *Network) PowerOff(h *Host) error {
	n.hosts = slices.DeleteFunc(n.hosts, func(o *Host) bool { return o == h })
	return h.close()
}

// Attach gives the host an interface on the segment, up, with the addresses in
// prefix notation.
func (s *Segment) Attach(h *Host, ifname string, addresses ...string) (*Port, error) {
	s.net.ports++
	port := &Port{net: s.net, name: fmt.Sprintf("port%d", s.net.ports)}
	commands := []struct {
		on   *Host
		args []string
	}{
		{s.net.sw, []string{"link", "add", port.name, "type", "veth", "peer", "name", ifname, "netns", h.netns}},
		{s.net.sw, []string{"link", "set", port.name, "master", s.name, "up"}},
		{h, []string{"link", "set", ifname, "up"}},
	}
	for _, a := range addresses {
		commands = append(commands, struct {
			on   *Host
			args []string
		}{h, []string{"addr", "add", a, "dev", ifname}})
	}
	for _, c := range commands {
		if _, err := c.on.Run("ip", c.args...); err != nil {
			return nil, err
		}
	}
	return port, nil
}

// Cut stops all frames at the switch; the host sees no change of carrier.
func (p *Port) Cut() error { return p.state("0") }

// Mend lets frames pass again.
func (p *Port) Mend() error { return p.state("3") }

func (p *Port) state(state string) error {
	_, err := p.net.sw.Run("bridge", "link", "set", "dev", p.name, "state", state)
	return err
}

// Deafen keeps multicast from the host, which can still send it: a link that
// works one way for VRRP.
func (p *Port) Deafen() error { return p.multicast("off") }

// Undeafen lets the host hear multicast again.
func (p *Port) Undeafen() error { return p.multicast("on") }

func (p *Port) multicast(flood string) error {
	_, err := p.net.sw.Run("bridge", "link", "set", "dev", p.name, "mcast_flood", flood)
	return err
}

// Hub lets every host of the segment see the frames to this one: the switch does
// not learn where it is.
func (p *Port) Hub() error {
	_, err := p.net.sw.Run("ip", "link", "set", p.name, "type", "bridge_slave", "learning", "off", "fdb_flush")
	return err
}

// Unplug takes the carrier away.
func (p *Port) Unplug() error {
	_, err := p.net.sw.Run("ip", "link", "set", p.name, "down")
	return err
}

// Plug gives the carrier back.
func (p *Port) Plug() error {
	_, err := p.net.sw.Run("ip", "link", "set", p.name, "up")
	return err
}
