package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"lvsha/ipvs"
	connsync "lvsha/sync"
)

// The firewall marks by which checks get through services to one server. No service
// may have one of them.
const (
	FirstCheckMark = 0x4c560000 // "LV"
	LastCheckMark  = 0x4c56ffff
)

const wantListen = "want ADDRESS:PORT/tcp, /udp or /sctp such as \"192.0.2.10:80/tcp\" (names are not looked up), got %q"

// listens reads listen, mark and owner.
func (r *report) listens(s section, svc *Service, owned map[netip.Addr]router, taken *claims) {
	free := false
	if v, ok := s.text("owner"); ok {
		if free = v == "none"; !free {
			s.bad("owner", "want \"none\", which says that no virtual router has the address, got %q", v)
		}
	}
	r.reading.free = free
	if s.missing("listen", "the virtual service such as \"192.0.2.10:80/tcp\"") {
		return
	}
	items := s.list("listen")
	if len(items) == 0 {
		s.bad("listen", "want at least one such as \"192.0.2.10:80/tcp\"")
	}
	spans := make([]span, len(items))
	marked := s.keys["mark"] != nil
	for i, n := range items {
		spans[i] = r.listen(n)
		marked = marked || spans[i].ranges()
	}
	var mark uint32
	if marked {
		mark = r.mark(s, svc.Name)
	}
	for i, n := range items {
		span := spans[i]
		switch {
		case span.byMark() && marked:
			r.at(n, "somebody else's rule sets mark %d, and lvsha's a mark for the addresses; make a service for each", span.mark.Mark)
			continue
		case span.byMark():
			if r.take(n, taken, span.mark, svc.Name) {
				svc.Listen = append(svc.Listen, span.mark)
			}
			continue
		case !span.valid():
			continue
		}
		if !marked && span.Last == lastPort && s.keys["persistence"] == nil {
			r.at(n, "port 0 stands for every port and needs persistence")
		}
		if !taken.addresses(r, n, svc.Name, span, marked) {
			continue
		}
		key := ipvs.ServiceKey{Protocol: span.Protocol, Addr: netip.AddrPortFrom(span.From, span.First)}
		if marked {
			svc.Covers = append(svc.Covers, span.Cover)
			key = ipvs.MarkKey(mark, span.From.Is6())
		}
		if !slices.Contains(svc.Listen, key) {
			if mark != 0 && !r.take(s.keyOr("mark", n), taken, key, svc.Name) {
				continue
			}
			svc.Listen = append(svc.Listen, key)
		}
		r.ownedBy(s, n, span, owned, free)
		if span.From != span.To {
			r.ranges = append(r.ranges, addressRange{svc.Name, n, span.Cover})
		}
	}
}

// keyOr is the value of a key, or another one where it is absent.
func (s section) keyOr(key string, or *node) *node {
	if n := s.keys[key]; n != nil {
		return n
	}
	return or
}

// take claims a service of the kernel by mark for a service of the file.
func (r *report) take(n *node, taken *claims, key ipvs.ServiceKey, name string) bool {
	first, dup := taken.marks[key]
	switch {
	case !dup:
		taken.marks[key] = claim{name, n.line}
		return true
	case strings.HasSuffix(string(n.path), ".mark") || isAutoMark(key.Mark):
		r.at(n, "service %s on line %d already has the mark %#x; give one of them another: mark = NUMBER", first.name, first.line, key.Mark)
	default:
		r.at(n, "service %s on line %d already listens on %s", first.name, first.line, n.value)
	}
	return false
}

// ownedBy makes sure that a virtual router has the addresses.
func (r *report) ownedBy(s section, n *node, span span, owned map[netip.Addr]router, free bool) {
	for a := span.From; a.Compare(span.To) <= 0; a = a.Next() {
		rt, has := owned[a]
		if !free && !has {
			r.at(n, "no virtual router has the address %s; add it to a [vrrp.NAME] or say owner = \"none\" in [%s]", a, s.node.path)
			return
		}
		if has && rt.NoAccept {
			r.at(n, "virtual router %s has accept = false, and IPVS gets only packets that are accepted", rt.Name)
			return
		}
		if free && !has {
			return // and nothing is known of the others
		}
	}
}

