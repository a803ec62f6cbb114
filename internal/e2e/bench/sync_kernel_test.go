//go:build ipvskernel

package bench_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// syncKind is how connections get to a server, in the words of both programs.
type syncKind struct {
	name, to string
	ours     string // [service.web] without listen
	theirs   string // virtual_server without its head; empty where keepalived has none
	mark     bool
}

func syncKinds() []syncKind {
	real := func(kind, address string) string {
		return fmt.Sprintf("lb_kind %s\nprotocol TCP\nreal_server %s {\nweight 1\n}\n", kind, address)
	}
	return []syncKind{
		{"direct routing, IPv4", "10.0.0.100:7001", "forward = \"dr\"\n[[service.web.server]]\naddress = \"10.0.0.21\"\n", real("DR", "10.0.0.21 7001"), false},
		{"direct routing, IPv6", "[2001:db8::100]:7001", "forward = \"dr\"\n[[service.web.server]]\naddress = \"2001:db8::21\"\n", real("DR", "2001:db8::21 7001"), false},
		{"NAT", "10.0.0.101:7001", "forward = \"nat\"\n[[service.web.server]]\naddress = \"10.1.0.23:7000\"\n", real("NAT", "10.1.0.23 7000"), false},
		{"tunnel", "10.0.0.102:7001", "forward = \"tun\"\n[[service.web.server]]\naddress = \"10.0.0.22\"\n", real("TUN", "10.0.0.22 7001"), false},
		{"full NAT", "10.0.0.100:7600", "forward = \"fullnat\"\nsnat = \"10.0.0.150\"\n[[service.web.server]]\naddress = \"10.9.0.21\"\n", "", false},
		{"persistence", "10.0.0.101:7001", "forward = \"nat\"\npersistence = \"300s\"\n[[service.web.server]]\naddress = \"10.1.0.23:7000\"\n", "persistence_timeout 300\n" + real("NAT", "10.1.0.23 7000"), false},
		{"by mark", "10.0.0.101:7004", "mark = 7\nforward = \"nat\"\n[[service.web.server]]\naddress = \"10.1.0.23\"\n", real("NAT", "10.1.0.23 0"), true},
	}
}

// syncRow is a pair of directors of one program with connections through it.
type syncRow struct {
	*rig.SyncRig
	grid *rig.Grid
	kind syncKind
	// theirs says that it is keepalived.
	theirs   bool
	programs [2]*lab.Process
	conns    []*rig.Talking
	stop     func()
}

func newSyncRow(t testing.TB, kind syncKind, theirs bool, idle, live int) *syncRow {
	t.Helper()
	g := rig.NewGrid(t)
	far := g.Far()
	for _, s := range []struct {
		on *lab.Host
		at string
	}{
		{g.DR, "10.0.0.100:7001"}, {g.DR, "[2001:db8::100]:7001"}, {g.NAT, "10.1.0.23:7000"}, {g.TUN, "10.0.0.102:7001"}, {far, "10.9.0.21:7600"}, {g.NAT, "10.1.0.23:7004"},
	} {
		g.Talk(s.on, "tcp", netip.MustParseAddrPort(s.at))
	}
	r := &syncRow{SyncRig: &rig.SyncRig{Rig: g.Rig}, grid: g, kind: kind, theirs: theirs}
	r.File = strings.Replace(rig.GridFile, `"10.0.0.102/24",`, `"10.0.0.102/24", "10.0.0.150/24",`, 1) +
		"[group.all]\nrouters = [\"four\", \"six\"]\n[peer]\nkey_file = \"" + rig.KeyPath + "\"\n[sync]\ntransport = \"channel\"\n[service.web]\nlisten = \"" + kind.to + "/tcp\"\nscheduler = \"rr\"\n" + kind.ours
	r.File = strings.Replace(r.File, "[director.lvs2]\n", "[director.lvs2]\npriority = 100\n", 1)
	if !theirs {
		for i, h := range r.LVS {
			head := fmt.Sprintf("[director.lvs%d]\n", i+1)
			r.File = strings.Replace(r.File, head, head+fmt.Sprintf("key = %q\n", r.NewKey(h)), 1)
			var err error
			r.Keys[i], err = h.ReadFile(rig.KeyPath)
			r.Check(err)
		}
	}
	for i := range r.LVS {
		r.start(i)
	}
	r.alone(0)
	to := netip.MustParseAddrPort(kind.to)
	r.Eventually("an answer", 30*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		c, err := lab.Dial(ctx, r.Client, to)
		if err != nil {
			return false
		}
		defer c.Close()
		return rig.Answered((&rig.Talking{Conn: c, Protocol: "tcp"}).Says(2 * time.Second))
	})
	r.conns = make([]*rig.Talking, idle+live)
	var all sync.WaitGroup
	limit := make(chan struct{}, 30)
	for i := range r.conns {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			c := r.Rig.Open(r.Client, "tcp", to)
			if i%2 == 0 || i >= idle {
				c.Says(10 * time.Second)
			}
			r.conns[i] = c
		})
	}
	all.Wait()
	// Each live one is used every five seconds or so.
	done := make(chan struct{})
	var talkers sync.WaitGroup
	for n := range 10 {
		talkers.Go(func() {
			ticker := time.NewTicker(5 * time.Second / time.Duration(max(1, live/10)))
			defer ticker.Stop()
			for {
				for i := idle + n; i < idle+live; i += 10 {
					select {
					case <-done:
						return
					case <-ticker.C:
						r.conns[i].Says(5 * time.Second)
					}
				}
				if live < 10 {
					return
				}
			}
		})
	}
	r.stop = sync.OnceFunc(func() { close(done); talkers.Wait() })
	t.Cleanup(r.stop)
	r.Settle(6 * time.Second) // older than five seconds
	return r
}

