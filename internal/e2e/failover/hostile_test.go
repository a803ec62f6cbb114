package failover_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// The tests of this file treat the daemon as badly as machines, networks and
// operators do at their worst.

// file is a file for both directors with the text of its virtual routers.
func file(routers string) string {
	head, _, _ := strings.Cut(rig.VRRPFile(3, rig.Fast), "[vrrp.web]")
	return head + routers
}

// router is the text of a virtual router at 100 ms.
func router(name string, vrid int, addresses ...string) string {
	return fmt.Sprintf("[vrrp.%s]\ninterface = \"eth0\"\nvrid = %d\nadvertise = \"100ms\"\naddresses = [\"%s\"]\n",
		name, vrid, strings.Join(addresses, `", "`))
}

// reload gives a director another file.
func reload(r *rig.Rig, h *lab.Host, file string) {
	r.Helper()
	r.Check(h.WriteFile(rig.ConfigPath, []byte(file), 0o644))
	if out, err := h.Run(r.Binary, "reload"); err != nil {
		r.Fatalf("reload on %s: %q, %v", h.Name, out, err)
	}
}

// reaches waits until the client's neighbour table has a director's hardware
// address for a virtual one.
func reaches(r *rig.Rig, i int, a netip.Addr) {
	r.Helper()
	out, err := r.LVS[i].Run("cat", "/sys/class/net/eth0/address")
	r.Check(err)
	mac := strings.TrimSpace(out)
	p, err := lab.StartPing(r.Client, a, time.Millisecond)
	r.Check(err)
	defer p.Stop()
	r.Eventually(fmt.Sprintf("the client sends to %s", r.LVS[i].Name), 10*time.Second, func() bool {
		out, err := r.Client.Run("ip", "neigh", "show", a.String())
		return err == nil && strings.Contains(out, mac)
	})
}

// advertised counts a director's advertisements since a time, without releases.
func advertised(r *rig.Rig, i int, since time.Time) int {
	n := 0
	for _, a := range r.Sniffer.Seen() {
		if a.Source == rig.Addresses[r.LVS[i].Name] && a.Priority > 0 && a.At.After(since) {
			n++
		}
	}
	return n
}

// watched reports the addresses that were removed from a host while act ran.
func watched(r *rig.Rig, h *lab.Host, act func()) (removed []string) {
	r.Helper()
	m, err := h.Start(nil, "ip", "-o", "monitor", "address")
	r.Check(err)
	r.Settle(50 * time.Millisecond)
	act()
	r.Settle(50 * time.Millisecond)
	r.Check(m.Kill())
	for line := range strings.Lines(m.Output()) {
		if strings.HasPrefix(line, "Deleted") {
			removed = append(removed, strings.TrimSpace(line))
		}
	}
	return removed
}

// TestStall stops the active director's process, as a debugger, a hypervisor
// or a swap storm does. Afterwards it alone is active again and clients send to
// it. Nothing is lost: the kernel went on.
func TestStall(t *testing.T) {
	t.Parallel()
	for _, peer := range []string{"lvsha", "keepalived"} {
		t.Run("beside "+peer, func(t *testing.T) {
			t.Parallel()
			r := rig.New(t)
			d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, rig.Fast))
			r.Becomes(d, "active")
			r.Start(peer, 1, 3, rig.Fast)
			r.Settle(rig.Bound(rig.Fast))
			lost := r.LostWhile(func() {
				for _, stall := range []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, 3 * time.Second} {
					r.Check(d.Signal(syscall.SIGSTOP))
					r.Settle(stall)
					r.Check(d.Signal(syscall.SIGCONT))
					r.Settle(150 * time.Millisecond)
					woken := time.Now()
					r.Holds(0, time.Second)
					reaches(r, 0, rig.VIP)
					r.Settle(200 * time.Millisecond)
					if n := advertised(r, 1, woken); n > 0 {
						t.Errorf("stalled for %v: the other director still advertised %d times", stall, n)
					}
				}
			})
			// keepalived takes its address away before ours is announced.
			if limit := map[string]int{"lvsha": 2, "keepalived": 40}[peer]; lost > limit {
				t.Errorf("%d probes lost, at most %d", lost, limit)
			}
		})
	}
}

