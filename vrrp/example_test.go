package vrrp_test

import (
	"fmt"
	"net/netip"
	"time"

	"lvsha/vrrp"
)

// A virtual router is a value: it is told the time and what happened, and says
// what is to be done and when it wants to be asked again.
func ExampleRouter() {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	router := vrrp.NewRouter(vrrp.Config{
		Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: 150, Interval: 100 * time.Millisecond,
		Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix("192.0.2.10/24")}},
	})
	router.Step(start, vrrp.LinkChange{Source: netip.MustParseAddr("10.0.0.1")})
	router.Step(start, vrrp.Startup{})

	next := router.Deadline()
	fmt.Println("after", next.Sub(start))
	for _, action := range router.Step(next, vrrp.Tick{}) {
		fmt.Println(action)
	}
	// Output:
	// after 341.40625ms
	// send advertisement, priority 150
	// install 192.0.2.10/24 dev eth0
	// announce 192.0.2.10/24 dev eth0, rounds: 5
	// backup -> active: no advertisement for 341ms
}
