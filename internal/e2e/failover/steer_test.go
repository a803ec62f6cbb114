package failover_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// steered is the usual file with further keys of the virtual router, and further
// sections.
func steered(keys, sections string) string {
	return rig.VRRPFile(3, 100*time.Millisecond) + keys + "\n" + sections
}

// says waits until the status of the virtual router has a text in its reason.
func says(r *rig.Rig, d *lab.Daemon, state, text string) {
	r.Helper()
	var last string
	_, err := lab.Eventually("", 30*time.Second, func() bool {
		s := d.Router("web")
		last = s.State + ": " + s.Reason
		return s.State == state && strings.Contains(s.Reason, text)
	})
	if err != nil {
		r.Fatalf("status says %q, want %s with %q", last, state, text)
	}
}

// TestYield: an operator gives the address away, across a restart, and takes it
// back, and nobody loses a packet.
func TestYield(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	file := steered("", "")
	one, two := r.Lvsha(r.LVS[0], file), r.Lvsha(r.LVS[1], file)
	r.Becomes(one, "active")
	r.Becomes(two, "backup")
	if lost := r.LostWhile(func() {
		out, err := r.LVS[0].Run(r.Binary, "yield", "web")
		r.Check(err)
		if !strings.Contains(out, "web is backup: lvs2 (10.0.0.2) advertises 100, and we yield until told otherwise") {
			r.Errorf("yield printed %q", out)
		}
	}); lost > 0 {
		r.Errorf("%d probes lost by a yield", lost)
	}
	r.Becomes(two, "active")

	if _, err := one.End(syscall.SIGUSR2); err != nil {
		r.Fatal(err)
	}
	one = r.Again(r.LVS[0])
	says(r, one, "backup", "we yield until told otherwise")
	r.Settle(time.Second)
	says(r, one, "backup", "we yield until told otherwise")
	if out, err := r.LVS[0].Run(r.Binary, "status"); err != nil || !strings.Contains(out, "yields to other directors until told otherwise") {
		r.Errorf("status printed %s, %v", out, err)
	}

	if lost := r.LostWhile(func() {
		_, err := r.LVS[0].Run(r.Binary, "yield", "--back", "web")
		r.Check(err)
		r.Becomes(one, "active")
	}); lost > 0 {
		r.Errorf("%d probes lost by taking back", lost)
	}
	r.Becomes(two, "backup")

	// Nobody is there to take it.
	_, err := two.End(syscall.SIGTERM)
	r.Check(err)
	if lost := r.LostWhile(func() {
		_, err := r.LVS[0].Run(r.Binary, "yield", "--for", "1h")
		if err == nil || !strings.Contains(err.Error(), "web stays active: nobody else took the addresses") {
			r.Errorf("yield to nobody: %v", err)
		}
	}); lost > 0 {
		r.Errorf("%d probes lost by a yield to nobody", lost)
	}
	if s := one.Router("web"); s.Yielding {
		r.Error("a yield that nobody answered goes on")
	}
	if _, err := r.LVS[0].Run(r.Binary, "yield", "wbe"); err == nil || !strings.Contains(err.Error(), `no virtual router "wbe"; there are: web`) {
		r.Errorf("yield of a router that is not there: %v", err)
	}
	r.OneActive()
}

// TestTakeoverAfter: a living Active keeps the address for the delay, and a dead one
// does not.
func TestTakeoverAfter(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	file := steered(`takeover = "after 2s"`, "")
	two := r.Lvsha(r.LVS[1], file)
	r.Becomes(two, "active")
	began := time.Now()
	one := r.Lvsha(r.LVS[0], file)
	says(r, one, "backup", "is left in peace until")
	r.Becomes(one, "active")
	if took := time.Since(began); took < 2*time.Second {
		r.Errorf("took over after %s, want 2s at least", took)
	}
	_, err := one.End(syscall.SIGTERM)
	r.Check(err)
	r.Becomes(two, "active")
	one = r.Again(r.LVS[0])
	says(r, one, "backup", "is left in peace until")
	began = time.Now()
	r.Check(two.Kill())
	r.Becomes(one, "active")
	if took := time.Since(began); took > 1500*time.Millisecond {
		r.Errorf("a dead one was replaced after %s", took)
	}
}

