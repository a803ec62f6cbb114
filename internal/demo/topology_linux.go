package demo

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"lvsha/examples"
	"lvsha/internal/lab"
)

// The addresses of examples/dr-pair/lvsha.toml:
//
//	client .100 ──┐
//	lvs1   .1   ──┤                       lvs1 and lvs2 share 192.0.2.10
//	lvs2   .2   ──┼── segment 192.0.2.0/24
//	web1   .21  ──┤                       web1 to web3 have it on lo, silently
//	web2   .22  ──┤
//	web3   .23  ──┘
var vip = netip.MustParseAddr("192.0.2.10")

const configFile = "/run/lvsha.toml"

// node is a host with what runs on it.
type node struct {
	*lab.Host
	address netip.Addr
	port    *lab.Port
	process *lab.Process // of a real server
	daemon  *lab.Daemon  // of a director
}

// network is the demo's topology.
type network struct {
	lab     *lab.Network
	self    string // this program
	client  *node
	lvs     [2]*node
	servers [3]*node
}

// build makes the network; nothing runs yet.
func build() (*network, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	l, err := lab.NewNetwork()
	if err != nil {
		return nil, err
	}
	n := &network{lab: l, self: self}
	if err := n.populate(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return n, nil
}

func (n *network) populate() error {
	segment, err := n.lab.Segment("segment")
	if err != nil {
		return err
	}
	add := func(name, address string) (*node, error) {
		h, err := n.lab.Host(name)
		if err != nil {
			return nil, err
		}
		port, err := segment.Attach(h, "eth0", address+"/24")
		return &node{Host: h, address: netip.MustParseAddr(address), port: port}, err
	}
	if n.client, err = add("client", "192.0.2.100"); err != nil {
		return err
	}
	for i := range n.lvs {
		if n.lvs[i], err = add(fmt.Sprintf("lvs%d", i+1), fmt.Sprintf("192.0.2.%d", i+1)); err != nil {
			return err
		}
		// What the example's README asks of a director.
		err := errors.Join(n.lvs[i].Sysctl("net/ipv4/ip_forward", "1"),
			n.lvs[i].Sysctl("net/ipv4/conf/all/send_redirects", "0"), n.lvs[i].Sysctl("net/ipv4/conf/eth0/send_redirects", "0"),
			n.lvs[i].WriteFile(configFile, []byte(examples.DRPair), 0o644))
		if err != nil {
			return err
		}
	}
	for i := range n.servers {
		if n.servers[i], err = add(fmt.Sprintf("web%d", i+1), fmt.Sprintf("192.0.2.2%d", i+1)); err != nil {
			return err
		}
		// What the example's README asks of a real server.
		err := errors.Join(n.servers[i].Sysctl("net/ipv4/conf/all/arp_ignore", "1"),
			n.servers[i].Sysctl("net/ipv4/conf/all/arp_announce", "2"))
		if err == nil {
			_, err = n.servers[i].Run("ip", "addr", "add", vip.String()+"/32", "dev", "lo")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// serve starts the program of a real server.
func (n *network) serve(s *node) (err error) {
	s.process, err = s.Start(nil, n.self, ServerCommand, s.Name)
	return err
}

// direct starts lvsha on a director, as examples/systemd/lvsha.service.d/realtime.conf
// does: here all machines share the processors of one.
func (n *network) direct(d *node) (err error) {
	d.daemon, err = lab.StartDaemon(d.Host, nil, n.self, "-c", configFile, "--realtime", "20")
	return err
}

// lvsha runs a command of lvsha on a director.
func (n *network) lvsha(d *node, args ...string) (string, error) { return d.Run(n.self, args...) }

// state is the state of a director's virtual router; empty when no daemon
// answers.
func (d *node) state() string { return d.daemon.Router("web").State }
