package vrrp_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lvsha/vrrp"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// The addresses of the transcripts: we are .2, between .1 and .3.
var (
	lower, self, higher = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	web                 = vrrp.Address{Prefix: netip.MustParsePrefix("192.0.2.10/24"), Interface: "eth0"}
	second              = vrrp.Address{Prefix: netip.MustParsePrefix("192.0.2.11/24"), Interface: "eth0"}
	gateway             = vrrp.Address{Prefix: netip.MustParsePrefix("10.1.0.254/24"), Interface: "eth1"}
)

// base is the configuration most transcripts have.
func base() vrrp.Config {
	return vrrp.Config{
		Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: 100, Interval: time.Second,
		Addresses: []vrrp.Address{{Prefix: web.Prefix}},
		Peers:     []vrrp.Peer{{Name: "lvs3", Address: higher, Priority: 150}},
	}
}

// with changes a configuration.
func with(change func(*vrrp.Config)) vrrp.Config {
	c := base()
	change(&c)
	return c
}

// never is what the file's takeover = "never" means.
func never() vrrp.Config {
	return with(func(c *vrrp.Config) { c.NoPreempt, c.PreemptLowered = true, true })
}

// moment is an event at a time since the start. A nil event runs the timers
// that are due until then.
type moment struct {
	at time.Duration
	ev vrrp.Event
	// stalled says that the process did not run before, so that no timer could.
	stalled bool
}

// adv is an advertisement heard.
func adv(at time.Duration, from netip.Addr, priority uint8, interval time.Duration) moment {
	return moment{at: at, ev: received(at, from, priority, interval)}
}

func received(at time.Duration, from netip.Addr, priority uint8, interval time.Duration) *vrrp.Received {
	return &vrrp.Received{At: epoch.Add(at), Source: from, Advertisement: vrrp.Advertisement{
		Version: 3, VRID: 51, Priority: priority, Interval: interval, Addresses: []netip.Addr{web.Prefix.Addr()},
	}}
}

// scenario is one transcript, named after the requirement it shows.
type scenario struct {
	name  string
	cfg   vrrp.Config
	steps []moment
}

// usable is the link of every transcript.
var usable = vrrp.LinkChange{Source: self}

// boot starts a router on a link that works.
func boot(steps ...moment) []moment {
	return append([]moment{{ev: usable}, {ev: vrrp.Startup{}}}, steps...)
}

// elect makes it Active first: nobody is there, at 100 and 1 s after 3.609375 s.
func elect(steps ...moment) []moment {
	return append(boot(moment{at: elected}), steps...)
}

const elected = 3609375 * time.Microsecond

// play writes the transcript of a scenario.
func (s scenario) play() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n", s.name)
	r := vrrp.NewRouter(s.cfg)
	step := func(at time.Duration, ev vrrp.Event) {
		fmt.Fprintf(&out, "%s %s\n", at, ev)
		for _, a := range r.Step(epoch.Add(at), ev) {
			fmt.Fprintf(&out, "    %s\n", a)
		}
	}
	for _, m := range s.steps {
		// Timers that are due before.
		for !m.stalled {
			d := r.Deadline()
			if d.IsZero() || d.Sub(epoch) > m.at || (m.ev != nil && d.Sub(epoch) == m.at) {
				break
			}
			step(d.Sub(epoch), vrrp.Tick{})
		}
		if m.ev != nil {
			step(m.at, m.ev)
		}
	}
	next := "none"
	if d := r.Deadline(); !d.IsZero() {
		next = d.Sub(epoch).String()
	}
	fmt.Fprintf(&out, "= %s: %s; deadline %s\n", r.State(), r.Reason(), next)
	return out.String()
}

