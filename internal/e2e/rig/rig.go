package rig

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"lvsha/internal/lab"
)

// The virtual address, and the directors' own addresses by their names.
var (
	VIP       = netip.MustParseAddr("10.0.0.100")
	Addresses = map[string]netip.Addr{"lvs1": netip.MustParseAddr("10.0.0.1"), "lvs2": netip.MustParseAddr("10.0.0.2")}
)

// Rig is the topology of the end-to-end tests with what runs on it, the program itself
// on real kernels:
//
//	client .9 ──┐
//	lvs1   .1 ──┼── segment 10.0.0.0/24        the virtual address is .100
//	lvs2   .2 ──┘
type Rig struct {
	testing.TB
	// Life is the test that the rig was made for: what programs printed is logged
	// at its end.
	Life    testing.TB
	Net     *lab.Network
	Segment *lab.Segment
	Client  *lab.Host
	LVS     [2]*lab.Host
	Ports   [2]*lab.Port
	Sniffer *lab.Sniffer
	// Binary is the path of lvsha.
	Binary string
	// VIP is the virtual address, and Source where lvs1 and lvs2 advertise from.
	VIP    netip.Addr
	Source [2]netip.Addr
}

// New makes the topology. All of it is gone when the test ends.
func New(t testing.TB) *Rig {
	t.Helper()
	r := &Rig{TB: t, Life: t, VIP: VIP, Source: [2]netip.Addr{Addresses["lvs1"], Addresses["lvs2"]}}
	var err error
	r.Binary, err = Program()
	r.Check(err)
	r.Net, err = lab.NewNetwork()
	r.Check(err)
	t.Cleanup(func() {
		if err := r.Net.Close(); err != nil {
			t.Errorf("closing the network: %v", err)
		}
	})
	r.Segment, err = r.Net.Segment("segment")
	r.Check(err)
	r.Client, err = r.Net.Host("client")
	r.Check(err)
	_, err = r.Segment.Attach(r.Client, "eth0", "10.0.0.9/24")
	r.Check(err)
	for i, name := range []string{"lvs1", "lvs2"} {
		r.LVS[i], err = r.Net.Host(name)
		r.Check(err)
		r.Ports[i], err = r.Segment.Attach(r.LVS[i], "eth0", Addresses[name].String()+"/24")
		r.Check(err)
		// What the examples ask of a director, for the overlap of a handover.
		r.Check(r.LVS[i].Sysctl("net/ipv4/ip_forward", "1"))
		r.Check(r.LVS[i].Sysctl("net/ipv4/conf/all/send_redirects", "0"))
		r.Check(r.LVS[i].Sysctl("net/ipv4/conf/eth0/send_redirects", "0"))
	}
	r.Sniffer, err = lab.StartSniffer(r.Client, "eth0")
	r.Check(err)
	t.Cleanup(func() { r.Check(r.Sniffer.Stop()) })
	return r
}

// NewOf is New, or NewIPv6.
func NewOf(t testing.TB, ipv6 bool) *Rig {
	t.Helper()
	r := New(t)
	if ipv6 {
		r.toIPv6()
	}
	return r
}

// LinkLocal6 is the virtual router's link-local address, derived from VRID 51.
var LinkLocal6 = netip.MustParseAddr("fe80::5e:33")

// NewIPv6 is the same topology with IPv6 beside IPv4: 2001:db8::1 and so on, and
// the virtual address 2001:db8::100.
func NewIPv6(t testing.TB) *Rig {
	t.Helper()
	return NewOf(t, true)
}

// toIPv6 makes the rig one of IPv6.
func (r *Rig) toIPv6() {
	r.Helper()
	r.VIP = netip.MustParseAddr("2001:db8::100")
	for h, a := range map[*lab.Host]string{r.Client: "2001:db8::9/64", r.LVS[0]: "2001:db8::1/64", r.LVS[1]: "2001:db8::2/64"} {
		_, err := h.Run("ip", "addr", "add", a, "dev", "eth0", "nodad")
		r.Check(err)
	}
	for i, h := range r.LVS {
		r.Check(h.Sysctl("net/ipv6/conf/all/forwarding", "1"))
		r.Eventually(h.Name+" has a usable link-local address", 30*time.Second, func() bool {
			r.Source[i] = r.OwnLinkLocal(h)
			return r.Source[i].IsValid()
		})
	}
}

// OwnLinkLocal is the address that the kernel gave the interface, once it is
// known to be unique.
func (r *Rig) OwnLinkLocal(h *lab.Host) netip.Addr {
	r.Helper()
	out, err := h.Run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
	r.Check(err)
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if p, err := netip.ParsePrefix(fields[3]); err == nil && p.Addr() != LinkLocal6 && !strings.Contains(line, "tentative") {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// Families run a test over IPv4 and IPv6.
func Families(t *testing.T, test func(*Rig)) {
	for _, ipv6 := range []bool{false, true} {
		t.Run(FamilyName(ipv6), func(t *testing.T) { test(NewOf(t, ipv6)) })
	}
}

// ParallelFamilies are Families side by side.
func ParallelFamilies(t *testing.T, test func(*Rig)) {
	for _, ipv6 := range []bool{false, true} {
		t.Run(FamilyName(ipv6), func(t *testing.T) {
			t.Parallel()
			test(NewOf(t, ipv6))
		})
	}
}

// FamilyName is what names of tests have.
func FamilyName(ipv6 bool) string { return map[bool]string{false: "IPv4", true: "IPv6"}[ipv6] }

// Check fails the test at an error.
func (r *Rig) Check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// Eventually fails the test unless the condition comes true.
func (r *Rig) Eventually(what string, limit time.Duration, holds func() bool) time.Time {
	r.Helper()
	at, err := lab.Eventually(what, limit, holds)
	r.Check(err)
	return at
}

// Has reports whether the host has the address, as the kernel says.
func (r *Rig) Has(h *lab.Host, a netip.Addr) bool {
	r.Helper()
	family := "-4"
	if a.Is6() {
		family = "-6"
	}
	out, err := h.Run("ip", "-br", family, "addr", "show")
	r.Check(err)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); strings.HasPrefix(f[0], Macvlan+"@") && f[1] != "UP" {
			continue // FRR's, while it is backup
		}
		if strings.Contains(line, " "+a.String()+"/") {
			return true
		}
	}
	return false
}

// Settle lets time pass in which something must not happen.
func (r *Rig) Settle(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// Run runs a program on a host, with the words of a line, and fails the test if it does.
func (r *Rig) Run(h *lab.Host, program, args string) {
	r.Helper()
	_, err := h.Run(program, strings.Fields(args)...)
	r.Check(err)
}
