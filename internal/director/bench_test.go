package director

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lvsha/healthcheck"
	"lvsha/internal/config"
	"lvsha/ipvs"
)

// BenchmarkJudge judges 10,000 servers of 100 services, and makes the table of them.
func BenchmarkJudge(b *testing.B) {
	var text strings.Builder
	for i := range 10000 {
		if i%100 == 0 {
			fmt.Fprintf(&text, "[service.s%d]\nlisten = \"192.0.2.10:%d/tcp\"\nowner = \"none\"\nforward = \"nat\"\ncheck = { type = \"tcp\" }\n", i/100, 1000+i/100)
		}
		fmt.Fprintf(&text, "[[service.s%d.server]]\naddress = \"10.1.%d.%d:80\"\n", i/100, i>>8, i&255)
	}
	cfg, err := config.Parse("lvsha.toml", []byte(text.String()), config.Identity{})
	if err != nil {
		b.Fatal(err)
	}
	monitor := healthcheck.New(healthcheck.Options{})
	monitor.Set(targets(cfg, steering{}, func(ipvs.ServiceKey, netip.AddrPort, int) bool { return true }))
	var j judging
	j.set(cfg, steering{})
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			j.look(time.Now(), monitor.Judgments, nil)
		}
	})
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			j.table()
		}
	})
	b.Run("health", func(b *testing.B) {
		for b.Loop() {
			serviceHealth(j.rows)
		}
	})
	b.Run("diff", func(b *testing.B) {
		t := j.table()
		for b.Loop() {
			ipvs.Diff(t, t, nil)
		}
	})
}

// What an operator waits for with 10,000 servers takes no longer than this.
const (
	maxSnapshot = 60 * time.Millisecond
	maxLocked   = 20 * time.Millisecond
	maxReload   = 100 * time.Millisecond
)

// BenchmarkLarge is what an operator waits for with 10,000 servers, each in a service of
// its own and ten in each: the snapshot of a status, the lock that it holds, and a reload
// of an unchanged file. The best of all is held against the bar; it says little on a machine
// that has other work.
//
// cpu-ms/op is what the whole process spends, beside and after it too.
func BenchmarkLarge(b *testing.B) {
	for _, each := range []int{1, 10} {
		d := running(b, thousands, each)
		shape := fmt.Sprintf("%dx%d/", thousands/each, each)
		run := func(what string, bar time.Duration, f func() error) {
			b.Run(shape+what, func(b *testing.B) {
				cpu := spent(b)
				var took []time.Duration
				for b.Loop() {
					start := time.Now()
					if err := f(); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(start))
				}
				slices.Sort(took)
				b.ReportMetric(ms(spent(b)-cpu)/float64(len(took)), "cpu-ms/op")
				b.ReportMetric(ms(took[len(took)/2]), "median-ms")
				b.ReportMetric(ms(took[0]), "best-ms")
				if took[0] > bar {
					b.Errorf("%v at best, want at most %v", took[0], bar)
				}
			})
		}
		run("status", maxSnapshot, func() error { d.Status(); return nil })
		run("lock", maxLocked, func() error { d.stand(); return nil })
		run("reload", maxReload, func() error { _, err := d.Reload(b.Context()); return err })
	}
}