// start starts the program of a director.
func (r *syncRow) start(i int) {
	r.Helper()
	if !r.theirs {
		if r.Keys[i] != nil {
			r.Check(r.LVS[i].WriteFile(rig.KeyPath, r.Keys[i], 0o600))
		}
		r.Daemons[i] = r.Lvsha(r.LVS[i], r.File)
		return
	}
	to := netip.MustParseAddrPort(r.kind.to)
	head := fmt.Sprintf("virtual_server %s %d", to.Addr(), to.Port())
	if r.kind.mark {
		head = "virtual_server fwmark 7"
		r.Run(r.LVS[i], "nft", "add table ip marks")
		r.Run(r.LVS[i], "nft", "add chain ip marks pre { type filter hook prerouting priority -150 ; }")
		r.Run(r.LVS[i], "nft", "add rule ip marks pre ip daddr "+to.Addr().String()+" tcp dport "+fmt.Sprint(to.Port())+" meta mark set 7")
	}
	instance := func(name string, addresses ...string) string {
		return fmt.Sprintf("vrrp_instance %s {\ninterface eth0\nvirtual_router_id 51\npriority %d\nadvert_int 0.1\nvirtual_ipaddress {\n%s\n}\n}\n",
			name, 150-50*i, strings.Join(addresses, "\n"))
	}
	conf := "global_defs {\nvrrp_version 3\nlvs_sync_daemon eth1 four id 1\n}\nvrrp_sync_group all {\ngroup {\nfour\nsix\n}\n}\n" +
		instance("four", "10.0.0.100/24 dev eth0", "10.0.0.101/24 dev eth0", "10.0.0.102/24 dev eth0", "10.1.0.254/24 dev eth1") +
		instance("six", "fe80::5e:33 dev eth0", "2001:db8::100/64 dev eth0", "2001:db8::101/64 dev eth0", "2001:db8:1::254/64 dev eth1") +
		head + " {\ndelay_loop 10\nlb_algo rr\n" + r.kind.theirs + "}\n"
	r.Check(r.LVS[i].Sysctl("net/ipv4/ip_forward", "1"))
	r.Check(r.LVS[i].WriteFile("/run/keepalived.conf", []byte(conf), 0o600))
	p, err := r.LVS[i].Start(nil, "keepalived", "--dont-fork", "--log-console", "-f", "/run/keepalived.conf", "-p", "/run/keepalived.pid", "-r", "/run/vrrp.pid", "-c", "/run/checkers.pid")
	r.Check(err)
	r.Cleanup(func() {
		if r.Failed() {
			r.Logf("keepalived on %s printed:\n%s", r.LVS[i].Name, p.Output())
		}
	})
	r.programs[i] = p
}

// serves waits until a director has the addresses, of both families.
func (r *syncRow) serves(i int) {
	r.Helper()
	r.Eventually(r.LVS[i].Name+" has the addresses", 60*time.Second, func() bool { return r.Has(r.LVS[i], rig.VIP) && r.Has(r.LVS[i], six) })
}

