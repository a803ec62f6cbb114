package main_test

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

	"lvsha/internal/lab"
)

// The tests of this file treat the daemon as badly as machines, networks and
// operators do at their worst.

// file is a file for both directors with the text of its virtual routers.
func file(routers string) string {
	head, _, _ := strings.Cut(vrrpFile(3, fast), "[vrrp.web]")
	return head + routers
}

// router is the text of a virtual router at 100 ms.
func router(name string, vrid int, addresses ...string) string {
	return fmt.Sprintf("[vrrp.%s]\ninterface = \"eth0\"\nvrid = %d\nadvertise = \"100ms\"\naddresses = [\"%s\"]\n",
		name, vrid, strings.Join(addresses, `", "`))
}

// reload gives a director another file.
func (r *rig) reload(h *lab.Host, file string) {
	r.Helper()
	r.check(h.WriteFile(configPath, []byte(file), 0o644))
	if out, err := h.Run(r.binary, "reload"); err != nil {
		r.Fatalf("reload on %s: %q, %v", h.Name, out, err)
	}
}

// reaches waits until the client's neighbour table has a director's hardware
// address for a virtual one.
func (r *rig) reaches(i int, a netip.Addr) {
	r.Helper()
	out, err := r.lvs[i].Run("cat", "/sys/class/net/eth0/address")
	r.check(err)
	mac := strings.TrimSpace(out)
	p, err := lab.StartPing(r.client, a, time.Millisecond)
	r.check(err)
	defer p.Stop()
	r.eventually(fmt.Sprintf("the client sends to %s", r.lvs[i].Name), 3*time.Second, func() bool {
		out, err := r.client.Run("ip", "neigh", "show", a.String())
		return err == nil && strings.Contains(out, mac)
	})
}

// advertised counts a director's advertisements since a time, without releases.
func (r *rig) advertised(i int, since time.Time) int {
	n := 0
	for _, a := range r.sniffer.Seen() {
		if a.Source == address[r.lvs[i].Name] && a.Priority > 0 && a.At.After(since) {
			n++
		}
	}
	return n
}

