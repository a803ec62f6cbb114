//go:build ipvskernel

package bench_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	cfipvs "github.com/cloudflare/ipvs"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
	"lvsha/ipvs"
)

// firstWeight is the weight of one server, read with one message, or -1.
func firstWeight(r *rig.Rig, h *lab.Host, key ipvs.ServiceKey, server netip.AddrPort) int {
	r.Helper()
	weight := -1
	r.Check(h.Do(func() error {
		c, err := cfipvs.New()
		if err != nil {
			return err
		}
		if closer, ok := c.(interface{ Close() error }); ok {
			defer closer.Close()
		}
		dests, err := c.Destinations(cfipvs.Service{
			Address: key.Addr.Addr(), Port: key.Addr.Port(), Protocol: cfipvs.Protocol(key.Protocol), Family: cfipvs.INET,
		})
		if err != nil {
			return nil // there is no such service
		}
		for _, d := range dests {
			if netip.AddrPortFrom(d.Address, d.Port) == server {
				weight = int(d.Weight)
			}
		}
		return nil
	}))
	return weight
}

// largeConf is the same for keepalived.
func largeConf(services int, heavy ...int) string {
	var b strings.Builder
	for i := range services {
		host, port, _ := strings.Cut(largeListen(i), ":")
		fmt.Fprintf(&b, "virtual_server %s %s {\n delay_loop 60\n lb_algo wlc\n lb_kind NAT\n protocol TCP\n", host, port)
		for j := range serversEach {
			fmt.Fprintf(&b, " real_server %s %d {\n  weight %d\n  TCP_CHECK {\n   connect_timeout 2\n   retry 1\n  }\n }\n",
				farmAddress(i*serversEach+j), farmPort, largeWeight(i, j, heavy))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// largeRun is a program under measurement with a large table.
type largeRun struct {
	*rig.Rig
	kind    string
	process *lab.Process
	tap     *rig.Wiretap
	daemon  *lab.Daemon
}

func (l *largeRun) write(services int, heavy ...int) {
	l.Helper()
	if l.kind == "lvsha" {
		l.Check(l.LVS[0].WriteFile(rig.ConfigPath, []byte(largeFile(services, heavy...)), 0o644))
		return
	}
	l.Check(l.LVS[0].WriteFile("/run/keepalived.conf", []byte(largeConf(services, heavy...)), 0o600))
}

func (l *largeRun) start() {
	l.Helper()
	if l.kind == "lvsha" {
		l.daemon = l.Again(l.LVS[0])
		l.process = l.daemon.Process
		return
	}
	var err error
	l.process, err = l.LVS[0].Start(nil, "keepalived", "--dont-fork", "--log-console", "--check", "-f", "/run/keepalived.conf")
	l.Check(err)
}

// weigh is the weight in the kernel of the first server of a service, -1 without.
func (l *largeRun) weigh(i int) int {
	return firstWeight(l.Rig, l.LVS[0], ipvs.ServiceKey{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort(largeListen(i))},
		netip.AddrPortFrom(farmAddress(i*serversEach), farmPort))
}

// calm waits until no change has been asked for a while.
func (l *largeRun) calm(quiet time.Duration) {
	l.Helper()
	l.Eventually("no more changes", 3*time.Minute, func() bool {
		_, _, last := l.tap.Seen()
		return rig.Monotonic()-last > quiet
	})
}

// cpuOver waits while the program uses more than the processor time of checks in a
// second, and returns what it used beyond that.
func (l *largeRun) cpuOver(idle float64, atLeast time.Duration) time.Duration {
	l.Helper()
	began, start := time.Now(), runtimeOf(l.Rig, l.process.PID())
	for {
		before := runtimeOf(l.Rig, l.process.PID())
		l.Settle(2 * time.Second)
		rate := (runtimeOf(l.Rig, l.process.PID()) - before).Seconds() / 2
		if time.Since(began) >= atLeast && rate < 1.5*idle+0.05 || time.Since(began) > 2*time.Minute {
			break
		}
	}
	used := runtimeOf(l.Rig, l.process.PID()) - start
	return max(0, used-time.Duration(idle*float64(time.Since(began))))
}

func (l *largeRun) late() (n uint64) {
	l.Helper()
	if l.daemon == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, _, err := l.daemon.Client().Status(ctx)
	l.Check(err)
	for _, v := range s.Services {
		for _, server := range v.Servers {
			for _, c := range server.Checks {
				n += c.Late
			}
		}
	}
	return n
}

// BenchmarkKernelTable measures both programs one after the other with the same
// servers.
func BenchmarkKernelTable(b *testing.B) {
	const services = 1000
	for b.Loop() {
		fmt.Printf("\n%d services of %d servers with a tcp check every minute\n", services, serversEach)
		fill := make(map[string]time.Duration)
		for _, kind := range []string{"keepalived", "lvsha"} {
			r := rig.New(b)
			h := r.LVS[0]
			f := newFarm(b, h, (services+1)*serversEach, false)
			l := &largeRun{Rig: r, kind: kind, tap: rig.StartWiretap(r, h)}
			l.write(services)
			began := rig.Monotonic()
			l.start()
			want := services * (1 + serversEach)
			r.Eventually("the table is filled", 2*time.Minute, func() bool {
				_, changes, _ := l.tap.Seen()
				return changes >= want
			})
			all, changes, last := l.tap.Seen()
			fill[kind] = last - began
			fmt.Printf("%-10s fill: %v, CPU %v, %d messages, %d of them changes\n", kind, (last - began).Round(time.Millisecond),
				runtimeOf(r, l.process.PID()).Round(time.Millisecond), all, changes)
			// Every server is asked once.
			r.Eventually("all servers checked", 4*time.Minute, func() bool { return f.accepts.Load() >= services*serversEach })
			l.calm(3 * time.Second)
			r.Settle(3 * time.Second)
			before := runtimeOf(r, l.process.PID())
			r.Settle(20 * time.Second)
			idle := (runtimeOf(r, l.process.PID()) - before).Seconds() / 20
			late := l.late()

			step := func(what string, done func() bool, write func()) {
				write()
				all0, changes0, _ := l.tap.Seen()
				at := rig.Monotonic()
				r.Check(l.process.Signal(syscall.SIGHUP))
				shown := "-"
				if done != nil {
					r.Eventually(what, 3*time.Minute, done)
					took := rig.Monotonic() - at
					shown = took.Round(time.Millisecond).String()
					if limit := 300 * time.Millisecond; kind == "lvsha" && what == "one weight" && took > limit {
						b.Errorf("%s: %v, want %v", what, took, limit)
					}
				}
				cpu := l.cpuOver(idle, 6*time.Second)
				all1, changes1, _ := l.tap.Seen()
				fmt.Printf("%-10s %-13s in the kernel after %8s, CPU %v, %d messages, %d of them changes\n", kind, what+":", shown, cpu.Round(10*time.Millisecond), all1-all0, changes1-changes0)
				if what == "nothing" && changes1 != changes0 {
					if kind == "lvsha" {
						b.Errorf("an unchanged file makes %d changes", changes1-changes0)
					}
				}
			}
			step("one weight", func() bool { return l.weigh(500) == 2 }, func() { l.write(services, 500) })
			step("one service", func() bool { return l.weigh(services) == 1 }, func() { l.write(services+1, 500) })
			step("nothing", nil, func() {})
			fmt.Printf("%-10s checks cost %.1f %% of a processor; %d checks were late during the reloads\n", kind, 100*idle, l.late()-late)

			at := rig.Monotonic()
			r.Check(l.process.Signal(syscall.SIGTERM))
			<-l.process.Done()
			took := rig.Monotonic() - at
			fmt.Printf("%-10s stop: ended after %v\n", kind, took.Round(time.Millisecond))
			if kind == "lvsha" && took > time.Second {
				b.Errorf("stop: %v, want 1s", took)
			}
			l.tap.Close()
			f.close()
			r.Check(r.Net.Close())
		}
		if fill["lvsha"] > fill["keepalived"] {
			b.Errorf("fill: lvsha %v, keepalived %v", fill["lvsha"], fill["keepalived"])
		}
	}
}
