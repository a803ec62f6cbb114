package netif

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"lvsha/vrrp"
)

// protocol marks the routes and rules that lvsha made; ip route shows it as
// "proto 112". It is the number of VRRP among the Internet protocols, and nobody's
// in include/uapi/linux/rtnetlink.h and iproute2's rt_protos (18 is keepalived's).
const protocol = 112

// metric6 is what the kernel gives an IPv6 route without a metric
// (IP6_RT_PRIO_USER).
const metric6 = 1024

// AddRoute implements vrrp.Paths.
func (l *Links) AddRoute(r vrrp.Route) error {
	err := l.conns.ask(func(c *kernel) error {
		want, err := l.routeOf(r)
		if err != nil {
			return err
		}
		err = want.request(c, unix.RTM_NEWROUTE, netlink.Create|netlink.Excl)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		have, err := listRoutes(c, want.family, want.table)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(have, func(h route) bool { return h.dst == want.dst && h.metric == want.metric })
		switch {
		case i < 0:
			return errors.New("a route of that destination, table and metric is there, which lvsha did not make")
		case have[i].is(want):
			return nil
		default:
			return want.request(c, unix.RTM_NEWROUTE, netlink.Create|netlink.Replace)
		}
	})
	if err != nil {
		return fmt.Errorf("adding route %s: %w", r, err)
	}
	return nil
}

// RemoveRoute implements vrrp.Paths. The kernel would take another route of that
// destination for the one that is named, if less was said of it.
func (l *Links) RemoveRoute(r vrrp.Route) error {
	err := l.conns.ask(func(c *kernel) error {
		want, err := l.routeOf(r)
		if errors.Is(err, ErrNoInterface) {
			return nil
		}
		if err != nil {
			return err
		}
		have, err := listRoutes(c, want.family, want.table)
		if err != nil || !slices.ContainsFunc(have, func(h route) bool { return h.is(want) }) {
			return err
		}
		err = want.request(c, unix.RTM_DELROUTE, 0)
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("removing route %s: %w", r, err)
	}
	return nil
}

// MissingPaths implements vrrp.Paths. What is missing in one list is looked for in
// another one: the kernel has no way to ask for one route or rule alone.
func (l *Links) MissingPaths(routes []vrrp.Route, rules []vrrp.Rule) ([]vrrp.Route, []vrrp.Rule, error) {
	for range 2 {
		var err error
		if routes, rules, err = l.missingPaths(routes, rules); err != nil || len(routes)+len(rules) == 0 {
			return nil, nil, err
		}
	}
	return routes, rules, nil
}

// missingPaths are those that are missing in one list.
func (l *Links) missingPaths(routes []vrrp.Route, rules []vrrp.Rule) (goneRoutes []vrrp.Route, goneRules []vrrp.Rule, err error) {
	err = l.conns.ask(func(c *kernel) error {
		type list struct {
			family byte
			table  uint32
		}
		known := make(map[list][]route)
		for _, r := range routes {
			want, err := l.routeOf(r)
			if errors.Is(err, ErrNoInterface) {
				goneRoutes = append(goneRoutes, r)
				continue
			}
			if err != nil {
				return err
			}
			at := list{want.family, want.table}
			have, ok := known[at]
			if !ok {
				if have, err = listRoutes(c, at.family, at.table); err != nil {
					return fmt.Errorf("listing routes: %w", err)
				}
				known[at] = have
			}
			if !slices.ContainsFunc(have, func(h route) bool { return h.is(want) }) {
				goneRoutes = append(goneRoutes, r)
			}
		}
		goneRules, err = missingRules(c, rules)
		return err
	})
	return goneRoutes, goneRules, err
}

// route is a route as the kernel has it.
type route struct {
	family, kind byte
	protocol     byte
	scope        byte
	dst          netip.Prefix
	via, source  netip.Addr
	// index is of the interface; 0 is the kernel's choice, or none.
	index  int
	table  uint32
	metric uint32
	mtu    uint32
	onLink bool
}

// routeOf fills in what the kernel would.
func (l *Links) routeOf(r vrrp.Route) (route, error) {
	out := route{
		family: unix.AF_INET, kind: unix.RTN_UNICAST, protocol: protocol, scope: r.Scope,
		dst: r.Destination.Masked(), via: r.Via, source: r.Source,
		table: cmp.Or(r.Table, unix.RT_TABLE_MAIN), metric: r.Metric, mtu: r.MTU, onLink: r.OnLink,
	}
	switch r.Type {
	case "":
		if !r.Via.IsValid() {
			// Without a gateway the network is on the link, as ip-route(8) has it.
			out.scope = unix.RT_SCOPE_LINK
		}
	case "blackhole":
		out.kind = unix.RTN_BLACKHOLE
	case "unreachable":
		out.kind = unix.RTN_UNREACHABLE
	case "prohibit":
		out.kind = unix.RTN_PROHIBIT
	default:
		return route{}, fmt.Errorf("type %q is not known", r.Type)
	}
	if r.Destination.Addr().Is6() {
		out.family, out.scope = unix.AF_INET6, unix.RT_SCOPE_UNIVERSE
		out.metric = cmp.Or(r.Metric, metric6)
	}
	if r.Interface != "" {
		link, err := l.lookUp(r.Interface)
		if err != nil {
			return route{}, err
		}
		out.index = link.Index
	}
	return out, nil
}

// is says whether a route of the kernel's is the one wanted. What was left to
// the kernel it may have filled in.
func (r route) is(want route) bool {
	if want.index == 0 || want.kind != unix.RTN_UNICAST {
		r.index = want.index
	}
	r.scope = want.scope
	return r == want
}

// request sends a struct rtmsg with attributes.
func (r route) request(c *kernel, message netlink.HeaderType, how netlink.HeaderFlags) error {
	attributes := netlink.NewAttributeEncoder()
	if r.dst.Bits() > 0 {
		attributes.Bytes(unix.RTA_DST, r.dst.Addr().AsSlice())
	}
	if r.via.IsValid() {
		attributes.Bytes(unix.RTA_GATEWAY, r.via.AsSlice())
	}
	if r.source.IsValid() {
		attributes.Bytes(unix.RTA_PREFSRC, r.source.AsSlice())
	}
	if r.index != 0 {
		attributes.Uint32(unix.RTA_OIF, uint32(r.index))
	}
	if r.metric != 0 {
		attributes.Uint32(unix.RTA_PRIORITY, r.metric)
	}
	if r.mtu != 0 {
		attributes.Nested(unix.RTA_METRICS, func(metrics *netlink.AttributeEncoder) error {
			metrics.Uint32(unix.RTAX_MTU, r.mtu)
			return nil
		})
	}
	attributes.Uint32(unix.RTA_TABLE, r.table)
	encoded, err := attributes.Encode()
	if err != nil {
		return err
	}
	scope := r.scope
	if message == unix.RTM_DELROUTE {
		scope = unix.RT_SCOPE_NOWHERE // any
	}
	var flags uint32
	if r.onLink {
		flags = unix.RTNH_F_ONLINK
	}
	// The table is an attribute, which has room for its number.
	header := []byte{r.family, byte(r.dst.Bits()), 0, 0, unix.RT_TABLE_UNSPEC, r.protocol, scope, r.kind}
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: message, Flags: netlink.Request | netlink.Acknowledge | how},
		Data:   append(binary.NativeEndian.AppendUint32(header, flags), encoded...),
	})
	return err
}