// watched reports the addresses that were removed from a host while act ran.
func (r *rig) watched(h *lab.Host, act func()) (removed []string) {
	r.Helper()
	m, err := h.Start(nil, "ip", "-o", "monitor", "address")
	r.check(err)
	r.settle(50 * time.Millisecond)
	act()
	r.settle(50 * time.Millisecond)
	r.check(m.Kill())
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
	for _, peer := range []string{"lvsha", "keepalived"} {
		t.Run("beside "+peer, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			d := r.lvsha(r.lvs[0], vrrpFile(3, fast))
			r.becomes(d, "active")
			r.start(peer, 1, 3, fast)
			r.settle(bound(fast))
			lost := r.lostWhile(func() {
				for _, stall := range []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, 3 * time.Second} {
					r.check(d.Signal(syscall.SIGSTOP))
					r.settle(stall)
					r.check(d.Signal(syscall.SIGCONT))
					r.settle(150 * time.Millisecond)
					woken := time.Now()
					r.holds(0, time.Second)
					r.reaches(0, vip)
					r.settle(200 * time.Millisecond)
					if n := r.advertised(1, woken); n > 0 {
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
	for _, better := range []string{"lvsha", "keepalived"} {
		t.Run(better, func(t *testing.T) {
			r := newRig(t)
			d := r.lvsha(r.lvs[1], vrrpFile(3, fast))
			r.becomes(d, "active")
			r.check(d.Signal(syscall.SIGSTOP))
			r.start(better, 0, 3, fast)
			r.eventually("the better director has the address", 5*time.Second, func() bool { return r.has(r.lvs[0], vip) })
			r.settle(300 * time.Millisecond)
			woken := time.Now()
			r.check(d.Signal(syscall.SIGCONT))
			r.holds(0, time.Second)
			r.settle(300 * time.Millisecond)
			if n := r.advertised(1, woken); n > 0 {
				t.Errorf("it advertised %d times after it woke up", n)
			}
			r.reaches(0, vip)
		})
	}
}

// TestReloadStorm: fifty files in a row, all different, lose nothing.
func TestReloadStorm(t *testing.T) {
	r := newRig(t)
	active, backup := r.pair(fast)
	lost := r.lostWhile(func() {
		for i := range 50 {
			web := router(fmt.Sprintf("web%d", i%3), 51, "10.0.0.100/24", fmt.Sprintf("10.0.0.%d/24", 101+i%7))
			text := file(web)
			if i%2 == 0 {
				text += router("other", 60+i, fmt.Sprintf("10.0.0.%d/24", 120+i))
			}
			if i%5 == 0 {
				text = strings.ReplaceAll(text, "100ms", "200ms")
			}
			for _, h := range r.lvs {
				r.reload(h, text)
			}
		}
		for _, h := range r.lvs {
			r.reload(h, vrrpFile(3, fast))
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
	r.eventually("only what the last file has", 3*time.Second, func() bool {
		out, err := r.lvs[0].Run("ip", "-br", "-4", "addr", "show", "dev", "eth0")
		return err == nil && strings.Count(out, "10.0.0.1") == 2 // .1 and .100
	})
}

// TestAddressMoves: an address that goes to another virtual router, VRID or
// name by a reload, on one director after the other, is never gone.
func TestAddressMoves(t *testing.T) {
	r := newRig(t)
	two := file(router("web", 51, "10.0.0.100/24") + router("other", 52, "10.0.0.101/24"))
	d := r.lvsha(r.lvs[0], two)
	r.becomes(d, "active")
	r.lvsha(r.lvs[1], two)
	r.settle(bound(fast) + 200*time.Millisecond)
	lost := r.lostWhile(func() {
		for _, c := range []struct{ how, file string }{
			{"between routers", file(router("web", 51, "10.0.0.101/24") + router("other", 52, "10.0.0.100/24"))},
			{"to one that stays", file(router("web", 51, "10.0.0.101/24", "10.0.0.100/24"))},
			{"to another VRID", file(router("web", 53, "10.0.0.100/24", "10.0.0.101/24"))},
			{"to another name", file(router("shop", 53, "10.0.0.100/24", "10.0.0.101/24"))},
			{"to a router of its own", two},
		} {
			removed := r.watched(r.lvs[0], func() {
				r.reload(r.lvs[0], c.file)
				r.settle(50 * time.Millisecond)
				r.reload(r.lvs[1], c.file)
				r.settle(300 * time.Millisecond)
			})
			if slices.ContainsFunc(removed, func(s string) bool { return strings.Contains(s, "10.0.0.100/") }) {
				t.Errorf("%s: removed on the way: %q", c.how, removed)
			}
			r.holds(0, time.Second)
			r.reaches(0, vip)
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
	r := newRig(t)
	first, second := router("first", 51, "192.0.2.10/24"), router("second", 52, "192.0.2.11/24")
	d := r.lvsha(r.lvs[0], file(first+second))
	r.eventually("both active", 3*time.Second, func() bool {
		return d.Router("first").State == "active" && d.Router("second").State == "active"
	})
	_, err := r.client.Run("ip", "addr", "add", "192.0.2.9/24", "dev", "eth0")
	r.check(err)
	p, err := lab.StartPing(r.client, netip.MustParseAddr("192.0.2.11"), time.Millisecond)
	r.check(err)
	r.settle(200 * time.Millisecond)
	r.reload(r.lvs[0], file(second))
	r.eventually("first address gone", 2*time.Second, func() bool { return !r.has(r.lvs[0], netip.MustParseAddr("192.0.2.10")) })
	r.settle(300 * time.Millisecond)
	probes, err := p.Stop()
	r.check(err)
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
	r := newRig(t)
	active, backup := r.pair(fast)
	r.check(r.rename("eth0", "lan0"))
	r.becomes(active, "fault")
	r.becomes(backup, "active")
	r.eventually("address gone from the renamed interface", 2*time.Second, func() bool {
		out, err := r.lvs[0].Run("ip", "-br", "addr")
		return err == nil && !strings.Contains(out, vip.String()+"/")
	})
	r.check(r.rename("lan0", "eth0"))
	r.becomes(active, "active")
	r.becomes(backup, "backup")
	r.holds(0, time.Second)
}

// rename renames an interface of the first director without losing its
// addresses, as far as the kernel permits.
func (r *rig) rename(from, to string) error {
	if _, err := r.lvs[0].Run("ip", "link", "set", from, "name", to); err == nil {
		return nil
	}
	for _, args := range [][]string{{from, "down"}, {from, "name", to}, {to, "up"}} {
		if _, err := r.lvs[0].Run("ip", append([]string{"link", "set"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// TestInterfaceRecreated: an interface that is deleted and made anew under its
// name is taken up again.
func TestInterfaceRecreated(t *testing.T) {
	r := newRig(t)
	active, backup := r.pair(fast)
	for range 2 {
		_, err := r.lvs[0].Run("ip", "link", "del", "eth0")
		r.check(err)
		_, err = r.segment.Attach(r.lvs[0], "eth0", "10.0.0.1/24")
		r.check(err)
		r.becomes(active, "active")
		r.becomes(backup, "backup")
		r.holds(0, time.Second)
	}
	r.reaches(0, vip)
}

// TestManyAddresses: two hundred addresses move as one does.
func TestManyAddresses(t *testing.T) {
	r := newRig(t)
	list := []string{"10.0.0.100/24"}
	for i := 1; i < 200; i++ {
		list = append(list, fmt.Sprintf("10.9.%d.%d/32", i/100, i))
	}
	text := file(router("web", 51, list...))
	count := func(i int) int {
		out, err := r.lvs[i].Run("ip", "-br", "-4", "addr", "show", "dev", "eth0")
		r.check(err)
		return strings.Count(out, "10.9.") + strings.Count(out, "10.0.0.100/")
	}
	active := r.lvsha(r.lvs[0], text)
	r.becomes(active, "active")
	r.eventually("all addresses", 3*time.Second, func() bool { return count(0) == len(list) })
	backup := r.lvsha(r.lvs[1], text)
	r.becomes(backup, "backup")
	r.settle(bound(fast))
	lost := r.lostWhile(func() {
		if code, err := active.End(syscall.SIGTERM); err != nil || code != 0 {
			t.Errorf("stop: exit code %d, %v", code, err)
		}
		if n := count(0); n != 0 {
			t.Errorf("%d addresses left after the stop", n)
		}
		r.eventually("all addresses", 2*time.Second, func() bool { return count(1) == len(list) })
	})
	if lost > 1 {
		t.Errorf("%d probes lost by a stop", lost)
	}
	if n := backup.Router("web").Counters["addresses_restored"]; n != 0 {
		t.Errorf("%d addresses were taken for lost", n)
	}
	r.oneActive()
}

// TestAllAddressesRemoved: all that somebody removed is put back at once.
func TestAllAddressesRemoved(t *testing.T) {
	r := newRig(t)
	d := r.lvsha(r.lvs[0], file(router("web", 51, "10.0.0.100/24", "10.0.0.101/24", "10.0.0.102/24")))
	r.becomes(d, "active")
	count := func() int {
		out, err := r.lvs[0].Run("ip", "-br", "-4", "addr", "show", "dev", "eth0")
		r.check(err)
		return strings.Count(out, "10.0.0.10")
	}
	r.eventually("addresses", time.Second, func() bool { return count() == 3 })
	// Not `ip addr flush`, which goes on until it sees none: it would find what
	// was put back meanwhile, and nothing is put back twice in a second.
	_, err := r.lvs[0].Run("sh", "-c", "for i in 0 1 2; do ip addr del 10.0.0.10$i/24 dev eth0; done")
	r.check(err)
	r.eventually("all addresses back", 500*time.Millisecond, func() bool { return count() == 3 })
}

// TestUnicast: a pair that does without multicast. Advertisements go between the
// directors' own addresses.
func TestUnicast(t *testing.T) {
	families(t, func(r *rig) {
		text := r.inFamily(strings.Replace(vrrpFile(3, fast), "vrid ", "unicast = true\nvrid ", 1))
		active, backup := r.lvsha(r.lvs[0], text), r.lvsha(r.lvs[1], text)
		r.becomes(active, "active")
		r.becomes(backup, "backup")
		peer := map[bool]string{true: "10.0.0.1", false: "2001:db8::1"}[r.vip.Is4()]
		r.eventually("the peer by its name", 2*time.Second, func() bool {
			s := backup.Router("web")
			return len(s.Peers) == 1 && s.Peers[0].Address == peer && s.Peers[0].LastSeen != nil && s.Reason == "lvs1 ("+peer+") advertises 150"
		})
		for _, p := range r.ports {
			r.check(p.Deafen())
		}
		r.settle(bound(fast) + 200*time.Millisecond)
		if n := backup.Router("web").Counters["became_active"]; n > 1 {
			r.Errorf("the backup became active %d times", n)
		}
		if r.vip.Is6() {
			// Neighbour discovery needs it.
			for _, p := range r.ports {
				r.check(p.Undeafen())
			}
		}
		lost := r.lostWhile(func() {
			_, err := active.End(syscall.SIGTERM)
			r.check(err)
			r.holds(1, 5*time.Second)
			active = r.again(r.lvs[0])
			r.becomes(active, "active")
			r.holds(0, 5*time.Second)
		})
		if lost > 2 {
			r.Errorf("%d probes lost by a stop and a return", lost)
		}
		for _, a := range r.sniffer.Seen() {
			r.Errorf("seen in multicast: %+v", a)
		}
		r.check(active.Kill())
		r.check(r.ports[0].Cut())
		r.becomes(backup, "active")
	})
}

// TestOneWay: the backup hears nothing and becomes active too. Clients keep to
// the better director, which says what is wrong, and it is over when it is over.
func TestOneWay(t *testing.T) {
	r := newRig(t)
	active, backup := r.pair(fast)
	r.check(r.ports[1].Deafen())
	r.becomes(backup, "active")
	r.reaches(0, vip)
	r.eventually("what is wrong is said", 2*time.Second, func() bool { return strings.Contains(r.events(active), "peer-does-not-hear") })
	r.check(r.ports[1].Undeafen())
	r.becomes(backup, "backup")
	r.holds(0, time.Second)
	r.settle(1200 * time.Millisecond)
	r.reaches(0, vip)
	if s := active.Router("web"); s.Counters["became_active"] != 1 {
		t.Errorf("the better director did not stay active: %+v", s)
	}
}

// TestLoss: most advertisements get lost, but never three in a row.
func TestLoss(t *testing.T) {
	r := newRig(t)
	_, backup := r.pair(fast)
	for range 8 {
		r.check(r.ports[1].Deafen())
		r.settle(150 * time.Millisecond)
		r.check(r.ports[1].Undeafen())
		r.settle(110 * time.Millisecond)
	}
	if n := backup.Router("web").Counters["became_active"]; n != 0 {
		t.Errorf("the backup became active %d times", n)
	}
}

// TestFastUnderLoad: 10 ms and a machine with more to do than it can.
func TestFastUnderLoad(t *testing.T) {
	r := newRig(t)
	active, backup := r.pair(10 * time.Millisecond)
	for range 4 {
		_, err := r.client.Start(nil, "nice", "-n", "19", "sh", "-c", "while :; do :; done")
		r.check(err)
	}
	r.settle(2 * time.Second)
	if n := backup.Router("web").Counters["became_active"]; n != 0 {
		t.Errorf("the backup became active %d times", n)
	}
	r.check(active.Kill())
	r.check(r.ports[0].Cut())
	r.eventually("failover", time.Second, func() bool { return r.has(r.lvs[1], vip) })
}

// TestHangupStorm: a stop is heard however many reloads are asked for.
func TestHangupStorm(t *testing.T) {
	r := newRig(t)
	d := r.lvsha(r.lvs[0], vrrpFile(3, fast))
	r.becomes(d, "active")
	// Reading this file takes for ever.
	_, err := r.lvs[0].Run("sh", "-c", "rm "+configPath+"; mkfifo "+configPath)
	r.check(err)
	for range 10 {
		r.check(d.Signal(syscall.SIGHUP))
		r.settle(time.Millisecond)
	}
	r.check(d.Signal(syscall.SIGTERM))
	if code, err := d.Wait(5 * time.Second); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if r.has(r.lvs[0], vip) {
		t.Error("the address is still there")
	}
}

// TestStopWithoutCapability: what cannot be removed does not keep a stop from
// ending.
func TestStopWithoutCapability(t *testing.T) {
	r := newRig(t)
	r.check(r.lvs[0].WriteFile(configPath, []byte(vrrpFile(3, fast)), 0o644))
	p, err := r.lvs[0].Start(nil, "setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-all", r.binary, "run", "-c", configPath)
	r.check(err)
	d := &lab.Daemon{Process: p}
	r.becomes(d, "fault")
	if _, err := d.End(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// TestKilledAtOddMoments: whenever the process dies, the next one goes on, and
// no probe is lost.
func TestKilledAtOddMoments(t *testing.T) {
	r := newRig(t)
	active, backup := r.pair(fast)
	random := rand.New(rand.NewPCG(3, 4))
	more := strings.ReplaceAll(vrrpFile(3, fast), `["10.0.0.100/24"]`, `["10.0.0.100/24", "10.0.0.101/24"]`)
	lost := r.lostWhile(func() {
		for i := range 12 {
			r.check(r.lvs[0].WriteFile(configPath, []byte([]string{more, vrrpFile(3, fast)}[i%2]), 0o644))
			if i%3 != 0 {
				r.becomes(active, "active")
				r.check(active.Signal(syscall.SIGHUP))
			}
			r.settle(time.Duration(random.Int64N(int64(40 * time.Millisecond))))
			r.check(active.Kill())
			active = r.again(r.lvs[0])
		}
		r.becomes(active, "active")
		r.becomes(backup, "backup")
	})
	if lost != 0 {
		t.Errorf("%d probes lost", lost)
	}
	r.holds(0, time.Second)
	r.reaches(0, vip)
}

// TestStoppedAtOddMoments: a daemon that takes over after a crash and is told to
// stop before it is ready leaves nothing behind either.
func TestStoppedAtOddMoments(t *testing.T) {
	r := newRig(t)
	text := vrrpFile(3, 10*time.Millisecond)
	for i := range 12 {
		d := r.lvsha(r.lvs[0], text)
		r.eventually("address", 3*time.Second, func() bool { return r.has(r.lvs[0], vip) })
		r.becomes(d, "active")
		r.check(d.Kill())
		d = r.again(r.lvs[0])
		r.eventually("the daemon opens its lock", 3*time.Second, func() bool {
			files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", d.PID()))
			return slices.ContainsFunc(files, func(f string) bool {
				to, err := os.Readlink(f)
				return err == nil && to == "/run/lvsha/lock"
			})
		})
		r.settle(time.Duration(i) * time.Millisecond)
		_, err := d.End(syscall.SIGTERM)
		r.check(err)
		out, err := r.lvs[0].Run(r.binary, "cleanup")
		r.check(err)
		if r.has(r.lvs[0], vip) {
			t.Errorf("stopped %d ms after it had the lock: the address is still there; cleanup said %q; the daemon printed:\n%s", i, out, d.Output())
		}
	}
}

// TestRunIsFull: a full /run costs the record, not the service.
func TestRunIsFull(t *testing.T) {
	r := newRig(t)
	h := r.lvs[0]
	r.check(h.WriteFile(configPath, []byte(vrrpFile(3, fast)), 0o644))
	_, err := h.Run("mount", "-o", "remount,size=64k", "/run")
	r.check(err)
	_, err = h.Run("sh", "-c", "mkdir /run/lvsha; dd if=/dev/zero of=/run/full bs=4k 2>/dev/null; true")
	r.check(err)
	d := r.again(h)
	r.becomes(d, "active")
	r.settle(300 * time.Millisecond)
	r.becomes(d, "active")
	if code, err := d.End(syscall.SIGTERM); err != nil || r.has(h, vip) {
		t.Errorf("stop: exit code %d, %v", code, err)
	}
}

// TestStalledLog: VRRP does not wait for a log that nobody reads, and a stop
// gives the address away all the same.
func TestStalledLog(t *testing.T) {
	r := newRig(t)
	h := r.lvs[0]
	r.check(h.WriteFile(configPath, []byte(vrrpFile(3, fast)), 0o644))
	// The pipe of standard error is full from the start.
	p, err := h.Start(nil, "sh", "-c", `mkfifo /run/log; sleep 60 < /run/log & exec 2> /run/log
		dd if=/dev/zero bs=4k count=16 oflag=nonblock >&2 2> /dev/null
		exec `+r.binary+` run -c `+configPath)
	r.check(err)
	r.eventually("address", 5*time.Second, func() bool { return r.has(h, vip) })
	began := time.Now()
	r.settle(time.Second)
	if n := r.advertised(0, began); n < 9 {
		t.Errorf("%d advertisements in a second", n)
	}
	r.check(p.Signal(syscall.SIGTERM))
	r.eventually("address given away", 5*time.Second, func() bool { return !r.has(h, vip) })
}

// TestChurn: keepalived comes and goes beside lvsha in version 2, where an
// interval is a second. There is always one active, and never two.
func TestChurn(t *testing.T) {
	r := newRig(t)
	r.start("lvsha", 1, 2, time.Second)
	r.holds(1, 10*time.Second)
	lost := r.lostWhile(func() {
		k := r.start("keepalived", 0, 2, time.Second)
		r.holds(0, 10*time.Second)
		r.check(k.stop())
		r.holds(1, 10*time.Second)
	})
	// keepalived leaves with its address, and we wait for our skew.
	if skew := 156 * time.Second / 256; lost > int(skew/time.Millisecond)+50 {
		t.Errorf("%d probes lost", lost)
	}
	r.oneActive()
}
