package netif_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/netif"
	"lvsha/vrrp"
)

// The tests run this:
//
//	namespace a           namespace b
//	eth0 10.9.0.1         eth0 10.9.0.2
//	     |                     |
//	port a ------- br0 ------ port b
//	           10.9.0.3
//	          namespace c
//
// A director is this test binary, started inside a namespace with its
// configuration in a file that the environment names. It prints what happens as lines of JSON and
// takes commands as lines.
const (
	nodeVariable = "LVSHA_TEST_NODE"
	junkVariable = "LVSHA_TEST_JUNK"
	virtual      = "10.9.0.100/24"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(nodeVariable) != "":
		if err := node(os.Getenv(nodeVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case os.Getenv(junkVariable) != "":
		if err := junk(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// nodeConfig is what a director is told.
type nodeConfig struct {
	Configs []vrrp.Config
	Resume  *vrrp.Resume
	// RealTime gives the loop the priority that lvsha gives it.
	RealTime bool
}

// line is what a director prints.
type line struct {
	// Beats are the times of the advertisements, by router, in nanoseconds of
	// CLOCK_BOOTTIME.
	Beats      map[string][]int64 `json:",omitempty"`
	Transition *vrrp.Transition   `json:",omitempty"`
	Notice     *vrrp.Notice       `json:",omitempty"`
	Status     []vrrp.Status      `json:",omitempty"`
	Done       string             `json:",omitempty"`
}

// node is a director, with the configuration in a file.
func node(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var cfg nodeConfig
	if err := json.Unmarshal(text, &cfg); err != nil {
		return err
	}
	out := make(chan line, 1000)
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		enc := json.NewEncoder(os.Stdout)
		for l := range out {
			enc.Encode(l)
		}
	}()
	port, err := vrrp.NewPort()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	links := netif.New(log)
	// They belong to the loop.
	beats := make(map[vrrp.Key][]int64)
	options := vrrp.Options{
		Port: port, Links: links, Logger: log,
		OnTransition: func(t vrrp.Transition) { out <- line{Transition: &t} },
		OnEvent:      func(n vrrp.Notice) { out <- line{Notice: &n} },
		Resume: func(vrrp.Key) (vrrp.Resume, bool) {
			if cfg.Resume == nil {
				return vrrp.Resume{}, false
			}
			return *cfg.Resume, true
		},
	}
	if cfg.RealTime {
		options.OnThread = realTime
		options.Heartbeat = func(k vrrp.Key, at time.Duration) { beats[k] = append(beats[k], int64(at)) }
	}
	engine := vrrp.New(options)
	ctx := context.Background()
	if err := engine.Configure(ctx, cfg.Configs); err != nil {
		return err
	}
	ran := make(chan error, 1)
	go func() { ran <- engine.Run(ctx) }()
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		command, rest, _ := strings.Cut(commands.Text(), " ")
		switch command {
		case "status":
			out <- line{Status: engine.Snapshot()}
		case "configure":
			var configs []vrrp.Config
			if err := json.Unmarshal([]byte(rest), &configs); err != nil {
				return err
			}
			if err := engine.Configure(ctx, configs); err != nil {
				return err
			}
			out <- line{Done: command}
		case "release", "hold":
			mode := vrrp.Release
			if command == "hold" {
				mode = vrrp.Hold
			}
			if err := engine.Stop(ctx, mode); err != nil {
				return err
			}
			if err := <-ran; err != nil {
				return err
			}
			if cfg.RealTime {
				named := make(map[string][]int64, len(beats))
				for k, list := range beats {
					named[k.String()] = list
				}
				out <- line{Beats: named}
			}
			out <- line{Done: command}
			close(out)
			<-printed
			return links.Close()
		}
	}
	return commands.Err()
}

// junk sends what nobody should: octets at random, truncated advertisements,
// other virtual routers', wrong TTLs.
func junk() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, 112)
	if err != nil {
		return err
	}
	ifi, err := net.InterfaceByName("br0")
	if err != nil {
		return err
	}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(ifi.Index)}); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	group := &unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 18}}
	for i := range 2000 {
		ttl := 255
		var b []byte
		switch i % 4 {
		case 0:
			b = make([]byte, random.IntN(64))
			for j := range b {
				b[j] = byte(random.Uint32())
			}
		case 1:
			// Another VRID, perfectly valid.
			adv := vrrp.Advertisement{Version: 3, VRID: 52, Priority: 255, Interval: 100 * time.Millisecond, Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.101")}}
			if b, err = adv.AppendTo(nil, netip.MustParseAddr("10.9.0.3"), vrrp.GroupAddress(vrrp.IPv4), vrrp.ChecksumAuto); err != nil {
				return err
			}
		default:
			// Ours, with the highest priority, but truncated or from afar.
			adv := vrrp.Advertisement{Version: 3, VRID: 51, Priority: 255, Interval: 100 * time.Millisecond, Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.100")}}
			if b, err = adv.AppendTo(nil, netip.MustParseAddr("10.9.0.3"), vrrp.GroupAddress(vrrp.IPv4), vrrp.ChecksumAuto); err != nil {
				return err
			}
			if i%4 == 2 {
				b = b[:random.IntN(len(b))]
			} else {
				ttl = 254
			}
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl); err != nil {
			return err
		}
		if err := unix.Sendto(fd, b, 0, group); err != nil {
			return err
		}
	}
	return nil
}

// lan is the network of a test.
type lan struct {
	t       testing.TB
	a, b, c string
}

// newLAN makes the network, and removes it when the test ends.
func newLAN(t testing.TB) *lan {
	t.Helper()
	_, name, _ := strings.Cut(t.Name(), "Netns")
	tag := fmt.Sprintf("lvn%d-%s", os.Getpid(), strings.ToLower(name))
	l := &lan{t: t, a: tag + "-a", b: tag + "-b", c: tag + "-c"}
	for _, ns := range []string{l.a, l.b, l.c} {
		l.ip("netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	l.ip("-n", l.c, "link", "add", "br0", "type", "bridge")
	l.ip("-n", l.c, "addr", "add", "10.9.0.3/24", "dev", "br0")
	l.ip("-n", l.c, "link", "set", "br0", "up")
	l.plug(l.a, "a", "10.9.0.1/24")
	l.plug(l.b, "b", "10.9.0.2/24")
	return l
}

// plug gives a namespace an eth0 on the bridge.
func (l *lan) plug(ns, port, address string) {
	l.t.Helper()
	l.ip("-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", l.c)
	l.ip("-n", l.c, "link", "set", "dev", port, "master", "br0", "up")
	l.ip("-n", ns, "addr", "add", address, "dev", "eth0")
	l.ip("-n", ns, "link", "set", "lo", "up")
	l.ip("-n", ns, "link", "set", "eth0", "up")
}

// ip runs the ip command.
func (l *lan) ip(args ...string) string {
	l.t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// has says whether a namespace has an address.
func (l *lan) has(ns, prefix string) bool {
	return strings.Contains(l.ip("-n", ns, "-o", "-4", "addr", "show"), " "+prefix+" ")
}

// eventually waits for something to become true.
func (l *lan) eventually(what string, ok func() bool) {
	l.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline:
			l.t.Fatalf("still not so: %s", what)
		}
	}
}

// director is a running node.
type director struct {
	lan   *lan
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan line
}

// webConfig is the virtual router of the tests.
func webConfig(priority uint8) vrrp.Config {
	return vrrp.Config{
		Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: priority, Interval: 50 * time.Millisecond,
		Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix(virtual)}},
	}
}

