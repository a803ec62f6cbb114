package failover_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// TestInterfaceAppearsLater: an interface that does not exist is waited for.
func TestInterfaceAppearsLater(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], strings.ReplaceAll(rig.VRRPFile(3, rig.Fast), `"eth0"`, `"eth7"`))
	r.Becomes(d, "fault")
	if s := d.Router("web"); !strings.Contains(s.Reason, "eth7") || !strings.Contains(s.Reason, "does not exist") {
		t.Errorf("reason %q", s.Reason)
	}
	_, err := r.Segment.Attach(r.LVS[0], "eth7", "10.0.0.7/24")
	r.Check(err)
	r.Becomes(d, "active")
}

// TestLinkDown: the carrier goes and comes back.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	r.Check(r.Ports[0].Unplug())
	r.Becomes(active, "fault")
	r.Becomes(backup, "active")
	r.Eventually("address gone from the director without link", 10*time.Second, func() bool { return !r.Has(r.LVS[0], rig.VIP) })
	r.Check(r.Ports[0].Plug())
	r.Becomes(active, "active")
	r.Becomes(backup, "backup")
	r.OneActive()
}

// TestSplitHeals: a cut between the directors makes two actives; when it heals
// the better one announces again, so that the client comes back to it.
func TestSplitHeals(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	r.Check(r.Ports[0].Cut())
	r.Becomes(backup, "active")
	stop, measured := r.Ping(), r.Stalls()
	r.Settle(200 * time.Millisecond)
	healed := time.Now()
	r.Check(r.Ports[0].Mend())
	r.Becomes(backup, "backup")
	r.Settle(time.Second)
	if lost := lab.Lost(stop(), healed, time.Now()); lost > 2+int(measured().Milliseconds()) {
		t.Errorf("%d probes lost when the split healed", lost)
	}
	if s := active.Router("web"); s.Counters["became_active"] != 1 {
		t.Errorf("the better director did not stay active: %+v", s)
	}
}

// TestAddressRemoved: an address that somebody takes away is put back, said
// and counted.
func TestAddressRemoved(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, rig.Fast))
	r.Becomes(d, "active")
	r.Eventually("address", 10*time.Second, func() bool { return r.Has(r.LVS[0], rig.VIP) })
	_, err := r.LVS[0].Run("ip", "addr", "del", "10.0.0.100/24", "dev", "eth0")
	r.Check(err)
	r.Eventually("address back", 10*time.Second, func() bool { return r.Has(r.LVS[0], rig.VIP) })
	r.Eventually("restored address counted", 10*time.Second, func() bool { return d.Router("web").Counters["addresses_restored"] == 1 })
	r.Eventually("event", 10*time.Second, func() bool { return strings.Contains(r.Events(d), "address-restored") })
}

// TestGarbage: foreign VRIDs, truncated and random packets move nothing.
func TestGarbage(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	random := rand.New(rand.NewPCG(1, 2))
	var packets [][]byte
	// A foreign VRID at the highest priority.
	packets = append(packets, []byte{0x31, 52, 255, 1, 0, 10, 0, 0, 10, 0, 0, 100})
	whole := []byte{0x31, 51, 255, 1, 0, 10, 0, 0, 10, 0, 0, 100} // with a wrong checksum
	for n := range len(whole) + 1 {
		packets = append(packets, whole[:n])
	}
	for range 500 {
		p := make([]byte, random.IntN(60))
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		packets = append(packets, p)
	}
	var fd int
	r.Check(r.Client.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, 112)
		return err
	}))
	defer unix.Close(fd)
	r.Check(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255))
	r.Check(unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, [4]byte{10, 0, 0, 9}))
	for _, p := range packets {
		r.Check(unix.Sendto(fd, p, 0, &unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 18}}))
	}
	r.Eventually("garbage counted", 10*time.Second, func() bool {
		c := active.Router("web").Counters
		return c["checksum_errors"]+c["length_errors"] > 0
	})
	r.Settle(500 * time.Millisecond)
	if a, b := active.Router("web"), backup.Router("web"); a.State != "active" || b.State != "backup" || b.Counters["became_active"] != 0 {
		t.Errorf("after the garbage: %+v, %+v", a, b)
	}
}

// TestNoIPVS: a kernel without IPVS stops neither VRRP nor the checks, and
// status says what to do. (The other half, the module that appears, is tested
// in the machine.)
func TestNoIPVS(t *testing.T) {
	t.Parallel()
	if lab.HostHasIPVS() {
		return // the machine's test has the whole story
	}
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, rig.Fast)+`
[service.web]
listen    = "10.0.0.100:80/tcp"
forward   = "dr"
check     = { type = "tcp", interval = "200ms", timeout = "100ms" }
[[service.web.server]]
address = "10.0.0.9"
[sync]
interface = "eth0"
`)
	r.Becomes(d, "active")
	r.Eventually("a verdict", 10*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.Services[0].Servers[0].State == "down"
	})
	s, err := d.Status()
	r.Check(err)
	if !strings.Contains(s.IPVS.State, "modprobe ip_vs") || !strings.Contains(strings.Join(s.Problems, "\n"), "modprobe ip_vs") {
		t.Errorf("ipvs %+v, problems %q", s.IPVS, s.Problems)
	}
	out, err := r.LVS[0].Run(r.Binary, "reload")
	if err != nil || !strings.Contains(out, "applied") {
		t.Errorf("reload: %q, %v", out, err)
	}
}

// TestNoCapability: the capability that is missing is named, and the daemon
// goes on.
func TestNoCapability(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(rig.VRRPFile(3, rig.Fast)), 0o644))
	p, err := r.LVS[0].Start(nil, "setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-all", r.Binary, "run", "-c", rig.ConfigPath)
	r.Check(err)
	d := &lab.Daemon{Process: p}
	r.Becomes(d, "fault")
	r.Eventually("problems", 10*time.Second, func() bool {
		s, err := d.Status()
		text := strings.Join(s.Problems, "\n")
		return err == nil && strings.Contains(text, "CAP_NET_RAW") && strings.Contains(text, "CAP_NET_ADMIN")
	})
	if s := d.Router("web"); !strings.Contains(s.Reason, "CAP_NET_RAW") {
		t.Errorf("reason %q", s.Reason)
	}
}

// TestSecondDaemon: the first one goes on.
func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, rig.Fast))
	r.Becomes(d, "active")
	_, err := r.LVS[0].Run(r.Binary, "run", "-c", rig.ConfigPath)
	if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "another lvsha daemon is running") {
		t.Errorf("second daemon: %v", err)
	}
	r.Becomes(d, "active")
}
