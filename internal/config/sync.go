package config

import (
	"net/netip"
	"slices"
	"time"

	"lvsha/ipvs"
	connsync "lvsha/sync"
)

// defaultRefresh is how often the kernel tells again of a connection that goes on.
const defaultRefresh = 60 * time.Second

// sync reads [sync].
func (r *report) sync(n *node) *connsync.Config {
	if n == nil {
		return nil
	}
	s, ok := r.section(n, syncKeys())
	if !ok {
		return nil
	}
	out := &connsync.Config{
		ID:        uint8(s.number("id", 1, 1, 255)),
		Transport: connsync.Transport(s.word("transport", string(connsync.Multicast), string(connsync.Channel))),
		TTL:       uint8(s.number("ttl", 1, 1, 255)),
		MaxLen:    uint16(s.number("max_length", 0, connsync.MinMaxLen, 65535-28)),
		Gate:      s.duration("gate", connsync.DefaultGate, 0, time.Hour, 1),
		Refresh:   s.duration("refresh", defaultRefresh, 0, time.Hour, time.Second),
		Buffer:    s.number("buffer", 0, 64<<10, 1<<30),

		TemplatesOnly: s.flag("templates_only"),
		ByRole:        s.word("daemons", "both", "role") == "role",
	}
	switch {
	case out.Transport == connsync.Multicast:
		out.Interface = s.iface("interface", "the interface of the connection synchronisation")
	case s.keys["interface"] != nil:
		s.bad("interface", "is for transport = %q; %q goes from address to address of the directors", connsync.Multicast, connsync.Channel)
	default:
		out.Interface = "lo"
	}
	if out.Transport == connsync.Channel {
		r.channelled(s)
	}
	if out.Transport == connsync.Channel && out.ByRole {
		s.bad("daemons", "want \"both\" with transport = %q: to go by role is for directors that speak with keepalived", connsync.Channel)
	}
	if out.Transport == connsync.Channel && out.Refresh == 0 {
		s.bad("refresh", "want at least 1s with transport = %q, which follows the table by what the kernel tells", connsync.Channel)
	}
	if text, ok := s.text("group"); ok {
		group, err := netip.ParseAddrPort(text)
		if err != nil || !group.Addr().IsMulticast() || group.Addr().Zone() != "" || group.Port() == 0 {
			s.bad("group", "want a multicast address and port such as %q, got %q", connsync.DefaultGroup(), text)
		} else {
			out.Group = group
		}
	}
	return out
}

// channelled holds that there is a channel to carry the connections: between two
// directors at least, with the key and an address of each.
func (r *report) channelled(s section) {
	if len(r.cluster) < 2 {
		s.bad("transport", "%q needs another director: a [director.NAME] with its address and key", connsync.Channel)
	}
	for _, d := range r.cluster {
		switch {
		case d.Pin.IsZero():
			s.bad("transport", "%q needs the key of every director, and [director.%s] has none (lvsha key)", connsync.Channel, d.Name)
		case len(d.Addresses) == 0:
			s.bad("transport", "%q needs the address of every director, and [director.%s] has none", connsync.Channel, d.Name)
		}
	}
}

// unsynced holds that no service has servers of the other address family beside
// [sync]: the kernel refuses them while a sync daemon runs, and a sync daemon while
// there are any.
func (r *report) unsynced(sync *node, services []Service) {
	if sync == nil {
		return
	}
	for _, svc := range services {
		servers := svc.Servers
		if svc.Sorry != nil {
			servers = append(slices.Clone(servers), *svc.Sorry)
		}
		for _, l := range svc.Listen {
			i := slices.IndexFunc(servers, func(s Server) bool {
				return s.Forward == ipvs.TUN && s.Address.Addr().Is4() != l.Addr.Addr().Is4()
			})
			if i < 0 {
				continue
			}
			r.at(sync, "the kernel runs no sync daemon beside a service with servers of another address family, as service %s on %s has with %s; leave out one or the other",
				svc.Name, l, servers[i].Address.Addr())
			break
		}
	}
}
