package director

import (
	"net/netip"

	"lvsha/internal/config"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// Routing tells what this machine does with packets, on which services and the checks
// through them depend.
type Routing interface {
	// WayTo is how packets to an address leave: by which interface, from what address
	// unless the sender says otherwise, and whether the address is this machine's
	// own. An error means that they do not.
	WayTo(a netip.Addr) (ifname string, source netip.Addr, local bool, err error)
	// Setting is a parameter of net.ipv4.conf that is in force on an interface.
	Setting(ifname, name string) (int, error)
	// Sysctl and SetSysctl read and set a kernel parameter by its path below /proc/sys;
	// the error is fs.ErrNotExist where there is none.
	Sysctl(name string) (string, error)
	SetSysctl(name, value string) error
	// List tells what interfaces there are.
	List() ([]vrrp.Link, error)
}

// route is what WayTo tells.
type route struct {
	ifname string
	source netip.Addr
	local  bool
}

func routeTo(n Routing, a netip.Addr) (r route, err error) {
	r.ifname, r.source, r.local, err = n.WayTo(a)
	return r, err
}

// remembered is a Routing that asks everything once.
type remembered struct {
	Routing
	routes   map[netip.Addr]answeredRoute
	settings map[[2]string]answeredSetting
}

type answeredRoute struct {
	route
	err error
}

type answeredSetting struct {
	value int
	err   error
}

func remember(n Routing) Routing {
	if n == nil {
		return nil
	}
	return &remembered{n, make(map[netip.Addr]answeredRoute), make(map[[2]string]answeredSetting)}
}

// rememberWays is remember, with the ways to the servers of NAT in a file asked for
// together where that is possible: they may be thousands.
func rememberWays(n Routing, cfg *config.Config) Routing {
	r, _ := remember(n).(*remembered)
	many, can := n.(interface {
		WaysTo(as []netip.Addr, tell func(a netip.Addr, ifname string, source netip.Addr, local bool, err error))
	})
	if r == nil || !can {
		return remember(n)
	}
	var servers []netip.Addr
	seen := make(map[netip.Addr]bool)
	for _, s := range cfg.Services {
		for _, server := range s.Servers {
			if a := server.Address.Addr(); server.Forward == ipvs.NAT && !seen[a] {
				seen[a] = true
				servers = append(servers, a)
			}
		}
	}
	many.WaysTo(servers, func(a netip.Addr, ifname string, source netip.Addr, local bool, err error) {
		r.routes[a] = answeredRoute{route{ifname, source, local}, err}
	})
	return r
}

// WayTo asks for each address once.
func (r *remembered) WayTo(a netip.Addr) (ifname string, source netip.Addr, local bool, err error) {
	answer, ok := r.routes[a]
	if !ok {
		answer.route, answer.err = routeTo(r.Routing, a)
		r.routes[a] = answer
	}
	return answer.ifname, answer.source, answer.local, answer.err
}

// Setting reads each once.
func (r *remembered) Setting(ifname, name string) (int, error) {
	answer, ok := r.settings[[2]string{ifname, name}]
	if !ok {
		answer.value, answer.err = r.Routing.Setting(ifname, name)
		r.settings[[2]string{ifname, name}] = answer
	}
	return answer.value, answer.err
}
