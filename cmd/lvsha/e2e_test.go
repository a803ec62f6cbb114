package main_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lvsha/internal/lab"
)

// The end-to-end tests run the program itself, on real kernels:
//
//	client .9 ──┐
//	lvs1   .1 ──┼── segment 10.0.0.0/24        the virtual address is .100
//	lvs2   .2 ──┘
var (
	vip     = netip.MustParseAddr("10.0.0.100")
	address = map[string]netip.Addr{"lvs1": netip.MustParseAddr("10.0.0.1"), "lvs2": netip.MustParseAddr("10.0.0.2")}
)

// program builds lvsha once. Inside the machine, which has no compiler, the
// environment names it.
var program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("LVSHA_PROGRAM"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "lvsha-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "lvsha")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("LVSHA_PROGRAM") == "" {
		if path, err := program(); err == nil {
			os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

// rig is the topology with what runs on it.
type rig struct {
	testing.TB
	// life is the test that the rig was made for: what programs printed is logged
	// at its end.
	life    testing.TB
	net     *lab.Network
	segment *lab.Segment
	client  *lab.Host
	lvs     [2]*lab.Host
	ports   [2]*lab.Port
	sniffer *lab.Sniffer
	binary  string
	// vip is the virtual address, and source where lvs1 and lvs2 advertise from.
	vip    netip.Addr
	source [2]netip.Addr
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{TB: t, life: t, vip: vip, source: [2]netip.Addr{address["lvs1"], address["lvs2"]}}
	var err error
	r.binary, err = program()
	r.check(err)
	r.net, err = lab.NewNetwork()
	r.check(err)
	t.Cleanup(func() {
		if err := r.net.Close(); err != nil {
			t.Errorf("closing the network: %v", err)
		}
	})
	r.segment, err = r.net.Segment("segment")
	r.check(err)
	r.client, err = r.net.Host("client")
	r.check(err)
	_, err = r.segment.Attach(r.client, "eth0", "10.0.0.9/24")
	r.check(err)
	for i, name := range []string{"lvs1", "lvs2"} {
		r.lvs[i], err = r.net.Host(name)
		r.check(err)
		r.ports[i], err = r.segment.Attach(r.lvs[i], "eth0", address[name].String()+"/24")
		r.check(err)
		// What the examples ask of a director, for the overlap of a handover.
		r.check(r.lvs[i].Sysctl("net/ipv4/ip_forward", "1"))
		r.check(r.lvs[i].Sysctl("net/ipv4/conf/all/send_redirects", "0"))
		r.check(r.lvs[i].Sysctl("net/ipv4/conf/eth0/send_redirects", "0"))
	}
	r.sniffer, err = lab.StartSniffer(r.client, "eth0")
	r.check(err)
	t.Cleanup(func() { r.check(r.sniffer.Stop()) })
	return r
}

// newRigOf is newRig, or newRig6.
func newRigOf(t testing.TB, ipv6 bool) *rig {
	t.Helper()
	r := newRig(t)
	if ipv6 {
		r.toIPv6()
	}
	return r
}

// families run a test over IPv4 and IPv6.
func families(t *testing.T, test func(*rig)) {
	for _, ipv6 := range []bool{false, true} {
		t.Run(familyName(ipv6), func(t *testing.T) { test(newRigOf(t, ipv6)) })
	}
}

// familyName is what names of tests have.
func familyName(ipv6 bool) string { return map[bool]string{false: "IPv4", true: "IPv6"}[ipv6] }

func (r *rig) check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// vrrpFile is a file with one virtual router for both directors.
func vrrpFile(version int, advertise time.Duration) string {
	return fmt.Sprintf(`
[director.lvs1]
address  = "10.0.0.1"
priority = 150
[director.lvs2]
address  = "10.0.0.2"
priority = 100
[vrrp.web]
interface = "eth0"
vrid      = 51
version   = %d
advertise = "%s"
addresses = ["10.0.0.100/24"]
`, version, advertise)
}

const configPath = "/run/lvsha.toml"

// lvsha starts the daemon on a director with a file.
func (r *rig) lvsha(h *lab.Host, file string, args ...string) *lab.Daemon {
	r.Helper()
	r.check(h.WriteFile(configPath, []byte(file), 0o644))
	return r.again(h, args...)
}

// again starts the daemon with the file that is there.
func (r *rig) again(h *lab.Host, args ...string) *lab.Daemon {
	r.Helper()
	d, err := lab.StartDaemon(h, nil, r.binary, append([]string{"-c", configPath}, args...)...)
	r.check(err)
	r.life.Cleanup(func() {
		if r.life.Failed() {
			r.life.Logf("lvsha on %s printed:\n%s", h.Name, d.Output())
		}
	})
	return d
}

// eventually fails the test unless the condition comes true.
func (r *rig) eventually(what string, limit time.Duration, holds func() bool) time.Time {
	r.Helper()
	at, err := lab.Eventually(what, limit, holds)
	r.check(err)
	return at
}

// becomes waits until the daemon's virtual router is in a state.
func (r *rig) becomes(d *lab.Daemon, state string) {
	r.Helper()
	r.eventually(fmt.Sprintf("virtual router %s, which is %q", state, d.Router("web").State), 15*time.Second,
		func() bool { return d.Router("web").State == state })
}

// has reports whether the host has the address, as the kernel says.
func (r *rig) has(h *lab.Host, a netip.Addr) bool {
	r.Helper()
	family := "-4"
	if a.Is6() {
		family = "-6"
	}
	out, err := h.Run("ip", "-br", family, "addr", "show")
	r.check(err)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); strings.HasPrefix(f[0], macvlan+"@") && f[1] != "UP" {
			continue // FRR's, while it is backup
		}
		if strings.Contains(line, " "+a.String()+"/") {
			return true
		}
	}
	return false
}

