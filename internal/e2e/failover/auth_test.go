package failover_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// listedPeers has each director list the other.
func listedPeers(format string) string {
	return fmt.Sprintf("[director.lvs1.vrrp.web]\nunicast = ["+format+"]\n[director.lvs2.vrrp.web]\nunicast = ["+format+"]\n", "10.0.0.2", "10.0.0.1")
}

// keepalivedWith is keepalivedFile with more in its instance, in which OWN and
// PEER are addresses.
func keepalivedWith(version int, advertise time.Duration, i int, more string) string {
	addresses := []string{"10.0.0.1", "10.0.0.2"}
	more = strings.NewReplacer("OWN", addresses[i], "PEER", addresses[1-i]).Replace(more)
	return strings.Replace(rig.KeepalivedFile(version, advertise, []int{150, 100}[i]), "  virtual_ipaddress {", more+"\n  virtual_ipaddress {", 1)
}

// TestInteropAuth: IOP-01, IOP-02 and IOP-04, lvsha and keepalived hear each other in
// either role when they are told the same, and where they are not, both are active
// and lvsha says why.
func TestInteropAuth(t *testing.T) {
	t.Parallel()
	const unicast = "  unicast_src_ip OWN\n  unicast_peer {\n    PEER\n  }"
	pass := func(word string) string {
		return "  authentication {\n    auth_type PASS\n    auth_pass " + word + "\n  }"
	}
	for _, tt := range []struct {
		name      string
		version   int
		advertise time.Duration
		// ours is added to the file, the router's own keys first.
		ours, theirs string
		// alarm is what lvsha says of keepalived when it is the backup; empty when
		// the two agree.
		alarm, counter string
		// deaf says that keepalived goes on hearing lvsha, and obeys it.
		deaf bool
	}{
		{"v2 PASS", 2, time.Second, "[vrrp.web.auth]\npassword = \"s3cret\"\n", pass("s3cret"), "", "", false},
		{"v2 PASS of 8, keepalived's is longer", 2, time.Second, "[vrrp.web.auth]\npassword = \"12345678\"\n", pass("1234567890"), "", "", false},
		{"v2 PASS unicast", 2, time.Second, listedPeers("%q") + "[vrrp.web.auth]\npassword = \"s3cret\"\n", unicast + "\n" + pass("s3cret"), "", "", false},
		{"v2 wrong PASS", 2, time.Second, "[vrrp.web.auth]\npassword = \"s3cret\"\n", pass("S3cret"), "authentication failed: password is not the configured one", "password_errors", false},
		{"v2 PASS to none", 2, time.Second, "", pass("s3cret"), "authentication is not of the configured type", "auth_errors", false},
		{"v3 unicast derived", 3, 100 * time.Millisecond, "unicast = true\n", unicast, "", "", false},
		{"v3 unicast listed, pseudo", 3, 100 * time.Millisecond, "checksum = \"pseudo\"\n" + listedPeers("%q"), unicast, "", "", false},
		{"v3 unicast listed, one peer's form", 3, 100 * time.Millisecond, listedPeers("{ address = %q, checksum = \"pseudo\" }"), unicast, "", "", false},
		{"v3 unicast listed, the other form", 3, 100 * time.Millisecond, listedPeers("{ address = %q, checksum = \"rfc9568\" }"), unicast, "checksum is wrong", "checksum_errors", false},
		{"v3 unicast listed, min_ttl", 3, 100 * time.Millisecond, "min_ttl = 254\n" + listedPeers("%q"), unicast + "\n  unicast_ttl 254", "", "", false},
		{"v3 unicast listed, TTL too low", 3, 100 * time.Millisecond, listedPeers("%q"), unicast + "\n  unicast_ttl 254", "ttl is not 255", "ttl_errors", true},
	} {
		ours := rig.VRRPFile(tt.version, tt.advertise) + tt.ours
		for active, name := range []string{"lvsha active", "keepalived active"} {
			if tt.deaf && active == 0 {
				continue
			}
			t.Run(tt.name+", "+name, func(t *testing.T) {
				t.Parallel() // most of it is waiting
				r := rig.New(t)
				var d *lab.Daemon
				for i := range 2 {
					if i == active {
						d = r.Lvsha(r.LVS[i], ours)
					} else {
						r.Keepalived(r.LVS[i], keepalivedWith(tt.version, tt.advertise, i, tt.theirs))
					}
					if i == 0 {
						r.Holds(0, 15*time.Second)
					}
				}
				if tt.alarm == "" {
					r.Settle(4*tt.advertise + time.Second)
					r.Holds(0, time.Second)
					want := map[int]string{0: "active", 1: "backup"}[active]
					if got := d.Router("web"); got.State != want {
						t.Errorf("lvsha is %s: %s", got.State, got.Reason)
					}
					c := d.Router("web").Counters
					for name, n := range c {
						if n > 0 && (strings.HasSuffix(name, "_errors") || strings.HasPrefix(name, "auth_")) {
							t.Errorf("%s is %d", name, n)
						}
					}
					if active == 1 && c["advertisements_received"] == 0 {
						t.Error("lvsha received nothing")
					}
					r.OneActive()
					return
				}
				r.Eventually("both are active", 30*time.Second, func() bool { return r.Has(r.LVS[0], r.VIP) && r.Has(r.LVS[1], r.VIP) })
				r.Eventually("lvsha says why", 30*time.Second, func() bool {
					return d.Router("web").Counters[tt.counter] > 0 && strings.Contains(d.Output(), tt.alarm)
				})
				if strings.Contains(d.Output(), "s3cret") {
					t.Error("the password is in the log")
				}
			})
		}
	}
}