// TestStalledLoser: a process that wakes up finds a better director active,
// reads so and never advertises again.
func TestStalledLoser(t *testing.T) {
	t.Parallel()
	for _, better := range []string{"lvsha", "keepalived"} {
		t.Run(better, func(t *testing.T) {
			r := rig.New(t)
			d := r.Lvsha(r.LVS[1], rig.VRRPFile(3, rig.Fast))
			r.Becomes(d, "active")
			r.Check(d.Signal(syscall.SIGSTOP))
			r.Start(better, 0, 3, rig.Fast)
			r.Eventually("the better director has the address", 30*time.Second, func() bool { return r.Has(r.LVS[0], rig.VIP) })
			r.Settle(300 * time.Millisecond)
			woken := time.Now()
			r.Check(d.Signal(syscall.SIGCONT))
			r.Holds(0, time.Second)
			r.Settle(300 * time.Millisecond)
			if n := advertised(r, 1, woken); n > 0 {
				t.Errorf("it advertised %d times after it woke up", n)
			}
			reaches(r, 0, rig.VIP)
		})
	}
}

// TestReloadStorm: fifty files in a row, all different, lose nothing.
func TestReloadStorm(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	lost := r.LostWhile(func() {
		for i := range 50 {
			web := router(fmt.Sprintf("web%d", i%3), 51, "10.0.0.100/24", fmt.Sprintf("10.0.0.%d/24", 101+i%7))
			text := file(web)
			if i%2 == 0 {
				text += router("other", 60+i, fmt.Sprintf("10.0.0.%d/24", 120+i))
			}
			if i%5 == 0 {
				text = strings.ReplaceAll(text, "100ms", "200ms")
			}
			for _, h := range r.LVS {
				reload(r, h, text)
			}
		}
		for _, h := range r.LVS {
			reload(r, h, rig.VRRPFile(3, rig.Fast))
		}
	})
	if lost != 0 {
		t.Errorf("%d probes lost by reloads", lost)
	}
	if a := active.Router("web"); a.State != "active" || a.Counters["became_active"] != 1 {
		t.Errorf("active director: %+v", a)
	}
	if b := backup.Router("web"); b.State != "backup" || b.Counters["became_active"] != 0 {
		t.Errorf("backup: %+v", b)
	}
	r.Eventually("only what the last file has", 10*time.Second, func() bool {
		out, err := r.LVS[0].Run("ip", "-br", "-4", "addr", "show", "dev", "eth0")
		return err == nil && strings.Count(out, "10.0.0.1") == 2 // .1 and .100
	})
}

// TestAddressMoves: an address that goes to another virtual router, VRID or
// name by a reload, on one director after the other, is never gone.
func TestAddressMoves(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	two := file(router("web", 51, "10.0.0.100/24") + router("other", 52, "10.0.0.101/24"))
	d := r.Lvsha(r.LVS[0], two)
	r.Becomes(d, "active")
	r.Lvsha(r.LVS[1], two)
	r.Settle(rig.Bound(rig.Fast) + 200*time.Millisecond)
	lost := r.LostWhile(func() {
		for _, c := range []struct{ how, file string }{
			{"between routers", file(router("web", 51, "10.0.0.101/24") + router("other", 52, "10.0.0.100/24"))},
			{"to one that stays", file(router("web", 51, "10.0.0.101/24", "10.0.0.100/24"))},
			{"to another VRID", file(router("web", 53, "10.0.0.100/24", "10.0.0.101/24"))},
			{"to another name", file(router("shop", 53, "10.0.0.100/24", "10.0.0.101/24"))},
			{"to a router of its own", two},
		} {
			removed := watched(r, r.LVS[0], func() {
				reload(r, r.LVS[0], c.file)
				r.Settle(50 * time.Millisecond)
				reload(r, r.LVS[1], c.file)
				r.Settle(300 * time.Millisecond)
			})
			if slices.ContainsFunc(removed, func(s string) bool { return strings.Contains(s, "10.0.0.100/") }) {
				t.Errorf("%s: removed on the way: %q", c.how, removed)
			}
			r.Holds(0, time.Second)
			reaches(r, 0, rig.VIP)
		}
	})
	if lost != 0 {
		t.Errorf("%d probes lost", lost)
	}
}

