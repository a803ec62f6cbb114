package rig

import (
	"fmt"
	"syscall"
	"time"

	"lvsha/internal/lab"
)

// Director is one side of a pair, lvsha or keepalived.
type Director struct {
	// Lvsha is nil for another program.
	Lvsha *lab.Daemon
	Kill  func() error
	// Stop ends it in the ordinary way and returns when it has ended.
	Stop func() error
}

// Start starts one kind of director and does not wait.
func (r *Rig) Start(kind string, i, version int, advertise time.Duration) Director {
	r.Helper()
	priority := []int{150, 100}[i]
	if kind == "keepalived" {
		return r.KeepalivedDirector(i, KeepalivedFile(version, advertise, priority))
	}
	return r.LvshaDirector(i, VRRPFile(version, advertise))
}

// KeepalivedDirector starts keepalived with a file, in the rig's family.
func (r *Rig) KeepalivedDirector(i int, file string) Director {
	r.Helper()
	k := r.Keepalived(r.LVS[i], r.InFamily(file))
	return Director{Kill: k.Kill, Stop: func() error {
		if err := k.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		_, err := k.Wait(10 * time.Second)
		return err
	}}
}

// LvshaDirector starts lvsha with a file, in the rig's family.
func (r *Rig) LvshaDirector(i int, file string) Director {
	r.Helper()
	d := r.Lvsha(r.LVS[i], r.InFamily(file))
	return Director{Lvsha: d, Kill: d.Kill, Stop: func() error {
		code, err := d.End(syscall.SIGTERM)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		return err
	}}
}

// Holds waits until a director has the address and the other has not.
func (r *Rig) Holds(i int, limit time.Duration) {
	r.Helper()
	r.Eventually(r.LVS[i].Name+" has the address alone", limit, func() bool {
		return r.Has(r.LVS[i], r.VIP) && !r.Has(r.LVS[1-i], r.VIP)
	})
}

// Failover kills the active director with its link cut and returns the time
// from its last advertisement to the first answer of the other, how long nobody
// answered, and by how much stalls of the machine may have delayed it.
func (r *Rig) Failover(active Director) (fromAdvertisement, silence, stall time.Duration) {
	r.Helper()
	stop, measured := r.Ping(), r.Stalls()
	r.Settle(150 * time.Millisecond)
	died := time.Now()
	r.Check(r.Ports[0].Cut())
	r.Check(active.Kill())
	r.Eventually("lvs2 has the address", 30*time.Second, func() bool { return r.Has(r.LVS[1], r.VIP) })
	r.Settle(100 * time.Millisecond)
	begin, end := lab.Outage(stop(), died.Add(-50*time.Millisecond))
	last, ok := r.Sniffer.Last(r.Source[0], died.Add(50*time.Millisecond))
	if !ok {
		r.Fatal("no advertisement of lvs1 was seen")
	}
	return end.Sub(last.At), end.Sub(begin), measured()
}

// Bound is 3 × A + skew of the backup with priority 100.
func Bound(advertise time.Duration) time.Duration { return 3*advertise + 156*advertise/256 }

// Macvlan is the interface below which FRR's vrrpd keeps the virtual addresses,
// with the virtual MAC. It is down by protocol while FRR is backup.
const Macvlan = "vrrp51"

// Pair starts lvsha on both directors, lvs1 active.
func (r *Rig) Pair(advertise time.Duration) (active, backup *lab.Daemon) {
	r.Helper()
	active = r.Lvsha(r.LVS[0], r.InFamily(VRRPFile(3, advertise)))
	r.Becomes(active, "active")
	backup = r.Lvsha(r.LVS[1], r.InFamily(VRRPFile(3, advertise)))
	r.Becomes(backup, "backup")
	return active, backup
}