func TestTranscripts(t *testing.T) {
	const A = time.Second
	ms := time.Millisecond
	v2 := func(c *vrrp.Config) { c.Version = 2 }
	files := map[string][]scenario{
		"initialize": {
			{"V3-INI-01 owner", with(func(c *vrrp.Config) { c.Priority = 255 }), boot()},
			{"V3-INI-02", base(), boot()},
			{"V3-INI-05", base(), []moment{{ev: usable}, adv(0, higher, 150, A)}},
			{"V3-INI-06 tick and second startup", base(), []moment{{ev: vrrp.Tick{}}, {ev: usable}, {ev: vrrp.Startup{}}, {at: A, ev: vrrp.Startup{}}}},
			{"resume, young", base(), []moment{{ev: usable}, {ev: vrrp.Startup{Resume: &vrrp.Resume{Active: true, Age: 2 * A}}}}},
			{"resume, old, alone", base(), []moment{{ev: usable}, {ev: vrrp.Startup{Resume: &vrrp.Resume{Active: true, Age: time.Minute}}}, {at: A}}},
			{"resume, old, somebody took over", base(), []moment{{ev: usable}, {ev: vrrp.Startup{Resume: &vrrp.Resume{Active: true, Age: time.Minute}}}, adv(400*ms, higher, 150, A), {at: 450 * ms}}},
			{"resume of a backup", base(), []moment{{ev: usable}, {ev: vrrp.Startup{Resume: &vrrp.Resume{Age: A}}}}},
		},
		"backup": {
			{"V3-BCK-05", base(), boot(moment{at: A, ev: vrrp.Shutdown{}})},
			{"V3-BCK-06", base(), boot(moment{at: elected})},
			{"V3-BCK-07", base(), boot(adv(A, higher, 150, 2*A), adv(2*A, higher, 0, A), moment{at: 2*A + 1218750*time.Microsecond})},
			{"V3-BCK-08", base(), boot(adv(A, higher, 150, 2*A), moment{at: A + 7218750*time.Microsecond})},
			{"V3-BCK-08 no preempt", with(func(c *vrrp.Config) { c.NoPreempt = true }), boot(adv(A, lower, 50, A))},
			{"V3-BCK-09", base(), boot(adv(A, lower, 50, 2*A), moment{at: elected})},
			{"V3-BCK-10", base(), boot(adv(A, lower, 100, A))},
			{"V3-BCK-12", base(), boot(adv(elected-100*ms, higher, 0, A))},
			{"V3-BCK-13", base(), boot(adv(A, higher, 150, A), adv(2*A, higher, 0, A), adv(2*A+300*ms, higher, 0, A), adv(2*A+600*ms, lower, 0, A), moment{at: 2*A + 610*ms})},
			{"SIM-PAUSE-06 queued advertisement", base(), boot(moment{at: 4 * A, ev: received(A, higher, 150, A), stalled: true})},
			{"SIM-PAUSE-07 grace", base(), boot(moment{at: 10 * A, ev: vrrp.Tick{}, stalled: true}, moment{at: 12 * A})},
		},
		"active": {
			{"V3-ACT-06", base(), elect(moment{at: 4 * A, ev: vrrp.Shutdown{}}, moment{at: 6 * A})},
			{"V3-ACT-07", base(), elect(moment{at: elected + 2*A})},
			{"V3-ACT-08", base(), elect(adv(4*A, lower, 0, A))},
			{"V3-ACT-09 V3-ACT-18", base(), elect(adv(4*A, higher, 150, 2*A), moment{at: 5 * A})},
			{"V3-ACT-10", base(), elect(adv(4*A, higher, 100, A))},
			{"V3-ACT-11 ARP-09", base(), elect(adv(4*A, lower, 100, A), adv(4*A+500*ms, lower, 50, A))},
			{"V3-ACT-12", base(), elect(adv(4*A, self, 100, A), adv(4*A+1, self, 100, A))},
			{"V3-ACT-13", base(), elect(adv(4*A, lower, 50, A), adv(4*A+1, lower, 50, A), adv(4*A+2, lower, 50, A), adv(4*A+3, lower, 50, A), adv(4*A+250*ms, lower, 50, A))},
			{"V3-ACT-14", with(func(c *vrrp.Config) { c.NoPreempt = true }), elect(adv(4*A, higher, 150, A))},
			{"V3-ACT-17", base(), elect(moment{at: 4 * A, ev: vrrp.Reconfigure{Config: with(func(c *vrrp.Config) { c.Priority = 50 })}}, moment{at: elected + A})},
			{"V3-OWN-04", with(func(c *vrrp.Config) { c.Priority = 255 }), boot(adv(A, higher, 255, A))},
			{"V2-TMR-01 V2-TMR-02", with(func(c *vrrp.Config) { c.Version, c.Interval = 2, 5*A }), boot(moment{at: 15609375 * time.Microsecond})},
			{"V2-FSM-02", with(v2), elect(adv(4*A, lower, 50, A))},
			{"ARP-07 ARP-08 announcements", base(), elect(moment{at: elected + 16*A})},
			{"ARP-10 SIM-PAUSE-04 stall", base(), elect(moment{at: 4 * A, ev: vrrp.Stalled{For: 3 * A}}, moment{at: elected + A})},
			{"the one before has announcements in its queue", base(), boot(adv(A, lower, 50, A), adv(2*A, lower, 50, A), adv(3*A, lower, 50, A), adv(4*A, lower, 50, A), moment{at: elected}, moment{at: elected + ms, ev: vrrp.Announced{Address: web.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}}, moment{at: elected + 3*A, ev: vrrp.Announced{Address: web.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}})},
			{"ARP-12 conflict", base(), elect(moment{at: 4 * A, ev: vrrp.Announced{Address: web.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}}, moment{at: 4*A + ms, ev: vrrp.Announced{Address: web.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}})},
		},
		"leaving": {
			{"stop, the peer announces", base(), elect(moment{at: 4 * A, ev: vrrp.Shutdown{}}, adv(4*A+400*ms, higher, 150, A), moment{at: 4*A + 401*ms, ev: vrrp.Announced{Address: web.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}})},
			{"stop, the peer only advertises", base(), elect(moment{at: 4 * A, ev: vrrp.Shutdown{}}, adv(4*A+400*ms, lower, 50, A), moment{at: 4*A + 450*ms})},
			{"stop at 10 ms, nobody there", with(func(c *vrrp.Config) { c.Interval = 10 * ms }), boot(moment{at: 37 * ms}, moment{at: 50 * ms, ev: vrrp.Shutdown{}}, moment{at: 2 * time.Second})},
			{"stop, all others said that they left", base(), elect(moment{at: 4 * A, ev: vrrp.Tracked{Alone: true}}, moment{at: 4*A + 10*ms, ev: vrrp.Shutdown{}}, moment{at: 4*A + 2*time.Second})},
			{"stop, taken back", base(), elect(moment{at: 4 * A, ev: vrrp.Shutdown{}}, moment{at: 4*A + 100*ms, ev: vrrp.Startup{}}, moment{at: 7 * A})},
			{"preempted, the winner announces", base(), elect(adv(4*A, higher, 150, A), moment{at: 4*A + ms, ev: vrrp.Announced{Address: web.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}})},
			{"preempted, the winner announces one address and then the other", with(func(c *vrrp.Config) { c.Addresses = []vrrp.Address{web, second, gateway} }), elect(adv(4*A, higher, 150, A), moment{at: 4*A + ms, ev: vrrp.Announced{Address: second.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}}, moment{at: 4*A + 2*ms, ev: vrrp.Announced{Address: second.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}}, moment{at: 4*A + 3*ms, ev: vrrp.Announced{Address: web.Prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, 9}}})},
			{"preempted, then stopped", base(), elect(adv(4*A, higher, 150, A), moment{at: 4*A + ms, ev: vrrp.Shutdown{}}, moment{at: 5 * A})},
			{"preempted at 10 ms, the winner dies at once", with(func(c *vrrp.Config) { c.Interval = 10 * ms }), boot(moment{at: 37 * ms}, adv(50*ms, higher, 150, 10*ms), moment{at: 90 * ms})},
			{"preempted, the winner releases at once", base(), elect(adv(4*A, higher, 150, 10*ms), adv(4*A+ms, higher, 0, 10*ms), moment{at: 4*A + 10*ms})},
			{"link lost while leaving", base(), elect(moment{at: 4 * A, ev: vrrp.Shutdown{}}, moment{at: 4*A + ms, ev: vrrp.LinkChange{Problem: "eth0 is down"}})},
		},
		"fault": {
			{"no interface at startup", base(), []moment{{ev: vrrp.LinkChange{Problem: "interface eth0 does not exist (waiting for it)"}}, {ev: vrrp.Startup{}}, {at: A, ev: usable}}},
			{"link lost and back while active", base(), elect(moment{at: 4 * A, ev: vrrp.LinkChange{Problem: "eth0 is down"}}, adv(5*A, lower, 50, A), moment{at: 6 * A, ev: usable}, moment{at: 6*A + elected})},
			{"another problem", base(), elect(moment{at: 4 * A, ev: vrrp.LinkChange{Problem: "eth0 is down"}}, moment{at: 5 * A, ev: vrrp.LinkChange{Problem: "eth0 has no IPv4 address of its own"}})},
			{"stopped in fault", base(), []moment{{ev: vrrp.Startup{}}, {at: A, ev: vrrp.Shutdown{}}}},
			{"SIM-SAFE-02 nothing can be installed", base(), elect(moment{at: 5 * A, ev: vrrp.InstallFailed{Err: errors.New("adding 192.0.2.10/24 to eth0: operation not permitted (needs CAP_NET_ADMIN)")}}, moment{at: 15 * A}, moment{at: 15*A + elected}, moment{at: 20 * A, ev: vrrp.InstallFailed{Err: errors.New("still")}})},
		},
		"takeover": {
			{"V3-BCK-14 after a delay", with(func(c *vrrp.Config) { c.PreemptAfter = 5 * A }), boot(adv(A, lower, 50, A), adv(2*A, lower, 50, A), adv(3*A, lower, 50, A), adv(4*A, lower, 50, A), adv(5*A, lower, 50, A), adv(6*A, lower, 50, A), adv(7*A, lower, 50, A), adv(8*A, lower, 50, A), moment{at: 5*A + elected})},
			{"V3-BCK-14 silence during the delay", with(func(c *vrrp.Config) { c.PreemptAfter = 30 * A }), boot(adv(A, lower, 50, A), moment{at: A + elected})},
			{"V3-BCK-14 release during the delay", with(func(c *vrrp.Config) { c.PreemptAfter = 30 * A }), boot(adv(A, lower, 50, A), adv(2*A, lower, 0, A), moment{at: 3 * A})},
			{"V3-BCK-14 a higher one starts the delay again", with(func(c *vrrp.Config) { c.PreemptAfter = 2 * A }), boot(adv(A, lower, 50, A), adv(2*A, higher, 150, A), adv(3*A, lower, 50, A), adv(4*A, lower, 50, A))},
			{"never, and the Active has what the file gives it", never(), boot(adv(A, higher, 150, A), moment{at: A + ms, ev: vrrp.Tracked{Adjust: 100}}, adv(2*A, higher, 150, A), adv(3*A, higher, 150, A))},
			{"never, and the Active's own conditions have lowered it", never(), boot(adv(A, higher, 150, A), adv(2*A, higher, 90, A), adv(3*A, higher, 90, A), adv(4*A, higher, 90, A), moment{at: A + elected})},
			{"never, and the Active recovers in time", never(), boot(adv(A, higher, 90, A), adv(2*A, higher, 90, A), adv(3*A, higher, 150, A), moment{at: A + elected})},
			{"never, and both are lowered", never(), boot(moment{at: ms, ev: vrrp.Tracked{Adjust: -50}}, adv(A, higher, 90, A), adv(2*A, higher, 90, A))},
			{"nopreempt leaves a lowered one in peace too", with(func(c *vrrp.Config) { c.NoPreempt = true }), boot(adv(A, higher, 90, A), adv(2*A, higher, 90, A))},
			{"hold-off after the start", base(), []moment{{ev: usable}, {ev: vrrp.Startup{HoldOff: 10 * A}}, {at: 10 * A}}},
			{"hold-off, an Active is there", base(), []moment{{ev: usable}, {ev: vrrp.Startup{HoldOff: 10 * A}}, {at: 5 * A}, adv(6*A, higher, 150, A), {at: 10 * A}}},
			{"yield, taken and ended", base(), elect(moment{at: 4 * A, ev: vrrp.Yield{}}, adv(4*A+500*ms, lower, 50, A), moment{at: 5 * A}, adv(5*A+500*ms, lower, 50, A), moment{at: 6 * A, ev: vrrp.Unyield{}}, adv(6*A+500*ms, lower, 50, A), moment{at: 5*A + 500*ms + elected})},
			{"yield for a while, and the other dies", base(), elect(moment{at: 4 * A, ev: vrrp.Yield{Until: epoch.Add(60 * A)}}, adv(4*A+500*ms, lower, 50, A), moment{at: 5*A + elected})},
			{"yield for a while ends by itself", base(), elect(moment{at: 4 * A, ev: vrrp.Yield{Until: epoch.Add(6 * A)}}, adv(4*A+500*ms, lower, 50, A), adv(5*A+500*ms, lower, 50, A), adv(6*A+500*ms, lower, 50, A))},
			{"yield, and nobody is there", base(), elect(moment{at: 4 * A, ev: vrrp.Yield{}}, moment{at: 6 * A})},
			{"yield of a backup keeps it back", base(), boot(moment{at: A, ev: vrrp.Yield{}}, adv(2*A, lower, 50, A), adv(3*A, lower, 50, A))},
			{"BFD-VR-01 BFD-VR-03", base(), boot(adv(A, higher, 150, A), moment{at: A + 100*ms, ev: vrrp.PeerDown{Source: higher, At: epoch.Add(A + 100*ms)}}, moment{at: 2 * A}, adv(2*A+ms, higher, 150, A))},
			{"BFD-VR-01 not longer than what is left", base(), boot(adv(A, higher, 150, A), moment{at: 4*A + 300*ms, ev: vrrp.PeerDown{Source: higher, At: epoch.Add(4*A + 300*ms)}})},
			{"BFD-VR-01 another's path", base(), boot(adv(A, higher, 150, A), moment{at: 2 * A, ev: vrrp.PeerDown{Source: lower, At: epoch.Add(2 * A)}})},
			{"BFD-VR-03 an advertisement came later than the end of the path", base(), boot(adv(A, higher, 150, A), moment{at: A, ev: vrrp.PeerDown{Source: higher, At: epoch.Add(A - ms)}})},
			{"BFD-VR-04", base(), elect(moment{at: 4 * A, ev: vrrp.PeerDown{Source: higher, At: epoch.Add(4 * A)}})},
		},
		"tracking": {
			{"KA-FSM-11 a backup's expiry moves", base(), boot(adv(A, higher, 150, A), moment{at: 2 * A, ev: vrrp.Tracked{Adjust: -50, Why: "uplink is down (-50)"}})},
			{"V3-ACT-17 an Active lowers its priority", base(), elect(moment{at: 4 * A, ev: vrrp.Tracked{Adjust: -20, Why: "uplink is down (-20)"}}, moment{at: elected + A}, adv(elected+A+ms, lower, 90, A))},
			{"V3-OWN-01 the owner keeps its priority", with(func(c *vrrp.Config) { c.Priority = 255 }), boot(moment{at: A / 2, ev: vrrp.Tracked{Adjust: -200, Why: "uplink is down (-200)"}}, moment{at: A})},
			{"V3-OWN-03 from 1 to 254", base(), elect(moment{at: 4 * A, ev: vrrp.Tracked{Adjust: 253}}, moment{at: elected + A}, moment{at: 5 * A, ev: vrrp.Tracked{Adjust: -253}}, moment{at: elected + 2*A})},
			{"a fault is handed over without a gap", base(), elect(moment{at: 4 * A, ev: vrrp.Tracked{Fault: "process haproxy is not running"}}, adv(4*A+500*ms, lower, 50, A), moment{at: 5 * A}, moment{at: 6 * A, ev: vrrp.Tracked{}})},
			{"a fault with nobody else", base(), elect(moment{at: 4 * A, ev: vrrp.Tracked{Fault: "process haproxy is not running"}}, moment{at: 6 * A})},
			{"a fault that ends while leaving", base(), elect(moment{at: 4 * A, ev: vrrp.Tracked{Fault: "process haproxy is not running"}}, moment{at: 4*A + 100*ms, ev: vrrp.Tracked{}}, moment{at: 7 * A})},
			{"a fault of a backup", base(), boot(moment{at: A, ev: vrrp.Tracked{Fault: "gateway 10.0.0.254 does not answer"}}, moment{at: 2 * A, ev: vrrp.LinkChange{Problem: "eth0 is down"}}, moment{at: 3 * A, ev: vrrp.Tracked{}}, moment{at: 4 * A, ev: usable})},
			{"KA-VIP-02 excluded addresses, routes and rules", with(func(c *vrrp.Config) {
				c.Excluded = []vrrp.Address{second}
				c.Routes = []vrrp.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Via: lower, Table: 100}}
				c.Rules = []vrrp.Rule{{From: web.Prefix.Masked(), Table: 100, Priority: 1000}}
			}), elect(moment{at: 4 * A, ev: vrrp.Reconfigure{Config: with(func(c *vrrp.Config) {
				c.Addresses[0].Label = "eth0:1"
				c.Rules = []vrrp.Rule{{From: web.Prefix.Masked(), Table: 100, Priority: 1000}}
			})}}, moment{at: 5 * A, ev: vrrp.Shutdown{}}, moment{at: 7 * A})},
			{"an address is contested", base(), elect(moment{at: 4 * A, ev: vrrp.AddressLost{Address: web}}, moment{at: 5 * A, ev: vrrp.AddressLost{Address: web}}, moment{at: 6 * A, ev: vrrp.AddressLost{Address: web}})},
			{"SIM-PART-04 another Active, deaf, and its end", base(), elect(adv(4*A, lower, 50, A), adv(5*A, lower, 50, A), adv(6*A, lower, 50, A), moment{at: 10*A + 100*ms})},
		},
		"change": {
			{"addresses added and removed", base(), elect(moment{at: 4 * A, ev: vrrp.Reconfigure{Config: with(func(c *vrrp.Config) { c.Addresses = []vrrp.Address{gateway} })}})},
			{"shorter interval while active", base(), elect(moment{at: 4 * A, ev: vrrp.Reconfigure{Config: with(func(c *vrrp.Config) { c.Interval = 100 * ms })}}, moment{at: 4*A + 200*ms})},
			{"priority while backup moves the expiry", base(), boot(adv(A, higher, 250, A), moment{at: 2 * A, ev: vrrp.Reconfigure{Config: with(func(c *vrrp.Config) { c.Priority = 200 })}})},
			{"backup becomes the owner", base(), boot(adv(A, higher, 250, A), moment{at: 2 * A, ev: vrrp.Reconfigure{Config: with(func(c *vrrp.Config) { c.Priority = 255 })}})},
			{"address put back, then not in a race", base(), elect(moment{at: 4 * A, ev: vrrp.AddressLost{Address: web}}, moment{at: 4*A + ms, ev: vrrp.AddressLost{Address: web}}, moment{at: 5 * A})},
			{"address lost while backup", base(), boot(moment{at: A, ev: vrrp.AddressLost{Address: web}})},
			{"mismatches are told once", base(), boot(moment{at: A, ev: func() vrrp.Event {
				ev := received(A, higher, 150, 2*A)
				ev.Advertisement.Addresses = []netip.Addr{gateway.Prefix.Addr()}
				return ev
			}()}, adv(2*A, higher, 150, 2*A))},
		},
	}
	for name, scenarios := range files {
		t.Run(name, func(t *testing.T) {
			var parts []string
			for _, s := range scenarios {
				parts = append(parts, s.play())
			}
			got := strings.Join(parts, "\n")
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("transcript (-want +got):\n%s", diff)
			}
		})
	}
}