// start starts a director.
func (l *lan) start(ns string, cfg nodeConfig) *director {
	l.t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	file := filepath.Join(l.t.TempDir(), "node.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		l.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	d := &director{lan: l, name: ns, cmd: exec.Command("ip", "netns", "exec", ns, self), lines: make(chan line, 10000)}
	d.cmd.Env = append(os.Environ(), nodeVariable+"="+file)
	var log strings.Builder
	d.cmd.Stderr = &log
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		l.t.Fatal(err)
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(d.lines)
		for dec := json.NewDecoder(stdout); ; {
			var l line
			if dec.Decode(&l) != nil {
				return
			}
			d.lines <- l
		}
	}()
	l.t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-read
		d.cmd.Wait()
		if l.t.Failed() {
			l.t.Logf("log of %s:\n%s", ns, log.String())
		}
	})
	return d
}

// next waits for a line.
func (d *director) next(what string, match func(line) bool) line {
	d.lan.t.Helper()
	return d.within(10*time.Second, what, match)
}

// within waits for a line, but not for ever.
func (d *director) within(most time.Duration, what string, match func(line) bool) line {
	d.lan.t.Helper()
	deadline := time.After(most)
	for {
		select {
		case l, ok := <-d.lines:
			if !ok {
				d.lan.t.Fatalf("%s ended before: %s", d.name, what)
			}
			if match(l) {
				return l
			}
		case <-deadline:
			d.lan.t.Fatalf("%s did not: %s", d.name, what)
		}
	}
}