// ping probes the virtual address every millisecond until stop is called.
func (r *rig) ping() (stop func() []lab.Probe) {
	r.Helper()
	p, err := lab.StartPing(r.client, r.vip, time.Millisecond)
	r.check(err)
	return func() []lab.Probe {
		r.Helper()
		probes, err := p.Stop()
		r.check(err)
		return probes
	}
}

// lostWhile counts the 1 ms probes that were lost while act ran, and for a
// second after.
func (r *rig) lostWhile(act func()) int {
	r.Helper()
	probes := r.probesWhile(act)
	lost := lab.Lost(probes, time.Time{}, time.Now())
	r.Logf("%d of %d probes lost", lost, len(probes))
	return lost
}

// probesWhile are the 1 ms probes sent while act ran, and for a second after.
func (r *rig) probesWhile(act func()) []lab.Probe {
	r.Helper()
	stop := r.ping()
	r.settle(300 * time.Millisecond)
	act()
	r.settle(time.Second)
	probes := stop()
	if len(probes) < 300 {
		r.Fatalf("only %d probes were sent", len(probes))
	}
	return probes
}

// settle lets time pass in which something must not happen.
func (r *rig) settle(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// oneActive fails the test if two directors advertised at the same time: after
// the first advertisement of a new sender the old one may have one more on
// the way, and a priority 0.
func (r *rig) oneActive() {
	r.Helper()
	type change struct {
		from, to netip.Addr
		at       time.Time
	}
	changes := make(map[bool][]change) // by family
	last := make(map[bool]lab.Advertisement)
	for _, a := range r.sniffer.Seen() {
		if a.Priority == 0 {
			continue
		}
		family := a.Source.Is4()
		if before := last[family]; before.Source.IsValid() && a.Source != before.Source {
			changes[family] = append(changes[family], change{before.Source, a.Source, a.At})
		}
		last[family] = a
	}
	for _, changes := range changes {
		for i := 1; i < len(changes); i++ {
			if back := changes[i].at.Sub(changes[i-1].at); changes[i].to == changes[i-1].from && back < 250*time.Millisecond {
				r.Errorf("%s took over from %s, which advertised again %v later", changes[i-1].to, changes[i-1].from, back)
			}
		}
	}
}

// keepalived is keepalived running on a host.
type keepalived struct {
	*lab.Process
	host *lab.Host
}

// keepalivedFile configures the same virtual router.
func keepalivedFile(version int, advertise time.Duration, priority int) string {
	return fmt.Sprintf(`
global_defs {
  vrrp_version %d
}
vrrp_instance web {
  interface eth0
  virtual_router_id 51
  priority %d
  advert_int %g
  virtual_ipaddress {
    10.0.0.100/24 dev eth0
  }
}
`, version, priority, advertise.Seconds())
}

// inFamily turns a file, lvsha's or keepalived's, into one of the rig's family.
func (r *rig) inFamily(file string) string {
	if r.vip.Is4() {
		return file
	}
	return strings.NewReplacer(
		`addresses = ["10.0.0.100/24"]`, `addresses = ["2001:db8::100/64"]`,
		"    10.0.0.100/24 dev eth0\n", "    fe80::5e:33 dev eth0\n    2001:db8::100/64 dev eth0\n",
		`"10.0.0.1"`, `["10.0.0.1", "2001:db8::1"]`, `"10.0.0.2"`, `["10.0.0.2", "2001:db8::2"]`,
	).Replace(file)
}

func (r *rig) keepalived(h *lab.Host, file string) *keepalived {
	r.Helper()
	r.check(h.WriteFile("/run/keepalived.conf", []byte(file), 0o600))
	p, err := h.Start(nil, "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "-f", "/run/keepalived.conf",
		"-p", "/run/keepalived.pid", "-r", "/run/vrrp.pid")
	r.check(err)
	r.life.Cleanup(func() {
		if r.life.Failed() {
			r.life.Logf("keepalived on %s printed:\n%s", h.Name, p.Output())
		}
	})
	return &keepalived{p, h}
}
