package failover_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/e2e/rig"
	"lvsha/internal/lab"
)

// bfdSection is what the issue asks about: three packets of 10 ms.
const bfdSection = `
[bfd]
interval   = "10ms"
multiplier = 3
`

// bfdPair starts lvsha with a slow VRRP and a fast BFD on both directors, lvs1
// active, and waits until the session is up.
func bfdPair(r *rig.Rig) (active, backup *lab.Daemon) {
	r.Helper()
	file := r.InFamily(rig.VRRPFile(3, time.Second) + bfdSection)
	active = r.Lvsha(r.LVS[0], file)
	r.Becomes(active, "active")
	backup = r.Lvsha(r.LVS[1], file)
	r.Becomes(backup, "backup")
	sessionUp(r, active, backup)
	return active, backup
}

// session is a daemon's only BFD session, zero when there is none or the daemon
// does not answer.
func session(r *rig.Rig, d *lab.Daemon) control.BFDSession {
	s, err := d.Status()
	if err != nil || len(s.BFD) != 1 {
		return control.BFDSession{}
	}
	return s.BFD[0]
}

func sessionUp(r *rig.Rig, daemons ...*lab.Daemon) {
	r.Helper()
	for _, d := range daemons {
		r.Eventually("BFD session is up", 30*time.Second, func() bool {
			s := session(r, d)
			return s.State == "Up" && s.RemoteState == "Up"
		})
	}
}

// TestBFDFailover: with BFD of 3 × 10 ms a VRRP of 1 s is taken over within 50 ms
// and the skew, instead of three seconds and the skew.
func TestBFDFailover(t *testing.T) {
	rig.Families(t, func(r *rig.Rig) {
		active, backup := bfdPair(r)
		want := control.BFDSession{Local: r.Source[1].String(), Peer: r.Source[0].String(), Watched: true, Interval: "10ms", Detection: "30ms"}
		got := session(r, backup)
		if got.Local != want.Local || got.Peer != want.Peer || !got.Watched || got.Interval != want.Interval || got.Detection != want.Detection {
			r.Errorf("session %+v, want %+v", got, want)
		}
		_, silence, stall := r.Failover(rig.Director{Kill: active.Kill})
		skew := 156 * time.Second / 256
		r.Logf("nobody answered for %v: the skew of %v and %v", silence, skew, silence-skew)
		if silence > skew+250*time.Millisecond+stall {
			r.Errorf("failover took %v, skew %v", silence, skew)
		}
		if s := backup.Router("web"); !strings.Contains(s.Reason, "path to lvs1") && !strings.Contains(s.Reason, "path to "+r.Source[0].String()) {
			r.Errorf("reason %q", s.Reason)
		}
		r.OneActive()
	})
}

// TestBFDRestart: the end of a process that another follows is not a death, for
// the active director and for the backup, and neither is a reload.
func TestBFDRestart(t *testing.T) {
	t.Parallel()
	rig.ParallelFamilies(t, func(r *rig.Rig) {
		active, backup := bfdPair(r)
		lost := r.LostWhile(func() {
			for range 3 {
				if _, err := active.End(syscall.SIGUSR2); err != nil {
					r.Fatal(err)
				}
				r.Settle(300 * time.Millisecond)
				active = r.Again(r.LVS[0])
				r.Becomes(active, "active")
				sessionUp(r, active, backup)
			}
			if _, err := backup.End(syscall.SIGUSR2); err != nil {
				r.Fatal(err)
			}
			backup = r.Again(r.LVS[1])
			r.Becomes(backup, "backup")
			sessionUp(r, active, backup)

			// Parameters change without the session ending, and go without a takeover.
			since := session(r, backup).Since
			slower := strings.Replace(bfdSection, "10ms", "40ms", 1)
			for _, section := range []string{slower, ""} {
				for _, h := range r.LVS {
					r.Check(h.WriteFile(rig.ConfigPath, []byte(r.InFamily(rig.VRRPFile(3, time.Second)+section)), 0o644))
					if out, err := h.Run(r.Binary, "reload"); err != nil {
						r.Fatalf("reload: %q, %v", out, err)
					}
				}
				if section != "" {
					r.Eventually("slower", 30*time.Second, func() bool { return session(r, backup).Detection == "120ms" && session(r, active).Detection == "120ms" })
					if s := session(r, backup); !s.Since.Equal(since) || s.State != "Up" {
						r.Errorf("the session ended meanwhile: %+v", s)
					}
				}
			}
			r.Settle(time.Second)
		})
		if lost != 0 {
			r.Errorf("%d probes lost", lost)
		}
		if s := backup.Router("web"); s.State != "backup" || s.Counters["became_active"] > 0 {
			r.Errorf("the backup took over: %+v", s)
		}
		for _, a := range r.Sniffer.Seen() {
			if a.Source == r.Source[1] {
				r.Errorf("the backup advertised: %+v", a)
			}
		}
	})
}

// TestBFDStop: a stop hands over as it does without BFD.
func TestBFDStop(t *testing.T) {
	t.Parallel()
	r := rig.New(t)
	active, _ := bfdPair(r)
	lost := r.LostWhile(func() {
		if code, err := active.End(syscall.SIGTERM); err != nil || code != 0 {
			t.Errorf("exit code %d, %v", code, err)
		}
		r.Holds(1, 10*time.Second)
	})
	if lost > 1 {
		t.Errorf("%d probes lost by a stop, at most 1", lost)
	}
	r.OneActive()
}

// TestBFDAloneIsLost: the packets of BFD, and only they, do not come through. The
// backup may try once; the active director stays so.
func TestBFDAloneIsLost(t *testing.T) {
	t.Parallel()
	rig.ParallelFamilies(t, func(r *rig.Rig) {
		active, backup := bfdPair(r)
		before := active.Router("web")
		family := "-4"
		if r.VIP.Is6() {
			family = "-6"
		}
		// Before the rule that makes an address local, which has to come later for it.
		for _, args := range []string{
			"rule add pref 100 lookup local", "rule del pref 0", "rule add pref 50 iif eth0 ipproto udp dport 3784 blackhole",
		} {
			_, err := r.LVS[1].Run("ip", append([]string{family}, strings.Fields(args)...)...)
			r.Check(err)
		}
		r.Eventually("session down", 30*time.Second, func() bool {
			s := session(r, backup)
			return s.State == "Down" && s.Diagnostic == "control detection time expired"
		})
		r.Settle(3 * time.Second)
		r.Becomes(backup, "backup") // again, or still
		if s := active.Router("web"); s.State != "active" || !s.Since.Equal(before.Since) {
			r.Errorf("the active director is %+v", s)
		}
		if s := session(r, active); s.State == "Up" {
			r.Errorf("session of the active director: %+v", s)
		}
		// One delivery: its one advertisement is answered at once.
		var last *lab.Advertisement
		tries := 0
		for _, a := range r.Sniffer.Seen() {
			if last != nil && last.Source == r.Source[1] && (a.Source != r.Source[0] || a.At.Sub(last.At) > 250*time.Millisecond) {
				r.Errorf("%+v after %+v", a, *last)
			}
			if a.Source == r.Source[1] && a.Priority > 0 {
				tries++
			}
			last = &a
		}
		if tries > 1 {
			r.Errorf("the backup advertised %d times", tries)
		}
		r.Logf("BFD alone lost: the backup tried %d times", tries)

		_, err := r.LVS[1].Run("ip", family, "rule", "del", "pref", "50")
		r.Check(err)
		sessionUp(r, active, backup)
	})
}