// becomes waits for a state.
func (d *director) becomes(s vrrp.State) vrrp.Transition {
	d.lan.t.Helper()
	return *d.next("become "+s.String(), func(l line) bool { return l.Transition != nil && l.Transition.To == s }).Transition
}

// tell gives a command.
func (d *director) tell(command string) {
	d.lan.t.Helper()
	if _, err := io.WriteString(d.in, command+"\n"); err != nil {
		d.lan.t.Fatal(err)
	}
}

// status asks for the status of the only router.
func (d *director) status() vrrp.Status {
	d.lan.t.Helper()
	d.tell("status")
	return d.next("tell its status", func(l line) bool { return l.Status != nil }).Status[0]
}

// TestNetnsFailover has one director killed by release, hold and crash.
func TestNetnsFailover(t *testing.T) {
	l := newLAN(t)
	one := nodeConfig{Configs: []vrrp.Config{webConfig(150)}}
	a := l.start(l.a, one)
	a.becomes(vrrp.Active)
	l.eventually("a has the address", func() bool { return l.has(l.a, virtual) })
	b := l.start(l.b, nodeConfig{Configs: []vrrp.Config{webConfig(100)}})
	b.becomes(vrrp.Backup)

	// Hold: nothing is touched, and the next process goes on.
	a.tell("hold")
	a.next("stop", func(l line) bool { return l.Done == "hold" })
	if !l.has(l.a, virtual) {
		t.Error("the address is gone after hold")
	}
	one.Resume = &vrrp.Resume{Active: true, Age: 60 * time.Millisecond}
	a = l.start(l.a, one)
	if got := a.becomes(vrrp.Active); got.From != vrrp.Initialize {
		t.Errorf("resumed through %s", got.From)
	}
	if s := b.status(); s.State != vrrp.Backup || s.Counters.BecameActive != 0 {
		t.Errorf("b is %s and was active %d times during a restart of a", s.State, s.Counters.BecameActive)
	}

	// Release: make before break.
	a.tell("release")
	a.becomes(vrrp.Leaving)
	if got := b.becomes(vrrp.Active); !strings.Contains(got.Reason, "released") {
		t.Errorf("b became active because %q", got.Reason)
	}
	a.next("stop", func(l line) bool { return l.Done == "release" })
	if l.has(l.a, virtual) || !l.has(l.b, virtual) {
		t.Errorf("after release a has the address: %t, b: %t", l.has(l.a, virtual), l.has(l.b, virtual))
	}

	// The better one comes back, and the loser serves until it announces.
	one.Resume = nil
	a = l.start(l.a, one)
	a.becomes(vrrp.Active)
	b.becomes(vrrp.Leaving)
	b.becomes(vrrp.Backup)
	l.eventually("only a has the address", func() bool { return l.has(l.a, virtual) && !l.has(l.b, virtual) })

	// Crash: the address stays in the dead one's kernel, hosts follow b.
	l.ip("-n", l.c, "neigh", "replace", "10.9.0.100", "lladdr", "02:00:00:00:00:01", "nud", "stale", "dev", "br0")
	a.cmd.Process.Kill()
	b.becomes(vrrp.Active)
	mac := strings.Fields(strings.SplitAfter(l.ip("-n", l.b, "link", "show", "eth0"), "link/ether ")[1])[0]
	l.eventually("b's announcement reaches hosts", func() bool {
		return strings.Contains(l.ip("-n", l.c, "neigh", "show", "10.9.0.100"), mac)
	})
}

// TestNetnsAddressPutBack has somebody remove the address.
func TestNetnsAddressPutBack(t *testing.T) {
	l := newLAN(t)
	a := l.start(l.a, nodeConfig{Configs: []vrrp.Config{webConfig(150)}})
	a.becomes(vrrp.Active)
	l.eventually("a has the address", func() bool { return l.has(l.a, virtual) })
	l.ip("-n", l.a, "addr", "del", virtual, "dev", "eth0")
	a.next("put the address back", func(l line) bool { return l.Notice != nil && l.Notice.Kind == vrrp.NoticeRestored })
	l.eventually("a has the address again", func() bool { return l.has(l.a, virtual) })
	if got := a.status().Counters.AddressesRestored; got != 1 {
		t.Errorf("%d addresses restored, want 1", got)
	}
}