// TestStartDelay: silence makes nobody Active before the delay is over.
func TestStartDelay(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	began := time.Now()
	one := r.Lvsha(r.LVS[0], steered(`start_delay = "1500ms"`, ""))
	says(r, one, "backup", "holding off until")
	r.Becomes(one, "active")
	if took := time.Since(began); took < 1500*time.Millisecond {
		r.Errorf("active after %s", took)
	}
}

// TestTracking puts each sort of condition through failure and recovery.
func TestTracking(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	file := steered(`track = ["switch", "proxy", "uplink", "gateway", "script", "web"]`, `
[track.switch]
type = "file"
file = "/run/maintenance"
weight = -1
interval = "100ms"
[track.proxy]
type = "process"
process = "lvsha-tracked-process"
interval = "100ms"
[track.uplink]
type = "interface"
interface = "eth1"
weight = -60
down_delay = "100ms"
[track.gateway]
type = "ping"
address = "10.0.0.9"
interval = "100ms"
timeout = "100ms"
fall = 2
weight = -70
[track.script]
type = "exec"
command = ["/bin/sh", "-c", "test ! -e /run/broken"]
interval = "100ms"
rise = 1
fall = 1
weight = 10
[track.web]
type = "tcp"
address = "10.0.0.9:8080"
interval = "100ms"
rise = 1
fall = 1
weight = 1
`)
	// The process must be there on both, as hosts of the lab share their processes.
	r.Check(r.LVS[0].WriteFile("/run/lvsha-tracked-process", []byte("#!/bin/sh\nsleep 1000\n"), 0o755))
	start := func() *lab.Process {
		p, err := r.LVS[0].Start(nil, "/run/lvsha-tracked-process")
		r.Check(err)
		return p
	}
	process := start()
	for _, h := range r.LVS {
		_, err := h.Run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1peer")
		r.Check(err)
		_, err = h.Run("ip", "link", "set", "eth1", "up")
		r.Check(err)
		_, err = h.Run("ip", "link", "set", "eth1peer", "up")
		r.Check(err)
	}
	one, two := r.Lvsha(r.LVS[0], file), r.Lvsha(r.LVS[1], file)
	// 150, and 10 because the script succeeds.
	priority := func(d *lab.Daemon, want int, why string) {
		r.Helper()
		var got string
		if _, err := lab.Eventually("", 30*time.Second, func() bool {
			s := d.Router("web")
			got = fmt.Sprintf("%d: %s", s.Priority, s.Tracking)
			return s.Priority == want && strings.Contains(s.Tracking, why)
		}); err != nil {
			r.Fatalf("priority is %s, want %d with %q", got, want, why)
		}
	}
	r.Becomes(one, "active")
	priority(one, 160, "+10 because of script (exit status 0)")

	r.Check(r.LVS[0].WriteFile("/run/broken", nil, 0o644))
	priority(one, 150, "")
	_, err := r.LVS[0].Run("rm", "/run/broken")
	r.Check(err)
	priority(one, 160, "script")

	// A number times the weight: 160 - 55 is less than the other's 110.
	lost := r.LostWhile(func() {
		r.Check(r.LVS[0].WriteFile("/run/maintenance", []byte("55\n"), 0o644))
		priority(one, 105, "-55 because of switch (/run/maintenance says 55)")
		r.Becomes(two, "active")
		r.Becomes(one, "backup")
	})
	if lost > 0 {
		r.Errorf("%d probes lost by a lower priority", lost)
	}
	says(r, one, "backup", "lvs2 (10.0.0.2) advertises 110")
	r.Check(r.LVS[0].WriteFile("/run/maintenance", []byte("0\n"), 0o644))
	r.Becomes(one, "active")

	_, err = r.LVS[0].Run("ip", "link", "set", "eth1peer", "down")
	r.Check(err)
	priority(one, 100, "-60 because of uplink (eth1 is down)")
	r.Becomes(two, "active")
	_, err = r.LVS[0].Run("ip", "link", "set", "eth1peer", "up")
	r.Check(err)
	r.Becomes(one, "active")

	// The gateway is silent for both, which changes nothing between them.
	_, err = r.Client.Run("ip", "link", "set", "eth0", "down")
	r.Check(err)
	priority(one, 90, "-70 because of gateway (timeout after 100ms while waiting for an answer to the ping)")
	priority(two, 40, "gateway")
	_, err = r.Client.Run("ip", "link", "set", "eth0", "up")
	r.Check(err)
	priority(one, 160, "script")

	// The process is gone for both: a fault, which hands over to nobody.
	r.Check(process.Kill())
	says(r, one, "fault", "proxy: process lvsha-tracked-process is not running")
	says(r, two, "fault", "proxy: process lvsha-tracked-process is not running")
	if r.Has(r.LVS[0], r.VIP) {
		r.Error("the address is there in fault")
	}
	process = start()
	r.Becomes(one, "active")
	r.Becomes(two, "backup")

	out, err := r.LVS[0].Run(r.Binary, "status")
	r.Check(err)
	for _, want := range []string{"CONDITION STATE", "gateway ok", "answered in", "web failed", "connect: refused"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			r.Errorf("status lacks %q:\n%s", want, out)
		}
	}
	r.Check(process.Kill())
}

