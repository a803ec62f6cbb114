package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
)

// The large table: services with ten servers each, all of them other servers of one
// farm, each with a tcp check every minute. They start up, as keepalived's do.
const serversEach = 10

// largeFile is lvsha's file for a large table; the weights of services whose number
// is in heavy are 2 for the first server.
func largeFile(services int, heavy ...int) string {
	var b strings.Builder
	b.WriteString("[health]\ndoubt = \"0s\"\n")
	for i := range services {
		fmt.Fprintf(&b, "[service.s%d]\nlisten = %q\nowner = \"none\"\nforward = \"nat\"\nscheduler = \"wlc\"\ninitial = \"up\"\n", i, largeListen(i)+"/tcp")
		b.WriteString("check = { type = \"tcp\", interval = \"60s\", timeout = \"2s\", rise = 1, fall = 2 }\n")
		for j := range serversEach {
			fmt.Fprintf(&b, "[[service.s%d.server]]\naddress = \"%s:%d\"\nweight = %d\n", i, farmAddress(i*serversEach+j), farmPort, largeWeight(i, j, heavy))
		}
	}
	return b.String()
}

func largeListen(i int) string { return fmt.Sprintf("192.0.2.%d:%d", 1+i%100, 1000+i/100) }

func largeWeight(i, j int, heavy []int) int {
	for _, h := range heavy {
		if h == i && j == 0 {
			return 2
		}
	}
	return 1
}

// BenchmarkTable prints what a table of 1,000 services with ten servers each costs
// lvsha and keepalived, in the same run of the machine with an IPVS kernel.
func BenchmarkTable(b *testing.B) {
	for b.Loop() {
		if _, code := rig.WithIPVS(b, rig.TestRun{Package: "internal/e2e/bench", Flags: "-test.run '^$' -test.bench '^BenchmarkKernelTable$' -test.benchtime 1x"}); code != 0 {
			b.Errorf("exit code %d", code)
		}
	}
}

// BenchmarkReload prints how soon a change of the file of 1,000 services with ten
// servers each is in the kernel's table, here on this machine over the one in memory.
func BenchmarkReload(b *testing.B) {
	for b.Loop() {
		took := reloads(b, 1000, 20)
		fmt.Printf("one weight of 10,000 servers in the table in memory: median %v, worst %v of %d reloads\n", took[0], took[1], 20)
		if took[0] > 20*time.Millisecond {
			b.Error("want 20ms")
		}
	}
}

// reloads changes one weight again and again, and returns the median and the longest
// time from the signal to the change.
func reloads(t testing.TB, services, times int) [2]time.Duration {
	t.Helper()
	r := rig.New(t)
	defer r.Net.Close()
	h := r.LVS[0]
	f := newFarm(t, h, services*serversEach, false)
	defer f.close()
	log := filepath.Join(t.TempDir(), "ipvs.log")
	d := r.Lvsha(h, largeFile(services), "--kernel=memory", "--kernel-log", log)
	added := func(word string) int {
		text, err := os.ReadFile(log)
		r.Check(err)
		return strings.Count(string(text), word)
	}
	r.Eventually("the table is full", 60*time.Second, func() bool {
		_, err := os.Stat(log)
		return err == nil && added(" add server ") == services*serversEach
	})
	var took []time.Duration
	heavy := false
	for i := range times {
		heavy = !heavy
		text := largeFile(services)
		if heavy {
			text = largeFile(services, services/2)
		}
		r.Check(h.WriteFile(rig.ConfigPath, []byte(text), 0o644))
		size := func() int64 { // to read it all again and again would be most of the work
			info, err := os.Stat(log)
			r.Check(err)
			return info.Size()
		}
		had, before := size(), rig.Monotonic()
		r.Check(d.Signal(syscall.SIGHUP))
		r.Eventually("the weight is set", 30*time.Second, func() bool { return size() > had && added(" set weight ") == i+1 })
		took = append(took, lastChange(r, log)-before)
		r.Settle(200 * time.Millisecond)
	}
	slices.Sort(took)
	return [2]time.Duration{took[len(took)/2].Round(10 * time.Microsecond), took[len(took)-1].Round(10 * time.Microsecond)}
}

// lastChange is when the last change of a kernel log was, on the monotonic clock.
func lastChange(r *rig.Rig, log string) time.Duration {
	r.Helper()
	text, err := os.ReadFile(log)
	r.Check(err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	word, _, _ := strings.Cut(lines[len(lines)-1], " ")
	at, err := time.ParseDuration(word + "s")
	r.Check(err)
	return at
}

// TestOneWeight is BenchmarkReload with fewer services and with slack.
func TestOneWeight(t *testing.T) {
	took := reloads(t, 200, 5)
	t.Logf("one weight of 2,000 servers: median %v, worst %v", took[0], took[1])
	if took[0] > 500*time.Millisecond {
		t.Error("want 500ms")
	}
}