// alone waits until a director has them and the other, which runs, has none.
func (r *syncRow) alone(i int) {
	r.Helper()
	r.serves(i)
	other := r.LVS[1-i]
	r.Eventually(other.Name+" has no address", 60*time.Second, func() bool { return !r.Has(other, rig.VIP) && !r.Has(other, six) })
}

var six = netip.MustParseAddr("2001:db8::100")

// ready waits until a director that came back knows what it can know.
func (r *syncRow) ready(i int, since time.Time) {
	r.Helper()
	if r.theirs {
		r.Settle(12 * time.Second) // nothing tells
		return
	}
	r.Synced(i, since)
}

// off takes the power from a director, on gives it back.
func (r *syncRow) off(i int) {
	r.Helper()
	r.Check(r.Net.PowerOff(r.LVS[i]))
}

func (r *syncRow) on(i int) time.Time {
	r.Helper()
	booted := time.Now()
	r.grid.Boot(i)
	r.start(i)
	return booted
}

// alive ends the talk and counts the connections that go on.
func (r *syncRow) alive(idle int) (idles, lives int) {
	r.stop()
	var all sync.WaitGroup
	var mu sync.Mutex
	limit := make(chan struct{}, 100)
	for i, c := range r.conns {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			if !rig.Answered(c.Says(10 * time.Second)) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if i < idle {
				idles++
			} else {
				lives++
			}
		})
	}
	all.Wait()
	return idles, lives
}

// syncScenario is what happens to a pair of directors.
type syncScenario struct {
	name string
	// do leaves the addresses where the connections are tried.
	do func(*syncRow)
}

func syncScenarios() []syncScenario {
	backupRebooted := func(r *syncRow) {
		r.off(1)
		r.ready(1, r.on(1))
	}
	activeDies := func(r *syncRow) {
		r.off(0)
		r.serves(1)
	}
	return []syncScenario{
		{"backup rebooted, active dies", func(r *syncRow) { backupRebooted(r); activeDies(r) }},
		{"active rebooted, takes over again", func(r *syncRow) { activeDies(r); r.on(0); r.alone(0) }},
		{"both rebooted in turn", func(r *syncRow) { backupRebooted(r); activeDies(r); r.ready(0, r.on(0)); r.alone(0) }},
		{"program restarted on both, active dies", func(r *syncRow) {
			for _, i := range []int{1, 0} {
				since := time.Now()
				if r.theirs {
					r.Check(r.programs[i].Kill())
				} else {
					r.Check(r.Daemons[i].Kill())
				}
				r.start(i)
				r.Settle(5 * time.Second)
				r.ready(1, since)
			}
			activeDies(r)
		}},
		{"directors cut apart for a minute, active dies", func(r *syncRow) {
			r.Check(r.Ports[1].Cut())
			r.Settle(time.Minute)
			since := time.Now()
			r.Check(r.Ports[1].Mend())
			r.ready(1, since)
			activeDies(r)
		}},
	}
}

// BenchmarkKernelSync prints how many connections survive, lvsha beside keepalived.
func BenchmarkKernelSync(b *testing.B) {
	const idle, live = 1000, 1000
	for b.Loop() {
		fmt.Printf("\nconnections that go on, of %d idle ones, half of which never said anything, and %d live ones\n", idle, live)
		table := []string{fmt.Sprintf("%-22s %-46s %-14s %s", "kind", "what happens", "lvsha", "keepalived")}
		run := func(kind syncKind, s syncScenario) {
			results := [2]string{"-", "-"}
			for i, theirs := range []bool{false, true} {
				if theirs && kind.theirs == "" {
					continue
				}
				b.Run(fmt.Sprintf("%s/%s/%t", kind.name, s.name, theirs), func(b *testing.B) {
					r := newSyncRow(b, kind, theirs, idle, live)
					s.do(r)
					idles, lives := r.alive(idle)
					results[i] = fmt.Sprintf("%d + %d", idles, lives)
					if !theirs && idles+lives != idle+live {
						b.Errorf("%s survived", results[i])
					}
				})
			}
			table = append(table, fmt.Sprintf("%-22s %-46s %-14s %s", kind.name, s.name, results[0], results[1]))
		}
		for _, s := range syncScenarios() {
			run(syncKinds()[0], s)
		}
		for _, k := range syncKinds()[1:] {
			run(k, syncScenarios()[0])
		}
		fmt.Println(strings.Join(table, "\n"))
	}
}
