package ipvs_test

import (
	"fmt"
	"net/netip"

	"lvsha/ipvs"
)

func ExampleDiff() {
	web := ipvs.ServiceKey{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("192.0.2.10:80")}
	server := func(addr string, weight int) ipvs.Destination {
		return ipvs.Destination{Addr: netip.MustParseAddrPort(addr), Forward: ipvs.DR, Weight: weight}
	}
	have := []ipvs.Service{{Key: web, Scheduler: "rr", Destinations: []ipvs.Destination{
		server("192.0.2.21:80", 1), server("192.0.2.22:80", 1),
	}}}
	want := []ipvs.Service{{Key: web, Scheduler: "wlc", Destinations: []ipvs.Destination{
		server("192.0.2.22:80", 0), server("192.0.2.23:80", 2),
	}}}
	ours := func(ipvs.ServiceKey) bool { return true }
	fmt.Print(ipvs.Diff(have, want, ours))
	// Output:
	// set scheduler of service 192.0.2.10:80/tcp from rr to wlc
	// add server 192.0.2.23:80 to 192.0.2.10:80/tcp weight 2 forward dr
	// set weight of server 192.0.2.21:80 of 192.0.2.10:80/tcp from 1 to 0
	// set weight of server 192.0.2.22:80 of 192.0.2.10:80/tcp from 1 to 0
	// remove server 192.0.2.21:80 from 192.0.2.10:80/tcp
}