// TestNetnsLink takes the link, and then the whole interface away.
func TestNetnsLink(t *testing.T) {
	l := newLAN(t)
	a := l.start(l.a, nodeConfig{Configs: []vrrp.Config{webConfig(150)}})
	b := l.start(l.b, nodeConfig{Configs: []vrrp.Config{webConfig(100)}})
	a.becomes(vrrp.Active)
	l.eventually("a has the address", func() bool { return l.has(l.a, virtual) })

	l.ip("-n", l.c, "link", "set", "dev", "a", "down")
	if got := a.becomes(vrrp.Fault).Reason; got != "eth0 is down" {
		t.Errorf("fault because %q", got)
	}
	l.eventually("a dropped the address", func() bool { return !l.has(l.a, virtual) })
	b.becomes(vrrp.Active)
	l.ip("-n", l.c, "link", "set", "dev", "a", "up")
	a.becomes(vrrp.Backup)
	a.becomes(vrrp.Active)
	b.becomes(vrrp.Backup)

	l.ip("-n", l.a, "link", "del", "eth0")
	if got := a.becomes(vrrp.Fault).Reason; got != "interface eth0 does not exist (waiting for it)" {
		t.Errorf("fault because %q", got)
	}
	b.becomes(vrrp.Active)
	l.plug(l.a, "a", "10.9.0.1/24")
	a.becomes(vrrp.Active)
	l.eventually("only a has the address", func() bool { return l.has(l.a, virtual) && !l.has(l.b, virtual) })
}

// TestNetnsJunk sends 2,000 bad packets at a backup and an active, which have room for
// all of them: none of the good ones is lost, however late they are read.
func TestNetnsJunk(t *testing.T) {
	l := newLAN(t)
	a := l.start(l.a, nodeConfig{Configs: []vrrp.Config{webConfig(150)}})
	a.becomes(vrrp.Active)
	// Now b has no reason of its own to become active.
	b := l.start(l.b, nodeConfig{Configs: []vrrp.Config{webConfig(100)}})
	l.eventually("b hears a", func() bool { return b.status().Reason == "10.9.0.1 advertises 150" })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", l.c, self)
	cmd.Env = append(os.Environ(), junkVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sending junk: %v\n%s", err, out)
	}
	for _, ns := range []string{l.a, l.b} {
		// The last column counts what the socket had no room for.
		out := strings.TrimSpace(l.ip("netns", "exec", ns, "cat", "/proc/net/raw"))
		if !strings.HasSuffix(out, " 0") {
			t.Errorf("%s lost packets:\n%s", ns, out)
		}
	}
	for _, d := range []*director{a, b} {
		s := d.status()
		if s.Counters.TTLErrors == 0 || s.Counters.LengthErrors == 0 || s.Counters.VRIDErrors == 0 {
			t.Errorf("%s counted %+v", d.name, s.Counters)
		}
	}
	if s := a.status(); s.State != vrrp.Active || s.Counters.BecameActive != 1 {
		t.Errorf("a is %s: %s", s.State, s.Reason)
	}
	if s := b.status(); s.State != vrrp.Backup || s.Counters.BecameActive != 0 {
		t.Errorf("b is %s: %s", s.State, s.Reason)
	}
}

// TestNetnsMove moves an address from one virtual router to another one.
func TestNetnsMove(t *testing.T) {
	l := newLAN(t)
	a := l.start(l.a, nodeConfig{Configs: []vrrp.Config{webConfig(150)}})
	a.becomes(vrrp.Active)
	l.eventually("a has the address", func() bool { return l.has(l.a, virtual) })
	monitor := exec.Command("ip", "-n", l.a, "-o", "monitor", "address")
	var seen strings.Builder
	monitor.Stdout = &seen
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	moved := webConfig(150)
	moved.VRID, moved.Name = 52, "moved"
	text, err := json.Marshal([]vrrp.Config{moved})
	if err != nil {
		t.Fatal(err)
	}
	a.tell("configure " + string(text))
	a.next("let the old router go", func(l line) bool {
		return l.Transition != nil && l.Transition.To == vrrp.Initialize
	})
	if s := a.status(); s.Name != "moved" || s.State != vrrp.Active {
		t.Errorf("%s is %s", s.Name, s.State)
	}
	monitor.Process.Kill()
	monitor.Wait()
	if strings.Contains(seen.String(), "Deleted") || !l.has(l.a, virtual) {
		t.Errorf("the address was removed on the way:\n%s", seen.String())
	}
}

