package rig

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"lvsha/internal/control"
	"lvsha/internal/lab"
)

// SyncRig is a pair of directors before two servers by direct routing, that can be
// rebooted.
type SyncRig struct {
	*Rig
	// File is the directors' file, Keys their private ones, and Daemons what runs.
	File    string
	Keys    [2][]byte
	Daemons [2]*lab.Daemon
}

// NewSyncRig starts both directors with connection synchronisation as in the text.
func NewSyncRig(t testing.TB, sync string) *SyncRig {
	t.Helper()
	r := &SyncRig{Rig: New(t)}
	for _, name := range []string{"21", "22"} {
		real, err := r.Net.Host("real" + name)
		r.Check(err)
		_, err = r.Segment.Attach(real, "eth0", "10.0.0."+name+"/24")
		r.Check(err)
		for _, s := range []string{"all/arp_ignore=1", "all/arp_announce=2"} {
			key, value, _ := strings.Cut(s, "=")
			r.Check(real.Sysctl("net/ipv4/conf/"+key, value))
		}
		_, err = real.Run("ip", "addr", "add", VIP.String()+"/32", "dev", "lo")
		r.Check(err)
		r.Accept(real, 80, func(c net.Conn) { io.Copy(c, c) })
	}
	pins := [2]string{}
	for i, h := range r.LVS {
		pins[i] = r.NewKey(h)
		var err error
		r.Keys[i], err = h.ReadFile(KeyPath)
		r.Check(err)
	}
	file := VRRPFile(3, Fast)
	for i, name := range []string{"lvs1", "lvs2"} {
		head := "[director." + name + "]\n"
		file = strings.Replace(file, head, head+fmt.Sprintf("key = %q\n", pins[i]), 1)
	}
	r.File = "manage_sysctls = true\n" + file + `
[peer]
key_file = "` + KeyPath + `"
[service.web]
listen    = "10.0.0.100:80/tcp"
scheduler = "rr"
forward   = "dr"
[[service.web.server]]
address = "10.0.0.21"
[[service.web.server]]
address = "10.0.0.22"
` + sync
	for i := range r.LVS {
		r.Daemons[i] = r.Lvsha(r.LVS[i], r.File)
	}
	r.Becomes(r.Daemons[0], "active")
	r.Becomes(r.Daemons[1], "backup")
	return r
}

// PowerOff takes the power from a director.
func (r *SyncRig) PowerOff(i int) {
	r.Helper()
	r.Check(r.Net.PowerOff(r.LVS[i]))
}

// PowerOn boots a director that knows nothing any more.
func (r *SyncRig) PowerOn(i int) {
	r.Helper()
	name := fmt.Sprintf("lvs%d", i+1)
	var err error
	r.LVS[i], err = r.Net.Host(name)
	r.Check(err)
	r.Ports[i], err = r.Segment.Attach(r.LVS[i], "eth0", Addresses[name].String()+"/24")
	r.Check(err)
	r.Check(r.LVS[i].Sysctl("net/ipv4/ip_forward", "1"))
	r.Check(r.LVS[i].WriteFile(KeyPath, r.Keys[i], 0o600))
	r.Daemons[i] = r.Lvsha(r.LVS[i], r.File)
}

// Partner is what a director says of the other one.
func (r *SyncRig) Partner(i int) (control.Sync, control.SyncPartner) {
	s, err := r.Daemons[i].Status()
	if err != nil || s.Sync == nil || len(s.Sync.Partners) != 1 {
		return control.Sync{}, control.SyncPartner{}
	}
	return *s.Sync, s.Sync.Partners[0]
}

// Synced waits until a director has found all connections of the other one to be
// there, at a look that began after the time.
func (r *SyncRig) Synced(i int, after time.Time) control.SyncResult {
	r.Helper()
	return r.SyncedWithin(30*time.Second, i, after)
}

// SyncedWithin is Synced with a limit of its own; Synced has 30 seconds.
func (r *SyncRig) SyncedWithin(limit time.Duration, i int, after time.Time) control.SyncResult {
	r.Helper()
	var result control.SyncResult
	_, err := lab.Eventually("connections of the other director", limit, func() bool {
		s, p := r.Partner(i)
		if p.Last != nil {
			result = *p.Last
		}
		return s.State == "in sync" && p.Verified != nil && p.Last.Began.After(after)
	})
	if err != nil {
		s, p := r.Partner(i)
		r.Fatalf("%v: %+v, %+v, %+v", err, s, p, p.Last)
	}
	return result
}

// Echo says something and hears it.
func Echo(c net.Conn) bool {
	c.SetDeadline(time.Now().Add(8 * time.Second))
	if _, err := io.WriteString(c, "hello"); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err == nil
}
