package realserver

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"lvsha/internal/machine"
	"lvsha/internal/netif"
	"lvsha/ipvs"
	"lvsha/vrrp"
)

// Half is what has to be in the kernel of a real server.
type Half struct {
	// Settings are kernel parameters that are there before anything else.
	Settings []machine.Setting
	// Ports are where GUE is unwrapped.
	Ports []netif.GUEPort
	// Tunnels are the ends of tunnels: those that will do as they are found, and those to
	// be made, which have no name.
	Tunnels []netif.Tunnel
	// Unwrapped are the kernel parameters of those that have a name.
	Unwrapped []machine.Setting
	// Places are where the virtual addresses have to be.
	Places []Place
}

// Place is a virtual address where it takes packets and answers no ARP.
type Place struct {
	Addr netip.Addr
	// Tunnel is the place of the tunnel among the Tunnels whose interface has the address,
	// -1 for lo. The kernel drops what comes out of an interface without an address of
	// IPv4 unless rp_filter is off, for all interfaces too (__fib_validate_source in
	// net/ipv4/fib_frontend.c).
	Tunnel int
}

// Facts are what is there.
type Facts struct {
	Links   []vrrp.Link
	Tunnels []netif.Tunnel
	Ports   []netif.GUEPort
	// Default is the interface of the default route of IPv4; empty is none.
	Default string
	// Director says that this machine is one of the directors too, and may have the
	// virtual addresses on its interfaces.
	Director bool
}

// carrier is the interface with an address; empty when none has it.
func (f Facts) carrier(a netip.Addr) string {
	for _, l := range f.Links {
		if slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return l.Name
		}
	}
	return ""
}

// detour reports whether answers to clients leave by another interface than the one with
// the directors: the default route is not by it, and there are others.
func (f Facts) detour(carrier string) bool {
	return f.Default != carrier && slices.ContainsFunc(f.Links, func(l vrrp.Link) bool {
		tunnel := slices.ContainsFunc(f.Tunnels, func(t netif.Tunnel) bool { return t.Name == l.Name })
		return l.Name != loopback && l.Name != carrier && !tunnel && slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() })
	})
}

const conf4 = "net/ipv4/conf/"

// NewHalf is what the parts ask of a machine.
func NewHalf(parts []Part, f Facts) (Half, error) {
	var h Half
	var quiet []string
	for _, p := range parts {
		carrier := f.carrier(p.Server)
		if carrier == "" {
			return h, fmt.Errorf("no interface of this machine has the address %s", p.Server)
		}
		place := Place{p.VIP, -1}
		if p.VIP.Is4() && !slices.Contains(quiet, carrier) && carrier != loopback {
			quiet = append(quiet, carrier)
		}
		if p.Forward == ipvs.TUN {
			i, err := h.tunnel(p, f)
			if err != nil {
				return h, err
			}
			if p.VIP.Is4() {
				place.Tunnel = i
			}
		}
		if !slices.Contains(h.Places, place) {
			h.Places = append(h.Places, place)
		}
	}
	if len(quiet) == 0 {
		return h, nil
	}
	const why = "this machine answers ARP for the directors' addresses"
	h.Settings = machine.Quiet("all", why)
	for _, ifname := range quiet {
		h.Settings = append(h.Settings, machine.Quiet(ifname, why)...)
		if f.detour(ifname) {
			h.Settings = append(h.Settings, loose(ifname, "packets of clients are dropped to which the way is another interface"))
		}
	}
	return h, nil
}

// loose lets packets in from senders to which the way is another interface.
func loose(ifname, why string) machine.Setting {
	return machine.Setting{
		Name: conf4 + ifname + "/rp_filter", Of: conf4 + "all/rp_filter", Want: "2", Also: []string{"0"}, Level: machine.Must, Why: why,
	}
}

// tunnel adds the end of the tunnel that a part needs, and returns its place.
func (h *Half) tunnel(p Part, f Facts) (int, error) {
	want := netif.Tunnel{Local: p.Server, Up: true}
	outer4 := p.Server.Is4()
	switch {
	case p.Tunnel.Type == ipvs.GRE && outer4:
		want.Kind = "gre"
	case p.Tunnel.Type == ipvs.GRE:
		want.Kind = "ip6gre"
	case !outer4:
		want.Kind, want.Any = "ip6tnl", true
	case p.VIP.Is4():
		want.Kind = "ipip"
	default:
		want.Kind = "sit"
	}
	want.Checksum = p.Tunnel.Type == ipvs.GRE && p.Tunnel.Checksum != ipvs.NoChecksum
	if p.Tunnel.Type == ipvs.GUE {
		if port := (netif.GUEPort{Port: p.Tunnel.Port, IPv6: !outer4}); !slices.Contains(h.Ports, port) {
			h.Ports = append(h.Ports, port)
		}
	}
	for i, t := range h.Tunnels {
		if t.Kind != want.Kind || cmp.Or(t.Local, want.Local) != want.Local {
			continue
		}
		if t.Checksum != want.Checksum {
			return 0, fmt.Errorf("services want packets of %s to %s with a checksum and without one; one address takes either", want.Kind, p.Server)
		}
		h.unwrap(p, t.Name)
		return i, nil
	}
	for _, t := range f.Tunnels {
		if serves(t, want) {
			want = t
			break
		}
	}
	h.Tunnels = append(h.Tunnels, want)
	h.unwrap(p, want.Name)
	return len(h.Tunnels) - 1, nil
}

