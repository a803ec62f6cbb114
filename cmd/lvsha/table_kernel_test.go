//go:build ipvskernel

package main_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/lab"
	"lvsha/ipvs"
)

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

// wiretap hears what the programs of one host ask of the kernel's IPVS.
type wiretap struct {
	fd   int
	stop atomic.Bool
	done sync.WaitGroup

	mu       sync.Mutex // guards what follows
	family   uint16     // of IPVS in generic netlink; 0 is not known yet
	changes  int
	all      int
	lastSeen time.Duration // of a change, on the monotonic clock
}

// startWiretap makes an interface that netlink messages are copied to.
func startWiretap(r *rig, h *lab.Host) *wiretap {
	r.Helper()
	_, err := h.Run("ip", "link", "add", "nlmon0", "type", "nlmon")
	r.check(err)
	_, err = h.Run("ip", "link", "set", "nlmon0", "up")
	r.check(err)
	w := &wiretap{}
	r.check(h.Do(func() error {
		var err error
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		ifi, err := netInterface("nlmon0")
		if err != nil {
			return err
		}
		const all = 0x0300 // ETH_P_ALL in network order
		// Requests only: ldb [6], the low byte of the flags; jset #NLM_F_REQUEST, 0, 1.
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6},
			{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: unix.NLM_F_REQUEST},
			{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
			{Code: unix.BPF_RET | unix.BPF_K},
		}
		return errors.Join(
			unix.SetsockoptSockFprog(w.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
			unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi}))
	}))
	w.family = ipvsFamily(r, h)
	w.done.Go(w.listen)
	return w
}

func (w *wiretap) listen() {
	b := make([]byte, 256<<10)
	for !w.stop.Load() {
		n, from, err := unix.Recvfrom(w.fd, b, 0)
		if err != nil || n < 20 {
			continue
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Protocol != 0x1000 { // NETLINK_GENERIC in network order
			continue
		}
		w.mu.Lock()
		for rest := b[:n]; len(rest) >= 20; {
			if binary.NativeEndian.Uint16(rest[4:]) == w.family {
				w.all++
				switch rest[16] { // the command
				case 1, 2, 3, 5, 6, 7, 16, 17: // of services and servers, zero and flush
					w.changes++
					w.lastSeen = monotonic()
				}
			}
			length := (int(binary.NativeEndian.Uint32(rest)) + 3) &^ 3
			if length < 16 || length > len(rest) {
				break
			}
			rest = rest[length:]
		}
		w.mu.Unlock()
	}
}

// seen is how many messages there were, how many of them to change something, and
// when the last of those was.
func (w *wiretap) seen() (all, changes int, last time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all, w.changes, w.lastSeen
}

func (w *wiretap) close() {
	w.stop.Store(true)
	w.done.Wait()
	unix.Close(w.fd)
}

// largeRun is a program under measurement with a large table.
type largeRun struct {
	*rig
	kind    string
	process *lab.Process
	tap     *wiretap
	daemon  *lab.Daemon
}

func (l *largeRun) write(services int, heavy ...int) {
	l.Helper()
	if l.kind == "lvsha" {
		l.check(l.lvs[0].WriteFile(configPath, []byte(largeFile(services, heavy...)), 0o644))
		return
	}
	l.check(l.lvs[0].WriteFile("/run/keepalived.conf", []byte(largeConf(services, heavy...)), 0o600))
}

func (l *largeRun) start() {
	l.Helper()
	if l.kind == "lvsha" {
		l.daemon = l.again(l.lvs[0])
		l.process = l.daemon.Process
		return
	}
	var err error
	l.process, err = l.lvs[0].Start(nil, "keepalived", "--dont-fork", "--log-console", "--check", "-f", "/run/keepalived.conf")
	l.check(err)
}

// weigh is the weight in the kernel of the first server of a service, -1 without.
func (l *largeRun) weigh(i int) int {
	return firstWeight(l.rig, l.lvs[0], ipvs.ServiceKey{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort(largeListen(i))},
		netip.AddrPortFrom(farmAddress(i*serversEach), farmPort))
}

// calm waits until no change has been asked for a while.
func (l *largeRun) calm(quiet time.Duration) {
	l.Helper()
	l.eventually("no more changes", 3*time.Minute, func() bool {
		_, _, last := l.tap.seen()
		return monotonic()-last > quiet
	})
}

// cpuOver waits while the program uses more than the processor time of checks in a
// second, and returns what it used beyond that.
func (l *largeRun) cpuOver(idle float64, atLeast time.Duration) time.Duration {
	l.Helper()
	began, start := time.Now(), runtimeOf(l.rig, l.process.PID())
	for {
		before := runtimeOf(l.rig, l.process.PID())
		l.settle(2 * time.Second)
		rate := (runtimeOf(l.rig, l.process.PID()) - before).Seconds() / 2
		if time.Since(began) >= atLeast && rate < 1.5*idle+0.05 || time.Since(began) > 2*time.Minute {
			break
		}
	}
	used := runtimeOf(l.rig, l.process.PID()) - start
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
	l.check(err)
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
			r := newRig(b)
			h := r.lvs[0]
			f := newFarm(b, h, (services+1)*serversEach, false)
			l := &largeRun{rig: r, kind: kind, tap: startWiretap(r, h)}
			l.write(services)
			began := monotonic()
			l.start()
			want := services * (1 + serversEach)
			r.eventually("the table is filled", 2*time.Minute, func() bool {
				_, changes, _ := l.tap.seen()
				return changes >= want
			})
			all, changes, last := l.tap.seen()
			fill[kind] = last - began
			fmt.Printf("%-10s fill: %v, CPU %v, %d messages, %d of them changes\n", kind, (last - began).Round(time.Millisecond),
				runtimeOf(r, l.process.PID()).Round(time.Millisecond), all, changes)
			// Every server is asked once.
			r.eventually("all servers checked", 4*time.Minute, func() bool { return f.accepts.Load() >= services*serversEach })
			l.calm(3 * time.Second)
			r.settle(3 * time.Second)
			before := runtimeOf(r, l.process.PID())
			r.settle(20 * time.Second)
			idle := (runtimeOf(r, l.process.PID()) - before).Seconds() / 20
			late := l.late()

			step := func(what string, done func() bool, write func()) {
				write()
				all0, changes0, _ := l.tap.seen()
				at := monotonic()
				r.check(l.process.Signal(syscall.SIGHUP))
				shown := "-"
				if done != nil {
					r.eventually(what, 3*time.Minute, done)
					took := monotonic() - at
					shown = took.Round(time.Millisecond).String()
					if limit := 300 * time.Millisecond; kind == "lvsha" && what == "one weight" && took > limit {
						b.Errorf("%s: %v, want %v", what, took, limit)
					}
				}
				cpu := l.cpuOver(idle, 6*time.Second)
				all1, changes1, _ := l.tap.seen()
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

			at := monotonic()
			r.check(l.process.Signal(syscall.SIGTERM))
			<-l.process.Done()
			took := monotonic() - at
			fmt.Printf("%-10s stop: ended after %v\n", kind, took.Round(time.Millisecond))
			if kind == "lvsha" && took > time.Second {
				b.Errorf("stop: %v, want 1s", took)
			}
			l.tap.close()
			f.close()
			r.check(r.net.Close())
		}
		if fill["lvsha"] > fill["keepalived"] {
			b.Errorf("fill: lvsha %v, keepalived %v", fill["lvsha"], fill["keepalived"])
		}
	}
}