// TestSecondaries: the kernel takes all addresses of a network away with the
// first one, unless it is told otherwise. Virtual routers whose addresses are
// of one network must not take each other's.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	first, second := router("first", 51, "192.0.2.10/24"), router("second", 52, "192.0.2.11/24")
	d := r.Lvsha(r.LVS[0], file(first+second))
	r.Eventually("both active", 10*time.Second, func() bool {
		return d.Router("first").State == "active" && d.Router("second").State == "active"
	})
	_, err := r.Client.Run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth0")
	r.Check(err)
	p, err := lab.StartPing(r.Client, netip.MustParseAddr("192.0.2.11"), time.Millisecond)
	r.Check(err)
	r.Settle(200 * time.Millisecond)
	reload(r, r.LVS[0], file(second))
	r.Eventually("first address gone", 10*time.Second, func() bool { return !r.Has(r.LVS[0], netip.MustParseAddr("192.0.2.10")) })
	r.Settle(300 * time.Millisecond)
	probes, err := p.Stop()
	r.Check(err)
	if lost := lab.Lost(probes, time.Time{}, time.Now()); lost != 0 {
		t.Errorf("%d probes of the other router's address lost", lost)
	}
	if n := d.Router("second").Counters["addresses_restored"]; n != 0 {
		t.Errorf("the other router's address had to be restored %d times", n)
	}
}

// TestInterfaceRenamed: the addresses do not stay behind on what is no longer
// the virtual router's interface.
func TestInterfaceRenamed(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	r.Check(rename(r, "eth0", "lan0"))
	r.Becomes(active, "fault")
	r.Becomes(backup, "active")
	r.Eventually("address gone from the renamed interface", 10*time.Second, func() bool {
		out, err := r.LVS[0].Run("ip", "-br", "addr")
		return err == nil && !strings.Contains(out, rig.VIP.String()+"/")
	})
	r.Check(rename(r, "lan0", "eth0"))
	r.Becomes(active, "active")
	r.Becomes(backup, "backup")
	r.Holds(0, time.Second)
}

