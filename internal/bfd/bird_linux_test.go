package bfd_test

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/bfd"
	"lvsha/internal/lab"
)

// The segment of the test with bird, which is the other implementation:
//
//	we   10.0.0.1, 2001:db8::1 ──┐
//	bird 10.0.0.2, 2001:db8::2 ──┘ segment
type birdLab struct {
	testing.TB
	we, host *lab.Host
	port     *lab.Port
	bird     *lab.Process

	mu     sync.Mutex // guards failed
	failed []bfd.Transition
}

var (
	ours   = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	theirs = []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2")}
)

func newBirdLab(t testing.TB) *birdLab {
	t.Helper()
	l := &birdLab{TB: t}
	net, err := lab.NewNetwork()
	l.check(err)
	t.Cleanup(func() { l.check(net.Close()) })
	segment, err := net.Segment("segment")
	l.check(err)
	l.we, err = net.Host("we")
	l.check(err)
	l.port, err = segment.Attach(l.we, "eth0", "10.0.0.1/24", "2001:db8::1/64")
	l.check(err)
	l.host, err = net.Host("bird")
	l.check(err)
	_, err = segment.Attach(l.host, "eth0", "10.0.0.2/24", "2001:db8::2/64")
	l.check(err)
	l.configure("10 ms", 3)
	l.bird, err = l.host.Start(nil, "bird", "-f", "-c", "/run/bird.conf", "-s", "/run/bird.ctl")
	l.check(err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("bird printed:\n%s", l.bird.Output())
		}
	})
	return l
}

func (l *birdLab) check(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *birdLab) configure(interval string, multiplier int) {
	l.Helper()
	l.check(l.host.WriteFile("/run/bird.conf", fmt.Appendf(nil, `
router id 10.0.0.2;
protocol device {}
protocol bfd bfd1 {
  interface "eth0" { interval %s; multiplier %d; };
  neighbor 10.0.0.1 dev "eth0" local 10.0.0.2;
  neighbor 2001:db8::1 dev "eth0" local 2001:db8::2;
}
`, interval, multiplier), 0o644))
}

func (l *birdLab) birdc(args ...string) string {
	l.Helper()
	out, err := l.host.Run("birdc", append([]string{"-s", "/run/bird.ctl"}, args...)...)
	l.check(err)
	return out
}

// engine runs on the host, whose network the loop's thread enters.
func (l *birdLab) engine(params bfd.Params) (e *bfd.Engine, config bfd.Config) {
	l.Helper()
	var ns *os.File
	l.check(l.we.Do(func() (err error) {
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	}))
	port, err := bfd.NewPort()
	l.check(err)
	entered := make(chan struct{})
	e = bfd.New(bfd.Options{
		Port: port,
		OnThread: func() {
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				l.Errorf("entering the network namespace: %v", err)
			}
			ns.Close()
			close(entered)
		},
		OnTransition: func(tr bfd.Transition) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if tr.Failed() {
				l.failed = append(l.failed, tr)
			}
		},
	})
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // once more than Run: the thread ends with the goroutine
		done <- e.Run(l.Context())
	}()
	l.Cleanup(func() {
		e.Stop()
		l.check(<-done)
	})
	<-entered // or Configure would open the sockets here
	config.Params = params
	for i := range ours {
		config.Networks = append(config.Networks, bfd.LocalNetwork{Network: bfd.Network{Interface: "eth0", IPv6: i == 1}, Local: ours[i]})
		config.Watch = append(config.Watch, bfd.Key{Interface: "eth0", Local: ours[i], Peer: theirs[i]})
	}
	l.check(e.Configure(l.Context(), config))
	return e, config
}

// eventually waits until it holds of both sessions.
func (l *birdLab) eventually(e *bfd.Engine, what string, holds func(bfd.Status) bool) {
	l.Helper()
	_, err := lab.Eventually(what, 15*time.Second, func() bool {
		sessions, _ := e.Snapshot()
		return len(sessions) == len(ours) && !slices.ContainsFunc(sessions, func(s bfd.Status) bool { return !holds(s) })
	})
	if err != nil {
		sessions, drops := e.Snapshot()
		l.Fatalf("%v\n%+v\ndropped %v\n%s", err, sessions, drops, l.birdc("show", "bfd", "sessions"))
	}
}

// birdSays waits until both of bird's sessions have a word in their line.
func (l *birdLab) birdSays(word string) {
	l.Helper()
	_, err := lab.Eventually("bird shows "+word, 15*time.Second, func() bool {
		n := 0
		for line := range strings.Lines(l.birdc("show", "bfd", "sessions")) {
			if strings.Contains(line, "eth0") && slices.Contains(strings.Fields(line), word) {
				n++
			}
		}
		return n == len(ours)
	})
	if err != nil {
		l.Fatalf("%v:\n%s", err, l.birdc("show", "bfd", "sessions"))
	}
}

// failures are the deaths told so far, which are forgotten.
func (l *birdLab) failures() []bfd.Transition {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.failed
	l.failed = nil
	return out
}

func isUp(s bfd.Status) bool   { return s.State == bfd.Up && !s.Polling }
func isDown(s bfd.Status) bool { return s.State == bfd.Down }

