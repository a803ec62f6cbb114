//go:build ipvskernel

package bench_test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
	connsync "lvsha/sync"
)

// fill puts so many established connections of clients that do not exist into a
// director's kernel, as another director would.
func fill(r *rig.SyncRig, i, count int, id uint8, iface string) {
	r.Helper()
	r.Check(r.LVS[i].Do(func() error {
		in, err := connsync.Host{}.Intake(connsync.Daemon{Role: connsync.Backup, Interface: iface, ID: id}, func() []uint64 { return nil })
		if err != nil {
			return err
		}
		defer in.Close()
		for n := 0; n < count; {
			var records []connsync.Record
			for range min(25, count-n) {
				records = append(records, connsync.Record{
					Key: connsync.ConnKey{
						Protocol: 6, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 200, byte(n >> 16), byte(n >> 8)}), uint16(10000+n%256)),
						Virtual: netip.AddrPortFrom(rig.VIP, 80),
					},
					Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(21 + n%2)}), 80),
					Flags:  connsync.ForwardDR | connsync.NoOutput, State: 1, Timeout: 3000,
				})
				n++
			}
			datagram, _ := connsync.AppendMessage(nil, id, 1024, records)
			if err := in.Put(datagram); err != nil {
				return err
			}
			for waiting := 1 << 20; waiting > 64<<10; {
				if waiting, _, err = in.Backlog(); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// counted are the connections of a director as the kernel counts them for its servers.
func counted(r *rig.SyncRig, i int) (n int) {
	out, err := r.LVS[i].Run("ipvsadm", "-Ln")
	r.Check(err)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "->" && f[1] != "RemoteAddress:Port" {
			for _, s := range f[4:] {
				c, err := strconv.Atoi(s)
				r.Check(err)
				n += c
			}
		}
	}
	return n
}

// churn opens, uses and closes connections, so many a second, until stop is called.
func churn(r *rig.SyncRig, rate int) (stop func()) {
	ctx, cancel := context.WithCancel(r.Context())
	var all sync.WaitGroup
	all.Go(func() {
		ticker := time.NewTicker(time.Second / time.Duration(rate))
		defer ticker.Stop()
		limit := make(chan struct{}, 100)
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			select {
			case limit <- struct{}{}:
			default:
				continue // the machine is slower than that
			}
			all.Go(func() {
				defer func() { <-limit }()
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				if c, err := lab.Dial(ctx, r.Client, netip.AddrPortFrom(rig.VIP, 80)); err == nil {
					rig.Echo(c)
					c.Close()
				}
			})
		}
	})
	return func() {
		cancel()
		all.Wait()
	}
}

// BenchmarkKernelLargeSync has a director boot beside one with a large table, that
// changes by 200 connections a second.
func BenchmarkKernelLargeSync(b *testing.B) {
	for b.Loop() {
		for _, c := range []struct {
			transport string
			count     int
			bar       time.Duration
		}{{"multicast", 10_000, 3 * time.Second}, {"channel", 10_000, 3 * time.Second}, {"channel", 100_000, 15 * time.Second}} {
			b.Run(fmt.Sprintf("%s/%d", c.transport, c.count), func(b *testing.B) { largeSync(b, c.transport, c.count, c.bar) })
		}
	}
}

func largeSync(b *testing.B, transport string, count int, bar time.Duration) {
	text, iface, id := "[sync]\ntransport = \""+transport+"\"\n", "lo", uint8(2)
	if transport == "multicast" {
		text, iface, id = text+"interface = \"eth0\"\n", "eth0", 1
	}
	r := rig.NewSyncRig(b, text)
	r.Eventually("the daemons", 30*time.Second, func() bool { s, _ := r.Partner(0); return len(s.Daemons) == 2 })
	fill(r, 0, count, id, iface)
	// A new process, to know of what has come this way; the cold start.
	cold := time.Now()
	if code, err := r.Daemons[0].End(syscall.SIGUSR2); err != nil || code != 0 {
		b.Fatalf("restart: %d, %v", code, err)
	}
	r.Daemons[0] = r.Again(r.LVS[0])
	r.Becomes(r.Daemons[0], "active")
	if transport == "channel" {
		r.Eventually("the table known", 3*time.Minute, func() bool { s, _ := r.Partner(0); return s.Known >= count })
	}
	seeded := time.Since(cold)
	stop := churn(r, 200)
	defer stop()
	r.Settle(5 * time.Second)
	r.PowerOff(1)
	cpu, began := runtimeOf(r.Rig, r.Daemons[0].PID()), time.Now()
	r.PowerOn(1)
	booted := time.Now()
	result := r.SyncedWithin(3*time.Minute, 1, booted)
	total := time.Since(result.Began)
	cpu = runtimeOf(r.Rig, r.Daemons[0].PID()) - cpu
	took := time.Since(began)
	rss1, _ := memoryOf(r.Rig, r.Daemons[0].PID())
	rss2, _ := memoryOf(r.Rig, r.Daemons[1].PID())
	jitter := "none"
	if j := r.Daemons[0].Router("web").Jitter; j != nil {
		jitter = "p99 " + j.P99 + ", max " + j.Max
	}
	stop()
	// What has closed is kept for two minutes, and told of up to three seconds later.
	r.Settle(2*time.Minute + 10*time.Second)
	one, two := counted(r, 0), counted(r, 1)
	fmt.Printf("\n%d connections, %s: %s\n", count, transport, result.Text)
	fmt.Printf("  until the first record %s, until all were in the kernel %s, comparison (%s) %s; %v in all, bar %v\n", result.Waiting, result.Taking, result.Compared, result.Looking, total.Round(time.Millisecond), bar)
	fmt.Printf("  records %d, missing %d, put in again %d; after two minutes of rest %d connections there and %d here\n", result.Records, result.Missing, result.Repeated, one, two)
	fmt.Printf("  the active one: %.0f %% of a processor meanwhile, RSS %.0f MiB, lateness of advertisements %s; the other one: RSS %.0f MiB, became active %d times\n",
		100*cpu.Seconds()/took.Seconds(), float64(rss1)/(1<<20), jitter, float64(rss2)/(1<<20), r.Daemons[1].Router("web").Counters["became_active"])
	if transport == "channel" {
		fmt.Printf("  a restarted process knew the table after %v\n", seeded.Round(time.Millisecond))
	}
	took = 0
	for _, s := range []string{result.Waiting, result.Taking, result.Looking} {
		d, err := time.ParseDuration(s)
		r.Check(err)
		took += d
	}
	if took > bar || result.Missing > 0 || two > one || r.Daemons[1].Router("web").Counters["became_active"] > 0 {
		b.Errorf("a bar was missed: %v of %v", took, bar)
	}
	r.Check(r.Net.Close())
}
