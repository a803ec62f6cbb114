package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
)

// manyRouters is a file with virtual routers of VRID 1 to n, each with an address.
func manyRouters(n int, advertise time.Duration) string {
	var b strings.Builder
	b.WriteString("[director.lvs1]\naddress = \"10.0.0.1\"\npriority = 150\n[director.lvs2]\naddress = \"10.0.0.2\"\npriority = 100\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "[vrrp.r%d]\ninterface = \"eth0\"\nvrid = %d\nadvertise = %q\naddresses = [\"10.9.0.%d/32\"]\n", i, i, advertise.String(), i)
	}
	return b.String()
}

// manyInstances is the same for keepalived.
func manyInstances(n int, advertise time.Duration, priority int) string {
	var b strings.Builder
	b.WriteString("global_defs {\n vrrp_version 3\n}\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "vrrp_instance r%d {\n interface eth0\n virtual_router_id %d\n priority %d\n advert_int %g\n virtual_ipaddress {\n 10.9.0.%d/32\n }\n}\n",
			i, i, priority, advertise.Seconds(), i)
	}
	return b.String()
}

// startMany starts one kind of director with many virtual routers.
func startMany(r *rig.Rig, kind string, i, n int, advertise time.Duration, args ...string) (pid int) {
	r.Helper()
	if kind == "keepalived" {
		return r.Keepalived(r.LVS[i], manyInstances(n, advertise, []int{150, 100}[i])).PID()
	}
	return r.Lvsha(r.LVS[i], manyRouters(n, advertise), args...).PID()
}

// holdsMany waits until a director has all the addresses.
func holdsMany(r *rig.Rig, i, n int) {
	r.Helper()
	r.Eventually(fmt.Sprintf("%s has %d addresses", r.LVS[i].Name, n), 60*time.Second, func() bool {
		out, err := r.LVS[i].Run("ip", "-4", "-o", "addr", "show", "dev", "eth0")
		r.Check(err)
		return strings.Count(out, "10.9.0.") == n
	})
}

// runtimeOf is the processor time of a process and its descendants, to the
// nanosecond (/proc/PID/task/TID/schedstat).
func runtimeOf(r *rig.Rig, pid int) time.Duration {
	r.Helper()
	var total time.Duration
	for _, p := range append([]int{pid}, rig.Descendants(r, pid)...) {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p))
		r.Check(err)
		for _, path := range tasks {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // the thread has ended
			}
			var ns int64
			_, err = fmt.Sscan(string(text), &ns)
			r.Check(err)
			total += time.Duration(ns)
		}
	}
	return total
}

// memoryOf is the resident and the proportional memory of a process and its
// descendants in bytes (/proc/PID/smaps_rollup).
func memoryOf(r *rig.Rig, pid int) (rss, pss int64) {
	r.Helper()
	for _, p := range append([]int{pid}, rig.Descendants(r, pid)...) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		r.Check(err)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			switch f[0] {
			case "Rss:":
				rss += kib << 10
			case "Pss:":
				pss += kib << 10
			}
		}
	}
	return rss, pss
}