// listRoutes are our routes in one table. A table that nobody has used yet is
// none that the kernel knows.
func listRoutes(c *kernel, family byte, table uint32) ([]route, error) {
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.RTA_TABLE, table)
	encoded, err := attributes.Encode()
	if err != nil {
		return nil, err
	}
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[5] = family, protocol
	answers, err := c.Dump(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE},
		Data:   append(header, encoded...),
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []route
	for _, m := range answers {
		r, err := parseRoute(m.Data)
		if err != nil {
			return nil, err
		}
		// Older kernels do not select.
		if r.protocol == protocol && r.table == table {
			out = append(out, r)
		}
	}
	return out, nil
}

// parseRoute reads a struct rtmsg with attributes.
func parseRoute(b []byte) (r route, err error) {
	if len(b) < unix.SizeofRtMsg {
		return r, errors.New("the kernel's answer is too short")
	}
	r = route{family: b[0], table: uint32(b[4]), protocol: b[5], scope: b[6], kind: b[7]}
	r.onLink = binary.NativeEndian.Uint32(b[8:])&unix.RTNH_F_ONLINK != 0
	dst := netip.IPv4Unspecified()
	if r.family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	attributes, err := netlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
	if err != nil {
		return r, err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.RTA_GATEWAY:
			r.via, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.RTA_PREFSRC:
			r.source, _ = netip.AddrFromSlice(attributes.Bytes())
		case unix.RTA_OIF:
			r.index = int(attributes.Uint32())
		case unix.RTA_PRIORITY:
			r.metric = attributes.Uint32()
		case unix.RTA_TABLE:
			r.table = attributes.Uint32()
		case unix.RTA_METRICS:
			attributes.Nested(func(metrics *netlink.AttributeDecoder) error {
				for metrics.Next() {
					if metrics.Type() == unix.RTAX_MTU {
						r.mtu = metrics.Uint32()
					}
				}
				return nil
			})
		}
	}
	r.dst = netip.PrefixFrom(dst, int(b[1]))
	return r, attributes.Err()
}