// TestBird: sessions over both families with bird, through their whole life.
func TestBird(t *testing.T) {
	l := newBirdLab(t)
	// Slow enough for a busy machine, which must not take a pause for a death.
	calm := bfd.Params{Interval: 100 * ms, Multiplier: 5}
	e, config := l.engine(calm)
	l.eventually(e, "up", isUp)
	l.birdSays("Up")
	l.eventually(e, "values of both", func(s bfd.Status) bool { return s.Transmission == 100*ms && s.Detection == 300*ms })

	// BFD-TMR-04: a change on our side, and on bird's, without the session ending.
	before, _ := e.Snapshot()
	config.Params = bfd.Params{Interval: 200 * ms, Multiplier: 5}
	l.check(e.Configure(t.Context(), config))
	l.eventually(e, "slower by us", func(s bfd.Status) bool { return isUp(s) && s.Transmission == 200*ms && s.Detection == 600*ms })
	config.Params = calm
	l.check(e.Configure(t.Context(), config))
	l.eventually(e, "faster by us", func(s bfd.Status) bool { return isUp(s) && s.Transmission == 100*ms && s.Detection == 300*ms })
	l.configure("300 ms", 4)
	l.birdc("configure")
	l.eventually(e, "slower by bird", func(s bfd.Status) bool { return isUp(s) && s.Transmission == 300*ms && s.Detection == 1200*ms })
	l.configure("100 ms", 3)
	l.birdc("configure")
	l.eventually(e, "faster by bird", func(s bfd.Status) bool { return isUp(s) && s.Transmission == 100*ms && s.Detection == 300*ms })
	after, _ := e.Snapshot()
	for i := range after {
		if !after[i].Since.Equal(before[i].Since) || after[i].Counters.Downs > 0 {
			t.Errorf("the session ended meanwhile: %+v", after[i])
		}
	}
	if failed := l.failures(); len(failed) > 0 {
		t.Errorf("failures: %v", failed)
	}

	// Both ends find the cut.
	l.check(l.port.Cut())
	l.eventually(e, "down", isDown)
	l.birdSays("Down")
	if failed := l.failures(); len(failed) != len(ours) {
		t.Errorf("failures after the cut: %v", failed)
	}
	l.check(l.port.Mend())
	l.eventually(e, "up again", isUp)

	// A bird that does not run is dead too, but the one before was a false alarm.
	l.check(l.bird.Signal(syscall.SIGSTOP))
	l.eventually(e, "down by silence", func(s bfd.Status) bool {
		return isDown(s) && s.Diag == bfd.DiagExpired && s.Counters.FalseAlarms == 1
	})
	l.check(l.bird.Signal(syscall.SIGCONT))
	if failed := l.failures(); len(failed) != 0 {
		t.Errorf("failures soon after a false alarm: %v", failed)
	}
	l.eventually(e, "up after the silence", isUp)

	// BFD-VR-02: our farewell, which bird has understood when it is down at once
	// although the detection time is long. (It says none itself.)
	config.Params = bfd.Params{Interval: 5 * time.Second, Multiplier: 10}
	l.check(e.Configure(t.Context(), config))
	l.eventually(e, "slow", func(s bfd.Status) bool { return isUp(s) && s.Transmission == 5*time.Second })
	e.Stop()
	l.birdSays("Down")
}

// TestSocketsBFD_PKT_01_02_03: what is on the wire: ports, TTL and addresses.
func TestSocketsBFD_PKT_01_02_03(t *testing.T) {
	l := newBirdLab(t)
	l.check(l.bird.Kill())
	fd := -1
	l.check(l.host.Do(func() (err error) {
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, all)
		return err
	}))
	defer unix.Close(fd)
	l.engine(fast)
	flows := make(map[udp]int)
	packet := make([]byte, 2048)
	_, err := lab.Eventually("three packets of each family", 15*time.Second, func() bool {
		for {
			n, _, err := unix.Recvfrom(fd, packet, 0)
			if err != nil {
				break
			}
			if f, ok := udpFlow(packet[:n]); ok && f.to.Port() == bfd.ControlPort {
				flows[f]++
			}
		}
		enough := 0
		for _, n := range flows {
			if n >= 3 {
				enough++
			}
		}
		return enough >= len(ours)
	})
	l.check(err)
	ports := make(map[uint16]bool)
	for f := range flows {
		i := slices.Index(ours, f.from.Addr())
		if i < 0 || f.to != netip.AddrPortFrom(theirs[i], 3784) || f.ttl != 255 || f.from.Port() < 49152 {
			t.Errorf("flow %+v", f)
		}
		ports[f.from.Port()] = true
	}
	// Constant for a session, and unique.
	if len(flows) != len(ours) || len(ports) != len(ours) {
		t.Errorf("flows %v", flows)
	}
}

// udp is what the headers of a packet say.
type udp struct {
	from, to netip.AddrPort
	ttl      uint8
}

// udpFlow reads the headers of an IP packet.
func udpFlow(b []byte) (udp, bool) {
	port := func(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
	switch {
	case len(b) >= 28 && b[0] == 0x45 && b[9] == 17:
		from, to := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		return udp{netip.AddrPortFrom(from, port(b[20:])), netip.AddrPortFrom(to, port(b[22:])), b[8]}, true
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == 17:
		from, to := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		return udp{netip.AddrPortFrom(from, port(b[40:])), netip.AddrPortFrom(to, port(b[42:])), b[7]}, true
	}
	return udp{}, false
}