// BenchmarkScale prints what 1, 50 and 250 virtual routers at 100 ms cost, active
// and backup, beside keepalived from one run.
func BenchmarkScale(b *testing.B) {
	const advertise, during = 100 * time.Millisecond, 20 * time.Second
	type cost struct {
		cpu      [2]float64 // percent of a processor, active and backup
		rss, pss [2]float64 // MiB
	}
	for b.Loop() {
		for _, n := range []int{1, 50, 250} {
			fmt.Printf("\n%d virtual routers at %v over %v\n", n, advertise, during)
			costs := make(map[string]cost)
			for _, kind := range []string{"lvsha", "keepalived"} {
				r := rig.New(b)
				pids := [2]int{startMany(r, kind, 0, n, advertise)}
				holdsMany(r, 0, n)
				pids[1] = startMany(r, kind, 1, n, advertise)
				r.Settle(8 * time.Second) // the announcements after a takeover
				before := [2]time.Duration{runtimeOf(r, pids[0]), runtimeOf(r, pids[1])}
				r.Settle(during)
				var c cost
				for i, pid := range pids {
					c.cpu[i] = 100 * (runtimeOf(r, pid) - before[i]).Seconds() / during.Seconds()
					rss, pss := memoryOf(r, pid)
					c.rss[i], c.pss[i] = float64(rss)/(1<<20), float64(pss)/(1<<20)
				}
				holdsMany(r, 0, n)
				costs[kind] = c
				fmt.Printf("%-12s active: CPU %.2f %%, RSS %.1f MiB, PSS %.1f MiB; backup: CPU %.2f %%, RSS %.1f MiB, PSS %.1f MiB\n",
					kind, c.cpu[0], c.rss[0], c.pss[0], c.cpu[1], c.rss[1], c.pss[1])
				r.Check(r.Net.Close())
			}
			for i, role := range []string{"active", "backup"} {
				l, k := costs["lvsha"], costs["keepalived"]
				if l.cpu[i] > k.cpu[i] {
					b.Errorf("%d routers, %s: lvsha's CPU %.2f %% is above keepalived's %.2f %%", n, role, l.cpu[i], k.cpu[i])
				}
				if l.rss[i] > 20 {
					b.Errorf("%d routers, %s: lvsha's RSS %.1f MiB is above 20 MiB", n, role, l.rss[i])
				}
			}
		}
	}
}

// BenchmarkJitter prints how late advertisements are on a machine that two busy loops
// for each processor keep busy for a minute, and how many false failovers that
// made: with and without real-time priority, and keepalived beside.
func BenchmarkJitter(b *testing.B) {
	const advertise, during = 100 * time.Millisecond, time.Minute
	for b.Loop() {
		fmt.Printf("\nadvertisements at %v for %v beside %d busy loops\n", advertise, during, 2*runtime.NumCPU())
		for _, c := range []struct {
			name, kind string
			args       []string
		}{
			{"lvsha", "lvsha", nil},
			{"lvsha, real-time", "lvsha", []string{"--realtime", "50"}},
			{"keepalived", "keepalived", nil},
		} {
			r := rig.New(b)
			a := startMany(r, c.kind, 0, 1, advertise, c.args...)
			holdsMany(r, 0, 1)
			startMany(r, c.kind, 1, 1, advertise, c.args...)
			r.Settle(2 * time.Second)
			for range 2 * runtime.NumCPU() {
				_, err := r.Client.Start(nil, "/bin/sh", "-c", "while :; do :; done")
				r.Check(err)
			}
			began := time.Now()
			r.Settle(during)
			end := time.Now()
			var gaps []time.Duration
			var last time.Time
			intruders := 0
			for _, adv := range r.Sniffer.Seen() {
				if adv.At.Before(began) || adv.At.After(end) {
					continue
				}
				if adv.Source != r.Source[0] {
					intruders++
					continue
				}
				if !last.IsZero() {
					gaps = append(gaps, adv.At.Sub(last)-advertise)
				}
				last = adv.At
			}
			slices.Sort(gaps)
			if len(gaps) < 100 {
				b.Fatalf("only %d advertisements were seen", len(gaps))
			}
			at := func(q float64) time.Duration {
				return gaps[min(int(q*float64(len(gaps))), len(gaps)-1)].Round(10 * time.Microsecond)
			}
			fmt.Printf("%-18s %d advertisements, longer than the interval by: median %v, p99 %v, p99.99 %v; advertisements of the backup: %d (process %d)\n",
				c.name, len(gaps)+1, at(0.5), at(0.99), at(0.9999), intruders, a)
			if c.kind == "lvsha" && intruders > 0 {
				b.Errorf("%s: a false failover", c.name)
			}
			r.Check(r.Net.Close())
		}
	}
}
