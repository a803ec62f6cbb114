package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvsha/healthcheck"
	"lvsha/ipvs"
)

// defaultScheduler is keepalived's and ipvsadm's too.
const defaultScheduler = "wlc"

// The firewall marks by which checks get through services to one server. No service
// may have one of them.
const (
	FirstCheckMark = 0x4c560000 // "LV"
	LastCheckMark  = 0x4c56ffff
)

// services reads all [service.NAME], sorted by name. Routers own the addresses.
func (r *report) services(n *node, routers []router) []Service {
	owned := make(map[netip.Addr]router)
	for _, rt := range routers {
		for _, a := range slices.Concat(rt.Addresses, rt.Excluded) {
			owned[a.Prefix.Addr()] = rt
		}
	}
	var out []Service
	sections := make(map[string]section)
	listens := make(map[ipvs.ServiceKey]claim)
	for _, c := range r.named(n, "virtual service") {
		s, ok := r.section(c.node, serviceKeys())
		if !ok {
			continue
		}
		svc := Service{Name: c.name}
		r.listens(s, &svc, owned, listens)
		r.pace(s, &svc)
		r.options(s, &svc)
		r.forwarding(s, &svc)
		r.servers(s, &svc)
		r.judgment(s, &svc)
		out = append(out, svc)
		sections[svc.Name] = s
	}
	slices.SortFunc(out, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	inOrder := make([]section, len(out))
	for i, svc := range out {
		inOrder[i] = sections[svc.Name]
	}
	r.follow(inOrder, out)
	return out
}

// pace reads scheduler and persistence.
func (r *report) pace(s section, svc *Service) {
	svc.Scheduler = defaultScheduler
	if v, ok := s.text("scheduler"); ok {
		if names := ipvs.SchedulerNames(); !slices.Contains(names, v) {
			s.bad("scheduler", "want one of %s, got %q%s", strings.Join(names, ", "), v, didYouMean(v, names))
		} else {
			svc.Scheduler = v
		}
	}
	svc.Persistence = s.duration("persistence", 0, time.Second, ipvs.MaxPersistence, time.Second)
	bits := 128
	for _, l := range svc.Listen {
		bits = min(bits, l.Addr.Addr().BitLen())
	}
	mask := s.number("persistence_mask", 0, 1, bits)
	if svc.Persistence > 0 {
		svc.PersistenceMask = uint8(mask)
	} else if s.keys["persistence_mask"] != nil && s.keys["persistence"] == nil {
		s.bad("persistence_mask", "groups clients for persistence, which this service does not have")
	}
}

// listens reads listen and owner.
func (r *report) listens(s section, svc *Service, owned map[netip.Addr]router, taken map[ipvs.ServiceKey]claim) {
	free := false
	if v, ok := s.text("owner"); ok {
		if free = v == "none"; !free {
			s.bad("owner", "want \"none\", which says that no virtual router has the address, got %q", v)
		}
	}
	if s.missing("listen", "the virtual service such as \"192.0.2.10:80/tcp\"") {
		return
	}
	items := s.list("listen")
	if len(items) == 0 {
		s.bad("listen", "want at least one such as \"192.0.2.10:80/tcp\"")
	}
	for _, n := range items {
		key, ok := r.listen(n)
		if !ok {
			continue
		}
		if first, dup := taken[key]; dup {
			r.at(n, "service %s on line %d already listens on %s", first.name, first.line, n.value)
			continue
		}
		taken[key] = claim{svc.Name, n.line}
		svc.Listen = append(svc.Listen, key)
		if key.Mark != 0 {
			continue // whoever sets the mark says which packets, to whatever address
		}
		if key.Addr.Port() == 0 && s.keys["persistence"] == nil {
			r.at(n, "port 0 stands for every port and needs persistence")
		}
		rt, has := owned[key.Addr.Addr()]
		if !free && !has {
			r.at(n, "no virtual router has the address %s; add it to a [vrrp.NAME] or say owner = \"none\" in [%s]", key.Addr.Addr(), s.node.path)
		}
		if has && rt.NoAccept {
			r.at(n, "virtual router %s has accept = false, and IPVS gets only packets that are accepted", rt.Name)
		}
	}
}

// listen reads "192.0.2.10:80/tcp" or "mark 5".
func (r *report) listen(n *node) (ipvs.ServiceKey, bool) {
	text, ok := r.textOf(n)
	if !ok {
		return ipvs.ServiceKey{}, false
	}
	bad := func(format string, args ...any) (ipvs.ServiceKey, bool) {
		r.at(n, format, args...)
		return ipvs.ServiceKey{}, false
	}
	if strings.HasPrefix(text, "mark") || strings.HasPrefix(text, "fwmark") {
		key, why := markKey(strings.Fields(text))
		if why != "" {
			return bad("%s, got %q", why, text)
		}
		return key, true
	}
	address, proto, _ := strings.Cut(text, "/")
	addr, err := netip.ParseAddrPort(address)
	if err != nil || addr.Addr().Zone() != "" {
		return bad("want ADDRESS:PORT/tcp, /udp or /sctp such as \"192.0.2.10:80/tcp\" (names are not looked up), got %q", text)
	}
	key := ipvs.ServiceKey{Addr: addr}
	switch proto {
	case "tcp":
		key.Protocol = ipvs.TCP
	case "udp":
		key.Protocol = ipvs.UDP
	case "sctp":
		key.Protocol = ipvs.SCTP
	case "":
		return bad("the protocol is missing: want %q, %q or %q", address+"/tcp", address+"/udp", address+"/sctp")
	default:
		return bad("want the protocol tcp, udp or sctp, got %q", proto)
	}
	if why := notOneMachine(addr.Addr()); why != "" {
		return bad("%s %s", addr.Addr(), why)
	}
	return key, true
}

// markKey reads "mark 5" or "mark 5 ipv6", or says what is wanted.
func markKey(fields []string) (key ipvs.ServiceKey, why string) {
	const want = "want \"mark NUMBER\" or \"mark NUMBER ipv6\", with a firewall mark from 1 to 4294967295 such as \"mark 5\" or \"mark 0x5\""
	if len(fields) < 2 || len(fields) > 3 || fields[0] != "mark" || len(fields) == 3 && fields[2] != "ipv6" {
		return key, want
	}
	digits, base := fields[1], 10
	if hex, found := strings.CutPrefix(digits, "0x"); found {
		digits, base = hex, 16
	}
	mark, err := strconv.ParseUint(digits, base, 32)
	if err != nil || mark == 0 {
		return key, want
	}
	if mark >= FirstCheckMark && mark <= LastCheckMark {
		return key, fmt.Sprintf("marks %#x to %#x are those of checks through services; want another", FirstCheckMark, LastCheckMark)
	}
	return ipvs.MarkKey(uint32(mark), len(fields) == 3), ""
}

// forwarding reads forward of a service, which has no default: the right one
// depends on how the servers are set up, and the wrong one is silence.
func (r *report) forwarding(s section, svc *Service) {
	if !s.missing("forward", "want \"dr\" (servers on the same segment that have the address on lo), \"nat\" (servers whose gateway is the director) or \"tun\" (servers that take IPIP)") {
		svc.Forward = r.method(s, 0)
	}
	svc.Tunnel = r.tunnelOf(s)
}

// method reads forward.
func (r *report) method(s section, def ipvs.Forward) ipvs.Forward {
	v, ok := s.text("forward")
	if !ok {
		return def
	}
	words := []string{"dr", "nat", "tun"}
	switch v {
	case "dr":
		return ipvs.DR
	case "nat":
		return ipvs.NAT
	case "tun":
		return ipvs.TUN
	case "fullnat":
		s.bad("forward", "fullnat is not in this version; want %s", oneOf(words))
	default:
		s.bad("forward", "want %s, got %q%s", oneOf(words), v, didYouMean(v, words))
	}
	return def
}

// require reads require: how many of the checks.
func (r *report) require(s section, checks int) healthcheck.Require {
	n, ok := s.keys["require"]
	if !ok {
		return healthcheck.RequireAll
	}
	switch v := n.value.(type) {
	case string:
		switch v {
		case "all":
			return healthcheck.RequireAll
		case "any":
			return healthcheck.RequireAny
		}
	case int64:
		if checks == 0 {
			r.at(n, "a number of checks is required of servers that have none")
			return healthcheck.RequireAll
		}
		if v >= 1 && v <= int64(checks) {
			return healthcheck.Require(v)
		}
	}
	got := typeName(n.value)
	switch v := n.value.(type) {
	case string:
		got = strconv.Quote(v)
	case int64:
		got = strconv.FormatInt(v, 10)
	}
	r.at(n, "want \"all\", \"any\" or how many of the checks, 1 to %d, got %s", max(1, checks), got)
	return healthcheck.RequireAll
}
