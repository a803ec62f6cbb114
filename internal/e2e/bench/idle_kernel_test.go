//go:build ipvskernel

package bench_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/e2e/rig"
)

// BenchmarkKernelIdle: an active director with one virtual router at 100 ms and
// ten servers under a tcp check every second, for half a minute.
func BenchmarkKernelIdle(b *testing.B) {
	const servers, during = 10, 30 * time.Second
	for b.Loop() {
		fmt.Printf("\nidle active director, 1 virtual router at %v, %d servers checked every second, over %v\n", rig.Fast, servers, during)
		for _, kind := range []string{"lvsha", "keepalived"} {
			r := rig.New(b)
			ours, theirs := rig.VRRPFile(3, rig.Fast), rig.KeepalivedFile(3, rig.Fast, 150)
			ours += "[service.web]\nlisten = \"10.0.0.100:80/tcp\"\nforward = \"dr\"\ncheck = { type = \"tcp\", port = 8080, interval = \"1s\" }\n"
			theirs += "virtual_server 10.0.0.100 80 {\n protocol TCP\n lvs_method DR\n delay_loop 1\n"
			for i := range servers {
				address := fmt.Sprintf("10.0.0.%d", 20+i)
				r.Servers(address)
				ours += fmt.Sprintf("[[service.web.server]]\naddress = %q\n", address)
				theirs += fmt.Sprintf(" real_server %s 80 {\n TCP_CHECK {\n connect_port 8080\n connect_timeout 1\n }\n }\n", address)
			}
			r.Listen(r.Client, 8080)
			var pid int
			if kind == "lvsha" {
				// As lvsha.service starts it: TimerSlackNSec=1ms.
				r.Check(r.LVS[0].Do(func() error { return unix.Prctl(unix.PR_SET_TIMERSLACK, 1_000_000, 0, 0, 0) }))
				pid = r.Lvsha(r.LVS[0], ours).PID()
			} else {
				r.Check(r.LVS[0].WriteFile("/run/keepalived.conf", []byte(theirs+"}\n"), 0o600))
				p, err := r.LVS[0].Start(nil, "keepalived", "--dont-fork", "--log-console", "-f", "/run/keepalived.conf")
				r.Check(err)
				pid = p.PID()
			}
			r.Holds(0, 15*time.Second)
			r.Eventually("all servers in the kernel", 30*time.Second, func() bool {
				return strings.Count(r.Table(r.LVS[0]), "-a ") == servers
			})
			r.Settle(5 * time.Second)
			before := runtimeOf(r, pid)
			r.Settle(during)
			cpu := runtimeOf(r, pid) - before
			rss, _ := memoryOf(r, pid)
			fmt.Printf("%-12s CPU %.2f %% of one processor, RSS %.1f MiB\n", kind, 100*cpu.Seconds()/during.Seconds(), float64(rss)/(1<<20))
			r.Check(r.Net.Close())
		}
	}
}
