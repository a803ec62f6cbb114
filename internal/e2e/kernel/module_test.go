//go:build ipvskernel

package kernel_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
	"lvsha/ipvs"
	connsync "lvsha/sync"
)

// ipvsModules are the machine's modules of IPVS in the order in which they are inserted;
// none where this is not the machine: taking IPVS away from a kernel would hurt others.
func ipvsModules(t *testing.T) (lines []string) {
	t.Helper()
	order, err := os.ReadFile("/etc/lab-modules")
	if err != nil {
		t.Log("this is not the machine: taking the kernel's IPVS away would hurt others")
		return nil
	}
	for line := range strings.Lines(string(order)) {
		if strings.Contains(line, "ip_vs") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// removeIPVS takes the modules away, as far as they are not in use.
func removeIPVS() error {
	for range 3 { // schedulers before what they depend on
		loaded, err := os.ReadFile("/proc/modules")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(loaded)) {
			if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "ip_vs") {
				_ = unix.DeleteModule(name, unix.O_NONBLOCK) // one in use goes in the next round
			}
		}
	}
	if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
		return errors.New("ip_vs is still loaded")
	}
	return nil
}

// insertIPVS inserts the modules.
func insertIPVS(t *testing.T, lines []string) {
	t.Helper()
	for _, line := range lines {
		path, options, _ := strings.Cut(line, " ")
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.FinitModule(int(f.Fd()), options, 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			t.Fatalf("inserting %s: %v", path, err)
		}
	}
}

// TestModuleAppears: without the module VRRP and checks go on and status
// says what to do; when it appears the table is filled. Only inside the
// machine, whose modules are nobody else's.
func TestModuleAppears(t *testing.T) {
	modules := ipvsModules(t)
	if modules == nil {
		return
	}
	r := rig.New(t)
	r.Servers("10.0.0.21", "10.0.0.22")
	r.Listen(r.Client, 8080)
	r.Eventually("module gone", 20*time.Second, func() bool { return removeIPVS() == nil })
	d := r.Lvsha(r.LVS[0], rig.VRRPFile(3, rig.Fast)+serverFile)
	r.Becomes(d, "active")
	r.Eventually("verdicts and the advice", 5*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.Services[0].State == "up" && strings.Contains(s.IPVS.State, "modprobe ip_vs")
	})
	insertIPVS(t, modules)
	r.TableIs(r.LVS[0], webService, web21, web22)
}

// TestModuleReloaded: whoever unloads ip_vs and loads it again finds the table, the sync
// daemons and the timeouts there again, without a restart: generic netlink gives the
// family another number each time it comes.
func TestModuleReloaded(t *testing.T) {
	modules := ipvsModules(t)
	if modules == nil {
		return
	}
	r := rig.New(t)
	r.Servers("10.0.0.21", "10.0.0.22")
	r.Listen(r.Client, 8080)
	h := r.LVS[0]
	d := r.Lvsha(h, rig.VRRPFile(3, rig.Fast)+serverFile+`
[ipvs]
timeouts = { tcp = "20m" }
[sync]
id        = 7
interface = "eth0"
`)
	r.Becomes(d, "active")
	whole := func() {
		t.Helper()
		r.TableIs(h, webService, web21, web22)
		r.Eventually("both daemons and the timeouts", 15*time.Second, func() bool {
			daemons, err := h.Run("ipvsadm", "-ln", "--daemon")
			timeouts, _ := h.Run("ipvsadm", "-ln", "--timeout")
			return err == nil && strings.Count(daemons, "syncid=7") == 2 && strings.Contains(timeouts, "1200")
		})
	}
	reload := func() {
		t.Helper()
		began := time.Now()
		_, err := lab.Eventually("module gone", 20*time.Second, func() bool {
			for _, args := range [][]string{{"-C"}, {"--stop-daemon", "master"}, {"--stop-daemon", "backup"}} {
				_, _ = h.Run("ipvsadm", args...) // lvsha puts them back while the module is there
			}
			return removeIPVS() == nil
		})
		r.Check(err)
		insertIPVS(t, modules)
		t.Logf("unloaded and loaded again in %s", time.Since(began))
	}
	for range 3 {
		whole()
		reload()
	}
	whole()
	r.Eventually("a state that is well", 10*time.Second, func() bool {
		s, err := d.Status()
		return err == nil && s.IPVS.State == "ok" && s.Sync != nil && len(s.Sync.Daemons) == 2
	})
	// A stop that meets the dead connections first.
	reload()
	if code, err := d.End(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("stop after IPVS was loaded again: %d, %v", code, err)
	}
	r.TableIs(h, "")
}

// TestModuleGone: each operation over a connection to an IPVS that was unloaded says so,
// and not that a thing is not there; another connection works.
func TestModuleGone(t *testing.T) {
	modules := ipvsModules(t)
	if modules == nil {
		return
	}
	r := rig.New(t)
	var table ipvs.Kernel
	var daemons connsync.Kernel
	open := func() {
		t.Helper()
		r.Check(r.LVS[0].Do(func() (err error) {
			if table, err = ipvs.Open(); err == nil {
				daemons, err = connsync.Open()
			}
			return err
		}))
	}
	open()
	key, err := ipvs.ParseServiceKey("10.0.0.100:80/tcp")
	r.Check(err)
	service := ipvs.Service{Key: key, Scheduler: "rr"}
	server := ipvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.21:80"), Forward: ipvs.DR, Weight: 1}
	// A server that is not there is one, as long as the module is.
	r.Check(table.AddService(service))
	if err := table.RemoveServer(key, server); !errors.Is(err, unix.ENOENT) || errors.Is(err, ipvs.ErrGone) {
		t.Errorf("removing a server that is not there: %v", err)
	}
	r.Check(table.RemoveService(key))
	r.Eventually("module gone", 20*time.Second, func() bool { return removeIPVS() == nil })
	for _, loaded := range []bool{false, true} {
		if loaded {
			insertIPVS(t, modules)
		}
		_, listing := table.List()
		_, timeouts := table.Timeouts()
		for what, err := range map[string]error{
			"list": listing, "timeouts": timeouts, "set timeouts": table.SetTimeouts(ipvs.DefaultTimeouts()),
			"add": table.AddService(service), "set": table.SetService(service), "remove": table.RemoveService(key),
			"add server": table.AddServer(key, server), "set server": table.SetServer(key, server), "remove server": table.RemoveServer(key, server),
		} {
			if !errors.Is(err, ipvs.ErrGone) {
				t.Errorf("%s, loaded again %t: %v", what, loaded, err)
			}
		}
		_, listing = daemons.List()
		for what, err := range map[string]error{
			"list": listing, "stop": daemons.Stop(connsync.Master),
			"start": daemons.Start(connsync.Config{Interface: "eth0", ID: 7}.Daemons()[1]),
		} {
			if !errors.Is(err, connsync.ErrGone) {
				t.Errorf("daemons, %s, loaded again %t: %v", what, loaded, err)
			}
		}
	}
	r.Check(table.Close())
	r.Check(daemons.Close())
	open()
	if got, err := table.List(); err != nil || len(got) != 0 {
		t.Errorf("another connection: %v, %v", got, err)
	}
	r.Check(table.Close())
	r.Check(daemons.Close())
}