// TestNetnsPromote: the first address of a network does not take the others
// along.
func TestNetnsPromote(t *testing.T) {
	l := newLAN(t)
	cfg := webConfig(100)
	first, second := vrrp.Address{Prefix: netip.MustParsePrefix("192.0.2.10/24")}, vrrp.Address{Prefix: netip.MustParsePrefix("192.0.2.11/24")}
	cfg.Addresses = []vrrp.Address{first, second}
	d := l.start(l.a, nodeConfig{Configs: []vrrp.Config{cfg}})
	d.becomes(vrrp.Active)
	l.eventually("both addresses", func() bool { return l.has(l.a, "192.0.2.10/24") && l.has(l.a, "192.0.2.11/24") })
	cfg.Addresses = []vrrp.Address{second}
	text, err := json.Marshal([]vrrp.Config{cfg})
	if err != nil {
		t.Fatal(err)
	}
	d.tell("configure " + string(text))
	l.eventually("first address gone", func() bool { return !l.has(l.a, "192.0.2.10/24") })
	if !l.has(l.a, "192.0.2.11/24") || d.status().Counters.AddressesRestored != 0 {
		t.Error("the second address went with the first")
	}
	d.tell("release")
}

// TestNetnsRelease gives an interface's addresses away without a daemon.
func TestNetnsRelease(t *testing.T) {
	links := netif.New(nil)
	defer links.Close()
	for _, text := range []string{"127.9.9.9/32", "2001:db8::9:9/128", "fe80::9:9/128"} {
		prefix := netip.MustParsePrefix(text)
		for range 2 {
			if err := links.Add("lo", vrrp.Address{Prefix: prefix}); err != nil {
				t.Fatal(err)
			}
		}
		if missing, err := links.Missing("lo", []netip.Prefix{prefix}); err != nil || len(missing) > 0 {
			t.Errorf("missing on lo: %v, %v", missing, err)
		}
		for range 2 {
			if err := links.Remove("lo", prefix); err != nil {
				t.Error(err)
			}
		}
		if missing, err := links.Missing("lo", []netip.Prefix{prefix}); err != nil || !slices.Equal(missing, []netip.Prefix{prefix}) {
			t.Errorf("missing on lo after the removal: %v, %v", missing, err)
		}
		if err := links.Remove("nosuch0", prefix); err != nil {
			t.Error(err)
		}
		if err := links.Add("nosuch0", vrrp.Address{Prefix: prefix}); err == nil {
			t.Error("added to an interface that does not exist")
		}
	}
	if err := links.Add("lo", vrrp.Address{}); err == nil {
		t.Error("added no address")
	}
}

// TestNetnsTentativeIPv6: an address is not the director's to send from before
// the kernel knows that it is unique; then Watch tells of it. One of ours is at
// once.
func TestNetnsTentativeIPv6(t *testing.T) {
	l := newLAN(t)
	// Begin the search for duplicates anew, and let it take three seconds.
	l.ip("netns", "exec", l.a, "sh", "-c", "cd /proc/sys/net/ipv6/conf/eth0 && echo 1 >disable_ipv6 && echo 3 >dad_transmits && echo 0 >disable_ipv6")
	a := l.start(l.a, nodeConfig{Configs: []vrrp.Config{{
		Name: "six", Interface: "eth0", VRID: 51, Version: 3, Priority: 150, Interval: 50 * time.Millisecond,
		Addresses: []vrrp.Address{{Prefix: netip.MustParsePrefix("fe80::5e:33/128")}, {Prefix: netip.MustParsePrefix("2001:db8::100/64")}},
	}}})
	if got := a.becomes(vrrp.Fault).Reason; got != "eth0 has no usable IPv6 link-local address of its own" {
		t.Errorf("fault because %q", got)
	}
	a.becomes(vrrp.Active)
	l.eventually("a has the addresses", func() bool {
		out := l.ip("-n", l.a, "-o", "-6", "addr", "show")
		return strings.Contains(out, " 2001:db8::100/64 ") && strings.Contains(out, " fe80::5e:33/128 ") && !strings.Contains(out, "tentative")
	})
}