// TestSyncGroup: two virtual routers on two segments move together, and those that
// nothing happened to lose no packet.
func TestSyncGroup(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	inside, err := r.Net.Segment("inside")
	r.Check(err)
	var ports [2]*lab.Port
	for i := range r.LVS {
		ports[i], err = inside.Attach(r.LVS[i], "eth1", fmt.Sprintf("10.1.0.%d/24", i+1))
		r.Check(err)
	}
	file := steered("", `
[vrrp.inside]
interface = "eth1"
vrid = 52
advertise = "100ms"
addresses = ["10.1.0.254/24"]
[group.site]
routers = ["web", "inside"]
`)
	one, two := r.Lvsha(r.LVS[0], file), r.Lvsha(r.LVS[1], file)
	both := func(d *lab.Daemon, state string) {
		r.Helper()
		r.Eventually("both members to be "+state, 30*time.Second, func() bool {
			return d.Router("web").State == state && d.Router("inside").State == state
		})
	}
	both(one, "active")
	both(two, "backup")
	if g := one.Router("inside").Group; g != "site" {
		r.Errorf("group is %q", g)
	}
	if lost := r.LostWhile(func() {
		r.Check(ports[0].Unplug())
		both(one, "fault")
		both(two, "active")
	}); lost > 0 {
		r.Errorf("%d probes to web lost when inside lost its carrier", lost)
	}
	says(r, one, "fault", "inside in sync group site: eth1 is down")
	if lost := r.LostWhile(func() {
		r.Check(ports[0].Plug())
		both(one, "active")
		both(two, "backup")
	}); lost > 0 {
		r.Errorf("%d probes to web lost when inside came back", lost)
	}
	if lost := r.LostWhile(func() {
		_, err := r.LVS[0].Run(r.Binary, "yield", "inside")
		r.Check(err)
		both(two, "active")
		both(one, "backup")
	}); lost > 0 {
		r.Errorf("%d probes lost by a yield of the group", lost)
	}
	// On one segment the other is not heard: it takes both to take over.
	r.Check(ports[1].Cut())
	r.Settle(time.Second)
	both(two, "active")
	both(one, "backup")
	says(r, one, "backup", "advertises 100, and we yield")
	r.Check(ports[1].Mend())
	r.Check(two.Kill())
	both(one, "active")
}