// listen reads "192.0.2.10:80/tcp", a range of addresses or ports, or "mark 5". The
// zero span is for what is none of these.
func (r *report) listen(n *node) (out span) {
	text, ok := r.textOf(n)
	if !ok {
		return out
	}
	bad := func(format string, args ...any) span {
		r.at(n, format, args...)
		return span{}
	}
	if strings.HasPrefix(text, "mark") || strings.HasPrefix(text, "fwmark") {
		key, why := markKey(strings.Fields(text))
		if why != "" {
			return bad("%s, got %q", why, text)
		}
		return span{mark: key}
	}
	address, proto, _ := strings.Cut(text, "/")
	span, why := parseSpan(address)
	if why != "" {
		return bad(why, text)
	}
	switch proto {
	case "tcp":
		span.Protocol = ipvs.TCP
	case "udp":
		span.Protocol = ipvs.UDP
	case "sctp":
		span.Protocol = ipvs.SCTP
	case "":
		return bad("the protocol is missing: want %q, %q or %q", address+"/tcp", address+"/udp", address+"/sctp")
	default:
		return bad("want the protocol tcp, udp or sctp, got %q", proto)
	}
	for _, a := range []netip.Addr{span.From, span.To} {
		if why := notOneMachine(a); why != "" {
			return bad("%s %s", a, why)
		}
	}
	return span
}

// parseSpan reads "192.0.2.10:80", "192.0.2.10-192.0.2.19:8000-8999" and the same with
// "[2001:db8::1]". why is a format that takes the text.
func parseSpan(text string) (out span, why string) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return out, wantListen
	}
	from, to, addresses := strings.Cut(text[:at], "-")
	first, last, ports := strings.Cut(text[at+1:], "-")
	one, err := netip.ParseAddrPort(from + ":" + first)
	if err != nil || one.Addr().Zone() != "" {
		return out, wantListen
	}
	out.From, out.To, out.First, out.Last = one.Addr(), one.Addr(), one.Port(), one.Port()
	if addresses {
		end, err := netip.ParseAddrPort(to + ":" + first)
		switch {
		case err != nil || end.Addr().Zone() != "" || end.Addr().Is4() != out.From.Is4():
			return span{}, "want a range of addresses such as \"192.0.2.10-192.0.2.19:80/tcp\" or \"[2001:db8::10]-[2001:db8::19]:80/tcp\", got %q"
		case !out.From.Less(end.Addr()):
			return span{}, "want a range of addresses that begins with the lowest, got %q"
		}
		out.To = end.Addr()
	}
	if ports {
		end, err := strconv.ParseUint(last, 10, 16)
		switch {
		case err != nil:
			return span{}, "want a range of ports such as \"192.0.2.10:8000-8999/tcp\", got %q"
		case out.First == 0:
			return span{}, "want a range of ports from 1 to 65535; port 0 alone stands for every port, got %q"
		case uint16(end) <= out.First:
			return span{}, "want a range of ports that begins with the lowest, got %q"
		}
		out.Last = uint16(end)
	}
	if out.First == 0 {
		out.Last = lastPort
	}
	return out, ""
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
	if why := reservedMark(uint32(mark)); why != "" {
		return key, why
	}
	return ipvs.MarkKey(uint32(mark), len(fields) == 3), ""
}

// reservedMark says why no service can ask for a mark, or is empty.
func reservedMark(mark uint32) string {
	switch {
	case mark >= FirstCheckMark && mark <= LastCheckMark:
		return fmt.Sprintf("marks %#x to %#x are those of checks through services; want another", FirstCheckMark, LastCheckMark)
	case mark == connsync.IntakeMark:
		return fmt.Sprintf("mark %#x is that of connections that are handed over; want another", connsync.IntakeMark)
	case mark == DirectorMark:
		return fmt.Sprintf("mark %#x is that of directors that are servers themselves; want another", DirectorMark)
	case isAutoMark(mark):
		return fmt.Sprintf("marks %#x to %#x are those that lvsha chooses (mark = \"auto\"); want another", FirstAutoMark, LastAutoMark)
	default:
		return ""
	}
}