// unwrap adds the parameter of a tunnel that a part needs, if it has a name.
func (h *Half) unwrap(p Part, ifname string) {
	s := unwrapped(ifname)
	if p.VIP.Is4() && ifname != "" && !slices.ContainsFunc(h.Unwrapped, func(o machine.Setting) bool { return o.Name == s.Name }) {
		h.Unwrapped = append(h.Unwrapped, s)
	}
}

func unwrapped(ifname string) machine.Setting {
	return loose(ifname, "packets of clients are dropped that come out of the tunnel")
}

// serves reports whether a tunnel that is there will do.
func serves(have, want netif.Tunnel) bool {
	return have.Up && have.Kind == want.Kind && !have.Remote.IsValid() && cmp.Or(have.Local, want.Local) == want.Local &&
		have.Checksum == want.Checksum && (have.Any || !want.Any)
}

// freeName is a name for a tunnel to be made: lvsha-ipip, then lvsha-ipip2 and so on.
func freeName(kind string, taken []vrrp.Link) string {
	for n := 1; ; n++ {
		name := "lvsha-" + kind
		if n > 1 {
			name += fmt.Sprint(n)
		}
		if !slices.ContainsFunc(taken, func(l vrrp.Link) bool { return l.Name == name }) {
			return name
		}
	}
}

// on is the interface of a place; empty while it is to be made.
func (h Half) on(p Place) string {
	if p.Tunnel < 0 {
		return loopback
	}
	return h.Tunnels[p.Tunnel].Name
}

// there reports whether a place is taken, or another one that will do as well: for what
// comes out of a tunnel only if rp_filter is off.
func (h Half) there(p Place, parts []Part, f Facts, read machine.Read) bool {
	ifname := h.on(p)
	if p.Tunnel >= 0 {
		off := unwrapped(ifname)
		off.Want, off.Also = "0", nil
		if ifname == "" || len(machine.Assess([]machine.Setting{off}, read)) > 0 {
			return f.has(ifname, p.Addr)
		}
	}
	for _, l := range f.Links {
		if f.has(l.Name, p.Addr) && !f.segment(l.Name, parts) {
			return true
		}
	}
	return false
}

// has reports whether an interface has an address.
func (f Facts) has(ifname string, a netip.Addr) bool {
	return slices.ContainsFunc(f.Links, func(l vrrp.Link) bool {
		return l.Name == ifname && slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}

// segment reports whether an interface is where the directors reach this server.
func (f Facts) segment(ifname string, parts []Part) bool {
	return slices.ContainsFunc(parts, func(p Part) bool { return f.carrier(p.Server) == ifname })
}

// Missing says what is not as it has to be, a sentence each.
func (h Half) Missing(parts []Part, f Facts, read machine.Read) (out []string) {
	for _, w := range machine.Assess(slices.Concat(h.Settings, h.Unwrapped), read) {
		out = append(out, w.String())
	}
	for _, p := range h.Ports {
		if !slices.Contains(f.Ports, p) {
			out = append(out, fmt.Sprintf("%s is not open: packets of GUE are not unwrapped", p))
		}
	}
	for _, t := range h.Tunnels {
		if t.Name == "" {
			out = append(out, fmt.Sprintf("there is no tunnel of kind %s that is up and ends at %s: packets of the directors are not unwrapped", t.Kind, t.Local))
		}
	}
	for _, p := range h.Places {
		// That a tunnel is missing has been said.
		if on := h.on(p); on != "" && !h.there(p, parts, f, read) {
			out = append(out, fmt.Sprintf("%s is not on %s: packets for it are not taken", p.Addr, on))
		}
		for _, l := range f.Links {
			if f.has(l.Name, p.Addr) && !f.Director && f.segment(l.Name, parts) {
				out = append(out, fmt.Sprintf("%s is on %s, where this machine answers for it in the directors' place: ip address del %[1]s dev %[2]s", p.Addr, l.Name))
			}
		}
	}
	return out
}