// rename renames an interface of the first director without losing its
// addresses, as far as the kernel permits.
func rename(r *rig.Rig, from, to string) error {
	if _, err := r.LVS[0].Run("ip", "link", "set", from, "name", to); err == nil {
		return nil
	}
	for _, args := range [][]string{{from, "down"}, {from, "name", to}, {to, "up"}} {
		if _, err := r.LVS[0].Run("ip", append([]string{"link", "set"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// TestInterfaceRecreated: an interface that is deleted and made anew under its
// name is taken up again.
func TestInterfaceRecreated(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	for range 2 {
		_, err := r.LVS[0].Run("ip", "link", "del", "eth0")
		r.Check(err)
		_, err = r.Segment.Attach(r.LVS[0], "eth0", "10.0.0.1/24")
		r.Check(err)
		r.Becomes(active, "active")
		r.Becomes(backup, "backup")
		r.Holds(0, time.Second)
	}
	reaches(r, 0, rig.VIP)
}

// TestManyAddresses: two hundred addresses move as one does.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	list := []string{"10.0.0.100/24"}
	for i := 1; i < 200; i++ {
		list = append(list, fmt.Sprintf("10.9.%d.%d/32", i/100, i))
	}
	text := file(router("web", 51, list...))
	count := func(i int) int {
		out, err := r.LVS[i].Run("ip", "-br", "-4", "addr", "show", "dev", "eth0")
		r.Check(err)
		return strings.Count(out, "10.9.") + strings.Count(out, "10.0.0.100/")
	}
	active := r.Lvsha(r.LVS[0], text)
	r.Becomes(active, "active")
	r.Eventually("all addresses", 10*time.Second, func() bool { return count(0) == len(list) })
	backup := r.Lvsha(r.LVS[1], text)
	r.Becomes(backup, "backup")
	r.Settle(rig.Bound(rig.Fast))
	lost := r.LostWhile(func() {
		if code, err := active.End(syscall.SIGTERM); err != nil || code != 0 {
			t.Errorf("stop: exit code %d, %v", code, err)
		}
		if n := count(0); n != 0 {
			t.Errorf("%d addresses left after the stop", n)
		}
		r.Eventually("all addresses", 10*time.Second, func() bool { return count(1) == len(list) })
	})
	if lost > 1 {
		t.Errorf("%d probes lost by a stop", lost)
	}
	if n := backup.Router("web").Counters["addresses_restored"]; n != 0 {
		t.Errorf("%d addresses were taken for lost", n)
	}
	r.OneActive()
}

// TestAllAddressesRemoved: all that somebody removed is put back at once.
func TestAllAddressesRemoved(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], file(router("web", 51, "10.0.0.100/24", "10.0.0.101/24", "10.0.0.102/24")))
	r.Becomes(d, "active")
	count := func() int {
		out, err := r.LVS[0].Run("ip", "-br", "-4", "addr", "show", "dev", "eth0")
		r.Check(err)
		return strings.Count(out, "10.0.0.10")
	}
	r.Eventually("addresses", 10*time.Second, func() bool { return count() == 3 })
	// Not `ip addr flush`, which goes on until it sees none: it would find what
	// was put back meanwhile, and nothing is put back twice in a second.
	_, err := r.LVS[0].Run("sh", "-c", "for i in 0 1 2; do ip addr del 10.0.0.10$i/24 dev eth0; done")
	r.Check(err)
	r.Eventually("all addresses back", 500*time.Millisecond, func() bool { return count() == 3 })
}

// TestUnicast: a pair that does without multicast. Advertisements go between the
// directors' own addresses.
func TestUnicast(t *testing.T) {
	t.Parallel()
	rig.ParallelFamilies(t, func(r *rig.Rig) {
		text := r.InFamily(strings.Replace(rig.VRRPFile(3, rig.Fast), "vrid ", "unicast = true\nvrid ", 1))
		active, backup := r.Lvsha(r.LVS[0], text), r.Lvsha(r.LVS[1], text)
		r.Becomes(active, "active")
		r.Becomes(backup, "backup")
		peer := map[bool]string{true: "10.0.0.1", false: "2001:db8::1"}[r.VIP.Is4()]
		r.Eventually("the peer by its name", 10*time.Second, func() bool {
			s := backup.Router("web")
			return len(s.Peers) == 1 && s.Peers[0].Address == peer && s.Peers[0].LastSeen != nil && s.Reason == "lvs1 ("+peer+") advertises 150"
		})
		for _, p := range r.Ports {
			r.Check(p.Deafen())
		}
		r.Settle(rig.Bound(rig.Fast) + 200*time.Millisecond)
		if n := backup.Router("web").Counters["became_active"]; n > 1 {
			r.Errorf("the backup became active %d times", n)
		}
		if r.VIP.Is6() {
			// Neighbour discovery needs it.
			for _, p := range r.Ports {
				r.Check(p.Undeafen())
			}
		}
		lost := r.LostWhile(func() {
			_, err := active.End(syscall.SIGTERM)
			r.Check(err)
			r.Holds(1, 5*time.Second)
			active = r.Again(r.LVS[0])
			r.Becomes(active, "active")
			r.Holds(0, 5*time.Second)
		})
		if lost > 2 {
			r.Errorf("%d probes lost by a stop and a return", lost)
		}
		for _, a := range r.Sniffer.Seen() {
			r.Errorf("seen in multicast: %+v", a)
		}
		r.Check(active.Kill())
		r.Check(r.Ports[0].Cut())
		r.Becomes(backup, "active")
	})
}

// TestOneWay: the backup hears nothing and becomes active too. Clients keep to
// the better director, which says what is wrong, and it is over when it is over.
func TestOneWay(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	r.Check(r.Ports[1].Deafen())
	r.Becomes(backup, "active")
	reaches(r, 0, rig.VIP)
	r.Eventually("what is wrong is said", 10*time.Second, func() bool { return strings.Contains(r.Events(active), "peer-does-not-hear") })
	r.Check(r.Ports[1].Undeafen())
	r.Becomes(backup, "backup")
	r.Holds(0, time.Second)
	r.Settle(1200 * time.Millisecond)
	reaches(r, 0, rig.VIP)
	if s := active.Router("web"); s.Counters["became_active"] != 1 {
		t.Errorf("the better director did not stay active: %+v", s)
	}
}

// TestLoss: most advertisements get lost, but never three in a row.
func TestLoss(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	_, backup := r.Pair(rig.Fast)
	for range 8 {
		r.Check(r.Ports[1].Deafen())
		r.Settle(150 * time.Millisecond)
		r.Check(r.Ports[1].Undeafen())
		r.Settle(110 * time.Millisecond)
	}
	if n := backup.Router("web").Counters["became_active"]; n != 0 {
		t.Errorf("the backup became active %d times", n)
	}
}

// TestFastUnderLoad: 10 ms and a machine with more to do than it can.
func TestFastUnderLoad(t *testing.T) {
	r := rig.New(t)
	active, backup := r.Pair(10 * time.Millisecond)
	for range 4 {
		_, err := r.Client.Start(nil, "nice", "-n", "19", "sh", "-c", "while :; do :; done")
		r.Check(err)
	}
	r.Settle(2 * time.Second)
	if n := backup.Router("web").Counters["became_active"]; n != 0 {
		t.Errorf("the backup became active %d times", n)
	}
	r.Check(active.Kill())
	r.Check(r.Ports[0].Cut())
	r.Eventually("failover", 10*time.Second, func() bool { return r.Has(r.LVS[1], rig.VIP) })
}

// TestHangupStorm: a stop is heard however many reloads are asked for.
func TestHangupStorm(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, rig.Fast))
	r.Becomes(d, "active")
	// Reading this file takes for ever.
	_, err := r.LVS[0].Run("sh", "-c", "rm "+rig.ConfigPath+"; mkfifo "+rig.ConfigPath)
	r.Check(err)
	for range 10 {
		r.Check(d.Signal(syscall.SIGHUP))
		r.Settle(time.Millisecond)
	}
	r.Check(d.Signal(syscall.SIGTERM))
	if code, err := d.Wait(5 * time.Second); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if r.Has(r.LVS[0], rig.VIP) {
		t.Error("the address is still there")
	}
}