// TestKeyRotation changes the key of a pair by key files and reloads, while it
// serves: no advertisement is refused and no role changes.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	keys := map[int]string{1: "hex:" + strings.Repeat("1f", 32) + "\n", 2: strings.Repeat("2e", 64) + "\n"}
	const advertise = 50 * time.Millisecond
	file := func(more string) string { return rig.VRRPFile(3, advertise) + "[vrrp.web.auth]\n" + more }
	write := func(h *lab.Host, ids ...int) {
		for _, id := range ids {
			r.Check(h.WriteFile(fmt.Sprintf("/run/vrrp-%d.key", id), []byte(keys[id]), 0o600))
		}
	}
	const (
		first  = `{ id = 1, file = "/run/vrrp-1.key" }`
		second = `{ id = 2, file = "/run/vrrp-2.key" }`
	)
	var daemons [2]*lab.Daemon
	for i, h := range r.LVS {
		write(h, 1)
		daemons[i] = r.Lvsha(h, file("keys = ["+first+"]\n"))
		r.Becomes(daemons[i], []string{"active", "backup"}[i])
	}
	for n, more := range []string{
		"keys = [" + first + ", " + second + "]\n",
		"keys = [" + first + ", " + second + "]\nsend = 2\n",
		"keys = [" + second + "]\n",
	} {
		for i := range r.LVS {
			h := r.LVS[(i+n)%2]
			write(h, 1, 2)
			reload(r, h, file(more))
			r.Settle(5 * advertise)
		}
	}
	received := daemons[1].Router("web").Counters["advertisements_received"]
	r.Eventually("the backup goes on hearing", 30*time.Second, func() bool {
		return daemons[1].Router("web").Counters["advertisements_received"] > received+5
	})
	for i, d := range daemons {
		got := d.Router("web")
		if want := []string{"active", "backup"}[i]; got.State != want || got.Counters["became_active"] != uint64(1-i) {
			t.Errorf("lvs%d is %s, was active %d times", i+1, got.State, got.Counters["became_active"])
		}
		for name, n := range got.Counters {
			if strings.HasPrefix(name, "auth_") {
				t.Errorf("lvs%d: %s is %d", i+1, name, n)
			}
		}
	}

	// The content of a file that is named already is read again, and one that
	// everybody may read is refused and changes nothing.
	keys[2] = strings.Repeat("3d", 64)
	write(r.LVS[1], 2)
	if out, err := r.LVS[1].Run(r.Binary, "reload"); err != nil {
		t.Fatalf("reload: %q, %v", out, err)
	}
	r.Eventually("another secret under the same id", 30*time.Second, func() bool { return daemons[1].Router("web").Counters["auth_invalid"] > 0 })
	if out, err := r.LVS[1].Run("chmod", "644", "/run/vrrp-2.key"); err != nil {
		t.Fatalf("chmod: %q, %v", out, err)
	}
	out, err := r.LVS[1].Run(r.Binary, "reload")
	if err == nil || !strings.Contains(out+err.Error(), "chmod 600 /run/vrrp-2.key") || strings.Contains(out+err.Error(), "3d3d") {
		t.Errorf("reload with a key that everybody may read: %q, %v", out, err)
	}
}