// TestStopWithoutCapability: what cannot be removed does not keep a stop from
// ending.
func TestStopWithoutCapability(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte(rig.VRRPFile(3, rig.Fast)), 0o644))
	p, err := r.LVS[0].Start(nil, "setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-all", r.Binary, "run", "-c", rig.ConfigPath)
	r.Check(err)
	d := &lab.Daemon{Process: p}
	r.Becomes(d, "fault")
	if _, err := d.End(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// TestKilledAtOddMoments: whenever the process dies, the next one goes on, and
// no probe is lost.
func TestKilledAtOddMoments(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, backup := r.Pair(rig.Fast)
	random := rand.New(rand.NewPCG(3, 4))
	more := strings.ReplaceAll(rig.VRRPFile(3, rig.Fast), `["10.0.0.100/24"]`, `["10.0.0.100/24", "10.0.0.101/24"]`)
	lost := r.LostWhile(func() {
		for i := range 12 {
			r.Check(r.LVS[0].WriteFile(rig.ConfigPath, []byte([]string{more, rig.VRRPFile(3, rig.Fast)}[i%2]), 0o644))
			if i%3 != 0 {
				r.Becomes(active, "active")
				r.Check(active.Signal(syscall.SIGHUP))
			}
			r.Settle(time.Duration(random.Int64N(int64(40 * time.Millisecond))))
			r.Check(active.Kill())
			active = r.Again(r.LVS[0])
		}
		r.Becomes(active, "active")
		r.Becomes(backup, "backup")
	})
	if lost != 0 {
		t.Errorf("%d probes lost", lost)
	}
	r.Holds(0, time.Second)
	reaches(r, 0, rig.VIP)
}

// TestStoppedAtOddMoments: a daemon that takes over after a crash and is told to
// stop before it is ready leaves nothing behind either.
func TestStoppedAtOddMoments(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	text := rig.VRRPFile(3, 10*time.Millisecond)
	for i := range 12 {
		d := r.Lvsha(r.LVS[0], text)
		r.Eventually("address", 10*time.Second, func() bool { return r.Has(r.LVS[0], rig.VIP) })
		r.Becomes(d, "active")
		r.Check(d.Kill())
		d = r.Again(r.LVS[0])
		r.Eventually("the daemon opens its lock", 10*time.Second, func() bool {
			files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", d.PID()))
			return slices.ContainsFunc(files, func(f string) bool {
				to, err := os.Readlink(f)
				return err == nil && to == "/run/lvsha/lock"
			})
		})
		r.Settle(time.Duration(i) * time.Millisecond)
		_, err := d.End(syscall.SIGTERM)
		r.Check(err)
		out, err := r.LVS[0].Run(r.Binary, "cleanup")
		r.Check(err)
		if r.Has(r.LVS[0], rig.VIP) {
			t.Errorf("stopped %d ms after it had the lock: the address is still there; cleanup said %q; the daemon printed:\n%s", i, out, d.Output())
		}
	}
}

// TestRunIsFull: a full /run costs the record, not the service.
func TestRunIsFull(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	r.Check(h.WriteFile(rig.ConfigPath, []byte(rig.VRRPFile(3, rig.Fast)), 0o644))
	_, err := h.Run("mount", "-o", "remount,size=64k", "/run")
	r.Check(err)
	_, err = h.Run("sh", "-c", "mkdir /run/lvsha; dd if=/dev/zero of=/run/full bs=4k 2>/dev/null; true")
	r.Check(err)
	d := r.Again(h)
	r.Becomes(d, "active")
	r.Settle(300 * time.Millisecond)
	r.Becomes(d, "active")
	if code, err := d.End(syscall.SIGTERM); err != nil || r.Has(h, rig.VIP) {
		t.Errorf("stop: exit code %d, %v", code, err)
	}
}

// TestStalledLog: VRRP does not wait for a log that nobody reads, and a stop
// gives the address away all the same.
func TestStalledLog(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	h := r.LVS[0]
	r.Check(h.WriteFile(rig.ConfigPath, []byte(rig.VRRPFile(3, rig.Fast)), 0o644))
	// The pipe of standard error is full from the start.
	p, err := h.Start(nil, "sh", "-c", `mkfifo /run/log; sleep 60 < /run/log & exec 2> /run/log
		dd if=/dev/zero bs=4k count=16 oflag=nonblock >&2 2> /dev/null
		exec `+r.Binary+` run -c `+rig.ConfigPath)
	r.Check(err)
	r.Eventually("address", 30*time.Second, func() bool { return r.Has(h, rig.VIP) })
	began := time.Now()
	r.Settle(time.Second)
	if n := advertised(r, 0, began); n < 9 {
		t.Errorf("%d advertisements in a second", n)
	}
	r.Check(p.Signal(syscall.SIGTERM))
	r.Eventually("address given away", 30*time.Second, func() bool { return !r.Has(h, rig.VIP) })
}

// TestChurn: keepalived comes and goes beside lvsha in version 2, where an
// interval is a second. There is always one active, and never two.
func TestChurn(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	r.Start("lvsha", 1, 2, time.Second)
	r.Holds(1, 10*time.Second)
	lost := r.LostWhile(func() {
		k := r.Start("keepalived", 0, 2, time.Second)
		r.Holds(0, 10*time.Second)
		r.Check(k.Stop())
		r.Holds(1, 10*time.Second)
	})
	// keepalived leaves with its address, and we wait for our skew.
	if skew := 156 * time.Second / 256; lost > int(skew/time.Millisecond)+50 {
		t.Errorf("%d probes lost", lost)
	}
	r.OneActive()
}
